"""Every option once: its type, default, limits and help. Command line, model files, prompt columns and docs follow.

Those of a model, and of single samples, are in ``jobs.options.model``.
"""

from dataclasses import dataclass, field
from typing import Any

from jobs.options.container import Container
from jobs.options.degrees import Degrees
from jobs.options.fields import MISSING, choice_of, option
from jobs.options.model import AUTO, ModelOptions, SampleOptions

IMAGE_FORMATS = ("png", "jpg", "webp")
WORK_PATH = "outputs"
LARGEST_SEED = 2**32 - 1  # what PyTorch's CPU generator starts from, and JSON tools keep


@dataclass(frozen=True)
class AlgoOptions:
    """How denoising steps are taken: ``algo=spectrum`` or ``algo=nocache``; the other options are Spectrum's.

    The numbers of the published form (w, lam, m, horizon, force_last) choose that form, also for a model that comes
    with a calibration.
    """

    name: str = option(MISSING, "set by algo=", choices=("nocache", "spectrum"))
    target: str = option(
        None, "what is forecast: features (null), which enter the denoiser's head; or output: what it returns",
        choices=("features", "output"),
    )  # fmt: skip
    weights: str = option(
        None, "forecast coefficients: calibrated (default where there is a calibration) or chebyshev (as published)",
        choices=("chebyshev", "calibrated"),
    )  # fmt: skip
    calibration: str | None = option(
        None, "auto: the run makes its own first; a file of python -m jobs.calibrate; none: as published; null: the "
        "embedded models' own, and auto for other models, unless the run is small or a number of that form is given",
        short=True,
    )  # fmt: skip
    calibration_prompts: int | None = option(
        None, "samples that a run's own calibration is made from, and half as many to measure it on; null: 16", least=1
    )
    schedule: str = option(
        None, "searched (default with calibrated): the steps that suit the calibration best; or window",
        choices=("window", "searched"),
    )  # fmt: skip
    evaluations: int | None = option(
        None, "evaluated steps of a searched schedule; null: as many as the window makes", least=1
    )
    quality: float | None = option(
        None, "with the run's own calibration: the fewest evaluations that reach this PSNR (dB) to all steps, on "
        "samples that are kept apart for it", least=1, most=90,
    )  # fmt: skip
    w: float = option(None, "share of the Chebyshev forecast, 0 to 1; null: 0.5 (published default 1)", short=True)
    lam: float = option(None, "ridge penalty of the Chebyshev fit; null: 0.1")
    m: int = option(None, "degree of the Chebyshev fit; null: 4")
    horizon: int | None = option(
        None, "steps that the time axis is scaled to; null: the number of steps (published: 50)"
    )
    force_last: int = option(None, "final steps that are always evaluated; null: 0")
    history_device: str | None = option(
        None, "where features are kept: null: where they are computed; cpu: main memory, for long videos",
        choices=("cpu",),
    )  # fmt: skip


@dataclass(frozen=True)
class Options(SampleOptions):
    """What can be chosen on the command line of ``jobs.generate``."""

    model: ModelOptions = choice_of(ModelOptions, "demo", "which model: the name of a file in conf/model")
    algo: AlgoOptions = choice_of(AlgoOptions, "spectrum", "spectrum, or nocache: the plain pipeline")

    prompt_file: str = option(
        "prompts/shapes.txt",
        "a .txt (one prompt a line), .jsonl, .json, .csv, .tsv or .parquet file, also .gz; a folder or glob of these; "
        "or hf://datasets/OWNER/NAME; columns set options for one prompt",
        short=True,
    )  # fmt: skip
    prompt_column: str | None = option(None, "the column that holds the prompts; null: found by its name")
    prompt_split: str | None = option(None, "the split of a dataset of the hub; null: train, or the only one")
    columns: dict[str, Any] | None = option(
        None, "what columns are taken for: {steps: num_inference_steps, size: metadata}; prompt, id, or metadata"
    )
    empty_prompts: str = option("error", "what becomes of empty prompts", choices=("error", "skip"))
    long_prompts: str = option(
        "warn", "about prompts that are longer than any text encoder reads: warn, or error: refuse them",
        choices=("warn", "error"),
    )  # fmt: skip
    total_prompt_num: int | None = option(None, "take only the first so many prompts", least=1, short=True)
    samples_per_prompt: int = option(
        1, "samples of each prompt, each with its own seed", least=1, most=9999, short=True
    )
    seed: int = option(0, "the run's seed; each sample's own follows from it", least=0, most=LARGEST_SEED, short=True)

    output_base_path: str = option(
        "outputs", "the run's directory is output_base_path/exp_name; or a store's folder, like s3://BUCKET/FOLDER",
        short=True,
    )  # fmt: skip
    work_path: str | None = option(
        None, "of a run in a store: it works in work_path/exp_name, on a disk that its processes share; null: outputs"
    )
    exp_name: str | None = option(None, "the run's name; null: MODEL-PROMPTFILE", short=True)
    key_prefix: str | None = option(
        None, "what every key begins with: letters, digits, hyphens, underscores; for merging runs"
    )
    shard_size: int = option(16, "samples in a tar", least=1, short=True)
    batch_size: int = option(
        None, "samples in one pipeline call; auto: as many as fit onto the GPU, found when the run begins",
        least=1, words=(AUTO,), short=True,
    )  # fmt: skip
    image_format: str = option("png", "file format of images", choices=IMAGE_FORMATS)
    image_quality: int = option(95, "quality of jpg and webp", least=1, most=100)
    video_crf: int = option(18, "constant rate factor of H.264 (mp4); lower is better and larger", least=0, most=51)
    video_keyframes: int | None = option(
        None, "frames from one keyframe of an mp4 to the next; null: at cuts, and every 250th",
        least=1, most=100_000,
    )  # fmt: skip
    mark: bool = option(True, "say in every image and clip, as XMP, that a model made it")
    parameters: bool = option(
        False, "put prompt, steps, seed, ... into every image and clip, in the text that image tools read"
    )

    warmup_steps: int = option(5, "first steps, always evaluated")
    window_size: float = option(2.0, "then every window_size-th step is evaluated ...")
    flex_window: float = option(
        0.75, "... and the window grows by this: 14 of 50 steps evaluated; 3: 10 of 50", short=True
    )

    ngpu: int = option(None, "GPUs (on a CPU: processes) of this machine", least=1, short=True)
    parallel: Degrees = field(default_factory=Degrees)
    container: Container = field(default_factory=Container)
    rank_interface: str | None = option(
        None, "network interface over which ranks on several nodes meet, like ib0; null: the host names'"
    )
    rank_ports: str | None = option(None, "ports on which they may meet, first and last, like 29500-29599; null: any")
    card: str | None = option(
        None, "GPU that batch_size=auto or model.vae_tiling=auto is to fit, like H100, A100-80GB, or its memory alone, "
        "like 24GB; null: this machine's, or what the launcher asks for"
    )  # fmt: skip
    device: str = option("auto", "where to compute", choices=("auto", "cuda", "cpu"))
    cpu_threads: int = option(1, "threads of one worker on a CPU; another number changes last bits", least=1)
    shards: Any = option(None, "work only on these shards, like [0-3,7]")
    shards_per_task: int | None = option(
        None, "with -m: shards of one cluster task; null: as many as take half an hour",
        least=1, short=True,
    )  # fmt: skip
    wait: bool = option(True, "with -m on a cluster: wait for the tasks; false: return once they are submitted")
    sample_attempts: int = option(2, "attempts after which a failing sample is given up", least=1)
    retry_failed: bool = option(
        False, "make another pass, over samples that were given up, into shards of its own: RUN/retry-1/data"
    )
    max_attempts: int = option(
        5, "crashes of processes at a shard, before they come to a pipeline call, after which it is left alone", least=2
    )
    audit_every: int | None = option(
        None, "make every so many-th sample, with its batch, with all steps too, and say how near it came; null: none",
        least=1,
    )  # fmt: skip
    audit_floor: float = option(30.0, "audited samples below this PSNR (dB) are warned of", least=0, most=99)
    flagged: str = option(
        "fail", "samples that the pipeline's safety checker flags: fail, with that reason; or keep, marked in the json",
        choices=("fail", "keep"),
    )  # fmt: skip
    oom: str = option(
        "fail", "when a batch does not fit into memory: fail; or adapt: fewer samples a call, then decoding in tiles, "
        "then text encoders in main memory, each of which may change last bits", choices=("fail", "adapt"),
    )  # fmt: skip
    report: bool = option(True, "make report.html at the end: how the run went, with pictures")
    dry_run: bool = option(False, "print which steps are evaluated and the memory needed, and stop", short=True)


# Options of the step schedule that stand at the root, where the published commands have them.
SCHEDULE = ("warmup_steps", "window_size", "flex_window")
