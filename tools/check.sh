#!/usr/bin/env bash
# Runs all checks: lint, format, types, tests (on a real Slurm where there is one): tools/check.sh [PYTEST OPTION ...]
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
    # shellcheck disable=SC2086
    apt-get install -y -qq --no-install-recommends $1
)

failed=""
step() {
    say "== $*"
    "$@" || failed="${failed:+$failed, }$*"
}

bash tools/setup.sh dev
export PATH="$PWD/.venv/bin:$PATH"

needed=$(packages)
if [ -n "$needed" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "Installing Slurm for the tests: $needed"
    install_packages "$needed" >/dev/null || say "The installation failed."
    needed=$(packages)
fi
if [ -n "$needed" ]; then
    say "The tests that need a real Slurm (tests/slurm) will be left out: run \`apt-get install $needed\` as root."
fi

step ruff check .
step ruff format --check .
step mypy jobs spectrum tools hydra_plugins
if [ -n "$failed" ]; then
    say "Failed before the tests: $failed"
fi
say "== pytest"
python -m pytest -ra "$@"
[ -z "$failed" ]
