#!/usr/bin/env bash
#SBATCH --job-name=nansurfer
#SBATCH --cpus-per-task=2
#SBATCH --mem=4G
#SBATCH --time=0:30:00
#SBATCH --requeue
#SBATCH --output=nansurfer-%A_%a.log
# Segment the images of a list, each in an array task of its own, with nothing but sbatch. `nansurfer batch --executor
# slurm` does more: several subjects a task, records, tables, retries.
#
#   sbatch --array=1-$(grep -c '' LIST) scripts/slurm_array.sh LIST OUT [SEGMENT OPTIONS]
#
#   LIST              a path a line
#   SEGMENT OPTIONS   those of `nansurfer segment`
#
# sbatch's own options go before the script's name and win over the lines above: --cpus-per-task=1 --time=1:00:00, and
# --gpus=1 for a GPU. nansurfer has to be on the PATH where sbatch is typed. Finished subjects are left alone: the same
# command does again what failed.
set -euo pipefail

fail() {
  echo "error: $*" >&2
  exit 1
}

if [[ $# -lt 2 || $1 == -* || $2 == -* || -z ${SLURM_ARRAY_TASK_ID:-} ]]; then
  fail "usage: sbatch --array=1-\$(grep -c '' LIST) scripts/slurm_array.sh LIST OUT [SEGMENT OPTIONS]"
fi
list=$1
output=$2
shift 2
[[ -r $list ]] || fail "the list $list cannot be read on $(uname -n); it has to lie where all nodes see it."
command -v nansurfer >/dev/null || fail "nansurfer is not on the PATH; activate its environment before sbatch."

image=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
image=${image%$'\r'}
[[ -n $image ]] || fail "line $SLURM_ARRAY_TASK_ID of $list is empty; leave such lines out."
exec nansurfer segment "$image" --output-dir "$output" --threads "${SLURM_CPUS_PER_TASK:-1}" "$@"
