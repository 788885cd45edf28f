"""The options as people read them: ``--help``, the README's short table and docs/options.md, all from the schema."""

import textwrap
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, fields, is_dataclass
from typing import Any, get_type_hints

from omegaconf import MISSING

from jobs.options.fields import limits_of, shown
from jobs.options.places import CONF
from jobs.options.schema import Options, SampleOptions

_WIDTH = 100
_HELP = """Make an image or video dataset from a prompt file; the same command again finishes what is missing.

  python -m jobs.generate prompt_file=my.txt ngpu=2
  python -m jobs.generate -m hydra/launcher=submitit_slurm prompt_file=my.txt
  python -m jobs.status outputs/NAME

Models (model=NAME): {models}. Your own: model=NAME with --config-dir FOLDER and FOLDER/model/NAME.yaml.

Options (option=value; null where nothing is chosen):
"""


def help_text() -> str:
    """Return what ``--help`` prints."""
    models = ", ".join(sorted(path.stem for path in (CONF / "model").glob("*.yaml")))
    lines = [_HELP.format(models=models)]
    for name, field, group in rows():
        head = f"  {name}={_default(field)}"
        body = textwrap.wrap(_meaning(name, field, group), _WIDTH - 34)
        if len(head) > 32:
            lines.append(head)
            head = ""
        lines += [f"{head:<34}{body[0]}", *(f"{'':34}{line}" for line in body[1:])]
    lines.append("\nHydra's own flags: --hydra-help.")
    return "\n".join(lines)


def short_table() -> str:
    """Return the README's table: the options that most runs are made with."""
    return _markdown([row for row in rows() if row[1].metadata["short"]])


def long_table() -> str:
    """Return the table of every option."""
    return _markdown(list(rows()))


def rows() -> list[tuple[str, Field[Any], type]]:
    """Return (full name, field, dataclass) of every option; of a model's defaults for samples only the root's."""
    found: list[tuple[str, Field[Any], type]] = []

    def collect(group: type, prefix: str, leave_out: set[str]) -> None:
        hints, parts = get_type_hints(group), []
        for field in fields(group):
            if is_dataclass(hints[field.name]):
                parts.append((field.name, hints[field.name]))
            elif field.name not in leave_out:
                found.append((f"{prefix}{field.name}", field, group))
        for name, part in parts:
            collect(part, f"{prefix}{name}.", {one.name for one in fields(SampleOptions)} | {"batch_size"})

    collect(Options, "", set())
    order = [field.name for field in fields(Options)]
    sample = {field.name for field in fields(SampleOptions)}
    return sorted(found, key=lambda row: (_rank(row[0], sample), order.index(row[0].partition(".")[0])))


def _rank(name: str, sample: set[str]) -> int:
    """What to make first, then how, then the model's parts and the algorithm's."""
    if name.startswith("model."):
        return 2
    if name.startswith("algo."):
        return 3
    return (
        1 if name in sample else 0 if name in ("prompt_file", "total_prompt_num", "samples_per_prompt", "seed") else 1
    )


def _markdown(chosen: list[tuple[str, Field[Any], type]]) -> str:
    cells = [("option", "default", "meaning")]
    cells += [(f"`{name}`", f"`{_default(field)}`", _meaning(name, field, group)) for name, field, group in chosen]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = [f"| {' | '.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))} |" for row in cells]
    lines.insert(1, f"| {' | '.join('-' * width for width in widths)} |")
    return "\n".join(lines)


def _default(field: Field[Any]) -> str:
    if field.default_factory is not NO_DEFAULT:
        return "{}"
    if field.default == MISSING:
        return "the model's" if field.name in ("name", "path") else "???"
    return field.default if isinstance(field.default, str) else shown(field.default)


def _meaning(name: str, field: Field[Any], group: type) -> str:
    limits = limits_of(group, field.name)
    text: str = field.metadata["help"]
    if limits.choices and not all(choice in text for choice in limits.choices):
        text += f": {', '.join(limits.choices)}"
    if (
        group is Options
        and field.default is None
        and name in {one.name for one in fields(SampleOptions)} | {"batch_size"}
    ):
        text += "; null: the model's default"
    return text
