#!/usr/bin/env bash
# Segment every image of a folder, several at a time, with nothing but the command line. `nansurfer batch` does more:
# records, tables, retries, networks loaded once.
#
#   bash scripts/batch.sh FOLDER OUT [--jobs N] [SEGMENT OPTIONS]
#
#   --jobs N          how many at a time (default: as many as processors; each needs about 2 GB of memory)
#   SEGMENT OPTIONS   those of `nansurfer segment`
#
# One line an image says how it ended. Finished subjects are left alone; the exit code is 1 if any failed. nansurfer is
# the one on the PATH, or that of the checkout's environment.
set -euo pipefail

# shellcheck source=scripts/_venv.sh
source "$(dirname "${BASH_SOURCE[0]}")/_venv.sh"
PATH=$PATH:$VENV/bin

# Segment one image, the last argument, and say how that ended; 1 at worst, so that xargs goes on with the others.
segment_one() {
  local image=${!#} said code=0
  said=$(nansurfer segment --quiet "$@" 2>&1 </dev/null) || code=$?
  if [[ $code -eq 0 ]]; then
    echo "done: $image${said:+: $said}"
  else
    echo "failed with $code: $image${said:+: $said}" >&2
    return 1
  fi
}
export -f segment_one

# Links count, those to nowhere too: an image that was not fetched is a failure, not an absence.
list_images() {
  find -L "$1" -mindepth 1 -maxdepth 1 \( -type f -o -type l \) ! -name '.*' \
    \( -iname '*.mgz' -o -iname '*.mgh' -o -iname '*.nii' -o -iname '*.nii.gz' -o -iname '*.img' \) -print0 | sort -z
}

if [[ $# -lt 2 || $1 == -* || $2 == -* ]]; then
  fail "usage: bash scripts/batch.sh FOLDER OUT [--jobs N] [SEGMENT OPTIONS]"
fi
folder=$1
output=$2
shift 2
processors=$(getconf _NPROCESSORS_ONLN)
jobs=$processors
if [[ ${1:-} == --jobs ]]; then
  jobs=${2:-}
  shift $(($# < 2 ? $# : 2))
fi
[[ $jobs =~ ^[1-9][0-9]*$ ]] || fail "--jobs is '$jobs'; it is how many are segmented at a time, 1 or more."
[[ -d $folder ]] || fail "$folder is not a folder."
command -v nansurfer >/dev/null || fail "nansurfer is not on the PATH; bash scripts/quickstart.sh installs it."
count=$(list_images "$folder" | tr -dc '\0' | wc -c)
[[ $count -gt 0 ]] || fail "$folder holds no image (.mgz, .mgh, .nii, .nii.gz, .img)."

threads=$((processors > jobs ? processors / jobs : 1))
# shellcheck disable=SC2016 # the inner shell expands its arguments
list_images "$folder" | xargs -0 -n 1 -P "$jobs" \
  bash -c 'segment_one "$@"' _ --output-dir "$output" --threads "$threads" "$@" ||
  fail "not all of the $count images were segmented; the same command goes on with those that failed."
