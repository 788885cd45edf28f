"""Prompt files: what is read from each format, and what each mistake is told."""

import gzip
import json
import math
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.base.errors import BadInput
from jobs.dataset.prompts import SETTINGS, PromptTable
from tests.dataset.files import lines, read, write
from tests.support import PROJECT

TEXTS = [
    pytest.param("p.txt", "a red circle\na blue star\n", ["a red circle", "a blue star"], [1, 2], id="txt"),
    pytest.param("p.txt", "a\nb", ["a", "b"], [1, 2], id="txt-no-newline-at-the-end"),
    pytest.param("p.txt", "\na\n \t\n\nb\n\n", ["a", "b"], [2, 5], id="txt-blank-lines-are-counted"),
    pytest.param("p.txt", b"\xef\xbb\xbfa\nb\n", ["a", "b"], [1, 2], id="txt-bom"),
    pytest.param("p.txt", "a\r\nb\r\n", ["a", "b"], [1, 2], id="txt-crlf"),
    pytest.param("p.txt", "  a, b  \n", ["a, b"], [1], id="txt-stripped"),
    pytest.param("p.txt", "caf\u00e9 \u2014 \u96ea\n", ["caf\u00e9 \u2014 \u96ea"], [1], id="txt-unicode"),
    pytest.param("p.txt", "a\u2028b\x0bc\x85d\n", ["a\u2028b\x0bc\x85d"], [1], id="txt-only-newlines-end-a-line"),
    pytest.param("p.txt", "a\rb\r", ["a", "b"], [1, 2], id="txt-lone-cr"),
    pytest.param("p.txt", "a\nb\rc\r\n\rd", ["a", "b", "c", "d"], [1, 2, 3, 5], id="txt-line-ends-of-all-kinds"),
    pytest.param("p.txt", "a\nb\n".encode("utf-16"), ["a", "b"], [1, 2], id="txt-utf-16"),
    pytest.param("p.txt", b"\xfe\xff" + "a\u96ea\rb".encode("utf-16-be"), ["a\u96ea", "b"], [1, 2], id="txt-utf-16-be"),
    pytest.param("p.txt", "a\nb\n".encode("utf-32"), ["a", "b"], [1, 2], id="txt-utf-32"),
    pytest.param("p.txt.gz", "a\nb\n", ["a", "b"], [1, 2], id="txt-gz"),
    pytest.param("p.txt", "text, logo, sign\na\n", ["text, logo, sign", "a"], [1, 2], id="txt-with-commas-is-no-table"),
    pytest.param("P.TXT", "a\n", ["a"], [1], id="txt-upper-case"),
    pytest.param("p.txt", "[small] cat\n{a\n", ["[small] cat", "{a"], [1, 2], id="txt-brackets-are-no-json"),
    pytest.param("p.txt", "a\na\n", ["a", "a"], [1, 2], id="txt-a-prompt-twice-is-two-prompts"),
    pytest.param("p.jsonl", '{"prompt": " a "}\r\n\r\n{"prompt": "b"}', ["a", "b"], [1, 3], id="jsonl-crlf-blank"),
    pytest.param("p.jsonl", b'\xef\xbb\xbf{"prompt": "a"}\n', ["a"], [1], id="jsonl-bom"),
    pytest.param("p.jsonl", r'{"prompt": "\ud83d\ude00"}', ["\U0001f600"], [1], id="jsonl-whole-surrogate-pair"),
    pytest.param("P.JSONL.GZ", '{"prompt": "a"}\n', ["a"], [1], id="jsonl-upper-case-gz"),
    pytest.param("p.csv", 'prompt\n"a, b"\nc\n', ["a, b", "c"], [2, 3], id="csv-quoted-comma"),
    pytest.param("p.csv", b"\xef\xbb\xbfprompt\r\na\r\n\r\nb\r\n", ["a", "b"], [2, 4], id="csv-bom-crlf-blank-line"),
    pytest.param("p.csv", 'prompt\n"a\nb"\nc\n', ["a\nb", "c"], [3, 4], id="csv-quoted-line-break-named-by-its-end"),
    pytest.param("p.csv", b'prompt\r\n"a\r\nb"\r\nc\r\n', ["a\nb", "c"], [3, 4], id="csv-crlf-within-quotes"),
    pytest.param("p.csv", 'prompt\n"say ""hi"""\n', ['say "hi"'], [2], id="csv-doubled-quotes"),
    pytest.param("p.csv", " prompt , n\na,1\n", ["a"], [2], id="csv-header-stripped"),
    pytest.param("p.csv", "prompt;n\na, b;1\n", ["a, b"], [2], id="csv-semicolons"),
    pytest.param("p.csv", "prompt\tn\na, b\t1\n", ["a, b"], [2], id="csv-tabs"),
    pytest.param("p.csv", "prompt;notes, links, more\na;b, c, d\n", ["a"], [2], id="csv-commas-within-semicolons"),
    pytest.param("p.csv", "sep=;\r\nprompt;n\r\na, b;1\r\n", ["a, b"], [3], id="csv-separator-said-for-excel"),
    pytest.param("p.txt", "a\n\ufeffb\u200b\n", ["a", "b"], [1, 2], id="txt-characters-nobody-sees"),
    pytest.param("p.csv", "\n\nprompt\na\n", ["a"], [4], id="csv-blank-lines-before-the-header"),
    pytest.param("p.csv", b"prompt,n\ra,1\rb,2\r", ["a", "b"], [2, 3], id="csv-lone-cr"),
    pytest.param("p.csv", "prompt,n\na,1\n".encode("utf-16"), ["a"], [2], id="csv-utf-16"),
    pytest.param("p.csv", f"prompt,n\na,{'x' * 140_000}\n", ["a"], [2], id="csv-cell-of-any-length"),
    pytest.param("p.csv.gz", "prompt\na\n", ["a"], [2], id="csv-gz"),
    pytest.param("p.tsv", "prompt\tn\na, b\t1\n", ["a, b"], [2], id="tsv"),
    pytest.param("p.tsv", 'prompt\tn\n"a\nc ""d"""\t1\n', ['a\nc "d"'], [3], id="tsv-quoted-as-csv"),
    pytest.param("p.tsv", 'prompt\tn\n"a ""b"""\t\nc\t"d"\n', ['a "b"', "c"], [2, 3], id="tsv-quoted-on-each-line"),
    pytest.param("p.tsv", 'prompt\tn\na 6" b\t1\n"c\t2\n"d"\t3\n', ['a 6" b', '"c', '"d"'], [2, 3, 4], id="tsv-plain"),
    pytest.param("p.tsv", 'prompt\tn\n"c\t2\nd\t3\ne"\t4\n', ['"c', "d", 'e"'], [2, 3, 4], id="tsv-quotes-far-apart"),
    pytest.param("p.tsv", 'prompt\n"a\nb"\nc\n', ["a\nb", "c"], [3, 4], id="tsv-of-one-column-quoted"),
    pytest.param("p.tsv", 'prompt\n"a\nb\n', ['"a', "b"], [2, 3], id="tsv-of-one-column-plain"),
    pytest.param("p.json", '[{"prompt": "a"}, {"prompt": "b"}]', ["a", "b"], [1, 2], id="json-objects"),
    pytest.param("p.json", '["a", "b"]'.encode("utf-16"), ["a", "b"], [1, 2], id="json-texts-utf-16"),
    pytest.param("p.json", '{"version": 1, "data": [{"prompt": "a"}]}', ["a"], [1], id="json-list-inside"),
    pytest.param("p.json", '{"prompts": ["a", "b"]}', ["a", "b"], [1, 2], id="json-texts-inside"),
    pytest.param("p.json", '{"prompt": "a", "id": "b"}', ["a"], [1], id="json-one-prompt"),
    pytest.param("p.json.gz", '["a"]', ["a"], [1], id="json-gz"),
    pytest.param("p.parquet", {"prompt": ["a ", "b"]}, ["a", "b"], [1, 2], id="parquet"),
]


# Characters of two and three bytes, one after another over several MB: wherever a reader cuts, it cuts one of them.
LONG = ["\u00e9" * 99, "\u96ea" * 101] * 8000


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_a_long_file_is_read_whole(tmp_path: Path, kind: str):
    content = {
        "txt": "\n".join(LONG),
        "jsonl": "\n".join(json.dumps({"prompt": text}, ensure_ascii=False) for text in LONG),
        "csv": "prompt\n" + "\n".join(LONG),
    }[kind]
    table = read(write(tmp_path, f"p.{kind}", content))
    assert table.texts == LONG
    assert list(table.places.numbers) == [number + (kind == "csv") for number in range(1, len(LONG) + 1)]


@pytest.mark.parametrize("kind", ["txt", "csv"])
@pytest.mark.parametrize("line", [1, 5000, 15999])
def test_the_line_that_is_not_utf_8_is_found_in_a_long_file(tmp_path: Path, kind: str, line: int):
    rows = [text.encode() for text in LONG]
    rows[line] = rows[line][:-1]  # half a character
    with pytest.raises(BadInput, match=f"line {line + 1} is not UTF-8"):
        read(write(tmp_path, f"p.{kind}", b"\n".join(rows)))


@pytest.mark.parametrize(("name", "content", "texts", "numbers"), TEXTS)
def test_prompts_and_their_lines(tmp_path: Path, name: str, content: Any, texts: list[str], numbers: list[int]):
    path = write(tmp_path, name, content)
    table = read(path)
    assert table.texts == texts
    assert list(table.places.numbers) == numbers
    assert len(table) == len(texts)
    word = {"parquet": "row", "json": "entry"}.get(name.lower().removesuffix(".gz").rpartition(".")[2], "line")
    assert table.where(len(texts) - 1) == f"{path} {word} {numbers[-1]}"


FULL = {
    "prompt": "a",
    "seed": 2**32 - 1,
    "negative_prompt": " blurry ",
    "height": 64,
    "width": 32.0,
    "num_frames": 17,
    "num_inference_steps": 8,
    "guidance_scale": 3,
    "id": "first",
}
FULL_READ = {
    "seed": [2**32 - 1, None],
    "negative_prompt": ["blurry", None],
    "height": [64, None],
    "width": [32, None],
    "num_frames": [17, None],
    "num_inference_steps": [8, None],
    "guidance_scale": [3.0, None],
    "id": ["first", "second"],
}
FULL_CSV = (
    "prompt,seed,negative_prompt,height,width,num_frames,num_inference_steps,guidance_scale,id\n"
    f"a,{2**32 - 1}, blurry ,64,32,17,8,3,first\nb,,,,,,,,second\n"
)
SETTING_FILES = [
    pytest.param("p.jsonl", lines(FULL, {"prompt": "b", "id": "second"}), id="jsonl"),
    pytest.param("p.csv", FULL_CSV, id="csv"),
    pytest.param(
        "p.parquet",
        {name: [value, {"prompt": "b", "id": "second"}.get(name)] for name, value in FULL.items()},
        id="parquet",
    ),
]


@pytest.mark.parametrize(("name", "content"), SETTING_FILES)
def test_every_setting_in_every_table_format(tmp_path: Path, name: str, content: Any):
    table = read(write(tmp_path, name, content))
    assert table.settings == FULL_READ
    assert set(table.settings) == set(SETTINGS), "a setting that this test does not cover"
    assert table.metadata == {}
    kinds = {column: type(values[0]) for column, values in table.settings.items()}
    assert kinds["width"] is int and kinds["guidance_scale"] is float


def test_settings_are_columns_that_exist(tmp_path: Path):
    assert read(write(tmp_path, "p.txt", "a\n")).settings == {}
    assert read(write(tmp_path, "p.csv", "prompt,seed\na,\nb,5\n")).settings == {"seed": [None, 5]}


METADATA = [
    pytest.param("p.jsonl", lines({"prompt": "a", "n": 1}, {"prompt": "b", "n": -2}), [1, -2], id="whole"),
    pytest.param("p.jsonl", lines({"prompt": "a", "n": 1}, {"prompt": "b", "n": 0.5}), [1.0, 0.5], id="mixed-numbers"),
    pytest.param("p.jsonl", lines({"prompt": "a", "n": True}, {"prompt": "b", "n": False}), [True, False], id="bool"),
    pytest.param("p.jsonl", lines({"prompt": "a", "n": True}, {"prompt": "b", "n": 1}), ["true", "1"], id="no-common"),
    pytest.param("p.jsonl", lines({"prompt": "a", "n": "x"}, {"prompt": "b"}), ["x", ""], id="missing-text"),
    pytest.param("p.jsonl", lines({"prompt": "a"}, {"prompt": "b", "n": "x"}), ["", "x"], id="text-that-comes-later"),
    pytest.param("p.jsonl", lines({"prompt": "a", "n": 1}, {"prompt": "b"}), [1, None], id="gap"),
    pytest.param("p.jsonl", '{"prompt": "a", "n": NaN}\n{"prompt": "b", "n": 2}', [None, 2], id="nan"),
    pytest.param("p.jsonl", lines({"prompt": "a", "n": None}, {"prompt": "b"}), ["", ""], id="never-a-value"),
    pytest.param(
        "p.jsonl",
        lines({"prompt": "a", "n": {"z": 1, "b": [2, None]}}, {"prompt": "b", "n": ["\u96ea"]}),
        ['{"b": [2, null], "z": 1}', '["\u96ea"]'],
        id="nested",
    ),
    pytest.param("p.csv", "prompt,n\na,1\nb,-20\n", [1, -20], id="csv-whole"),
    pytest.param("p.csv", "prompt,n\na,1\nb,2.5e-3\n", [1.0, 0.0025], id="csv-numbers"),
    pytest.param("p.csv", f"prompt,n\na,{2**64}\nb,1\n", [str(2**64), "1"], id="csv-digits-beyond-64-bits-are-text"),
    pytest.param("p.csv", "prompt,n\na,007\nb,8\n", ["007", "8"], id="csv-007-stays-text"),
    pytest.param("p.csv", "prompt,n\na,1\nb,\n", [1, None], id="csv-gap"),
    pytest.param("p.csv", "prompt,n\na,NaN\nb,1.5\n", [None, 1.5], id="csv-nan"),
    pytest.param("p.csv", "prompt,n\na,nan\nb,x\n", ["nan", "x"], id="csv-nan-among-words-is-a-word"),
    pytest.param("p.csv", "prompt,n\na,nan\nb,inf\n", ["nan", "inf"], id="csv-never-a-number"),
    pytest.param("p.csv", "prompt;n\na;0,5\nb;1\n", ["0,5", "1"], id="csv-decimal-comma-is-text"),
    pytest.param("p.csv", "prompt,n\na,1_000\nb,2\n", ["1_000", "2"], id="csv-underscores-are-text"),
    pytest.param("p.csv", 'prompt,n\na,"x, y"\nb,z\n', ["x, y", "z"], id="csv-text"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "n": [1, 2]}, [1, 2], id="parquet-whole"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "n": ["x", None]}, ["x", ""], id="parquet-missing-text"),
    pytest.param(
        "p.parquet",
        {"prompt": ["a", "b"], "n": pa.array([0, 86400], pa.timestamp("s"))},
        ["1970-01-01T00:00:00", "1970-01-02T00:00:00"],
        id="parquet-times",
    ),
    pytest.param(
        "p.parquet",
        {"prompt": ["a", "b"], "n": pa.array([1000, 1], pa.timestamp("ns"))},
        ["1970-01-01 00:00:00.000001000", "1970-01-01 00:00:00.000000001"],
        id="parquet-nanoseconds",
    ),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "n": [1, None]}, [1, None], id="parquet-gap"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "n": [True, None]}, [True, None], id="parquet-boolean-gap"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "n": [float("nan"), 1.0]}, [None, 1.0], id="parquet-nan"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "n": [Decimal("1.50"), None]}, ["1.50", ""], id="parquet-decimal"),
    pytest.param(
        "p.parquet",
        {"prompt": ["a", "b"], "n": [{"x": float("nan"), "d": date(2024, 1, 2)}, None]},
        ['{"d": "2024-01-02", "x": null}', ""],
        id="parquet-nested",
    ),
]


@pytest.mark.parametrize(("name", "content", "values"), METADATA)
def test_metadata_has_one_type_a_column(tmp_path: Path, name: str, content: Any, values: list[Any]):
    column = read(write(tmp_path, name, content)).metadata["n"]
    assert column == values
    assert [type(value) for value in column] == [type(value) for value in values]


LIMITED: dict[str, Any] = {
    "p.txt": "a\nb\nc\n",
    "blank.txt": "a\n\nb\nc\n",
    "p.jsonl": lines({"prompt": "a", "n": 1}, {"prompt": "b", "n": 2}, {"prompt": "c", "n": 0.5, "late": "x"}),
    "p.csv": "prompt,n,late\na,1,\nb,2,\nc,0.5,x\n",
    "p.parquet": {"prompt": ["a", "b", "c"], "n": [1.0, 2.0, 0.5], "late": [None, None, "x"]},
}


@pytest.mark.parametrize("name", LIMITED)
def test_a_limit_takes_the_first_prompts_as_the_whole_has_them(tmp_path: Path, name: str):
    path = write(tmp_path, name, LIMITED[name])
    some, whole = read(path, 2), read(path)
    assert some.texts == ["a", "b"]
    assert len(some.places.numbers) == 2
    assert some.metadata == {column: values[:2] for column, values in whole.metadata.items()}
    if not name.endswith("txt"):
        assert some.metadata == {"n": [1.0, 2.0], "late": ["", ""]} and type(some.metadata["n"][0]) is float
    assert some.digest(2) == whole.digest(2) != whole.digest(3)


@pytest.mark.parametrize("name", ["p.txt", "blank.txt"])
def test_a_limit_beyond_the_end_takes_all(tmp_path: Path, name: str):
    table: PromptTable = read(write(tmp_path, name, LIMITED[name]), 100)
    assert table.texts == ["a", "b", "c"]


@pytest.mark.parametrize("content", ['prompt\na\n""\n', "prompt,seed\na,\nb,x\n", "prompt,id\na,1\nb,1\n"])
def test_what_a_limit_leaves_out_is_checked_as_well(tmp_path: Path, content: str):
    with pytest.raises(BadInput, match="line 3"):
        read(write(tmp_path, "p.csv", content), 1)


def one(**row: Any) -> str:
    return lines({"prompt": "fine", "id": "0", "score": 1}, {"prompt": "a", "id": "1", "score": 2, **row})


ENDINGS = "must end in one of .txt, .jsonl, .json, .csv, .tsv, .parquet, or in that and .gz: rename or convert it"
ERRORS = [
    # name, content, the message behind the path
    pytest.param(
        "p.xlsx",
        "a\n",
        ENDINGS,
        id="extension",
    ),
    pytest.param(
        "p",
        "a\n",
        ENDINGS,
        id="no-extension",
    ),
    pytest.param(
        "p.gz",
        "a\n",
        ENDINGS,
        id="gz-of-nothing-known",
    ),
    pytest.param("p.txt", "", "holds no prompts", id="txt-empty"),
    pytest.param("p.txt", "\n  \n\r\n", "holds no prompts", id="txt-blank"),
    pytest.param("p.txt", b"\xef\xbb\xbf", "holds no prompts", id="txt-bom-alone"),
    pytest.param("p.jsonl", "", "holds no prompts", id="jsonl-empty"),
    pytest.param("p.csv", "prompt,n\n", "holds no prompts", id="csv-header-alone"),
    pytest.param("p.parquet", {"prompt": pa.array([], pa.string())}, "holds no prompts", id="parquet-empty"),
    pytest.param("p.txt", b"a\nb\n\xe9t\xe9\n", " line 3 is not UTF-8 (byte 0xe9): save the prompt", id="latin-1"),
    pytest.param("p.jsonl", b'{"prompt": "a"}\n{"prompt": "\xff"}', " line 2 is not UTF-8", id="jsonl-not-utf-8"),
    pytest.param("p.csv", b"prompt\na\n\xff\n", " line 3 is not UTF-8", id="csv-not-utf-8"),
    pytest.param("p.txt", b"a\rb\r\xff\r", " line 3 is not UTF-8 (byte 0xff)", id="lone-cr-are-counted"),
    pytest.param("p.txt", "a\n".encode("utf-16-le"), " line 1 holds a zero byte", id="utf-16-without-a-mark"),
    pytest.param("p.txt", "ab".encode("utf-16")[:-1], " begins with the mark of UTF-16 and is not", id="utf-16"),
    pytest.param("p.txt", "a\0\n".encode("utf-16"), " line 1 holds a zero byte", id="utf-16-zero"),
    pytest.param("p.txt", "a\nb\n\0\n", " line 3 holds a zero byte", id="zero-byte"),
    pytest.param("p.jsonl", "\n{prompt}", " line 2 is not valid JSON (Expecting property name", id="bad-json"),
    pytest.param("p.jsonl", '{"prompt": "a", "n": -Infinity}', " line 1 is not valid JSON (-Infinity", id="infinity"),
    pytest.param("p.jsonl", '{"prompt":\n{}', " line 1 is not valid JSON (Expecting value at column 11)", id="cut"),
    pytest.param("p.jsonl", '["a"]', " line 1 is a list: rename the file to .json", id="json-named-jsonl"),
    pytest.param("p.jsonl", r'{"prompt": "\ud83d"}', " line 1 is not valid JSON (surrogates", id="half-a-surrogate"),
    pytest.param("p.jsonl", "[" * 10**5, " line 1 is not valid JSON (maximum recursion", id="deep-json"),
    pytest.param("p.jsonl", one() + '"b"', ' line 3 is not an object: write {"prompt": "..."}', id="not-an-object"),
    pytest.param("p.jsonl", one(prompt=""), " line 2 has '' as its prompt", id="empty-prompt"),
    pytest.param("p.jsonl", one(prompt=" \n"), r" line 2 has ' \n' as its prompt", id="blank-prompt"),
    pytest.param("p.jsonl", one(prompt=5), " line 2 has 5 as its prompt", id="prompt-not-text"),
    pytest.param("p.jsonl", one(prompt=None), " line 2 has no prompt", id="null-prompt"),
    pytest.param("p.jsonl", one() + '{"id": "b"}', " line 3 has no prompt", id="no-prompt"),
    pytest.param("p.csv", "", "holds no prompts", id="csv-empty"),
    pytest.param("p.json", " ", "holds no prompts", id="json-empty"),
    pytest.param("p.json", "[]", "holds no prompts", id="json-empty-list"),
    pytest.param("p.csv", "words,n\na,1\n", " has no column 'prompt': give it a first line *'words'", id="none"),
    pytest.param("p.csv", "prompt,n,n\na,1,2\n", " line 1 names a column twice, 'n'", id="csv-column-twice"),
    pytest.param("p.csv", "prompt,n\na,1\nb, c,2\n", " line 3 has 3 cells where the header has 2", id="csv-long-row"),
    pytest.param("p.csv", "prompt,n\na,1\nb\n", " line 3 has 1 cells where the header has 2", id="csv-short-row"),
    pytest.param("p.csv", 'prompt\n"a" b\n', " line 2 is not valid CSV", id="csv-quote-inside"),
    pytest.param("p.csv", 'prompt\na\n"b\n', " line 3 is not valid CSV", id="csv-open-quote"),
    pytest.param("p.csv", "prompt,n\na,1\n,2\n", " line 3 has no prompt", id="csv-empty-prompt"),
    pytest.param("p.parquet", b"PAR1 and nothing else", " is not a readable parquet file", id="parquet-corrupt"),
    pytest.param("p.parquet", b"", " is not a readable parquet file", id="parquet-zero-bytes"),
    pytest.param("p.parquet", {"prompt": ["a", None]}, " row 2 has no prompt", id="parquet-null-prompt"),
    pytest.param("p.parquet", {"words": ["a"]}, " has no column 'prompt': set", id="parquet-no-prompt-column"),
    pytest.param("p.parquet", {"prompt": [b"a"]}, ": column 'prompt' holds bytes: write", id="parquet-bytes"),
    pytest.param("p.parquet", {"prompt": [1]}, " row 1 has 1 as its prompt", id="parquet-number"),
    pytest.param("p.jsonl", one(id="0"), " line 2 repeats the id '0' of *line 1: ids must be unique", id="id-twice"),
    pytest.param("p.csv", "prompt,id\na,7\n\nb,7\n", " line 4 repeats the id '7' of *line 2", id="csv-id-twice"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "id": [3, 3]}, " row 2 repeats the id '3' of *row 1", id="row-id"),
    pytest.param("p.jsonl", one(id=None), " line 2 has no id", id="id-missing"),
    pytest.param("p.jsonl", one(id="  "), " line 2 has no id", id="id-blank"),
    pytest.param("p.jsonl", one(id=["x"]), " line 2: id must be text, not ['x']", id="id-list"),
    pytest.param("p.jsonl", one(seed=-1), " line 2: seed must be a whole number from 0 to 2^32 - 1", id="seed-minus"),
    pytest.param("p.jsonl", one(seed=2**32), " line 2: seed must be a whole number from 0", id="seed-too-large"),
    pytest.param("p.jsonl", one(seed=True), " line 2: seed must be a whole number from 0", id="seed-bool"),
    pytest.param("p.jsonl", one(seed=1.5), " line 2: seed must be a whole number from 0", id="seed-fraction"),
    pytest.param("p.csv", "prompt,seed\na,x\n", " line 2: seed must be a whole number from 0", id="csv-seed"),
    pytest.param("p.jsonl", one(height="tall"), " line 2: height must be a whole number of at least 1", id="height"),
    pytest.param("p.jsonl", one(width=0), " line 2: width must be a whole number of at least 1", id="width"),
    pytest.param("p.jsonl", one(num_inference_steps=0), " line 2: num_inference_steps must be a whole", id="steps"),
    pytest.param("p.jsonl", one(guidance_scale=-1), " line 2: guidance_scale must be a number of at least 0", id="cfg"),
    pytest.param("p.jsonl", one(guidance_scale=True), " line 2: guidance_scale must be a number", id="cfg-bool"),
    pytest.param("p.jsonl", one(negative_prompt=["x"]), " line 2: negative_prompt must be text", id="negative-list"),
    pytest.param("p.jsonl", lines({"prompt": "a", "x": 0.5}, {"prompt": "b", "x": 10**400}), " line 2: x", id="huge"),
    pytest.param("p.jsonl", one(score=2**63), " line 2: score does not fit 64 bits", id="metadata-too-large"),
    pytest.param("p.jsonl", one(score=math.inf), " line 2 is not valid JSON (Infinity is not", id="metadata-infinity"),
    pytest.param("p.jsonl", '{"prompt": "a", "x": 1e999}', " line 1: x is inf, which JSON", id="json-1e999"),
    pytest.param("p.jsonl", '{"prompt": "a", "x": [1e999]}', " line 1: x holds an infinity", id="json-nested-1e999"),
    pytest.param("p.csv", "prompt,x\na,1e999\n", " line 2: x is inf, which JSON cannot hold", id="csv-1e999"),
    pytest.param("p.csv", "prompt,x\na,1\nb,-inf\n", " line 3: x is -inf, which JSON cannot hold", id="csv-infinity"),
    pytest.param("p.parquet", {"prompt": ["a"], "x": [math.inf]}, " row 1: x is inf, which", id="parquet-infinity"),
    pytest.param("p.jsonl", one(seed=2.0**60), " line 2: seed must be a whole number", id="seed-that-was-rounded"),
    pytest.param("p.csv", "prompt,height\na,64.5\n", " line 2: height must be a whole number", id="csv-fraction"),
    pytest.param("p.csv", 'prompt,height\na,"64,0"\n', " line 2: height must be a whole", id="comma-among-commas"),
    pytest.param("p.tsv", "prompt\tn\na\n", " line 2 has 1 cells where the header has 2: quote *tab", id="tsv-short"),
    pytest.param("p.tsv", 'prompt\tn\na 6"\t1\n"b\n', " line 3 has 1 cells where the", id="tsv-short-quotes"),
    pytest.param("p.tsv", "prompt,seed\na,1\n", " is a table with a comma *: rename it to .csv", id="csv-as-tsv"),
    pytest.param("p.txt", '["a", "b"]\n', " holds JSON: rename it to .json", id="json-as-txt"),
    pytest.param("p.txt", '[\n{"prompt": "a"}\n]\n', " holds JSON: rename it to .json", id="json-lines-as-txt"),
    pytest.param("p.txt", "Prompt\tNote\na\t\n", " is a table with a tab *: rename it to .tsv", id="tsv-as-txt"),
    pytest.param("p.txt", 'Prompts,Category\n"a, b",c\n', " is a table with a comma *", id="csv-as-txt"),
    pytest.param("p.txt", "prompt\na\n", " line 1 is 'prompt', the header of a column: remove it", id="column-as-txt"),
    pytest.param("p.txt", '{"prompt": "a"}\n', " holds an object a line: rename it to .jsonl", id="jsonl-as-txt"),
    pytest.param(
        "p.json",
        '{"prompt": "a"}\n{"prompt": "b"}',
        " is not valid JSON (Extra data at line 2 column 1)",
        id="jsonl-as-json",
    ),
    pytest.param("p.json", "[" * 10**5, " is not valid JSON (maximum recursion", id="json-deep"),
    pytest.param("p.json", "5", " is neither a list nor an object: write a list of objects", id="json-number"),
    pytest.param("p.json", '["a", 5]', " entry 2 is neither an object nor a text", id="json-mixed-list"),
    pytest.param("p.json", '{"a": 5}', " is an object of neither objects nor texts", id="json-of-numbers"),
    pytest.param("p.json", '{"a": ["x"], "b": ["y"]}', " holds several lists (a, b): keep", id="json-lists"),
    pytest.param(
        "p.json", '{"prompt": ["x"], "seed": [1]}', " holds a list for each column (prompt, ", id="json-columns"
    ),
    pytest.param("p.json", '{"prompt": {"0": "x"}}', " holds an object for each column (prompt)", id="json-of-pandas"),
    pytest.param("p.json", '["a",]', " is not valid JSON (Expecting value at column 6): write a list", id="json-comma"),
    pytest.param(
        "p.json", '{"a": "x", "a": "y"}', " is not valid JSON (an object names 'a' twice)", id="json-key-twice"
    ),
    pytest.param(
        "p.jsonl", '{"prompt": "x", "n": 1, "n": 2}', " line 1 is not valid JSON (an object na", id="name-twice"
    ),
    pytest.param(
        "p.jsonl",
        '{"prompt": "x", "n": ' + "9" * 5000 + "}",
        " line 1 is not valid JSON (Exc*digits): write",
        id="digits",
    ),
    pytest.param("p.jsonl", lines({"prompt": "a\0b"}), " line 1 holds a zero character", id="zero-character"),
    pytest.param(
        "p.jsonl", one(negative_prompt="a\0"), " line 2: negative_prompt must be text", id="zero-in-an-option"
    ),
    pytest.param("p.csv", "prompt\n\u200b\n", " line 2 has '\\u200b' as its prompt", id="a-prompt-nobody-sees"),
    pytest.param("p.txt", gzip.compress(b"a\n"), " is packed: add .gz to its name", id="gz-named-txt"),
    pytest.param("p.csv", b"PK\x03\x04\0", " is a spreadsheet or an archive: save", id="xlsx-named-csv"),
    pytest.param("p.jsonl", b"PAR1\0", " is a parquet file: rename it to .parquet", id="parquet-named-jsonl"),
    pytest.param(
        "p.parquet",
        {"prompt": ["a"], "n": pa.array([10**7], pa.date32())},
        ": column 'n' holds what cannot be read (date value out of range): mend",
        id="parquet-date-beyond-9999",
    ),
    pytest.param(
        "p.parquet",
        {"prompt": pa.array([b"\xff"]).view(pa.string())},
        ": column 'prompt' holds what cannot be read ('utf-8' codec can't decode",
        id="parquet-not-utf-8",
    ),
    pytest.param("p.json", r'["\ud83d"]', " is not valid JSON (surrogates", id="json-half-a-surrogate"),
]


@pytest.mark.parametrize(("name", "content", "message"), ERRORS)
def test_a_mistake_is_one_sentence_with_its_line(tmp_path: Path, name: str, content: Any, message: str):
    path = write(tmp_path, name, content)
    with pytest.raises(BadInput) as caught:
        read(path)
    sentence = str(caught.value)
    at = str(path) if message[0] in " :" else f"prompt_file {path} "
    assert re.match(re.escape(at + message).replace(r"\*", ".*"), sentence), sentence
    assert "\n" not in sentence
    assert ": " in sentence, "says what is wrong, but not what to do"


def test_a_packed_parquet_file_is_read(tmp_path: Path):
    path = write(tmp_path, "p.parquet", {"prompt": ["a"]})
    packed = write(tmp_path, "q.parquet.gz", path.read_bytes())
    assert read(packed).texts == ["a"]


def test_what_cannot_be_read_is_named(tmp_path: Path):
    with pytest.raises(BadInput, match=r"^prompt_file .*/none\.txt does not exist: give"):
        read(tmp_path / "none.txt")
    (tmp_path / "broken.csv.gz").write_bytes(gzip.compress(b"prompt\n" + b"a b c\n" * 99)[:-9])
    with pytest.raises(BadInput, match=r"broken\.csv\.gz cannot be unpacked \(.*\): compress it again"):
        read(tmp_path / "broken.csv.gz")
    (tmp_path / "plain.csv.gz").write_bytes(b"prompt\na\n")
    with pytest.raises(BadInput, match=r"plain\.csv\.gz cannot be unpacked \(Not a gzipped file"):
        read(tmp_path / "plain.csv.gz")


def test_a_message_does_not_repeat_a_page_of_input(tmp_path: Path):
    with pytest.raises(BadInput) as caught:
        read(write(tmp_path, "p.jsonl", one(seed="x" * 10**6)))
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


# --- the examples of docs/prompt-files.md

PAGE = (PROJECT / "docs" / "prompt-files.md").read_text()
EXAMPLES = dict(re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
SHOWN = {
    "txt": (["a red circle on a white background", "a blue star above a pink cross, on a navy background"], {}, {}),
    "jsonl": (
        ["a red circle", "a blue star"],
        {"seed": [17, None], "guidance_scale": [None, 4.5]},
        {"source": ["mine", ""], "tags": ["", '["star", "blue"]']},
    ),
    "csv": (
        ["a red circle, large", 'a "blue" star'],
        {"negative_prompt": ["blurry", None], "num_inference_steps": [20, None]},
        {"score": [0.5, 1.0], "zip": ["01234", "99999"]},
    ),
    "parquet": (["a red circle", "a blue star"], {"seed": [17, None]}, {"score": [0.5, 1.0]}),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_the_examples_of_the_page_say_what_they_show(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    if kind == "parquet":
        exec(EXAMPLES["python"], {})
    else:
        write(tmp_path, f"prompts.{kind}", EXAMPLES[kind])
    table = read(tmp_path / f"prompts.{kind}")
    assert (table.texts, table.settings, table.metadata) == SHOWN[kind]


def test_the_page_has_no_other_examples_and_names_every_column():
    assert PAGE.count("```") == 2 * len(EXAMPLES) == 2 * len(SHOWN)
    assert [name for name in ("prompt", *SETTINGS) if f"`{name}`" not in PAGE] == []


def test_the_error_of_the_page_is_what_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInput) as caught:
        read(write(Path(), "my.csv", "prompt,n\na,1\nb, c,2\n"))
    assert f"`error: {caught.value}`" in PAGE


PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
BYTES: list[Any] = [
    pytest.param(pa.array([b"\xff"]), id="binary"),
    pytest.param(pa.array([b"\xff"], pa.large_binary()), id="large"),
    pytest.param(pa.array([b"\xff"], pa.binary(1)), id="fixed-size"),
    pytest.param(pa.array([b"\xff"], pa.binary_view()), id="view"),
    pytest.param(pa.array([b"\xff"]).dictionary_encode(), id="dictionary"),
    pytest.param(pa.array([{"bytes": b"\xff", "path": "x"}], PICTURE), id="picture"),
    pytest.param(pa.array([[{"bytes": b"\xff", "path": "x"}]], pa.list_(PICTURE)), id="pictures"),
    pytest.param(pa.array([[("x", b"\xff")]], pa.map_(pa.string(), pa.binary())), id="map"),
]


@pytest.mark.parametrize("column", BYTES)
def test_a_column_of_bytes_is_dropped_with_a_word(tmp_path: Path, column: Any):
    path = write(tmp_path, "p.parquet", {"prompt": ["a"], "image": column, "n": [1]})
    table = read(path)
    assert (table.texts, table.metadata) == (["a"], {"n": [1]})
    assert table.notes == (f"{path}: what holds bytes is dropped: 'image'",)


def test_prompts_of_a_dictionary_and_other_texts_of_arrow(tmp_path: Path):
    columns = {"prompt": pa.array(["a", "b"]).dictionary_encode(), "n": pa.array(["x", None], pa.large_string())}
    table = read(write(tmp_path, "p.parquet", columns))
    assert (table.texts, table.metadata) == (["a", "b"], {"n": ["x", ""]})


def test_numbers_and_dates_of_parquet_are_settings_too(tmp_path: Path):
    columns = {
        "prompt": ["a", "b"],
        "guidance_scale": [Decimal("2.5"), None],
        "id": [date(2024, 1, 1), date(2024, 1, 2)],
        "uuid": pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16), bytes(16)], pa.binary(16))),
    }
    table = read(write(tmp_path, "p.parquet", columns))
    assert table.settings == {"guidance_scale": [2.5, None], "id": ["2024-01-01", "2024-01-02"]}
    assert table.metadata == {"uuid": ["00000000-0000-0000-0000-000000000000"] * 2}
