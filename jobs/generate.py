"""Make a dataset: ``python -m jobs.generate [options]``, with ``-m hydra/launcher=submitit_slurm`` on a cluster.

The same command again finishes what is missing and nothing else. Exit code 0: every shard is done. 1: something is
left, and the summary says what. 2: the command line or the prompt file needs mending; nothing was written.
"""

import difflib
import os
import re
import sys

import hydra
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from jobs.errors import BadInput
from jobs.options import PROJECT
from jobs.task import run


def main() -> None:
    """Run Hydra, and turn what a user can mend into one sentence and exit code 2."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions come here instead of being printed by Hydra
    try:
        hydra.main(config_path=str(PROJECT / "conf"), config_name="generate", version_base="1.3")(run)()
    except BadInput as error:
        _refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        _refuse(explain(error))
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on from here", file=sys.stderr)
        sys.exit(130)


def _refuse(sentence: str) -> None:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def explain(error: Exception) -> str:
    """One sentence from an error of Hydra or OmegaConf."""
    text = str(error)
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        name = match[1] or match[2]
        close = difflib.get_close_matches(name, _option_names(), 1)
        hint = f"did you mean {close[0]}?" if close else "python -m jobs.generate --help lists the options"
        return f"there is no option '{name}': {hint}"
    if match := re.search(r"(?:Could not find|In '[^']*': Could not find) '([^']+)'", text):
        group, _, name = match[1].rpartition("/")
        choices = re.search(
            r"Available options in '[^']*':\s*(.*?)\s*(?:\n\s*\n|Config search path|$)", text, re.DOTALL
        )
        known = ", ".join(choices[1].split()) if choices else "none"
        return f"{group}={name} is not known: choose one of {known}"
    return " ".join(text.split())


def _option_names() -> list[str]:
    names: list[str] = []
    for path in sorted((PROJECT / "conf").glob("**/*.yaml")):
        folder = path.parent.name
        keys = re.findall(r"^(\w+):", path.read_text(), re.MULTILINE)
        names += keys if folder == "conf" else [f"{folder}.{key}" for key in keys]
    return names


if __name__ == "__main__":
    main()
