"""Syntax of other tools is noticed, and prose that looks a little like it is not."""

import pytest

from jobs.dataset.prompts import Places, PromptTable
from jobs.dataset.source import PromptSource
from jobs.report.foreign_syntax import foreign_syntax


def warned(*texts: str) -> str | None:
    places = Places(("p.txt",), (0,), range(1, len(texts) + 1), "line")
    return foreign_syntax(PromptTable(PromptSource("p.txt"), list(texts), places))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a (red:1.3) circle", "(red:1.3)"),
        ("a circle, (very small : 0.8)", "(very small : 0.8)"),
        ("(masterpiece:2), a cat", "(masterpiece:2)"),
        ("a [cat:0.5]", "[cat:0.5]"),
        ("a [cat:dog:0.5] outside", "[cat:dog:0.5]"),
        ("((sharp focus)), a cat", "((sharp focus))"),
        ("a cat <lora:add_detail:0.8>", "<lora:add_detail:0.8>"),
        ("<lyco:style:1> a cat", "<lyco:style:1>"),
        ("<hypernet:x:1>a cat", "<hypernet:x:1>"),
        ("a cat, embedding:EasyNegative", "embedding:E"),
        ("a [red|blue] cat", "[red|blue]"),
        ("a {red|blue} cat", "{red|blue}"),
        ("a cat on a mat BREAK a dog in a fog", "BREAK"),
        ("a cat,\nBREAK,\na dog", "BREAK"),
        ("a (red)1.3 circle", "(red)1.3"),
        ("a cat::2 a dog::1", "a cat::2"),
        ("a cat --ar 16:9 --v 6", "--ar"),
    ],
)
def test_what_other_tools_read_is_noticed(text: str, shown: str) -> None:
    said = warned("plain", text)
    assert said is not None
    assert said.startswith("1 of 2 prompts has syntax of other tools, which the model reads as plain text: first '")
    assert said.endswith(f"{shown}' in p.txt line 2")


@pytest.mark.parametrize(
    "text",
    [
        "a cat (small) and a dog [large]",
        "a photo in 16:9 (wide), (4:3), (scale 1:1.5)",
        "the train (at 10:30) leaves",
        "Psalm (23:4), chapter (x: 12)",
        "a sign: (STOP)",
        "a smiley :) and :(",
        "BREAK THE RULES, in neon",
        "a poster saying DO NOT BREAK THE GLASS",
        "a coffee break, Breaking news",
        "salt AND pepper",
        "a < b and b > c, <html>",
        "an embedding: abstract art",
        "f(x) = {x | x > 0",
        "ratio 3:1, 0.5) of it",
        "a|b",
        "a cat -- no dog -- and std::vector, C++",
        "a --note in the margin, version (small) 1.3",
        "an apple: 1.5 kg",
    ],
)
def test_prose_is_left_alone(text: str) -> None:
    assert warned(text) is None


def test_prompts_are_counted_and_the_first_is_shown() -> None:
    said = warned("a", "b (c:1.1)", "<lora:x:1>", "d (e:1.2) (f:1.2)")
    assert said == (
        "3 of 4 prompts have syntax of other tools, which the model reads as plain text: "
        "first '(c:1.1)' in p.txt line 2"
    )
