#!/usr/bin/env bash
# Install nansurfer into a virtual environment and segment an example head with it.
#
#   bash scripts/quickstart.sh [FOLDER]     results go to FOLDER (default: nansurfer-example)
#
# scripts/_venv.sh tells which variables choose the Python, the environment's place and PyTorch's build.
set -euo pipefail

# shellcheck source=scripts/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"

output=${1:-nansurfer-example}
if [[ $# -gt 1 || $output == -* ]]; then
  fail "usage: bash scripts/quickstart.sh [FOLDER]"
fi
subject=example
image=$output/$subject.nii.gz

set_up_venv
if [[ ! -f $image ]]; then
  "$VENV/bin/nansurfer" example --output "$image"
fi
"$VENV/bin/nansurfer" segment "$image" --output-dir "$output" --sid "$subject"

cat <<END

The example is segmented.
  picture  $output/$subject/qc/segmentation.png
  labels   $output/$subject/mri/aparc.DKTatlas+aseg.deep.mgz
Your own image:
  $VENV/bin/nansurfer segment T1.nii.gz --output-dir RESULTS
END
