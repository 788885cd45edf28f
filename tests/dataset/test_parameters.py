"""The text of a sample for image tools: one that their readers take apart again."""

from dataclasses import replace

import pytest

from jobs.dataset.layout import Sample
from jobs.dataset.parameters import parameters_text
from jobs.options.model import SampleOptions

OPTIONS = SampleOptions(
    num_inference_steps=50, height=512, width=768, num_frames=1, guidance_scale=3.5, negative_prompt=""
)
LAST = "Steps: 50, Sampler: Euler, CFG scale: 3.5, Seed: 7, Size: 768x512, Model: demo"


def text(prompt: str = "a red circle", negative: str = "", model: str = "demo") -> str:
    options = replace(OPTIONS, negative_prompt=negative)
    sample = Sample(index=0, key="0", prompt_index=0, repeat=0, prompt=prompt, seed=7, options=options)
    return parameters_text(sample, model=model, sampler="Euler")


def taken_apart(given: str) -> tuple[str, str, str]:
    """Prompt, negative prompt and settings as readers find them: line by line, the last one being the settings."""
    *lines, last = given.strip().split("\n")
    parts: dict[bool, list[str]] = {False: [], True: []}
    negative = False
    for line in map(str.strip, lines):
        if line.startswith("Negative prompt:"):
            negative, line = True, line.removeprefix("Negative prompt:").strip()
        parts[negative].append(line)
    return "\n".join(parts[False]), "\n".join(parts[True]), last


def test_the_text_of_a_sample():
    assert text() == f"a red circle\n{LAST}"
    assert text(negative="blurry, low") == f"a red circle\nNegative prompt: blurry, low\n{LAST}"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_breaks_of_prompts_stay(end: str):
    given = text(f"a red circle{end}on white", f"blurry{end}low")
    assert taken_apart(given) == ("a red circle\non white", "blurry\nlow", LAST)


def test_a_prompt_that_looks_like_the_text_is_not_taken_for_it():
    given = text("a sign that says\n  Negative prompt: none\nSteps: 3, Seed: 1", "blurry")
    prompt = "a sign that says Negative prompt: none\nSteps: 3, Seed: 1"
    assert taken_apart(given) == (prompt, "blurry", LAST)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a/b-1.0", "a/b-1.0"), ("a, b", '"a, b"'), ("a: b", '"a: b"'), ('a "b"', r'"a \"b\""')],
)
def test_a_name_that_readers_would_cut_up_is_quoted(name: str, shown: str):
    assert text(model=name).endswith(f", Model: {shown}")
