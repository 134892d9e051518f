#!/usr/bin/env bash
# Install nansurfer and the test tools into a virtual environment and run the tests.
#
#   bash scripts/test.sh [PYTEST ARGUMENTS]     for example: bash scripts/test.sh tests/volume -m 'not slow'
#
# Tests that need a GPU, the official weights or the real volumes (NANSURFER_TEST_DATA) skip themselves where
# these are absent. scripts/_venv.sh tells which variables choose the Python, the environment's place and
# PyTorch's build.
set -euo pipefail

# shellcheck source=scripts/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"

set_up_venv
install_group test

cd "$CHECKOUT"
exec "$VENV/bin/python" -m pytest "$@"
