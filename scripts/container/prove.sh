#!/usr/bin/env bash
# Prove the Dockerfile where no registry of images is reached: podman builds it upon a Debian root made by mmdebstrap,
# and runs what it built as clusters do: read-only, without network, as a user that has no name.
#
#   bash scripts/container/prove.sh T1 [OPTION...]
#
# T1 is a real volume. OPTIONs go to `podman build`, such as --build-arg TORCH_INDEX=... What pip is told on this
# machine (a mirror, a certificate, a folder of wheels) holds for the build, and for nothing else. It needs root,
# 6 GB in ${TMPDIR:-/tmp}, which it gives back, 5 to 10 minutes, and on Debian
#
#   apt-get install --no-install-recommends podman runc netavark mmdebstrap
#
# What differs from an image built upon python:3.12-slim: Python is Debian's own, 3.11. Apptainer itself is not run, but
# what it does is: the host's user, /tmp and HOME, and everything else read-only.
set -euo pipefail

DEBIAN=bookworm
NOBODY=12345 # a user id without an entry in the image's /etc/passwd
DAMAGED=4    # exit codes of nansurfer, see README.md
MISSING=3
UNWRITABLE=8
INTERRUPTED=130

fail() {
  echo "error: $*" >&2
  exit 1
}

step() {
  echo "prove: $*"
}

[[ $# -ge 1 && -f $1 ]] || fail "usage: bash scripts/container/prove.sh T1 [OPTION of podman build...]"
[[ $EUID -eq 0 ]] || fail "this needs root, for mmdebstrap and podman."
for tool in podman runc mmdebstrap; do
  command -v "$tool" >/dev/null || fail "$tool is not installed: apt-get install $tool"
done

t1=$(realpath "$1")
options=("${@:2}")
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp --directory --tmpdir nansurfer-prove.XXXXXX)
mkdir -p "$work"/{data/sub-01/anat,out,tmp}
chmod 777 "$work"/{out,tmp}
chmod 755 "$work"

# podman with a store of its own, so that nothing is left in the machine's.
engine() {
  TMPDIR=$work/tmp podman --root "$work/store" --runroot "$work/run" --tmpdir "$work/libpod" --runtime runc \
    --cgroup-manager cgroupfs "$@"
}

clean_up() {
  engine rm --all --force --time 1 >/dev/null || true
  umount --quiet "$work/store/overlay" || true # podman leaves its store mounted upon itself
  rm -rf "$work"
}
trap clean_up EXIT

# Import the root that stands for python:VERSION-slim, and print that VERSION.
make_base() {
  local version
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,python-is-python3,python3-venv "$DEBIAN" - |
    engine import --quiet - base >/dev/null
  # It is but asked for its version, as python -V answers: "Python 3.11.2".
  version=$(isolated base python -V | grep --only-matching '3\.[0-9]*' | head -n 1)
  engine tag base "docker.io/library/python:$version-slim"
  echo "$version"
}

# What pip is told here, as a configuration file's lines. An index in a folder links to files beside it: left out.
pip_settings() {
  echo "[global]"
  { python3 -m pip config list 2>/dev/null || true; } |
    sed -En "s/^(global|:env:)\.([a-z-]+)='(.*)'$/\2 = \3/p" | sed -E 's/ *file:[^ ]+//g' | sort --unique --key=1,1
}

build_image() {
  local path mounts=(--volume "$work/pip.conf:/etc/pip.conf:ro")
  pip_settings >"$work/pip.conf"
  while read -r path; do
    mounts+=(--volume "$path:$path:ro")
  done < <(grep --only-matching --extended-regexp ' /[^ ]+' "$work/pip.conf")
  engine build --quiet --pull=never --layers=false --isolation chroot --build-arg "PYTHON=$1" \
    "${mounts[@]}" "${options[@]}" --tag nansurfer "$checkout"
}

# podman run as a careful cluster would: nothing but /data and /out exists, and only /out can be written, /tmp neither.
# The limits are there because podman's own are above what a virtual machine may grant.
isolated() {
  engine run --rm --network none --read-only --read-only-tmpfs=false --user "$NOBODY:$NOBODY" --cap-drop all \
    --security-opt no-new-privileges --ulimit nofile=4096:4096 --ulimit nproc=4096:4096 \
    --volume "$work/data:/data:ro" --volume "$work/out:/out" "$@"
}

# The same as Apptainer does it: the host's /tmp and the host's HOME, here one that is not there.
apptainer_like() {
  isolated --env HOME=/home/nobody --env USER=nobody --volume "$work/tmp:/tmp" --workdir /out "$@"
}

# A BIDS dataset of the volume alone, compressed NIfTI by the image's own nibabel.
make_dataset() {
  echo '{"Name": "proof", "BIDSVersion": "1.10.0"}' >"$work/data/dataset_description.json"
  isolated --volume "$t1:/t1/$(basename "$t1"):ro" --entrypoint python nansurfer -c \
    'import sys, nibabel; nibabel.save(nibabel.Nifti1Image.from_image(nibabel.load(sys.argv[1])), sys.argv[2])' \
    "/t1/$(basename "$t1")" /out/T1w.nii.gz
  mv "$work/out/T1w.nii.gz" "$work/data/sub-01/anat/sub-01_T1w.nii.gz"
  head --bytes 100000 "$work/data/sub-01/anat/sub-01_T1w.nii.gz" >"$work/data/damaged.nii.gz"
}

# Run nansurfer, which has to end with this exit code and, if it fails, with one sentence.
expect() {
  local wanted=$1 code=0 sentence
  isolated nansurfer "${@:2}" >"$work/stdout" 2>"$work/stderr" || code=$?
  sentence=$(grep '^nansurfer: ' "$work/stderr") || true
  if [[ $code -ne $wanted || ($code -ne 0 && $(grep --count . <<<"$sentence") -ne 1) ]]; then
    cat "$work/stdout" "$work/stderr" >&2
    fail "nansurfer ${*:2} ended with exit code $code, not $wanted, or without one sentence."
  fi
  step "exit code $code: ${sentence:-nansurfer $2}"
}

# The labels are those of a whole brain, found by the compiled kernels.
check_labels() {
  isolated --interactive --entrypoint python nansurfer - <<'END'
import json, pathlib, nibabel, numpy
subject = pathlib.Path("/out/direct")
record = json.loads((subject / "nansurfer.json").read_text())
labels = numpy.unique(numpy.asarray(nibabel.load(subject / "mri/aparc.DKTatlas+aseg.deep.mgz").dataobj))
print(f"prove: {labels.size - 1} structures, brain of {record['brain_volume_ml']:.0f} ml, "
      f"engine {record['machine']['engine']}")
assert labels.size - 1 >= 90 and 700 < record["brain_volume_ml"] < 2200 and record["machine"]["engine"] == "fast"
END
}

# Stopped in mid-run, nansurfer ends at once though it is process 1, and leaves nothing.
check_stop() {
  local code waited
  isolated --detach --name stopped nansurfer segment /data/sub-01/anat/sub-01_T1w.nii.gz -o /out --sid stopped \
    --log-file /out/stopped.log >/dev/null
  for ((waited = 0; waited < 60; waited++)); do
    [[ ! -s $work/out/stopped.log ]] || break
    sleep 1
  done
  engine wait stopped >"$work/code" &
  sleep 2
  engine stop --time 20 stopped >/dev/null
  wait $!
  code=$(<"$work/code")
  [[ $code -eq $INTERRUPTED ]] || fail "stopped, nansurfer ended with exit code $code, not $INTERRUPTED."
  [[ -z $(find "$work/out" -name '*stopped*' -not -name stopped.log) ]] || fail "stopped, nansurfer left files."
  step "exit code $code when stopped, nothing left"
}

step "base: Debian $DEBIAN"
version=$(make_base)
step "building, with Python $version"
build_image "$version"
step "image: $(engine images --format '{{.Size}}' nansurfer)"
if isolated --entrypoint sh nansurfer -c 'command -v g++ || command -v cc'; then
  fail "the image holds a compiler."
fi
make_dataset
image=/data/sub-01/anat/sub-01_T1w.nii.gz
expect 0 segment "$image" -o /out --sid direct
check_labels
expect 0 segment "$image" -o /out --sid direct
step "as a BIDS App, as Apptainer runs it"
apptainer_like nansurfer bids /data /out/derivatives participant >/dev/null
cmp "$work/out/direct/mri/aparc.DKTatlas+aseg.deep.mgz" \
  "$(find "$work/out/derivatives" -name aparc.DKTatlas+aseg.deep.mgz)"
expect "$DAMAGED" segment /data/damaged.nii.gz -o /out
expect "$MISSING" segment /data/missing.nii.gz -o /out
expect "$UNWRITABLE" segment "$image" -o /data
check_stop
step "all proved"
