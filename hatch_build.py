"""Hatchling's build hook: compiles the kernels of the fast engine into wheels and editable installs.

``NANSURFER_BUILD_KERNELS=0`` leaves them out; ``=1`` makes it an error if they cannot be compiled. Otherwise the build
goes on with a warning, and the package does without them.
"""

from __future__ import annotations

import importlib.util
import os
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_KERNELS = "nansurfer/engine/kernels"


class KernelsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Compiles the kernels and marks the wheel as one for this platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before the wheel is put together."""
        wanted = os.environ.get("NANSURFER_BUILD_KERNELS", "")
        if wanted == "0":
            return
        kernels = _load(Path(self.root, _KERNELS, "build.py"))
        try:
            libraries = kernels.build()
        except kernels.BuildError as error:
            if wanted == "1":
                raise
            self.app.display_warning(f"The fast engine is left out, PyTorch does its work: {error}")
            return
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"  # no Python headers: any Python will do
        build_data["artifacts"] += [f"/{_KERNELS}/{library.name}" for library in libraries]


def _load(path: Path) -> ModuleType:
    """A module by its path: the package itself may need what is not installed yet."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
