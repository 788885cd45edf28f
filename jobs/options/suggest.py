"""The option that was probably meant, where one was given that does not exist."""

import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from jobs.options.aliases import ALIASES, SIZES, bare, option_meant
from jobs.options.cluster_names import launcher_hint
from jobs.options.places import CONF

# Option -> what other tools call it, without capitals and signs. Those of a sample are in jobs/options/aliases.py.
RUN_ALIASES: dict[str, tuple[str, ...]] = {
    "prompt_file": (
        *("promptsfile", "promptpath", "promptspath", "promptlist", "promptfiles", "input", "inputfile", "data"),
        *("dataset", "fromfile"),
    ),
    "total_prompt_num": ("maxprompts", "numprompts", "nprompts", "promptcount", "limit", "totalprompts", "promptnum"),
    "samples_per_prompt": (
        *("n", "num", "numimages", "numsamples", "nsamples", "nimages", "samples", "images", "repeats", "niter"),
        *("numimagesperprompt", "numvideosperprompt", "imagesperprompt", "videosperprompt", "count", "batchcount"),
    ),
    "output_base_path": (
        *("output", "outputs", "out", "outdir", "outputdir", "outputpath", "outputfolder", "outpath", "savedir"),
        *("savepath", "saveto", "dest", "destination", "folder"),
    ),
    "exp_name": ("name", "experiment", "experimentname", "run", "runname", "jobname"),
    "ngpu": ("gpu", "gpus", "numgpu", "numgpus", "ngpus", "gpucount", "nprocpernode", "workers", "numworkers"),
    "batch_size": ("bs", "batch"),
    "image_format": ("format", "outputformat", "filetype", "extension", "ext"),
    "image_quality": ("quality", "jpegquality", "jpgquality"),
    "dry_run": ("dry",),
    "algo": ("algorithm", "cache", "method"),
    "model.path": ("checkpoint", "ckpt", "ckptpath", "modelid", "repo", "weights"),
    "model.dtype": ("torchdtype", "precision"),
    "model.scheduler": ("sampler", "samplername"),
    "model.offload": ("cpuoffload", "lowvram", "medvram"),
    "model.compile": ("torchcompile",),
    "hydra/launcher": ("launcher",),
}
_LORA = ("lora", "loras", "lorapath", "loraweights", "lorascale")
_LOOKUP = "python -m jobs.generate --help lists the options"


def no_such_option(name: str, known: Iterable[str], value: Any = None) -> str:
    """Return the sentence about an option that does not exist, with the one that was probably meant.

    Args:
        name: as given, such as "steps" or "model.steps".
        known: full names of all options.
        value: what it was to be; None where that is not known.
    """
    return f"there is no option '{name}': {_hint(name, list(known), value)}"


def not_a_model(given: str) -> str | None:
    """Return the sentence about a hub id or directory that was given as ``model=``; None for other names."""
    for file in sorted((CONF / "model").glob("*.yaml")):
        path = str(yaml.safe_load(file.read_text())["path"])
        if given.casefold() in (path.casefold(), path.rpartition("/")[2].casefold()):
            return f"model={given} is the checkpoint of model={file.stem}: write that"
    if Path(given).expanduser().is_dir() or given.startswith((".", "/", "~")):
        what = "a path"
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", given):
        what = "a hub id"
    else:
        return None
    return (
        f"model={given} is {what}, and model= takes the name of a file in conf/model: write model.path={given} "
        "with the model=NAME whose options fit"
    )


def _hint(name: str, known: list[str], value: Any) -> str:
    group, _, last = name.rpartition(".")
    if bare(last) in _LORA:
        return f"did you mean 'model.loras=[{{path: {'...' if value is None else value}}}]'?"
    if bare(last) in SIZES:
        sides = re.fullmatch(r"(\d+)(?:\s*[x*,]\s*(\d+))?", str(value))
        width, height = (sides[1], sides[2] or sides[1]) if sides else ("...", "...")
        return f"did you mean width={width} height={height}?"
    if hint := launcher_hint(name, value):
        return hint
    meant = _meant(group, last, known)
    if meant == "prompt_file" and value is not None and not re.search(r"\.\w+$|^\S*/\S*$", str(value)):
        return "write prompts into a file, one a line, and give prompt_file=FILE"
    if meant is None:
        return _LOOKUP
    return f"did you mean {meant}?" if value is None else f"did you mean {meant}={value}?"


def _meant(group: str, last: str, known: list[str]) -> str | None:
    """Return the full name of an option: by its own name elsewhere, its name in other tools, its spelling."""
    other = _elsewhere(last)
    if not group and other:
        return other
    if f"{group}.{other}" in known:
        return f"{group}.{other}"
    same = sorted((one for one in known if bare(one.rpartition(".")[2]) == bare(last)), key=len)
    beside = [one for one in known if group and one.startswith(f"{group}.")]
    return next(iter(same), None) or _close(f"{group}.{last}", beside) or other or _close(last, known)


def _close(name: str, known: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(name, known, 1, cutoff=0.7)), None)


def _elsewhere(last: str) -> str | None:
    if bare(last) in (*ALIASES["prompt"], "prompt"):
        return "prompt_file"
    own = next((option for option, names in RUN_ALIASES.items() if bare(last) in names), None)
    return own or option_meant(last, misspelt=False)
