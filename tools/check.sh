#!/usr/bin/env bash
# Runs every check: lint, format, prose, types, and all tests (on a real Slurm where there is one).
#
#   tools/check.sh                          everything; from Python 3.12 on with the coverage floor
#   tools/check.sh PYTEST_ARGUMENT ...      the same checks, and the tests that the arguments choose
#   tools/check.sh --fast                   the tests that are not marked slow, and nothing else
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '%s\n' "$*" >&2; }
# Packages of what is missing: programs that others read files with, and a browser for the report.
missing_readers() {
    command -v ffprobe >/dev/null || echo ffmpeg
    command -v exiftool >/dev/null || echo libimage-exiftool-perl
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || echo chromium
}
slurm_is_missing() { ! python -c 'import sys; from tools.slurm import missing_programs as m; sys.exit(bool(m()))'; }

# tests/slurm needs a real Slurm; without one its tests are skipped, and the end of the run says so.
prepare_slurm() {
    if slurm_is_missing && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing Slurm for the tests."
        bash tools/install_slurm.sh >/dev/null || say "The installation failed."
    fi
    if slurm_is_missing; then
        say "The tests that need a real Slurm (tests/slurm) will be skipped: run \`bash tools/install_slurm.sh\` as root."
    fi
}

# tests/media lets programs that others use read the files that are written, and tests/report a browser; they fail
# without them.
prepare_readers() {
    local package
    if [ -n "$(missing_readers)" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "Installing for the tests: $(missing_readers | xargs)"
        apt-get update -qq >&2 || true
        for package in $(missing_readers); do  # one by one: not every system has each by that name
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null || true
        done
    fi
    if [ -n "$(missing_readers)" ]; then
        say "Some tests of tests/media and tests/report will fail: run \`apt-get install $(missing_readers | xargs)\` as root."
    fi
}

failed=""
step() {
    say "== $*"
    "$@" || failed="${failed:+$failed, }$*"
}

bash tools/setup.sh dev
export PATH="$PWD/.venv/bin:$PATH"
# Four processes, also on two cores: three of them have the tests that start processes themselves, one after another
# (tests/conftest.py), and wait much of their time.
pytest=(python -m pytest -n 4 --dist loadfile --no-loadscope-reorder)
prepare_readers

if [ "${1:-}" = --fast ]; then
    shift
    exec "${pytest[@]}" -n 2 -m "not slow" "$@"  # few of these wait, and each process collects all tests
fi

prepare_slurm
step ruff check .
step ruff format --check .
# Not docs/benchmarks: programs write those pages.
step mdformat --check ./*.md docs/*.md
if command -v shellcheck >/dev/null; then
    step shellcheck .ci/run tools/*.sh
fi
if [ -n "$failed" ]; then
    say "Failed before the tests: $failed"
fi

# Types are checked beside the tests, which leave the processor idle for as long as that takes.
types=$(mktemp)
output=$(mktemp)
mypy jobs spectrum tools hydra_plugins >"$types" 2>&1 &  # strictly: pyproject.toml
checking=$!
trap 'kill "$checking" 2>/dev/null || true; rm -f "$output" "$types"' EXIT

# Python 3.12 and newer count covered lines at little cost; before, that takes 70 % on top of the tests. A part of the
# tests does not reach the floor.
coverage=()
if [ $# = 0 ] && python -c 'import sys; sys.exit(sys.version_info < (3, 12))'; then
    export COVERAGE_CORE=sysmon
    coverage=(--cov --cov-report=term:skip-covered)
fi
say "== ${pytest[*]} ${coverage[*]} $*"
code=0
"${pytest[@]}" -ra --durations=25 "${coverage[@]}" "$@" | tee "$output" || code=$?
wait "$checking" || failed="${failed:+$failed, }mypy"
say "== mypy jobs spectrum tools hydra_plugins"
cat "$types"
# Once more, because libraries that pytest's workers have imported may write something after it.
tail -n 1 "$output"
[ "$code" = 0 ] && [ -z "$failed" ]
