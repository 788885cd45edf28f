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
        *("ddimsteps", "denoisingsteps", "numinferencestep", "stepcount", "timestep", "numberofsteps"),
    ),
    "guidance_scale": (
        "cfg",
        "cfgscale",
        "guidance",
        "guidancestrength",
        "cfgguidance",
        "truecfgscale",
        "truecfg",
        "guidescale",
    ),
    "negative_prompt": (
        *("negative", "negativeprompts", "negprompt", "neg", "negativetext", "uncond", "unconditional"),
        *("unconditionalprompt", "antiprompt"),
    ),
    "seed": ("seeds", "randomseed", "noiseseed", "rngseed", "manualseed"),
    "height": ("h", "imageheight", "imgheight", "heightpx", "pixelheight", "imageh", "imgh", "targeth"),
    "width": ("w", "imagewidth", "imgwidth", "widthpx", "pixelwidth", "imagew", "imgw", "targetw"),
    "num_frames": ("frames", "numframe", "nframes", "framecount", "framenum", "numberofframes", "videolength"),
}
SIZES = (  # height and width in one
    *("size", "imagesize", "imgsize", "videosize", "outputsize", "targetsize", "wh", "hw"),
    *("resolution", "imageresolution", "videoresolution", "dimensions", "imagedimensions", "dims"),
    *("aspectratio", "aspect", "ar"),
)
CLOSE = 0.85  # similarity from which a long name is taken for a misspelling

# A word in a name of several -> the option that is probably meant: total_steps, targetHeight, seed_value.
_WORDS = {
    "num_inference_steps": ("step", "steps", "timesteps"),
    "seed": ("seed", "seeds"),
    "guidance_scale": ("cfg", "guidance"),
    "negative_prompt": ("negative", "neg", "uncond"),
    "height": ("height",),
    "width": ("width",),
    "num_frames": ("frames",),
}


def bare(name: str) -> str:
    """Return a name without what spellings differ in: capitals, underscores, spaces, and other signs."""
    return re.sub(r"[\W_]+", "", name.casefold())


def option_meant(name: str, *, misspelt: bool = True) -> str | None:
    """Return the option of a sample that a name from elsewhere probably means; None where it means none.

    Args:
        name: a column, or what stands before "=".
        misspelt: whether a name counts that is merely similar, or has a word of its option.
    """
    plain = bare(name)
    known = {bare(option): option for option in ALIASES}
    known |= {alias: option for option, aliases in ALIASES.items() for alias in aliases}
    if plain in known:
        return known[plain]
    if not misspelt:
        return None
    words = {word.casefold() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+|[^\W\d_A-Za-z]+", name)}
    for option, signs in _WORDS.items():
        if words & set(signs):
            return option
    slips = (option for option in map(bare, ALIASES) if _is_slip(plain, option))
    close = difflib.get_close_matches(plain, [one for one in known if len(one) >= 8], 1, cutoff=CLOSE)
    return next((known[one] for one in (*slips, *close)), None)


def _is_slip(name: str, option: str) -> bool:
    """Return whether two neighbouring letters are in each other's place (hieght), or one is doubled or left out."""
    if len(name) > len(option):
        return any(name == option[:at] + option[at] + option[at:] for at in range(len(option)))
    if len(option) < 5:
        return False  # too many words are near to a short one
    swapped = (option[:at] + option[at + 1] + option[at] + option[at + 2 :] for at in range(len(option) - 1))
    left_out = (option[:at] + option[at + 1 :] for at in range(1, len(option) - 1))
    return name in (*swapped, *left_out)
