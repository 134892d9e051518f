"""Compiling the kernels, by the package's build hook or by hand: ``python nansurfer/engine/kernels/build.py``.

Needs the standard library and a C++ compiler. One library for each instruction set lies beside the sources;
:mod:`nansurfer.engine.native` chooses at run time. Each knows the sources that it was made of, so that a library left
behind by older sources is never loaded.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import zlib
from contextlib import suppress
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
_FLAGS = ("-std=c++17", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-fno-math-errno")
_AVX512 = ("-march=skylake-avx512", "-mtune=generic")
_X86_SETS = {  # by the names of processors that have them, which older compilers know too
    "x86-64-v4-narrow": (*_AVX512, "-mprefer-vector-width=256", "-DNANSURFER_NARROW"),
    "x86-64-v4": (*_AVX512, "-mprefer-vector-width=512"),
    "x86-64-v3": ("-march=haswell", "-mtune=generic"),
}
_X86_HALF_SETS = {  # compilers before GCC 12 and Clang 14 do not know it
    "x86-64-v4-fp16": (*_X86_SETS["x86-64-v4"], "-mavx512fp16", "-DNANSURFER_HALF"),
}
_TIMEOUT_S = 600


class BuildError(Exception):
    """There is no compiler, or it does not compile the kernels."""


def instruction_sets(*, half: bool = False) -> dict[str, tuple[str, ...]]:
    """Name of each instruction set that this kind of processor may have, best first, to the compiler's flags.

    ``narrow`` has AVX-512's registers and instructions for vectors of 256 bits: where the processor computes 512 in two
    turns, they are as fast, and runs leave less of them empty.

    Parameters
    ----------
    half
        Those that compute in float16, at twice the speed; otherwise in float32.
    """
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return _X86_HALF_SETS if half else _X86_SETS
    return {machine: ()} if machine in ("arm64", "aarch64") and not half else {}


def library_path(instruction_set: str) -> Path:
    """Where the library for an instruction set lies."""
    return FOLDER / f"kernels-{instruction_set}.so"


def sources_checksum() -> int:
    """A number that changes with the sources, of 31 bits."""
    checksum = 0
    for path in sorted((*FOLDER.glob("*.h"), *FOLDER.glob("*.cpp"))):
        checksum = zlib.crc32(path.read_bytes().replace(b"\r\n", b"\n"), checksum)
    return checksum & 0x7FFFFFFF


def build() -> list[Path]:
    """Compile the libraries for all instruction sets.

    Returns
    -------
    Their paths; none on a kind of processor that the kernels are not written for. Those for float16 are left out if
    the compiler is too old for them.

    Raises
    ------
    BuildError
        There is no compiler, or it does not compile the kernels.
    """
    libraries = [_compile(name, flags) for name, flags in instruction_sets().items()]
    for name, flags in instruction_sets(half=True).items():
        with suppress(BuildError):
            libraries.append(_compile(name, flags))
    return libraries


def _compile(name: str, flags: tuple[str, ...]) -> Path:
    library = library_path(name)
    unfinished = library.with_suffix(f".{os.getpid()}.tmp")
    sources = sorted(map(str, FOLDER.glob("*.cpp")))
    checksum = f"-DNANSURFER_SOURCES={sources_checksum()}"
    command = [*_compiler(), *_FLAGS, *flags, checksum, *sources, "-o", str(unfinished)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
        unfinished.replace(library)  # in one step, under the feet of whoever uses the old one
    except subprocess.CalledProcessError as error:
        raise BuildError(f"{shlex.join(command)} failed: {error.stderr.strip()[-2000:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{shlex.join(command)} failed: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return library


def _compiler() -> list[str]:
    """The C++ compiler: the environment's ``CXX``, else the first found."""
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("no C++ compiler was found (c++, g++ or clang++; CXX names another)")


if __name__ == "__main__":
    build()
