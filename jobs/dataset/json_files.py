"""Reads prompts from JSON: an object a line (.jsonl), or one value that holds them all (.json)."""

import json
from pathlib import Path
from typing import Any

from jobs.base.errors import BadInput
from jobs.dataset.decode import lines_of, utf8
from jobs.dataset.rows import RowCollector, Rows
from jobs.options.aliases import option_meant

_SHAPES = 'write a list of objects, like [{"prompt": "..."}]'


def read_jsonl(path: Path) -> Rows:
    """Read an object a line; blank lines are passed over.

    Raises:
        BadInput: a line is none; names it.
    """
    rows = RowCollector()
    for number, line in enumerate(lines_of(utf8(path)), 1):
        if not line.strip():
            continue
        try:
            row = _parse(line.rstrip("\n"))
        except (ValueError, RecursionError) as error:
            raise BadInput(
                f"{path} line {number} is not valid JSON ({_problem(error)}): write one object a line, "
                "or rename a file that is one value to .json"
            ) from None
        if isinstance(row, list) and number == 1:
            raise BadInput(f"{path} line 1 is a list: rename the file to .json, or write one object a line")
        if not isinstance(row, dict):
            raise BadInput(f'{path} line {number} is not an object: write {{"prompt": "..."}}')
        rows.add(number, row)
    return Rows(rows.columns, rows.numbers)


def read_json(path: Path) -> Rows:
    """Read one value: a list of objects or of texts, an object of either, or an object with such a list in it.

    The keys of an object of objects or texts become ids where the objects have none. Captions of COCO are the list
    ``annotations``.

    Raises:
        BadInput: it is of another shape; says which there are.
    """
    text = utf8(path).decode("utf-8-sig")
    if not text.strip():
        return Rows({}, [])
    try:
        value = _parse(text)
    except (ValueError, RecursionError) as error:
        mend = "rename a file of JSON lines to .jsonl" if "Extra data" in str(error) else _SHAPES
        raise BadInput(f"{path} is not valid JSON ({_problem(error)}): {mend}") from None
    rows = RowCollector()
    for number, row in enumerate(_entries(path, value), 1):
        if not isinstance(row, dict):
            raise BadInput(f"{path} entry {number} is neither an object nor a text: {_SHAPES}")
        rows.add(number, row)
    return Rows(rows.columns, rows.numbers)


def _parse(text: str) -> Any:
    value = _DECODER.decode(text)
    if "\\u" in text and "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair could not be written as .txt
    return value


def _problem(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno} " if error.lineno > 1 else ""
        return f"{error.msg} at {line}column {error.colno}"
    return error.reason if isinstance(error, UnicodeEncodeError) else str(error).partition(";")[0]


def _constant(name: str) -> None:
    """NaN is how pandas and others write a gap; an infinity is a mistake."""
    if name != "NaN":
        raise ValueError(f"{name} is not JSON")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of a name that stands twice Python keeps the last value, and would lose the other without a word."""
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"an object names {next(one for one in names if names.count(one) > 1)!r} twice")
    return value


# json.loads would make one a line.
_DECODER = json.JSONDecoder(parse_constant=_constant, object_pairs_hook=_object)


def _entries(path: Path, value: Any) -> list[Any]:
    """Find the prompts in a value, each as an object; what is none is left as it is."""
    if isinstance(value, list):
        return [{"prompt": one} if isinstance(one, str) else one for one in value]
    if not isinstance(value, dict):
        raise BadInput(f"{path} is neither a list nor an object: {_SHAPES}")
    if any(option_meant(name, misspelt=False) == "prompt" and isinstance(one, str) for name, one in value.items()):
        return [value]  # a single prompt with what belongs to it
    lists = [name for name, one in value.items() if isinstance(one, list) and one]
    if lists:
        return _entries(path, value[_the_list(path, value, lists)])
    if all(isinstance(one, dict) for one in value.values()):
        return _keyed(path, value)
    if all(isinstance(one, str) for one in value.values()):
        return [{"id": key, "prompt": text} for key, text in value.items()]
    raise BadInput(f"{path} is an object of neither objects nor texts, and has no list in it: {_SHAPES}")


def _the_list(path: Path, value: dict[str, Any], lists: list[str]) -> str:
    if isinstance(value.get("annotations"), list):  # of COCO, beside the lists of images and licences
        return "annotations"
    if any(option_meant(name, misspelt=False) not in (None, "prompt") for name in lists):
        raise BadInput(f"{path} holds a list for each column ({', '.join(lists)}): {_SHAPES}")
    objects = [name for name in lists if isinstance(value[name][0], dict)] or lists
    if len(objects) > 1:
        raise BadInput(f"{path} holds several lists ({', '.join(objects)}): keep the one of the prompts")
    return objects[0]


def _keyed(path: Path, value: dict[str, Any]) -> list[Any]:
    if any(option_meant(name, misspelt=False) == "prompt" for name in value):
        raise BadInput(f"{path} holds an object for each column ({', '.join(value)}): {_SHAPES}")
    if any(name.casefold() == "id" for row in value.values() for name in row):
        return list(value.values())
    return [{"id": key, **row} for key, row in value.items()]
