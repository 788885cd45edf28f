"""Bad command lines and prompt files: one sentence, exit code 2, nothing written, no model loaded."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict

import jobs.generate
from jobs.base.errors import BadInput, refuse
from jobs.execute.command import run_command
from jobs.options.compose import compose_options
from tests.support import generate

LAUNCHERS = "basic, joblib, submitit_local, submitit_slurm"


@dataclass(frozen=True)
class Case:
    """A command line (words), the sentence it gets, and the files it refers to.

    ``*`` in the sentence stands for anything. Commands run in a folder of their own with the files in it and are given
    ``prompt_file=p.txt`` and ``output_base_path=out`` where they do not name these themselves.
    """

    id: str
    arguments: str
    sentence: str
    files: dict[str, Any] = field(default_factory=dict)
    path: str | None = None  # the environment's PATH

    def words(self) -> list[str]:
        words = [word.replace("\\s", " ") for word in self.arguments.split()]
        for default in ("prompt_file=p.txt", "output_base_path=out"):
            if not any(word.lstrip("~+").startswith(default.partition("=")[0]) for word in words):
                words.insert(0, default)
        return words


def prompt_file(id: str, name: str, content: Any, sentence: str, more: str = "") -> Case:
    return Case(id, f"prompt_file={name} {more}", sentence, {name: content})


def whole(id: str, argument: str, limits: str) -> Case:
    name, _, value = argument.partition("=")
    return Case(id, argument, f"{name} must be a whole number {limits}, not {value}")


CASES = [
    # --- the prompt file as such
    Case(
        "prompts-missing", "prompt_file=none.txt", "prompt_file none.txt does not exist: give the path of a prompt file"
    ),
    Case(
        "prompts-spaces",
        r"prompt_file=my\sown.txt",
        "prompt_file my own.txt does not exist: give the path of a prompt *",
    ),
    Case(
        "prompts-directory",
        "prompt_file=sub",
        "prompt_file sub leads to no file that ends in one of .txt, *: check the path",
        {"sub/cat.png": b"png", "sub/.hidden.txt": "a"},
    ),
    Case(
        "prompts-mixed",
        "prompt_file=sub",
        "prompt_file sub names .csv and .txt files: choose one kind, like prompt_file='sub/*.csv'",
        {"sub/a.txt": "a", "sub/b.csv": "prompt"},
    ),
    Case(
        "prompts-split",
        "prompt_split=test",
        "prompt_split is for datasets of the hub, not for prompt_file p.txt: leave it out",
    ),
    Case("prompts-glob", "prompt_file=no/*.txt", "prompt_file no/*.txt leads to no file that *"),
    Case(
        "prompts-hub", "prompt_file=hf://lab", "prompt_file hf://lab names no dataset of the hub: write hf://datasets/*"
    ),
    Case("prompts-null", "prompt_file=null", "prompt_file must be text, not null"),
    Case("prompts-brackets", "prompt_file=[a].txt", "prompt_file [a].txt leads to no file *"),
    prompt_file(
        "extension", "p.xlsx", "a", "prompt_file p.xlsx must end in one of .txt, .jsonl, .json, .csv, .tsv, .parquet, *"
    ),
    prompt_file("empty", "e.txt", "", "prompt_file e.txt holds no prompts: write at least one into it"),
    prompt_file("blank", "b.txt", "\n \n", "prompt_file b.txt holds no prompts: write at least one into it"),
    prompt_file("not-utf-8", "l.txt", b"a\nb\xe9\n", "l.txt line 2 is not UTF-8 (byte 0xe9): save the prompt file *"),
    prompt_file("corrupt-parquet", "c.parquet", b"PAR1", "c.parquet is not a readable parquet file: write it again"),
    # --- what it holds
    prompt_file(
        "bad-json",
        "j.jsonl",
        '{"prompt": "a"}\n{"prompt": }\n',
        "j.jsonl line 2 is not valid JSON (Expecting value at column 12): write one object a line, "
        "or rename a file that is one value to .json",
    ),
    prompt_file("not-object", "j.jsonl", '"a"', 'j.jsonl line 1 is not an object: write {"prompt": "..."}'),
    prompt_file(
        "csv-no-prompt",
        "c.csv",
        "words,n\na,1\n",
        "c.csv has no column 'prompt': give it a first line that names the columns, or set prompt_column to one of "
        "'words', 'n'",
    ),
    prompt_file(
        "columns-meant-as-options",
        "c.csv",
        "prompt,steps,cfg,seed,size,negative\na,20,7.5,1,64x64,blurry\n",
        "c.csv has columns that may be meant as options, 'steps', 'cfg', 'size', 'negative': say what they are, like "
        "'columns={steps: num_inference_steps, cfg: guidance_scale, size: metadata, negative: negative_prompt}'",
    ),
    prompt_file(
        "columns-unknown",
        "c.csv",
        "prompt,cfg\na,1\n",
        "columns: c.csv has no column 'step': choose one of 'prompt', 'cfg'",
        "columns={step:metadata}",
    ),
    Case("columns-text", "columns=steps", "columns must be a mapping like {name: value}, not 'steps'"),
    prompt_file(
        "columns-target",
        "c.csv",
        "prompt,cfg\na,1\n",
        "columns: 'cfg' cannot be taken for 'scale': choose one of prompt, seed, *, id, metadata",
        "columns={cfg:scale}",
    ),
    prompt_file(
        "prompt-column-unknown",
        "c.csv",
        "prompt,cfg\na,1\n",
        "prompt_column: c.csv has no column 'text': choose one of 'prompt', 'cfg'",
        "prompt_column=text",
    ),
    prompt_file(
        "empty-prompt",
        "c.csv",
        "prompt,n\n,1\n",
        "c.csv line 2 has no prompt: write a text into its column 'prompt', or pass over empty ones with "
        "empty_prompts=skip",
    ),
    prompt_file(
        "csv-ragged",
        "c.csv",
        "prompt,n\na,1\nb, c,2\n",
        "c.csv line 3 has 3 cells where the header has 2: quote cells that hold a comma",
    ),
    prompt_file(
        "csv-quote",
        "c.csv",
        'prompt\n"a" b\n',
        "c.csv line 2 is not valid CSV (',' expected after '\"'): check its quotes",
    ),
    prompt_file(
        "ids",
        "c.csv",
        "prompt,id\na,x\nb,x\n",
        "c.csv line 3 repeats the id 'x' of c.csv line 2: ids must be unique; *",
    ),
    prompt_file(
        "no-id",
        "c.csv",
        "prompt,id\na,\n",
        "c.csv line 2 has no id: give every prompt one, *",
    ),
    prompt_file(
        "own-seed",
        "c.csv",
        "prompt,seed\na,-1\n",
        "c.csv line 2: seed must be a whole number from 0 to 2^32 - 1, not '-1'",
    ),
    prompt_file(
        "own-height",
        "c.csv",
        "prompt,height\na,tall\n",
        "c.csv line 2: height must be a whole number of at least 1, not 'tall'",
    ),
    prompt_file(
        "own-height-multiple",
        "c.csv",
        "prompt,height\na,64\nb,60\n",
        "c.csv line 3: height=60 does not fit model demo: it must be a multiple of 8, such as 56 or 64",
    ),
    prompt_file(
        "null-prompt",
        "n.parquet",
        {"prompt": ["a", None]},
        "n.parquet row 2 has no prompt: write a text into its column 'prompt', or pass over *",
    ),
    prompt_file(
        "negative",
        "c.csv",
        "prompt,negative_prompt\na,b\n",
        "c.csv has negative prompts, which model demo does not support: "
        "remove the column, or keep it as columns={negative_prompt: metadata}",
        "model.negative_prompts=false",
    ),
    # --- numbers
    whole("total-0", "total_prompt_num=0", "of at least 1"),
    whole("repeats-0", "samples_per_prompt=0", "from 1 to 9999"),
    whole("repeats-many", "samples_per_prompt=10000", "from 1 to 9999"),
    whole("shard-size-0", "shard_size=0", "of at least 1"),
    whole("batch-size-minus", "batch_size=-1", "of at least 1 or auto"),
    Case("batch-size-text", "batch_size=most", "batch_size must be a whole number of at least 1 or auto, not 'most'"),
    Case(
        "auto-on-a-cpu", "batch_size=auto device=cpu", "batch_size=auto fits a batch to a GPU, and this run *card=H100*"
    ),
    Case(
        "auto-of-what", "batch_size=auto card=V100", "card=V100 is not known: it must be one of *, or a memory such *"
    ),
    Case("auto-too-small", "batch_size=auto card=0.01GB", "batch_size=auto: not one sample of 64x64 fits on GPU of *"),
    Case(
        "card-alone", "card=H100", "card=H100 says what batch_size=auto or model.vae_tiling=auto is to fit: add one *"
    ),
    whole("ngpu-0", "ngpu=0", "of at least 1"),
    whole("ulysses-0", "parallel.ulysses=0", "of at least 1"),
    whole("cfg-3", "parallel.cfg=3", "from 1 to 2"),
    Case(
        "parallel-4",
        "parallel=4",
        "parallel has the parts ulysses, ring, cfg: set one of them, like parallel.ulysses=2",
    ),
    Case("parallel-tensor", "+parallel.tensor=2", "there is no option 'parallel.tensor': *"),
    Case(
        "parallel-tokens",
        "model=demo-video parallel.ulysses=2",
        "height=48, width=48, num_frames=17 makes 45 tokens, which 2 ranks (parallel.ulysses=2) cannot split evenly: "
        "choose a size whose tokens are a multiple of 2, such as height=48, width=48, num_frames=13 or height=48, "
        "width=48, num_frames=21",
    ),
    Case(
        "parallel-tokens-of-one-prompt",
        "model=demo-video parallel.ulysses=2 num_frames=13 prompt_file=p.jsonl",
        "p.jsonl*2*: height=48, width=48, num_frames=17 makes 45 tokens, which 2 ranks*",
        {"p.jsonl": '{"prompt": "a"}\n{"prompt": "b", "num_frames": 17}'},
    ),
    Case(
        "parallel-heads",
        "model=demo-video parallel.ulysses=5",
        "parallel.ulysses=5 does not divide the 6 attention heads of model demo-video: use one of 1, 2, 3, 6, or "
        "parallel.ring",
    ),
    Case(
        "parallel-cfg-unguided",
        "model=demo-video parallel.cfg=2 guidance_scale=1",
        "parallel.cfg=2 computes the two branches of guidance at once, and guidance_scale=1 has only one: use "
        "parallel.cfg=1, or a guidance_scale above 1",
    ),
    Case(
        "parallel-cfg-one-call",
        "parallel.cfg=2",
        "parallel.cfg=2 needs a pipeline that computes the branches of guidance in two calls, and model demo "
        "(FluxPipeline) does not: use parallel.cfg=1",
    ),
    Case(
        "parallel-ring-on-a-cpu",
        "model=demo-video parallel.ring=3 model.dtype=bfloat16",
        "parallel.ring=3 needs attention kernels that only GPUs have: use parallel.ulysses on a CPU",
    ),
    Case(
        "parallel-ring-in-float32",
        "model=demo-video parallel.ring=3",
        "parallel.ring=3 works on GPUs in half precision only: use parallel.ulysses, or model.dtype=bfloat16 on GPUs",
    ),
    Case(
        "parallel-offload",
        "model=demo-video parallel.cfg=2 model.offload=group",
        "model.offload=group does not go with parallel.cfg=2: use model.offload=none",
    ),
    Case(
        "parallel-ngpu",
        "model=demo-video parallel.cfg=2 ngpu=3",
        "ngpu=3 is not a multiple of the 2 ranks that parallel.cfg=2 makes of each worker: set ngpu=2, or leave it out",
    ),
    Case(
        "parallel-cores",
        "model=demo-video parallel.cfg=2 parallel.ulysses=3 height=192",
        "parallel.ulysses=3 parallel.cfg=2 needs 6 ranks and there are * cores here: use lower degrees",
    ),
    whole("threads-0", "cpu_threads=0", "of at least 1"),
    whole("attempts-0", "sample_attempts=0", "of at least 1"),
    whole("shards-per-task-0", "shards_per_task=0", "of at least 1"),
    whole("steps-0", "num_inference_steps=0", "of at least 1"),
    whole("steps-fraction", "num_inference_steps=2.5", "of at least 1"),
    whole("height-0", "height=0", "of at least 1"),
    whole("quality-0", "image_quality=0", "from 1 to 100"),
    whole("quality-101", "image_quality=101", "from 1 to 100"),
    whole("seed-minus", "seed=-1", "from 0 to 2^32 - 1"),
    whole("seed-2^32", f"seed={2**32}", "from 0 to 2^32 - 1"),
    whole("seed-null", "seed=null", "from 0 to 2^32 - 1"),
    whole("seed-true", "seed=true", "from 0 to 2^32 - 1"),
    Case(
        "steps-word", "num_inference_steps=abc", "num_inference_steps must be a whole number of at least 1, not 'abc'"
    ),
    Case("spaces", r"exp_name=a\sb seed=1\s2", "seed must be a whole number from 0 to 2^32 - 1, not '1 2'"),
    Case(
        "height-multiple",
        "height=60",
        "height=60 does not fit model demo: it must be a multiple of 8, such as 56 or 64",
    ),
    Case("guidance-nan", "guidance_scale=nan", "guidance_scale must be a number of at least 0, not nan"),
    Case("guidance-minus", "guidance_scale=-1", "guidance_scale must be a number of at least 0, not -1*"),
    # --- Spectrum's
    Case("window-0", "window_size=0", "window_size must be a number of at least 1, not 0*"),
    Case("flex-minus", "flex_window=-1", "flex_window must be a number of at least 0, not -1*"),
    Case("warmup-minus", "warmup_steps=-1", "warmup_steps must be a whole number of at least 1, not -1"),
    Case("w", "algo.w=2", "algo.w must be a number from 0 to 1, not 2*"),
    Case("lam", "algo.lam=-1", "algo.lam must be a number above 0, not -1*"),
    Case("lam-0", "algo.lam=0", "algo.lam must be a number above 0, not 0*"),
    Case("m", "algo.m=-1", "algo.m must be a whole number of at least 0, not -1*"),
    Case("horizon", "algo.horizon=0", "algo.horizon must be a whole number of at least 1, not 0*"),
    Case("force-last", "algo.force_last=-1", "algo.force_last must be a whole number of at least 0, not -1*"),
    # --- choices
    Case("format", "image_format=gif", "image_format must be one of png, jpg, webp, not 'gif'"),
    Case("device", "device=tpu", "device must be one of auto, cuda, cpu, not 'tpu'"),
    Case(
        "no-gpu",
        "device=cuda",
        "device=cuda, but no GPU is visible here: use device=cpu, or run on a machine with a GPU",
    ),
    Case(
        "no-gpu-m", "-m device=cuda", "device=cuda, but no GPU is visible here: use device=cpu, or run on a machine *"
    ),
    Case("ngpu-many", "ngpu=9999", "ngpu=9999 is more than the * cores here: set ngpu=* or less"),
    Case(
        "ngpu-many-m",
        "-m hydra/launcher=joblib ngpu=9999",
        "ngpu=9999 is more than the * cores here: set ngpu=* or less",
    ),
    Case("dtype", "model.dtype=int8", "model.dtype must be one of float32, bfloat16, float16, not 'int8'"),
    Case(
        "float16-cpu",
        "model.dtype=float16",
        "model.dtype=float16 does not work on a CPU: use model.dtype=float32 or bfloat16",
    ),
    Case(
        "float16-cpu-m",
        "-m model.dtype=float16",
        "model.dtype=float16 does not work on a CPU: use model.dtype=float32 or bfloat16",
    ),
    Case(
        "model-path",
        "model.path=/no/such",
        "model.path /no/such is not a directory: give a diffusers pipeline's directory or a hub id",
    ),
    Case(
        "model-index",
        "model.path=empty",
        "model.path empty has no model_index.json: give the directory of a whole diffusers pipeline",
        {"empty/config.json": "{}"},
    ),
    Case(
        "model-embedded",
        "model.path=embedded:none",
        "model.path embedded:none: no embedded model 'none'; there is: image*",
    ),
    Case("model-call", "model.call=3", "model.call must be a mapping like {name: value}, not 3"),
    Case("model-multiple", "model.size_multiple=0", "model.size_multiple must be a whole number of at least 1, not 0*"),
    Case("model-negative", "model.negative_prompts=some", "model.negative_prompts must be true or false, not 'some'"),
    Case(
        "scheduler",
        "model.scheduler=Euler",
        "model.scheduler=Euler is not a scheduler of diffusers: "
        "give a class name such as FlowMatchEulerDiscreteScheduler, or null",
    ),
    Case(
        "scheduler-pipeline",
        "model.scheduler=FluxPipeline",
        "model.scheduler=FluxPipeline is not a scheduler of diffusers: *",
    ),
    Case("shards", "shards=abc", "shards must look like [0-3,7], not 'abc'"),
    Case("shards-list", "shards=[0,x]", "shards must look like [0-3,7], not '0,x'"),
    Case("shards-outside", "shards=5-9", "shards=5-9 must lie within this run's shards, which are 0-0"),
    # --- names
    # --- models
    Case(
        "model-unknown",
        "model=flux2",
        "model=flux2 is not known: choose one of demo*, flux, hunyuan, sd3-5, sdxl, wan14b",
    ),
    Case(
        "model-size",
        "model=flux height=1000",
        "height=1000 does not fit model flux: it must be a multiple of 16, such as 992 or 1008",
    ),
    Case(
        "model-size-sdxl",
        "model=sdxl width=1020",
        "width=1020 does not fit model sdxl: it must be a multiple of 8, such as 1016 or 1024",
    ),
    Case(
        "frames",
        "model=hunyuan num_frames=60",
        "num_frames=60 does not fit model hunyuan: it must be a multiple of 4 plus 1, such as 57 or 61",
    ),
    Case(
        "frames-seed",
        "model=wan14b model.num_frames=82",
        "num_frames=82 does not fit model wan14b: it must be a multiple of 4 plus 1, such as 81 or 85",
    ),
    Case(
        "frames-picture",
        "model=sdxl num_frames=5",
        "num_frames=5 does not fit model sdxl, which makes images: leave it out",
    ),
    prompt_file(
        "frames-in-file",
        "j.jsonl",
        '{"prompt": "a", "num_frames": 6}',
        "j.jsonl line 1: num_frames=6 does not fit model wan14b: *",
        "model=wan14b",
    ),
    Case(
        "negative-option",
        "model=flux negative_prompt=blurry",
        "model flux does not support negative_prompt: leave it out",
    ),
    Case(
        "negative-unguided",
        "model=sdxl negative_prompt=blurry guidance_scale=1",
        "negative_prompt does nothing at guidance_scale=1: use a guidance_scale above 1, or leave it out",
    ),
    prompt_file(
        "negative-in-file",
        "j.jsonl",
        '{"prompt": "a", "negative_prompt": "b"}',
        "j.jsonl has negative prompts, which model hunyuan does not support: "
        "remove the column, or keep it as columns={negative_prompt: metadata}",
        "model=hunyuan",
    ),
    Case(
        "sdxl-cpu",
        "model=sdxl device=cpu",
        "model.dtype=float16 does not work on a CPU: use model.dtype=float32 or bfloat16",
    ),
    Case(
        "vae-float16-cpu",
        "model=hunyuan device=cpu model.vae_dtype=float16",
        "model.vae_dtype=float16 does not work on a CPU: use model.vae_dtype=float32 or bfloat16",
    ),
    Case(
        "offload-cpu",
        "device=cpu model.offload=model",
        "model.offload keeps weights off a GPU, and there is none: use model.offload=none",
    ),
    Case("offload", "model.offload=disk", "model.offload must be one of none, model, group, sequential, not 'disk'"),
    Case(
        "no-gpu-for-model",
        "model=flux",
        "model flux needs a GPU and none is visible here: use device=cpu to run on the CPU anyway",
    ),
    Case(
        "not-downloaded",
        "model=flux device=cpu",
        "model.path black-forest-labs/FLUX.1-dev is not downloaded: "
        "run python -m jobs.download model.path=black-forest-labs/FLUX.1-dev first",
    ),
    Case(
        "not-downloaded-revision",
        "model=flux device=cpu model.revision=1.0",
        "model.path black-forest-labs/FLUX.1-dev is not downloaded: "
        "run python -m jobs.download model.path=black-forest-labs/FLUX.1-dev model.revision=1.0 first",
    ),
    Case("path-number", "model.path=5", "model.path 5 is neither a directory nor a hub id: *"),
    Case(
        "not-an-id",
        "model.path=flux-dev",
        "model.path flux-dev is neither a directory nor a hub id: a hub id looks like black-forest-labs/FLUX.1-dev",
    ),
    Case(
        "revision-local",
        "model.revision=v1",
        "model.revision=v1 is for hub ids, and model.path embedded:image is a directory: leave it out",
    ),
    Case(
        "fps-alone",
        "model.fps=8",
        "model.fps and model.frame_step belong together: give both for clips, or null for images",
    ),
    Case("history-device", "algo.history_device=disk", "algo.history_device must be *cpu*"),
    whole("crf", "video_crf=52", "from 0 to 51"),
    whole("keyframes", "video_keyframes=0", "from 1 to 100000"),
    Case("mark", "mark=yes_please", "mark must be true or false, not 'yes_please'"),
    Case("parameters", "parameters=all", "parameters must be true or false, not 'all'"),
    Case("dry-run", "dry_run=perhaps", "dry_run must be true or false, not 'perhaps'"),
    Case("option", "promt_file=a.txt", "there is no option 'promt_file': did you mean prompt_file=a.txt?"),
    Case("option-group", "force_last=2", "there is no option 'force_last': did you mean algo.force_last=2?"),
    Case("option-far", "colour=red", "there is no option 'colour': python -m jobs.generate --help lists the options"),
    Case("option-added", "+sead=1", "there is no option 'sead': did you mean seed=1?"),
    Case("option-algo", "+algo.wndow_size=1", "there is no option 'algo.wndow_size': did you mean window_size=1?"),
    Case("option-model", "+model.shceduler=x", "there is no option 'model.shceduler': did you mean model.scheduler=x?"),
    Case("option-m", "-m promt_file=a.txt", "there is no option 'promt_file': did you mean prompt_file=a.txt?"),
    Case(
        "option-of-the-pipeline",
        "model.scheduler_args.shift=3",
        "'model.scheduler_args.shift' is not there yet: add it with +model.scheduler_args.shift=value",
    ),
    Case("option-gone", "~seed", "seed is missing: give it a value, like seed=..."),
    Case("key-gone", "~model.path", "model.path is missing: give it a value, like model.path=..."),
    Case(
        "option-of-another",
        "algo=nocache algo.w=0.5",
        "algo.w=0.5 is an option of algo=spectrum, and algo=nocache evaluates every step: leave one of them out",
    ),
    Case("model", "model=nothing", "model=nothing is not known: choose one of *demo*"),
    Case("algo", "algo=teacache", "algo=teacache is not known: choose one of nocache, spectrum"),
    Case("algo-name", "algo.name=teacache", "algo.name must be one of nocache, spectrum, not 'teacache'"),
    Case("model-null", "model=null", "model and algo each take the name of a file in conf/model and conf/algo, *"),
    Case(
        "model-mapping",
        "model={part:x}",
        "model takes the name of a file in conf/model: one part of it is set with model.KEY=value",
    ),
    # --- the command line as such
    Case("no-value", "seed", "'seed' gives no value: write option=value"),
    Case(
        "flag", "--seed 1", "--seed is not a flag: options are written option=value, and python -m * --help lists them"
    ),
    Case("flag-value", "--config-dir", "argument --config-dir/-cd: expected one argument"),
    Case("bracket", "seed=a(b", "'seed=a(b' cannot be read from its character 7 on, '(': put a value that holds *"),
    Case(
        "sweep-without-m",
        "seed=1,2",
        "seed=1,2 names several values for seed: give one, or use -m to make a run of each, *",
    ),
    Case("interpolation", "seed=${sead}", "seed: Interpolation key 'sead' not found: give a value, or refer to *"),
    Case("name-empty", "exp_name=", "exp_name must be text, not ''"),
    Case("name-up", "exp_name=../x", "exp_name must be a name below output_base_path, not '../x'"),
    Case("name-dot", "exp_name=.", "exp_name must be a name below output_base_path, not '.'"),
    Case("name-absolute", "exp_name=/x", "exp_name must be a name below output_base_path, not '/x'"),
    # --- fanning out
    Case("launcher", "hydra/launcher=pbs", f"hydra/launcher=pbs is not known: choose one of {LAUNCHERS}"),
    Case("launcher-m", "-m hydra/launcher=pbs", f"hydra/launcher=pbs is not known: choose one of {LAUNCHERS}"),
    Case(
        "launcher-without-m",
        "hydra/launcher=submitit_slurm",
        "hydra/launcher=submitit_slurm has no effect without -m: add -m, or leave it out",
    ),
    Case(
        "no-wait",
        "wait=false",
        "wait=false returns once a cluster has the tasks: add -m hydra/launcher=submitit_slurm, *",
    ),
    Case("no-wait-m", "-m wait=false", "wait=false returns once a cluster has the tasks: add -m hydra/launcher=*"),
    Case(
        "no-sbatch",
        "-m hydra/launcher=submitit_slurm",
        "hydra/launcher=submitit_slurm needs Slurm's sbatch, which is not on PATH: "
        "submit from a login node, or use hydra/launcher=submitit_local",
        path="",
    ),
    Case(
        "m-in-the-middle",
        "algo.w=2 -m window_size=2",
        "algo.w must be a number from 0 to 1, not 2*",
    ),
    Case(
        "sweep-one-bad",
        "-m seed=1,-2",
        "seed must be a whole number from 0 to 2^32 - 1, not -2",
    ),
    Case(
        "sweep-text",
        r"-m negative_prompt=blurry,\slow",
        "negative_prompt holds a comma, which -m could take either way: "
        "write 'negative_prompt=\"blurry, low\"' for one text, or 'negative_prompt=choice(blurry, low)' for *",
    ),
    Case("choice-without-m", "exp_name=choice(a,b)", "exp_name='a','b' names several values for exp_name: give one, *"),
    Case(
        "sweep-name",
        "-m exp_name=choice(a,b)",
        "exp_name cannot be swept, because -m names the run of each combination itself: give one value",
    ),
    Case(
        "sweep-shards",
        "-m shards=0,1",
        "shards cannot be swept, because -m gives each task its own: write one list, like shards=[0-3,7]",
    ),
    Case("sweep-interval", "-m algo.w=interval(0,1)", "algo.w=interval(0,1) names no values to sweep: write them, *"),
    Case("nodes-0", "-m hydra/launcher=submitit_local hydra.launcher.nodes=0", "hydra.launcher.nodes=0 must be a *"),
    Case("hub-id", "model.path=org/na--me", "model.path org/na--me is neither a directory nor a hub id: *"),
    # --- a user's own files
    Case(
        "own-model-key",
        "--config-dir own model=mine",
        "there is no option 'model.nonsense': *",
        {"own/model/mine.yaml": "name: mine\npath: embedded:image\nnonsense: 1\n"},
    ),
    Case(
        "own-model-type",
        "--config-dir own model=mine",
        "model/mine.yaml: model.height must be a whole number of at least 1, not 'sixty'",
        {"own/model/mine.yaml": "name: mine\npath: embedded:image\nheight: sixty\n"},
    ),
    Case(
        "own-model-yaml",
        "--config-dir own model=mine",
        "a configuration file is not valid YAML: *",
        {"own/model/mine.yaml": "name: [mine\n"},
    ),
    Case(
        "own-model-lacks",
        "--config-dir own model=mine",
        "model.feature.channels is missing: give it a value, like model.feature.channels=...",
        {"own/model/mine.yaml": "name: mine\npath: embedded:image\n"},
    ),
    # --- where it would go
    Case(
        "out-is-a-file",
        "output_base_path=p.txt",
        "output_base_path: *p.txt is a file, not a directory: choose another output_base_path",
    ),
    Case("out-null", "output_base_path=null", "output_base_path must be text, not null"),
    Case(
        "no-space",
        "samples_per_prompt=9999 shard_size=9999 height=800000 width=800000",
        "output_base_path: out/demo-p needs at least * for 9999 samples and has * free: "
        "free some, or choose another output_base_path",
    ),
]

# Through a real process as well, one of each way that a sentence takes: our checks, Hydra's, argparse's, the sweeper's.
REAL = ("not-utf-8", "option", "flag", "no-sbatch")


@pytest.fixture(autouse=True)
def no_hydra() -> Iterator[None]:
    """Hydra keeps its state in a singleton."""
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes after the checks fails the test; and the machine has no GPU, whatever machine it is."""

    def too_far(*args: Any, **kwargs: Any) -> NoReturn:
        pytest.fail("bad input came past the checks")

    for name in (
        "diffusers.DiffusionPipeline.from_pretrained",
        "jobs.model.load.load_pipeline",
        "jobs.execute.command.create",
        "jobs.execute.command.run_pool",
        "jobs.execute.sweep.create",
        "jobs.execute.fanout.Launch.begin",
    ):
        monkeypatch.setattr(name, too_far)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # main sets it; so it is put back
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "/nonexistent")  # nothing is downloaded


def lay_out(folder: Path, case: Case) -> list[str]:
    """Write a case's files and return every path there is then."""
    for name, content in {"p.txt": "a red circle\n", **case.files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            pq.write_table(pa.table(content), path)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return listing(folder)


def listing(folder: Path) -> list[str]:
    return sorted(str(path) for path in folder.rglob("*"))


def check_sentence(case: Case, stderr: str) -> None:
    assert stderr.endswith("\n") and stderr.count("\n") == 1, stderr
    pattern = re.escape(f"error: {case.sentence}").replace(r"\*", ".*")
    assert re.fullmatch(pattern, stderr.rstrip("\n")), stderr


def attempt(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a command line as ``main`` does; where only options are at stake, past Hydra's main, which composes twice."""
    if any(re.match(r"-|[+~]*hydra|[\w.]+$", word) for word in words):
        monkeypatch.setattr(sys, "argv", ["generate", *words])
        jobs.generate.main()
        return
    try:
        cfg = compose_options(words, with_hydra=True)
    except BadInput as error:
        refuse(str(error))
    HydraConfig.instance().set_config(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    run_command(cfg)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input_gets_one_sentence(
    case: Case,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    guarded: None,
):
    before = lay_out(tmp_path, case)
    monkeypatch.chdir(tmp_path)
    if case.path is not None:
        monkeypatch.setenv("PATH", case.path)
    with pytest.raises(SystemExit) as ended:
        attempt(case.words(), monkeypatch)
    out, err = capfd.readouterr()
    check_sentence(case, err)
    assert ended.value.code == 2
    assert out == ""
    assert listing(tmp_path) == before


@pytest.mark.parametrize("case", [case for case in CASES if case.id in REAL], ids=lambda case: case.id)
def test_bad_input_ends_the_real_command(case: Case, tmp_path: Path):
    before = lay_out(tmp_path, case)
    words = [re.sub(r"^(prompt_file|output_base_path)=", rf"\1={tmp_path}/", word) for word in case.words()]
    ended = generate(*words, PATH=os.environ["PATH"] if case.path is None else case.path)
    expected = Case(case.id, "", re.sub(r"^(l\.txt) ", f"{tmp_path}/l.txt ", case.sentence))
    check_sentence(expected, ended.stderr)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert listing(tmp_path) == before


def test_every_case_has_a_name_of_its_own():
    assert len({case.id for case in CASES}) == len(CASES) >= 30
    assert {case.id for case in CASES} >= set(REAL)


def test_a_good_command_line_comes_past_the_checks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guarded: None):
    """So that the guard, which every other test here relies on, is known to be at the right place."""
    lay_out(tmp_path, Case("good", "", ""))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate", "prompt_file=p.txt", "output_base_path=out"])
    with pytest.raises(pytest.fail.Exception, match="came past the checks"):
        jobs.generate.main()
