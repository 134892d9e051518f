"""What a benchmark's figures belong to: commit, versions and machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

from nansurfer.pipeline.record import package_versions

_CHECKOUT = Path(__file__).parents[2]
_CPU_INFO = Path("/proc/cpuinfo")


def provenance() -> dict[str, str]:
    """Commit, versions, system and processor, by the names of a benchmark's columns."""
    versions = {f"{name}_version": version for name, version in package_versions().items()}
    return {"commit": commit(), **versions, "system": platform.platform(), "processor": processor()}


def commit() -> str:
    """Short hash of the commit that the package runs from, with a plus sign when files differ from it.

    Empty where the package does not lie in a checkout of its own, or git is missing.
    """
    if shutil.which("git") is None or not (_CHECKOUT / ".git").exists():
        return ""
    name = _git("rev-parse", "--short", "HEAD")
    return name + "+" if name and _git("status", "--porcelain") else name


def processor() -> str:
    """The processor's model; its architecture where the system does not tell."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(_CHECKOUT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
