#!/usr/bin/env bash
# Generate on a Slurm cluster, from a login node: examples/cluster.sh PROMPTFILE [OPTION=VALUE ...]
# The same command again finishes what is missing.
set -euo pipefail

prompts=$1
shift
python -m jobs.generate -m hydra/launcher=submitit_slurm \
    prompt_file="$prompts" \
    model="${MODEL:-flux}" \
    shards_per_task="${SHARDS_PER_TASK:-8}" \
    hydra.launcher.timeout_min="${MINUTES:-240}" \
    hydra.launcher.array_parallelism="${AT_ONCE:-64}" \
    "$@"
# Add what your site asks for, such as hydra.launcher.partition=gpu hydra.launcher.account=NAME.
