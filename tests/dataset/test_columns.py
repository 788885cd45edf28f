"""What the columns of a prompt file are taken for: the prompt, options, metadata; and what is asked about."""

from pathlib import Path
from typing import Any

import pytest

from jobs.base.errors import BadInput
from jobs.dataset.columns import columns_option
from jobs.dataset.prompts import PromptTable
from jobs.options.compose import compose_options
from tests.dataset.files import lines, read, write


def table(folder: Path, header: str, row: str = "", **how: Any) -> PromptTable:
    """Read a table of one row, of ones where it is not given."""
    row = row or ",".join("1" for _ in header.split(","))
    return read(write(folder, "p.csv", f"{header}\n{row}\n"), **how)


PROMPTS = [
    # header, how, the prompt's column
    pytest.param("x,prompt", {}, "prompt", id="prompt"),
    pytest.param("x,PROMPT", {}, "PROMPT", id="capitals"),
    *(
        pytest.param(f"x,{name}", {}, name, id=name)
        for name in (
            *("Prompts", "caption", "captions", "Caption", "text", "TEXT", "texts", "prompt_en", "prompt_text"),
            *("text_prompt", "Text Prompt", "positive_prompt", "caption_en", "text_en"),
        )
    ),
    pytest.param("caption,text,prompt", {}, "prompt", id="prompt-before-others"),
    pytest.param("prompt,caption", {"prompt_column": "caption"}, "caption", id="said"),
    pytest.param("prompt,Words", {"prompt_column": "words"}, "Words", id="said-in-other-capitals"),
    pytest.param("prompt,words", {"columns": {"WORDS": "prompt"}}, "words", id="said-by-columns"),
    pytest.param("caption,text", {"columns": {"text": "metadata"}}, "caption", id="the-other-is-metadata"),
]


@pytest.mark.parametrize(("header", "how", "column"), PROMPTS)
def test_the_column_of_the_prompts(tmp_path: Path, header: str, how: dict[str, Any], column: str):
    names = header.split(",")
    found = table(tmp_path, header, ",".join(f"in {name}" for name in names), **how)
    assert found.texts == [f"in {column}"]
    assert found.metadata == {name: [f"in {name}"] for name in names if name != column}
    said = f"{tmp_path}/p.csv: the prompts are its column '{column}'"
    assert found.notes == (() if column == "prompt" else (said,))
    assert found.doubts == ()


SETTINGS = [
    pytest.param("prompt,Seed", {}, {"seed": [1]}, id="capitals"),
    pytest.param("prompt,HEIGHT,Width", {}, {"height": [1], "width": [1]}, id="two-in-capitals"),
    pytest.param(
        "prompt,steps,CFG",
        {"columns": {"Steps": "num_inference_steps", "cfg": "guidance_scale"}},
        {"num_inference_steps": [1], "guidance_scale": [1.0]},
        id="mapped",
    ),
    pytest.param("prompt,uuid", {"columns": {"uuid": "id"}}, {"id": ["1"]}, id="an-id"),
    pytest.param("prompt,seed", {"columns": {"seed": "metadata"}}, {}, id="an-option-kept-as-metadata"),
    pytest.param("prompt,steps,size", {"columns": {"steps": "metadata", "size": "metadata"}}, {}, id="insisted"),
    pytest.param("prompt,cfg,seed", {"columns": {"cfg": "metadata"}}, {"seed": [1]}, id="one-of-two"),
]


@pytest.mark.parametrize(("header", "how", "settings"), SETTINGS)
def test_columns_that_are_options(tmp_path: Path, header: str, how: dict[str, Any], settings: dict[str, Any]):
    found = table(tmp_path, header, **how)
    assert found.settings == settings
    assert len(found.settings) + len(found.metadata) == header.count(",")


def test_spaces_around_a_name_do_not_matter(tmp_path: Path):
    assert read(write(tmp_path, "p.jsonl", lines({" prompt": "a", "Seed ": 1}))).settings == {"seed": [1]}


def test_an_option_in_other_capitals_is_said(tmp_path: Path):
    found = table(tmp_path, "prompt,Seed,HEIGHT,width")
    assert found.notes == (f"{tmp_path}/p.csv: column 'Seed' sets seed, 'HEIGHT' sets height",)


ASKED = [
    # header, how, columns that are asked about, the answer that is suggested
    *(
        pytest.param(f"prompt,{name}", {}, [name], {name: option}, id=name)
        for name, option in {
            "step": "num_inference_steps", "steps": "num_inference_steps", "Steps": "num_inference_steps",
            "num_steps": "num_inference_steps", "num_inference_step": "num_inference_steps", "cfg": "guidance_scale",
            "cfg_scale": "guidance_scale", "cfgScale": "guidance_scale", "CFG scale": "guidance_scale",
            "guidance": "guidance_scale", "guidance_scal": "guidance_scale", "negative": "negative_prompt",
            "negativePrompt": "negative_prompt", "Negative prompt": "negative_prompt", "neg_prompt": "negative_prompt",
            "random_seed": "seed", "seeds": "seed", "img_height": "height", "w": "width", "frames": "num_frames",
            "stepCount": "num_inference_steps", "timestep": "num_inference_steps", "guide_scale": "guidance_scale",
            "unconditional_prompt": "negative_prompt", "hight": "height", "wdith": "width", "seeed": "seed",
            "frame_num": "num_frames", "img_h": "height", "video_size": "metadata", "dims": "metadata",
            "size": "metadata", "Size": "metadata", "resolution": "metadata", "aspect_ratio": "metadata",
        }.items()
    ),
    pytest.param(
        "prompt,steps,cfg,size,n", {}, ["steps", "cfg", "size"],
        {"steps": "num_inference_steps", "cfg": "guidance_scale", "size": "metadata"}, id="all-at-once",
    ),
    pytest.param(
        "prompt,step,steps", {}, ["step", "steps"], {"step": "num_inference_steps", "steps": "metadata"}, id="twice",
    ),
    pytest.param("prompt,seed,seeds", {}, ["seeds"], {"seeds": "metadata"}, id="beside-the-option"),
    pytest.param(
        "prompt,cfg,size", {"columns": {"cfg": "metadata"}}, ["size"], {"cfg": "metadata", "size": "metadata"},
        id="what-was-said-is-kept",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("header", "how", "asked", "answer"), ASKED)
def test_what_may_be_meant_as_an_option_is_asked_about_with_an_answer_to_copy(
    tmp_path: Path, header: str, how: dict[str, Any], asked: list[str], answer: dict[str, str]
):
    with pytest.raises(BadInput) as caught:
        table(tmp_path, header, **how)
    assert str(caught.value) == (
        f"{tmp_path}/p.csv has columns that may be meant as options, {', '.join(map(repr, asked))}: "
        f"say what they are, like {columns_option(answer)}"
    )
    found = table(tmp_path, header, columns=answer)
    assert len(found.settings) + len(found.metadata) == header.count(",")


NAMES = ["steps", "CFG scale", "a.b-c/d%", "Prompt (en)", "n: [x], {y}=z\\", "Unnamed: 0"]


@pytest.mark.parametrize("name", NAMES)
def test_the_answer_is_what_the_command_line_reads(name: str):
    word = columns_option({name: "metadata", "size": "metadata"})
    assert word[0] == word[-1] == "'"
    assert compose_options([word[1:-1]]).columns == {name: "metadata", "size": "metadata"}


REFUSED = [
    pytest.param("caption,text", {}, " has several columns that may hold the prompts: set prompt_column to one of "
                 "'caption', 'text'", id="several-prompts"),
    pytest.param("Prompt,PROMPT", {}, " has several columns for prompt, 'Prompt', 'PROMPT': keep one, like "
                 "'columns={PROMPT: metadata}'", id="prompts-in-capitals"),
    pytest.param("a,b", {}, " has no column 'prompt': give it a first line that names the columns, or set "
                 "prompt_column to one of 'a', 'b'", id="none"),
    pytest.param(",".join(f"c{n}" for n in range(40)), {}, " has no column 'prompt': *"
                 ", 'c29' and 10 more", id="none-of-many"),
    pytest.param("prompt,Seed,seed", {}, " has several columns for seed, 'Seed', 'seed': keep one", id="two-seeds"),
    pytest.param("prompt,seed,n", {"columns": {"n": "seed"}}, " has several columns for seed, 'n', 'seed': keep one, "
                 "like 'columns={n: seed, seed: metadata}'", id="mapped-and-there"),
    pytest.param("prompt,n,N", {"columns": {"nn": "id"}}, "columns: * has no column 'nn': choose one of 'prompt', 'n', "
                 "'N'", id="no-such-column"),
    pytest.param("prompt,Nn,nN", {"columns": {"nn": "id"}}, "columns: * has 'Nn', 'nN', which differ in capitals: "
                 "choose", id="two-in-capitals"),
    pytest.param("prompt,n", {"columns": {"n": "steps"}}, "columns: 'n' cannot be taken for 'steps': choose one of "
                 "prompt, seed, num_inference_steps, height, *, id, metadata", id="no-such-option"),
    pytest.param("prompt,n", {"columns": {"n": None}}, "columns: 'n' cannot be taken for None: choose", id="null"),
    pytest.param("prompt,n", {"prompt_column": "text"}, "prompt_column: * has no column 'text': choose", id="text"),
    pytest.param("prompt,n", {"prompt_column": "n", "columns": {"n": "id"}}, "prompt_column and columns say different "
                 "things about 'n': leave", id="contradiction"),
]  # fmt: skip


@pytest.mark.parametrize(("header", "how", "sentence"), REFUSED)
def test_what_cannot_be_decided_is_refused(tmp_path: Path, header: str, how: dict[str, Any], sentence: str):
    path = f"{tmp_path}/p.csv"
    with pytest.raises(BadInput) as caught:
        table(tmp_path, header, **how)
    begin, _, rest = sentence.partition("*")
    message = str(caught.value)
    assert message.startswith((path + begin) if begin.startswith(" ") else begin) and rest in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "Unnamed: 0.1", "__index_level_0__"])
def test_the_index_of_pandas_is_dropped_with_a_word(tmp_path: Path, name: str):
    found = table(tmp_path, f"{name},prompt,n", "0,a,1")
    assert found.metadata == {"n": [1]}
    assert found.notes == (f"{tmp_path}/p.csv: column '{name}' is an index and dropped",)


@pytest.mark.parametrize(
    "name",
    [
        "sampler",
        "Scheduler",
        "sampler_name",
        "model",
        "Model hash",
        "clip_skip",
        "flow_shift",
        "samples_per_prompt",
        "Denoising strength",
    ],
)
def test_what_the_run_decides_is_metadata_with_a_word(tmp_path: Path, name: str):
    found = table(tmp_path, f"prompt,{name}", "a,DDIM")
    assert found.metadata == {name: ["DDIM"]}
    doubt = f"every sample is made with the run's own, and metadata alone tells of '{name}'"
    assert found.doubts == (f"{tmp_path}/p.csv: {doubt}",)
    assert table(tmp_path, f"prompt,{name}", "a,DDIM", columns={name: "metadata"}).doubts == ()


def test_options_within_an_object_are_told(tmp_path: Path):
    rows = lines({"prompt": "a", "params": {"steps": 20, "cfg_scale": 7, "note": "x"}, "box": {"w": 1, "h": 2}})
    found = read(write(tmp_path, "p.jsonl", rows))
    assert found.doubts == (
        f"{tmp_path}/p.jsonl: no sample is made as metadata has it in 'params.steps', 'params.cfg_scale'",
    )
    assert read(write(tmp_path, "p.jsonl", rows), columns={"params": "metadata"}).doubts == ()


NUMBERS = [
    pytest.param("p.csv", "prompt,height,seed\na,64.0,7.0\nb,,\n", [64, None], [7, None], id="floats-of-pandas"),
    pytest.param("p.csv", "prompt,height,seed\na,64,4294967295.0\nb,NaN,nan\n", [64, None],
                 [4294967295, None], id="nan"),
    pytest.param("p.csv", "prompt;height;seed\na;64,0;7\nb;;\n", [64, None], [7, None], id="decimal-comma"),
    pytest.param("p.parquet", {"prompt": ["a", "b"], "height": [64.0, float("nan")], "seed": [7, None]}, [64, None],
                 [7, None], id="parquet"),
    pytest.param("p.jsonl", lines({"prompt": "a", "height": 64.0, "seed": "7"}) + '{"prompt": "b", "height": NaN}',
                 [64, None], [7, None], id="jsonl"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "heights", "seeds"), NUMBERS)
def test_whole_numbers_as_tables_write_them(tmp_path: Path, name: str, content: Any, heights: Any, seeds: Any):
    found = read(write(tmp_path, name, content))
    assert found.settings == {"height": heights, "seed": seeds}


def test_a_decimal_comma_is_read_where_semicolons_separate(tmp_path: Path):
    found = read(write(tmp_path, "p.csv", "prompt;guidance_scale\na;7,5\nb;4\n"))
    assert found.settings == {"guidance_scale": [7.5, 4.0]}


EMPTY = 'prompt,seed,n\na,1,x\n"",2,y\n  ,3,z\nb,4,w\n'


def test_empty_prompts_are_skipped_where_that_is_said(tmp_path: Path):
    path = write(tmp_path, "p.csv", EMPTY)
    found = read(path, empty="skip")
    assert (found.texts, found.settings, found.metadata) == (["a", "b"], {"seed": [1, 4]}, {"n": ["x", "w"]})
    assert found.notes == (f"empty prompts are skipped: 2 of 4, first: {path} line 3",)
    assert [found.where(0), found.where(1)] == [f"{path} line 2", f"{path} line 5"]
    assert read(path, 1, empty="skip").texts == ["a"]
    with pytest.raises(BadInput, match=r"line 3 has no prompt: .*, or pass over empty ones with empty_prompts=skip"):
        read(path)


def test_a_prompt_that_is_no_text_is_not_skipped(tmp_path: Path):
    with pytest.raises(BadInput, match=r"line 2 has 5 as its prompt: write a text into its column 'prompt'$"):
        read(write(tmp_path, "p.jsonl", lines({"prompt": "a"}, {"prompt": 5})), empty="skip")
    with pytest.raises(BadInput, match="holds no prompts but empty ones"):
        read(write(tmp_path, "p.jsonl", lines({"prompt": ""}, {"prompt": None})), empty="skip")


def test_gaps_are_one_warning_that_names_columns_counts_and_first_rows(tmp_path: Path):
    rows = ({"prompt": "a", "x": 1, "y": True}, {"prompt": "b", "x": None, "t": "z"}, {"prompt": "c", "y": False})
    path = write(tmp_path, "p.jsonl", lines(*rows))
    found = read(path)
    assert found.metadata == {"t": ["", "z", ""], "x": [1, None, None], "y": [True, None, False]}
    assert found.doubts == (
        "metadata has no value for some prompts and is null there: "
        f"'x' of 2, first: {path} line 2; 'y' of 1, first: {path} line 2",
    )


@pytest.mark.parametrize(
    ("name", "option"),
    [
        *(("total_steps", "num_inference_steps"), ("steps_count", "num_inference_steps"), ("heigth", "height")),
        *(("widht", "width"), ("targetHeight", "height"), ("seed_value", "seed"), ("cfg_weight", "guidance_scale")),
        *(("unconditional_guidance_scale", "guidance_scale"), ("prompt_negative", "negative_prompt")),
    ],
)
def test_a_word_or_a_slip_in_a_name_is_noticed(tmp_path: Path, name: str, option: str):
    with pytest.raises(BadInput) as caught:
        table(tmp_path, f"prompt,{name}", "a,1")
    assert f"columns={{{name}: {option}}}" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["weight", "Category", "similarity", "hash", "freight", "seeded", "speed", "highlight"]
)
def test_other_names_are_metadata(tmp_path: Path, name: str):
    assert list(table(tmp_path, f"prompt,{name}", "a,1").metadata) == [name]


def test_a_column_without_a_name_is_no_index_behind_others(tmp_path: Path):
    with pytest.raises(BadInput, match="has a column without a name, number 3: name or remove it"):
        table(tmp_path, "prompt,seed,", "a,3,x")


def test_what_a_table_writes_for_a_missing_prompt_is_no_prompt(tmp_path: Path):
    with pytest.raises(BadInput, match=r"line 2 has .* as its prompt"):
        table(tmp_path, "prompt,seed", "NaN,3")
