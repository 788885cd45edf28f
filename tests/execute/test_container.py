"""What tasks in a container are started with, and which containers are refused."""

import re
from pathlib import Path

import pytest

from jobs.base.errors import BadInput
from jobs.execute.array import Array, script
from jobs.execute.container import check_container, mounts, runtime_of, start_inside
from jobs.options.container import Container
from tests.support import resolved, write_prompts

SLURM = {"setup": ["module load x"], "srun_args": ["--mpi=none"], "python": None}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with prompts, an image and a place for runs, none inside another."""
    for name in ("here", "lists", "runs"):
        (tmp_path / name).mkdir()
    write_prompts(tmp_path / "lists" / "prompts.txt", 4)
    (tmp_path / "image.sif").touch()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def options(files: Path, *more: str) -> tuple[str, ...]:
    where = (f"prompt_file={files}/lists/prompts.txt", f"output_base_path={files}/runs")
    return (*where, "exp_name=one", "model.gpus=1", *more)


def test_apptainer_stands_before_python(files: Path) -> None:
    run = resolved(*options(files, f"container.image={files}/image.sif", "container.mounts=[/scratch:/scratch:ro]"))
    started = start_inside(SLURM, [run])
    calibration = run.forecast and run.forecast.calibration
    assert calibration
    needed = (f"{files}/here", f"{files}/lists/prompts.txt", f"{files}/runs", str(run.checkpoint.folder))
    bound = ",".join(sorted([*needed, calibration.path, "/scratch:/scratch:ro"]))
    assert started["python"] == f"apptainer exec --nv --bind {bound} --pwd {files}/here {files}/image.sif python3"
    assert started["srun_args"] == ["--mpi=none"]
    assert started["setup"] == ["module load x", f"export HF_HUB_CACHE={files}/hub"]


def test_pyxis_is_told_by_srun(files: Path) -> None:
    image = "container.image=registry.example/team/jobs:1"
    run = resolved(*options(files, image, "container.python=/opt/venv/bin/python", "prompt_file=prompts/shapes.txt"))
    started = start_inside(SLURM, [run])
    assert started["python"] == "/opt/venv/bin/python"
    first, second, third, fourth = started["srun_args"]
    assert (first, second) == ("--mpi=none", "--container-image=registry.example/team/jobs:1")
    listed = third.removeprefix("--container-mounts=").split(",")
    assert f"{files}/runs:{files}/runs" in listed
    assert fourth == f"--container-workdir={files}/here"


@pytest.mark.parametrize(("image", "runtime"), [("x.sqsh", "pyxis"), ("x.sif", "apptainer"), ("box", "apptainer")])
def test_an_image_in_a_file_is_named_by_its_whole_path(
    files: Path, monkeypatch: pytest.MonkeyPatch, image: str, runtime: str
) -> None:
    monkeypatch.setenv("HOME", str(files / "here"))
    (files / "here" / image).mkdir()  # as good as a file here, and what apptainer calls a sandbox
    for spelling in (image, f"~/{image}"):
        run = resolved(*options(files, f"container.image={spelling}", f"container.runtime={runtime}"))
        check_container([run], SLURM, set())
        started = start_inside(SLURM, [run])
        told = " ".join([*started["srun_args"], started["python"]])
        assert re.search(rf"[ =]{re.escape(str(files / 'here' / image))}( |$)", told)


@pytest.mark.parametrize("image", ["apptainer", "pyxis"])
def test_what_sbatch_gets(files: Path, monkeypatch: pytest.MonkeyPatch, image: str) -> None:
    monkeypatch.setattr("submitit.SlurmExecutor.affinity", lambda self: 1)  # there may be no Slurm here
    monkeypatch.setattr("jobs.execute.container.mounts", lambda run: ["/mine/lists", "/mine/runs", "/model"])
    where = f"{files}/image.sif" if image == "apptainer" else "registry.example/team/jobs:1"
    run = resolved(*options(files, f"container.image={where}"))
    text = script(start_inside(SLURM, [run]), Path("/logs"), "jobs", Array(0, (0, 1, 3), 2))
    assert text.replace(str(files), "/mine") == Path(__file__).with_name(f"container-{image}.sh").read_text()


def test_without_an_image_nothing_changes(files: Path) -> None:
    assert start_inside(SLURM, [resolved(*options(files))]) == SLURM


def test_whatever_a_task_reads_is_mounted(files: Path) -> None:
    (files / "style.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")  # of no weights
    lora = f"model.loras=[{{path: {files}/style.safetensors}}]"
    run = resolved(*options(files, "container.image=x/y", lora))
    assert run.forecast and run.forecast.calibration
    assert {str(files / "style.safetensors"), run.forecast.calibration.path} <= set(mounts(run))
    published = resolved(*options(files, "container.image=x/y", "algo.calibration=none"))
    assert not [path for path in mounts(published) if path.endswith(("none", "calibration.json"))]


def test_what_lies_inside_another_mount_is_not_mounted_again(files: Path) -> None:
    run = resolved(*options(files, "container.image=x/y", f"container.mounts=[{files}]"))
    assert str(files) in mounts(run)
    assert not any(path.startswith(f"{files}/") for path in mounts(run))


def test_a_store_on_a_file_system_is_mounted(files: Path) -> None:
    own = [word for word in options(files, "container.image=x/y") if not word.startswith("output_base_path=")]
    run = resolved(*own, f"output_base_path=file://{files}/store", f"work_path={files}/runs")
    assert {f"{files}/store", f"{files}/runs"} <= set(mounts(run))


def test_a_glob_of_prompts_is_mounted_as_its_folder(files: Path) -> None:
    run = resolved(*options(files, "container.image=x/y", f"prompt_file={files}/lists/*.txt"))
    assert f"{files}/lists" in mounts(run)


@pytest.mark.parametrize(
    ("image", "runtime", "chosen"),
    [
        ("a.sif", "auto", "apptainer"),
        ("/usr", "auto", "apptainer"),
        ("a.sqsh", "auto", "pyxis"),
        ("docker://a/b", "auto", "pyxis"),
        ("docker://a/b", "apptainer", "apptainer"),
    ],
)
def test_the_image_tells_the_runtime(image: str, runtime: str, chosen: str) -> None:
    assert runtime_of(Container(image=image, runtime=runtime)) == chosen


@pytest.mark.parametrize(
    ("option", "settings", "given", "words"),
    [
        ("container.image=x/y", {}, set(), "needs -m hydra/launcher=submitit_slurm"),
        ("container.image=/no/such.sif", SLURM, set(), "does not exist"),
        ("container.image=x/y", SLURM, {"python"}, "use container.python instead"),
        ("container.mounts={a: b}", SLURM, set(), "container.mounts must be a list"),
        ("container.mounts=[3]", SLURM, set(), "container.mounts must be a list"),
    ],
)
def test_what_cannot_start_is_refused(files: Path, option: str, settings: dict, given: set, words: str) -> None:
    run = resolved(*options(files, "container.image=x/y", option))
    with pytest.raises(BadInput, match=words):
        check_container([run], settings, given)


def test_a_path_that_a_list_of_mounts_cannot_hold_is_refused(files: Path) -> None:
    run = resolved(*options(files, "container.image=x/y", f"output_base_path={files}/a,b"))
    with pytest.raises(BadInput, match="comma or a colon"):
        check_container([run], SLURM, set())


def test_a_sweep_over_images_is_refused(files: Path) -> None:
    runs = [resolved(*options(files, f"container.image={image}")) for image in ("x/y", "x/z")]
    with pytest.raises(BadInput, match="cannot be swept"):
        check_container(runs, SLURM, set())
