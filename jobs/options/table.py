"""The options as people read them: ``--help``, the README's short table and docs/options.md, all from the schema."""

import textwrap
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from typing import Any, NamedTuple, get_type_hints

from jobs.options.fields import MISSING, limits_of, shown
from jobs.options.model import SampleOptions
from jobs.options.places import CONF
from jobs.options.schema import Options

_WIDTH = 100
_LEFT_TO_THE_MODEL = {one.name for one in fields(SampleOptions)} | {"batch_size"}
_HELP = """Make an image or video dataset from a prompt file; the same command again finishes what is missing.

  python -m jobs.generate prompt_file=my.txt ngpu=2
  python -m jobs.generate -m hydra/launcher=submitit_slurm prompt_file=my.txt
  python -m jobs.status outputs/NAME

Models (model=NAME): {models}. Your own: model=NAME with --config-dir FOLDER and FOLDER/model/NAME.yaml.

Options (option=value; null where nothing is chosen):
"""


class Row(NamedTuple):
    """An option by its full name, with its field and the dataclass that this stands in."""

    name: str
    field: Field[Any]
    group: type


def help_text() -> str:
    """Return what ``--help`` prints."""
    models = ", ".join(sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
    lines = [_HELP.format(models=models)]
    for row in rows():
        head = f"  {row.name}={_default(row.field)}"
        body = textwrap.wrap(_meaning(row), _WIDTH - 34)
        if len(head) > 32:
            lines.append(head)
            head = ""
        lines += [f"{head:<34}{body[0]}", *(f"{'':34}{line}" for line in body[1:])]
    lines.append("\nHydra's own flags: --hydra-help.")
    return "\n".join(lines)


def short_table() -> str:
    """Return the README's table: the options that most runs are made with."""
    return _markdown([row for row in rows() if row.field.metadata["short"]])


def long_table() -> str:
    """Return the table of every option."""
    return _markdown(rows())


def rows() -> list[Row]:
    """Return every option, what to make first; of a model's defaults for samples only the root's."""
    root = _collect(Options, "", leave_out=set())
    first = ("model", "algo", "prompt_file", "total_prompt_num", "samples_per_prompt", "seed")
    beginning = [next(row for row in root if row.name == name) for name in first]
    rest = [row for row in root if row.name not in first and "." not in row.name]
    parts = [row for row in root if "." in row.name]
    return [*beginning, *rest, *parts]


def _collect(group: type, prefix: str, leave_out: set[str]) -> list[Row]:
    found, parts = [], []
    for field in fields(group):
        kind = get_type_hints(group)[field.name]
        if field.name in leave_out:
            continue
        if not is_dataclass(kind) or "file" in field.metadata:
            found.append(Row(f"{prefix}{field.name}", field, group))
        if is_dataclass(kind):
            parts += _collect(kind, f"{prefix}{field.name}.", _LEFT_TO_THE_MODEL)  # type: ignore[arg-type]
    return found + parts


def _markdown(chosen: list[Row]) -> str:
    cells = [("option", "default", "meaning")]
    cells += [(f"`{row.name}`", f"`{_default(row.field)}`", _meaning(row)) for row in chosen]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    lines.insert(1, "| -- | -- | -- |")
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if "file" in field.metadata:
        return str(field.metadata["file"])
    if field.default_factory is not NO_DEFAULT:
        return "{}"
    if field.default == MISSING:
        return "(required)"
    return field.default if isinstance(field.default, str) else shown(field.default)


def _meaning(row: Row) -> str:
    text: str = row.field.metadata["help"]
    if "file" in row.field.metadata:
        return text
    choices = limits_of(row.group, row.field.name).choices
    if choices and not all(choice in text for choice in choices):
        text += f": {', '.join(choices)}"
    if row.group is Options and row.field.name in _LEFT_TO_THE_MODEL:
        text += "; null: the model's default"
    return text
