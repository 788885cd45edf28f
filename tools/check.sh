#!/usr/bin/env bash
# Runs every check: lint, format, prose, types, and all tests (on a real Slurm where there is one).
#
#   tools/check.sh                          everything, with the coverage floor
#   tools/check.sh PYTEST_ARGUMENT ...      the same checks, and the tests that the arguments choose
#   tools/check.sh --fast                   the tests that are not marked slow, and nothing else
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }
packages() { python -c 'from tools.slurm.programs import *; print(PACKAGES if missing_programs() else "")'; }

# The daemons that these packages bring must not start: the tests bring up their own.
install_packages() (
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get update -qq
    # shellcheck disable=SC2086  # a list of names
    apt-get install -y -qq --no-install-recommends $1
)

# tests/slurm needs a real Slurm; without one its tests are left out, and the end of the run says so.
prepare_slurm() {
    local needed
    needed=$(packages)
    if [ -n "$needed" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing Slurm for the tests: $needed"
        install_packages "$needed" >/dev/null || say "The installation failed."
        needed=$(packages)
    fi
    if [ -n "$needed" ]; then
        say "The tests that need a real Slurm (tests/slurm) will be skipped: run \`apt-get install $needed\` as root."
    fi
}

failed=""
step() {
    say "== $*"
    "$@" || failed="${failed:+$failed, }$*"
}

bash tools/setup.sh dev
export PATH="$PWD/.venv/bin:$PATH"
# Two processes, with the tests that start processes themselves one after another in one of them.
pytest=(python -m pytest -n 2 --dist loadgroup)

if [ "${1:-}" = --fast ]; then
    shift
    exec "${pytest[@]}" -m "not slow" "$@"
fi

prepare_slurm
step ruff check .
step ruff format --check .
# Not docs/benchmarks: programs write those pages.
step mdformat --check ./*.md docs/*.md
step mypy --strict jobs spectrum
step mypy tools hydra_plugins
if command -v shellcheck >/dev/null; then
    step shellcheck .ci/run tools/*.sh
fi
if [ -n "$failed" ]; then
    say "Failed before the tests: $failed"
fi

coverage=(--cov --cov-report=term:skip-covered)
if [ $# -gt 0 ]; then
    coverage=()  # a part of the tests does not reach the floor
fi
say "== ${pytest[*]} -ra ${coverage[*]} $*"
"${pytest[@]}" -ra "${coverage[@]}" "$@"
[ -z "$failed" ]
