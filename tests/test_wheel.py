"""An installed copy: what the wheel puts where, and that it works from any directory with a user's own model files."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import warm
from tests.support import PROJECT, tar_hashes, write_prompts


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's contents, as in site-packages."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


@pytest.mark.slow
def test_site_packages_gets_no_names_that_others_use(site: Path):
    assert {path.name for path in site.iterdir() if path.suffix != ".dist-info"} == {
        "hydra_plugins",
        "jobs",
        "spectrum",
    }
    assert not (site / "hydra_plugins" / "__init__.py").exists()
    assert {path.name for path in (site / "jobs" / "conf" / "model").iterdir()} == {
        path.name for path in (PROJECT / "conf" / "model").iterdir()
    }
    page = Path("jobs", "report", "page")
    own = {"report.html", "report.css", "data.js", "overview.js", "gallery.js", "detail.js"}
    assert own <= {path.name for path in (site / page).iterdir()}
    assert (site / "jobs" / "py.typed").exists() and (site / "spectrum" / "py.typed").exists()


@pytest.mark.slow
def test_an_installed_copy_runs_from_any_directory_with_the_users_own_model(site: Path, tmp_path: Path):
    mine = tmp_path / "mine"
    (mine / "model").mkdir(parents=True)
    (mine / "model" / "own.yaml").write_text(
        "name: own\npath: embedded:image\ndtype: float32\nheight: 64\nwidth: 64\nsize_multiple: 8\ngpus: 0\n"
        "num_inference_steps: 3\nguidance_scale: 1.0\nguidance_argument: true_cfg_scale\nnegative_prompts: true\n"
        "call: {max_sequence_length: 16}\nfeature: {channels: 192}\n"
    )
    (tmp_path / "elsewhere").mkdir()
    write_prompts(tmp_path / "elsewhere" / "p.txt", 2)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        own = {**os.environ, "PYTHONPATH": str(site)}
        return warm.run([sys.executable, "-m", *words], cwd=tmp_path / "elsewhere", env=own, timeout=200)

    where = run("jobs.generate", "--help")
    assert where.returncode == 0 and "demo-video" in where.stdout
    made = run("jobs.generate", "--config-dir", str(mine), "model=own", "prompt_file=p.txt")
    assert made.returncode == 0, made.stderr
    assert len(tar_hashes(tmp_path / "elsewhere" / "outputs" / "own-p")) == 1
    ours = run("jobs.generate", "prompt_file=prompts/shapes.txt", "dry_run=true")
    assert ours.returncode == 0 and "64 samples" in ours.stdout, ours.stderr
