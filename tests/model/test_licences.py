"""What checkpoints say of their licence, and what is known of licences that restrict training on outputs."""

import hashlib
import json
from pathlib import Path

import pytest

from jobs.model.checkpoint import Checkpoint
from jobs.model.licences import Licence, checkpoint_licence, output_terms
from jobs.report.warn import licence_of_outputs
from jobs.run.open import create, open_run
from tests.support import config, new_run, resolved, write_prompts


def checkpoint(folder: Path, card: str | None, path: str = "someone/model") -> Checkpoint:
    """A snapshot whose card is this text."""
    if card is not None:
        (folder / "README.md").write_text(card)
    return Checkpoint(path, "0" * 40, folder, local=False)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        (None, None),
        ("# A model\n", None),
        ("---\ntags: [a]\n---\n", None),
        ("---\nlicense: [unclosed\n---\n", None),
        ("---\n- a list\n---\n", None),
        ("---\nlicense: Apache-2.0\n---\n# A model", Licence("apache-2.0")),
        ("---\nlicense:\n- mit\n- other\n---", Licence("mit")),
        (
            "---\r\nlicense: other\r\nlicense_name: house-rules\r\nlicense_link: LICENSE.md\r\n---\r\n",
            Licence("other", "house-rules", "https://huggingface.co/someone/model/blob/main/LICENSE.md"),
        ),
        (
            "---\nlicense: other\nlicense_link: https://example.org/terms\n---\n",
            Licence("other", "", "https://example.org/terms"),
        ),
    ],
)
def test_the_licence_is_what_the_card_names(tmp_path, card, licence) -> None:
    assert checkpoint_licence(checkpoint(tmp_path, card)) == licence


def test_the_text_is_known_by_its_hash(tmp_path) -> None:
    (tmp_path / "LICENSE.md").write_text("Do no harm.")
    found = checkpoint_licence(checkpoint(tmp_path, "---\nlicense: other\n---\n"))
    assert found and found.sha256 == hashlib.sha256(b"Do no harm.").hexdigest()


def test_a_model_that_is_not_downloaded_says_nothing() -> None:
    assert checkpoint_licence(Checkpoint("someone/model", None, None, local=False)) is None


@pytest.mark.parametrize(
    ("path", "licence", "word"),
    [
        ("black-forest-labs/FLUX.1-dev", None, "competes"),
        ("black-forest-labs/FLUX.1-Krea-dev", None, "competes"),
        ("hunyuanvideo-community/HunyuanVideo", None, "South Korea"),
        ("stabilityai/stable-diffusion-3.5-large", None, "foundational"),
        ("someone/finetune", Licence("other", "flux-1-dev-non-commercial-license"), "competes"),
        ("someone/finetune", Licence("other", "tencent-hunyuan-community"), "improve any other"),
        ("someone/finetune", Licence("other", "stabilityai-ai-community"), "foundational"),
        ("black-forest-labs/FLUX.1-schnell", Licence("apache-2.0"), None),
        ("Wan-AI/Wan2.1-T2V-14B-Diffusers", Licence("apache-2.0"), None),
        ("stabilityai/stable-diffusion-xl-base-1.0", Licence("openrail++"), None),
        ("embedded:image", Licence("apache-2.0"), None),
    ],
)
def test_what_is_known_of_outputs(path, licence, word) -> None:
    terms = output_terms(path, licence)
    assert (terms is None) == (word is None)
    if terms and word:
        assert word in terms.says and terms.link.startswith("https://")


def test_it_is_said_once_before_a_run_begins() -> None:
    said = licence_of_outputs(resolved("model=flux", "algo=nocache"))
    assert said and "model flux is under the FLUX.1 [dev]" in said and "https://" in said and "\n" not in said
    assert licence_of_outputs(resolved()) is None


def test_a_runs_record_has_the_licence(tmp_path) -> None:
    prompts = write_prompts(tmp_path / "p.txt", 2)
    run = open_run(config(f"output_base_path={tmp_path}", "exp_name=a", f"prompt_file={prompts}"))
    create(run)
    assert json.loads((tmp_path / "a/run.json").read_text())["licence"]["id"] == "apache-2.0"


def test_a_runs_record_has_what_restricts_its_outputs_and_keeps_it_when_the_run_grows(tmp_path) -> None:
    def begin(prompts: int) -> dict:
        new_run(tmp_path, "model=flux", "algo=nocache", f"prompt_file={write_prompts(tmp_path / 'p.txt', prompts)}")
        return json.loads((tmp_path / "run/run.json").read_text())

    first = begin(2)
    assert first["output_terms"]["link"].startswith("https://") and first["licence"] is None
    was = {"id": "other", "name": "as-it-was", "link": "", "sha256": ""}
    (tmp_path / "run/run.json").write_text(json.dumps({**first, "licence": was}))
    (tmp_path / "run/data/00000.tar").touch()  # something was made: the run is not begun anew
    assert begin(2000)["licence"] == was
