#!/usr/bin/env bash
# Installs Slurm, munge and MariaDB for the tests, as root on Debian or Ubuntu, without starting their daemons.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

packages=$(python3 -c 'from tools.slurm.programs import PACKAGES; print(PACKAGES)')
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
apt-get update -qq
# shellcheck disable=SC2086  # a list of names
apt-get install -y -qq --no-install-recommends $packages
