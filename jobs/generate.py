"""Make a dataset: ``python -m jobs.generate [options]``, with ``-m hydra/launcher=submitit_slurm`` on a cluster.

The same command again finishes what is missing and nothing else. Exit code 0: every shard is done. 1: something is
left, and the summary says what. 2: the command line or the prompt file needs mending; nothing was written.
"""

import os
import re
import sys

import hydra
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from jobs.checks import no_such_option
from jobs.errors import BadInput, refuse
from jobs.options import PROJECT
from jobs.task import run


def main() -> None:
    """Run Hydra, and turn what a user can mend into one sentence and exit code 2."""
    _sort_arguments()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # let exceptions come here instead of being printed by Hydra
    try:
        hydra.main(config_path=str(PROJECT / "conf"), config_name="generate", version_base="1.3")(run)()
    except BadInput as error:
        refuse(str(error))
    except (HydraException, OmegaConfBaseException) as error:
        refuse(explain(error))
    except ValueError as error:
        if not str(error).startswith("Config group override must be a string"):
            raise
        refuse("model and algo each take the name of a file in conf/model and conf/algo, like model=demo")
    except KeyboardInterrupt:
        print("interrupted; the same command again goes on from here", file=sys.stderr)
        sys.exit(130)


def _sort_arguments() -> None:
    """Take ``-m`` anywhere in the command line (argparse wants it first), and refuse unknown flags in one line."""

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[assignment, method-assign]
    known, unknown = parser.parse_known_intermixed_args()
    if unknown:
        refuse(
            f"{unknown[0]} is not a flag: options are written option=value, "
            "and python -m jobs.generate --help lists them"
        )
    sys.argv[1:] = [item for item in sys.argv[1:] if item not in known.overrides] + known.overrides


def explain(error: Exception) -> str:
    """One sentence from an error of Hydra or OmegaConf."""
    text = str(error)
    if isinstance(error, OverrideParseException) and "=" not in error.override:
        return f"'{error.override}' gives no value: write option=value"
    if isinstance(error, OverrideParseException):
        return (
            f"'{error.override}' cannot be read: put a value that holds commas, brackets, quotes or the like "
            "in quotes of its own, like 'option=\"a, b\"'"
        )
    if match := re.match(r"Ambiguous value for argument '(([^=]+)=.*)'\n", text):
        return (
            f"{match[1]} names several values for {match[2]}: give one, "
            "or use -m to make a run of each, or put a value that holds a comma in quotes of its own"
        )
    if match := re.search(r"Could not override '([^']+)'|Key '([^']+)' is not in struct", text):
        return _explain_unknown(match[1] or match[2])
    if match := re.search(r"(?:Could not find|In '[^']*': Could not find) '([^']+)'", text):
        group, _, name = match[1].rpartition("/")
        choices = re.search(
            r"Available options in '[^']*':\s*(.*?)\s*(?:\n\s*\n|Config search path|$)", text, re.DOTALL
        )
        known = ", ".join(choices[1].split()) if choices else "none"
        return f"{group}={name} is not known: choose one of {known}"
    return " ".join(text.split())


def _explain_unknown(name: str) -> str:
    names = _option_names()
    group, _, key = name.rpartition(".")
    if name in ("model", "algo"):
        return f"{name} takes the name of a file in conf/{name}: one part of it is set with {name}.KEY=value"
    if name.startswith(("model.call.", "model.scheduler_args.")):  # what these may hold, the pipeline decides
        return f"'{name}' is not there yet: add it with +{name}=value"
    if name in names and group:
        files = [path.stem for path in (PROJECT / "conf" / group).glob("*.yaml") if f"\n{key}:" in path.read_text()]
        return f"there is no option '{name}' with the {group} chosen: it belongs to {group}={' or '.join(files)}"
    return no_such_option(name, names)


def _option_names() -> list[str]:
    names: list[str] = []
    for path in sorted((PROJECT / "conf").glob("**/*.yaml")):
        folder = path.parent.name
        keys = re.findall(r"^(\w+):", path.read_text(), re.MULTILINE)
        names += keys if folder == "conf" else [f"{folder}.{key}" for key in keys]
    return names


if __name__ == "__main__":
    main()
