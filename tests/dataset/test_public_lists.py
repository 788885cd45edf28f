"""The table of public lists in docs/prompt-files.md: each command, on a small file of the list's shape."""

import json
import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.dataset.prompts import PromptTable
from tests.dataset.files import lines, write
from tests.support import PROJECT, resolved

PAGE = (PROJECT / "docs" / "prompt-files.md").read_text()
TABLE = PAGE.partition("## Public lists")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| ([\w -]+?) +\| [^|]* \| `(.*)` +\|$", re.MULTILINE)
COMMANDS = dict(ROW.findall(TABLE))


def parti(at: Path) -> None:
    rows = [
        ("Prompt", "Category", "Challenge", "Note"),
        ("bond", "Abstract", "Basic", "Biology-inspired concepts"),
        ("7", "Abstract", "Basic", ""),
        ('the words "Fly high" above a blue star', "Arts", "Writing & Symbols", ""),
        ('a star 6" wide', "Arts", "Quantity", ""),
        ('"Hi" in pink, on a sign', "Arts", "Writing & Symbols", ""),
    ]
    write(at, "PartiPrompts.tsv", "\n".join("\t".join(row) for row in rows) + "\n")


def drawbench(at: Path) -> None:
    write(
        at,
        "drawbench.csv",
        'Prompts,Category\r\nA red colored car.,Colors\r\n"A sign that says ""Hi"", in pink.",Text\r\n',
    )


def vbench(at: Path) -> None:
    rows = [
        {"prompt_en": "a bird", "dimension": ["color"], "auxiliary_info": {"color": "red"}},
        {"prompt_en": "a bear", "dimension": ["overall_consistency", "aesthetic_quality"]},
    ]
    write(at, "VBench_full_info.json", json.dumps(rows, indent=4))


def geneval(at: Path) -> None:
    bench = {"tag": "single_object", "include": [{"class": "bench", "count": 1}], "prompt": "a photo of a bench"}
    cows = {"tag": "counting", "include": [{"class": "cow", "count": 2}], "exclude": [{"class": "cow", "count": 3}],
            "prompt": "a photo of two cows"}  # fmt: skip
    write(at, "evaluation_metadata.jsonl", lines(bench, cows))


def dpg(at: Path) -> None:
    write(at, "dpg_bench/prompts/COCOval2014000000000285.txt", "A brown bear sits in the grass, its fur wet.")
    write(at, "dpg_bench/prompts/partiprompts0.txt", "Two cups of coffee, one with latte art of a heart.\n")


def mjhq(at: Path) -> None:
    rows = {"00d2": {"category": "animals", "prompt": "a cat, oil"}, "01ab": {"category": "art", "prompt": "a sea"}}
    write(at, "meta_data.json", json.dumps(rows))


def coco(at: Path) -> None:
    captions = [
        {"image_id": 179765, "id": 38, "caption": "A black Honda motorcycle parked in front of a garage."},
        {"image_id": 179765, "id": 182, "caption": "A Honda motorcycle parked in a grass driveway\n"},
    ]
    images = [{"id": 179765, "file_name": "COCO_val2014_000000179765.jpg", "height": 480, "width": 640}]
    whole = {"info": {"year": 2014}, "images": images, "licenses": [{"id": 1, "name": "CC"}], "annotations": captions}
    write(at, "captions_val2014.json", json.dumps(whole))


def diffusiondb(at: Path) -> None:
    import pyarrow as pa

    columns = {
        "image_name": ["a.png", "b.png"],
        "prompt": ["a red circle", "a blue star"],
        "part_id": pa.array([1, 1], pa.uint16()),
        "seed": pa.array([4294967295, 2], pa.uint32()),
        "step": pa.array([50, 20], pa.uint16()),
        "cfg": pa.array([7.0, 12.5], pa.float32()),
        "sampler": pa.array([8, 8], pa.uint8()),
        "width": pa.array([64, 96], pa.uint16()),
        "height": pa.array([64, 64], pa.uint16()),
        "user_name": ["x", None],
        "timestamp": pa.array([datetime(2022, 8, 7, 22, tzinfo=UTC), None], pa.timestamp("us", "UTC")),
        "image_nsfw": pa.array([0.5, 2.0], pa.float32()),
        "prompt_nsfw": pa.array([0.25, None], pa.float32()),
    }
    write(at, "metadata.parquet", columns)


def vidprom(at: Path) -> None:
    scores = "toxicity,obscene,identity_attack,insult,threat,sexual_explicit"
    write(
        at,
        "VidProM_unique.csv",
        f"uuid,prompt,time,{scores}\n"
        '6a83eb92,"a boat, -fps 24 -gs 16",Mon Jun 26 2023 14:24:33,0.0005,3e-05,9e-05,0.0002,2e-05,1e-05\n'
        '7b94fc03,"a ""slow"" train\nat night",Tue Jun 27 2023 09:00:00,0.001,4e-05,8e-05,0.0003,3e-05,2e-05\n',
    )


def laion(at: Path) -> None:
    for shard, text in enumerate(("a red circle", None, "a blue star")):
        columns = {"SAMPLE_ID": [shard], "URL": ["http://localhost/x"], "TEXT": [text], "HEIGHT": [427.0],
                   "WIDTH": [640.0], "LICENSE": ["?"], "NSFW": ["UNLIKELY"], "similarity": [0.25]}  # fmt: skip
        write(at, f"laion/part-{shard:05}.snappy.parquet", columns)


# What writes a list's shape; its prompts, settings, and some of its metadata.
LISTS: dict[str, tuple[Callable[[Path], None], list[str], dict[str, Any], dict[str, Any]]] = {
    "PartiPrompts": (
        parti,
        ["bond", "7", 'the words "Fly high" above a blue star', 'a star 6" wide', '"Hi" in pink, on a sign'],
        {},
        {"Note": ["Biology-inspired concepts", "", "", "", ""]},
    ),
    "DrawBench": (
        drawbench, ["A red colored car.", 'A sign that says "Hi", in pink.'], {}, {"Category": ["Colors", "Text"]}
    ),
    "VBench": (
        vbench,
        ["a bird", "a bear"],
        {},
        {"dimension": ['["color"]', '["overall_consistency", "aesthetic_quality"]'],
         "auxiliary_info": ['{"color": "red"}', ""]},
    ),
    "GenEval": (
        geneval,
        ["a photo of a bench", "a photo of two cows"],
        {},
        {"tag": ["single_object", "counting"], "exclude": ["", '[{"class": "cow", "count": 3}]']},
    ),
    "DPG-Bench": (
        dpg,
        ["A brown bear sits in the grass, its fur wet.", "Two cups of coffee, one with latte art of a heart."],
        {"id": ["COCOval2014000000000285", "partiprompts0"]},
        {},
    ),
    "MJHQ-30K": (mjhq, ["a cat, oil", "a sea"], {"id": ["00d2", "01ab"]}, {"category": ["animals", "art"]}),
    "COCO captions": (
        coco,
        ["A black Honda motorcycle parked in front of a garage.", "A Honda motorcycle parked in a grass driveway"],
        {"id": ["38", "182"]},
        {"image_id": [179765, 179765]},
    ),
    "DiffusionDB": (
        diffusiondb,
        ["a red circle", "a blue star"],
        {"seed": [4294967295, 2], "num_inference_steps": [50, 20], "height": [64, 64], "width": [64, 96],
         "guidance_scale": [7.0, 12.5]},
        {"sampler": [8, 8], "timestamp": ["2022-08-07T22:00:00+00:00", ""], "prompt_nsfw": [0.25, None]},
    ),
    "VidProM": (
        vidprom,
        ["a boat, -fps 24 -gs 16", 'a "slow" train\nat night'],
        {"id": ["6a83eb92", "7b94fc03"]},
        {"time": ["Mon Jun 26 2023 14:24:33", "Tue Jun 27 2023 09:00:00"], "toxicity": [0.0005, 0.001]},
    ),
    "LAION": (
        laion,
        ["a red circle", "a blue star"],
        {},
        {"WIDTH": [640.0, 640.0], "HEIGHT": [427.0, 427.0], "SAMPLE_ID": [0, 2], "similarity": [0.25, 0.25]},
    ),
}  # fmt: skip


def test_the_table_has_these_lists():
    assert list(COMMANDS) == list(LISTS)


@pytest.mark.parametrize("name", LISTS)
def test_the_command_of_a_list_reads_its_shape(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    lay, texts, settings, metadata = LISTS[name]
    monkeypatch.chdir(tmp_path)
    lay(Path())
    table: PromptTable = resolved(*shlex.split(COMMANDS[name]), "dry_run=true").layout.table
    assert (table.texts, table.settings) == (texts, settings)
    assert {column: table.metadata[column] for column in metadata} == metadata
