"""What other tools call the options of a sample: to suggest the right one, and to notice columns that are meant so."""

import difflib
import re

# Option -> what it is called elsewhere, without capitals and signs (``bare``).
ALIASES: dict[str, tuple[str, ...]] = {
    "prompt": (
        *("prompts", "prompttext", "textprompt", "positiveprompt", "positive", "prompten", "englishprompt"),
        *("caption", "captions", "captionen", "captiontext", "text", "texts", "texten"),
    ),
    "num_inference_steps": (
        *("steps", "step", "numsteps", "nsteps", "inferencesteps", "samplingsteps", "samplesteps", "samplersteps"),
        *("ddimsteps", "denoisingsteps", "numinferencestep"),
    ),
    "guidance_scale": ("cfg", "cfgscale", "guidance", "guidancestrength", "cfgguidance", "truecfgscale", "truecfg"),
    "negative_prompt": ("negative", "negativeprompts", "negprompt", "neg", "negativetext", "uncond", "unconditional"),
    "seed": ("seeds", "randomseed", "noiseseed", "rngseed", "manualseed"),
    "height": ("h", "imageheight", "imgheight", "heightpx", "pixelheight"),
    "width": ("w", "imagewidth", "imgwidth", "widthpx", "pixelwidth"),
    "num_frames": ("frames", "numframe", "nframes", "framecount", "numberofframes", "videolength"),
}
SIZES = ("size", "resolution", "imagesize", "dimensions", "aspectratio", "aspect", "ar")  # height and width in one
CLOSE = 0.85  # similarity from which a name is taken for a misspelling


def bare(name: str) -> str:
    """Return a name without what spellings differ in: capitals, underscores, spaces, and other signs."""
    return re.sub(r"[\W_]+", "", name.casefold())


def option_meant(name: str, *, misspelt: bool = True) -> str | None:
    """Return the option of a sample that a name from elsewhere probably means; None where it means none.

    Args:
        name: a column, or what stands before "=".
        misspelt: whether a name that is merely similar counts.
    """
    plain = bare(name)
    known = {bare(option): option for option in ALIASES}
    known |= {alias: option for option, aliases in ALIASES.items() for alias in aliases}
    if plain in known:
        return known[plain]
    long = [one for one in map(bare, ALIASES) if len(one) >= 5]
    close = difflib.get_close_matches(plain, long, 1, cutoff=CLOSE) if misspelt and len(plain) >= 5 else []
    return known[close[0]] if close else None
