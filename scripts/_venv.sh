# shellcheck shell=bash
# The virtual environment that the scripts share. Source this file, then call set_up_venv and install_group.
#
#   PYTHON                  interpreter to make it with, 3.10 to 3.13 (default: the first found on the PATH)
#   NANSURFER_VENV          where it lies (default: .venv in the checkout)
#   NANSURFER_TORCH_INDEX   which of PyTorch's own builds to take: cpu, or a CUDA version such as cu130
#                           (default: the one on PyPI, which on Linux is CUDA's and large)

CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
VENV=${NANSURFER_VENV:-$CHECKOUT/.venv}

fail() {
  echo "error: $*" >&2
  exit 1
}

# Make the environment and install the checkout into it, editable and with the example's needs.
set_up_venv() {
  if [[ -L $VENV/bin/python && ! -x $VENV/bin/python ]]; then
    fail "the Python that $VENV was made with is gone; remove that folder and start again."
  elif [[ ! -x $VENV/bin/python ]]; then
    make_venv
  fi
  once pip pip_install --upgrade pip
  once nansurfer install_nansurfer
}

# Install a dependency group of pyproject.toml.
install_group() {
  once "group-$1" pip_install --group "$CHECKOUT/pyproject.toml:$1"
}

# Run a command, unless it has been run under this name since the files that decide about versions, or the compiled
# kernels, changed.
once() {
  local stamp="$VENV/.nansurfer-$1" state
  state="$CHECKOUT ${NANSURFER_TORCH_INDEX:-} ${NANSURFER_BUILD_KERNELS:-} $(cat \
    "$CHECKOUT"/{pyproject.toml,constraints.txt,hatch_build.py,nansurfer/engine/kernels/{*.h,*.cpp,build.py}} | cksum)"
  if [[ $(cat "$stamp" 2>/dev/null) != "$state" ]]; then
    echo "Installing into $VENV: $1"
    "${@:2}"
    echo "$state" >"$stamp"
  fi
}

pip_install() {
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-warn-conflicts \
    --constraint "$CHECKOUT/constraints.txt" "$@"
}

install_nansurfer() {
  if [[ -n ${NANSURFER_TORCH_INDEX:-} ]]; then
    # Only PyTorch itself: that index has other releases of what it needs. A build from elsewhere gives way.
    pip_install --force-reinstall --no-deps \
      --index-url "https://download.pytorch.org/whl/$NANSURFER_TORCH_INDEX" torch
  fi
  pip_install --editable "${CHECKOUT}[example]"
}

make_venv() {
  local python
  python=$(find_python)
  echo "Making a virtual environment in $VENV with $("$python" --version); PyTorch makes this take minutes."
  "$python" -m venv "$VENV" ||
    fail "$python could not make a virtual environment in $VENV; on Debian and Ubuntu it needs the package python3-venv."
}

# Print an interpreter that nansurfer supports.
find_python() {
  local candidate version found=()
  local candidates=(python3 python3.13 python3.12 python3.11 python3.10 python)
  if [[ -n ${PYTHON:-} ]]; then
    candidates=("$PYTHON")
  fi
  for candidate in "${candidates[@]}"; do
    # A command may be there and yet not run, as the placeholders of version managers do.
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    case $version in
      3.1[0-3])
        echo "$candidate"
        return
        ;;
    esac
    found+=("$candidate is $version")
  done
  fail "nansurfer needs Python 3.10 to 3.13; looked for ${candidates[*]}, found: ${found[*]:-none}." \
    "Install one, or set PYTHON to its path."
}
