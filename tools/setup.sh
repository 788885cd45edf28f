#!/usr/bin/env bash
# Makes .venv in the project's root with what this project needs: tools/setup.sh [EXTRA]
# The second time it returns at once, until pyproject.toml or this file changes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extra=${1:-}
tested_torch=2.13.0
python=.venv/bin/python
apt_line="apt-get install python3 python3-venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
pip() { "$python" -m pip install --quiet "$@"; }

base_python() {
    for name in python3 python3.{14,13,12,11}; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 or newer was not found: run \`$apt_line\`, or put one on PATH."
}

make_venv() {
    local base
    base=$(base_python)
    # Debian keeps ensurepip, without which a venv has no pip, in a package of its own.
    if ! "$base" -c 'import ensurepip, venv' 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "Installing python3-venv."
            apt-get update -qq >&2 || true
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >&2 || true
        fi
        "$base" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$base cannot make a virtual environment: run \`$apt_line\`."
    fi
    "$base" -m venv --clear .venv
}

# pip's own copy of packaging: a new venv has no other.
fits='import sys, torch
from pip._vendor.packaging.requirements import Requirement as R
sys.exit(torch.__version__ not in R(sys.argv[1]).specifier)'
range='import tomllib
names = tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]
print(next(name for name in names if name.startswith("torch")))'

torch_fits() { "$python" -c "$fits" "$1" 2>/dev/null; }

install_torch() {
    local torch
    torch=$("$python" -c "$range")
    if torch_fits "$torch"; then
        return
    fi
    say "Installing PyTorch."
    if nvidia-smi >/dev/null 2>&1; then
        pip "$torch"
    # Without a GPU the regular build would bring several gigabytes of CUDA libraries along.
    elif ! pip "torch==$tested_torch+cpu" 2>/dev/null; then
        # pip does not know where CPU builds are; uv does.
        pip uv
        "$python" -m uv pip install --quiet --python "$python" \
            "torch==$tested_torch" --torch-backend=cpu || true  # the next line tells what to do
    fi
    torch_fits "$torch" || fail "A CPU build of PyTorch could not be fetched. Any other will do:" \
        "run \`$python -m pip install '$torch'\` and this again."
}

# What this result follows from; the path too, because an editable install holds it.
wanted="$(cat pyproject.toml tools/setup.sh | cksum) $PWD"
stamp=".venv/installed${extra:+-$extra}"
if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && "$python" -c '' 2>/dev/null; then
    exit
fi
if ! "$python" -m pip --version >/dev/null 2>&1; then
    make_venv
fi
install_torch
say "Installing this project${extra:+ with $extra} into .venv."
pip --editable ".${extra:+[$extra]}"
if [ "$extra" = dev ]; then
    # Readers of exports. Their own lists ask for older libraries, or for a torch of another build; what their loaders
    # import beside these is among the extra's packages.
    pip --no-deps "open_clip_torch>=3.3" "mosaicml-streaming>=0.13"
    # Beside the others, since diffusers imports it wherever it is: seconds and warnings in every process.
    rm -rf .venv/aside
    pip --no-deps --target .venv/aside "torchao>=0.15"
fi
printf '%s\n' "$wanted" >.venv/installed
cp .venv/installed "$stamp" 2>/dev/null || true  # without an extra it is the same file
