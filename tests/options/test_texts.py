"""Options that are text arrive as they were typed, through Hydra's own parser; -m sweeps them only where asked to."""

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from jobs.base.errors import BadInput
from jobs.options.texts import literal, text_options, unquoted
from jobs.run.read_options import read_options
from tests.support import config


def values(argument: str, *, sweep: bool) -> list[str | None]:
    """What Hydra makes of an option: one value, or those of a sweep."""
    (typed,) = literal([argument], sweep=sweep)
    override = OverridesParser.create().parse_override(typed)
    if not override.is_sweep_override():
        return [override.value()]
    return [None if value == "null" else unquoted(value) for value in override.sweep_string_iterator()]


def test_the_texts_are_found_in_the_schema() -> None:
    assert text_options() >= {"prompt_file", "negative_prompt", "output_base_path", "exp_name", "model.path"}
    assert text_options() >= {"model.name", "model.revision", "algo.calibration"}
    assert not text_options() & {"image_format", "model.dtype", "seed", "shards", "model.call", "model", "algo.name"}


LITERAL = [
    "1e3",
    "007",
    "true",
    "NULL",
    "blurry\\, low",
    "it's",
    'a "quoted" word',
    "\"a\" and 'b'",
    "'",
    '"',
    "C:\\runs\\",
    "\\",
    "\\'",
    '\\\\"',
    "x = y",
    " spaces ",
    "two\nlines",
    "schöne Bäume, 木 🎨",
    "(word:1.3)",
    "a{b}[c](d)",
    "[deformed]",
    "#1",
    "~/runs",
    "$HOME",
    "-m",
]


@pytest.mark.parametrize("text", LITERAL)
@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_text_is_what_was_typed(text: str, sign: str) -> None:
    assert values(f"{sign}negative_prompt={text}", sweep=False) == [text]
    if "," not in text:
        assert values(f"{sign}negative_prompt={text}", sweep=True) == [text]


@pytest.mark.parametrize(
    "argument",
    [
        *("seed=1,2", "model=demo,flux", "+model.call.x={a:1}", "image_format=png,jpg", "hydra.launcher.partition=a,b"),
        *("~negative_prompt", "~exp_name=a", "exp_name=null", "exp_name=", "exp_name='a, b'", 'exp_name="it\'s"'),
        "exp_name",
    ],
)
def test_what_is_no_text_or_has_a_meaning_stays(argument: str) -> None:
    assert literal([argument]) == literal([argument], sweep=True) == [argument]


@pytest.mark.parametrize(
    ("value", "each"),
    [
        ("choice(a, b)", ["a", "b"]),
        ("choice('a, b', c)", ["a, b", "c"]),
        ("[a, 'b]']", ["a", "b]"]),
        ('choice(it\'s, 1e3, "x")', ["it's", "1e3", "x"]),
        ("choice(null, '')", [None, ""]),
        ("choice(a,\n b,)", ["a", "b"]),
        ("choice(a, '${seed}')", ["a", "${seed}"]),
    ],
)
def test_several_texts_are_swept_where_that_is_said(value: str, each: list[str | None]) -> None:
    assert values(f"negative_prompt={value}", sweep=True) == each


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("choice(a (b, c), d)", r"negative_prompt: the value 'a \(b' of several holds a bracket: put it in quotes"),
        ("[a, [b], c]", r"the value '\[b\]' of several holds a bracket"),
        ("choice(a,,b)", "the value '' of several is empty"),
    ],
)
def test_what_of_several_could_be_meant_otherwise_is_refused(value: str, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        literal([f"negative_prompt={value}"], sweep=True)


@pytest.mark.parametrize("value", ["blurry, low", "it's, low", 'say "a", b', "$5, `x`\\"])
def test_a_bare_comma_is_refused_with_two_ways_that_work_in_a_shell(value: str) -> None:
    with pytest.raises(BadInput) as refused:
        literal([f"negative_prompt={value}"], sweep=True)
    one, each = (shlex.split(part)[0] for part in str(refused.value).partition(": write ")[2].split(" or "))
    assert values(one, sweep=True) == [value]
    assert values(each, sweep=True) == value.split(", ")


def test_a_dollar_and_brace_that_are_no_reference_are_refused_with_how_to_write_them() -> None:
    with pytest.raises(BadInput, match=r"^negative_prompt: what follows '\$\{' is no reference .* write \\\$\{ for"):
        config("negative_prompt=it costs ${5")
    options = read_options(config(r"negative_prompt=it costs \${5}"))
    assert options.negative_prompt == "it costs ${5}"


def test_composed_options_hold_the_text() -> None:
    cfg = config("exp_name=1e3", "output_base_path=/tmp/it's", "negative_prompt=blurry, low", "prompt_file=a,b.txt")
    assert cfg.exp_name == "1e3" and cfg.output_base_path == "/tmp/it's"
    assert cfg.negative_prompt == "blurry, low" and cfg.prompt_file == "a,b.txt"
    assert config("exp_name=${model.name}-x").exp_name == "demo-x" and config("exp_name=null").exp_name is None
