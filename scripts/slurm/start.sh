#!/usr/bin/env bash
# Start a real Slurm on this one machine, on loopback, to try and to test: controller, one node, no accounting.
#
#   bash scripts/slurm/start.sh FOLDER      configuration, keys, state, logs: all of it goes into FOLDER
#   export SLURM_CONF=FOLDER/slurm.conf     then sbatch, squeue and nansurfer find it
#   bash scripts/slurm/stop.sh FOLDER
#
# Needs root, and the programs of Debian's packages: apt-get install slurm-wlm munge. It ends with 77 where it cannot
# start for want of these. Give it a folder that is short, on a local disk, and that other users may enter.
set -euo pipefail

CANNOT_START=77
PATIENCE_S=30

cannot_start() {
  echo "Slurm cannot be started here: $*" >&2
  exit "$CANNOT_START"
}

check_prerequisites() {
  local program
  [[ $(uname) == Linux ]] || cannot_start "it runs on Linux."
  [[ $EUID -eq 0 ]] || cannot_start "its daemons need root, and this is $(id -un)."
  for program in munged munge slurmctld slurmd sinfo; do
    command -v "$program" >/dev/null ||
      cannot_start "$program is not installed; apt-get update && apt-get install slurm-wlm munge."
  done
}

# The node has the machine's processors and memory. Nothing is confined (no cgroups, which containers often lack), so
# that a job sees all processors. A job that is requeued starts again after cred_expire seconds instead of 120. Ports
# are drawn, so that one Slurm does not keep another from starting.
write_configuration() {
  local name memory_mb port=$((20000 + RANDOM % 10000))
  name=$(uname -n)
  name=${name%%.*}
  memory_mb=$(($(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo) / 1024))
  cat >"$folder/slurm.conf" <<CONF
ClusterName=nansurfer
SlurmctldHost=$name(127.0.0.1)
SlurmUser=root
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthInfo=socket=$folder/munge.socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
KillWait=5
ReturnToService=2
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory_mb
PartitionName=main Nodes=$name Default=YES DefMemPerCPU=500
CONF
}

start_munge() {
  head -c 1024 /dev/urandom >"$folder/munge.key"
  chmod 400 "$folder/munge.key"
  munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munged.seed" ||
    give_up "munged" "$folder/munged.log"
}

start_slurm() {
  mkdir -p "$folder/state" "$folder/spool"
  slurmctld -f "$folder/slurm.conf" || give_up "slurmctld" "$folder/slurmctld.log"
  slurmd -f "$folder/slurm.conf" || give_up "slurmd" "$folder/slurmd.log"
}

wait_until_idle() {
  local second state=
  for ((second = 0; second < PATIENCE_S; second++)); do
    state=$(SLURM_CONF=$folder/slurm.conf sinfo --noheader --format=%T 2>/dev/null || true)
    [[ $state == idle ]] && return
    sleep 1
  done
  give_up "the node is '${state:-not there}' and not idle after $PATIENCE_S s; slurmctld" "$folder/slurmctld.log"
}

# Say what did not start, show the end of its log and stop what was started.
give_up() {
  echo "error: $1 did not start; the end of $2:" >&2
  tail -n 15 "$2" >&2 || true
  bash "$(dirname "${BASH_SOURCE[0]}")/stop.sh" "$folder"
  exit 1
}

if [[ $# -ne 1 || $1 == -* ]]; then
  echo "usage: bash scripts/slurm/start.sh FOLDER" >&2
  exit 2
fi
check_prerequisites
mkdir -p "$1"
folder=$(cd "$1" && pwd -P)
if [[ -e $folder/slurm.conf ]]; then
  echo "error: $folder holds a Slurm already; stop it with scripts/slurm/stop.sh, or choose another folder." >&2
  exit 1
fi
chmod 755 "$folder" # munge wants a socket that everybody can reach
write_configuration
start_munge
start_slurm
wait_until_idle
echo "Slurm runs: export SLURM_CONF=$folder/slurm.conf"
