#!/usr/bin/env bash
# Stop the Slurm that scripts/slurm/start.sh started with this folder, and nothing else. Its logs stay.
#
#   bash scripts/slurm/stop.sh FOLDER
set -euo pipefail

PATIENCE_S=15

# End the daemon whose process id stands in a file, if it still is that daemon.
stop() {
  local pid_file=$1/$2.pid pid tenth
  [[ -s $pid_file ]] || return 0
  pid=$(<"$pid_file")
  for ((tenth = 0; tenth < 10 * PATIENCE_S; tenth++)); do
    [[ $(ps -o comm= -p "$pid") == "$2"* ]] || break
    ((tenth > 0)) || kill "$pid"
    sleep 0.1
  done
  [[ $(ps -o comm= -p "$pid") != "$2"* ]] || kill -KILL "$pid"
  rm -f "$pid_file"
}

if [[ $# -ne 1 || ! -d $1 ]]; then
  echo "usage: bash scripts/slurm/stop.sh FOLDER" >&2
  exit 2
fi
if [[ -s $1/slurmctld.pid ]]; then
  SLURM_CONF=$1/slurm.conf timeout "$PATIENCE_S" scancel --me --signal=KILL --full || true # what still runs
fi
for daemon in slurmd slurmctld munged; do
  stop "$1" "$daemon"
done
rm -f "$1/slurm.conf"
