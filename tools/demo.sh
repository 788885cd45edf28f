#!/usr/bin/env bash
# Sets up what is missing and generates, by default with the embedded model: tools/demo.sh [OPTION=VALUE ...]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/tools/setup.sh"
exec "$root/.venv/bin/python" -m jobs.generate "$@"
