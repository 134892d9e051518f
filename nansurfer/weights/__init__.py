"""Sets of weights: known by name or in a folder, bundled or downloaded (by ``fetch``), checked before use."""

from typing import TYPE_CHECKING

from nansurfer.lazy import on_demand
from nansurfer.weights.cache import import_files
from nansurfer.weights.checksums import record_checksum, recorded_checksum
from nansurfer.weights.native import save_network
from nansurfer.weights.registry import KnownFile, KnownSet, cache_dir, known_set, known_sets
from nansurfer.weights.sets import WeightSet, load_arrays, load_network, resolve, verify

if TYPE_CHECKING:
    from nansurfer.weights.checkpoint import export_fastsurfer

__all__ = [
    "KnownFile",
    "KnownSet",
    "WeightSet",
    "cache_dir",
    "export_fastsurfer",
    "import_files",
    "known_set",
    "known_sets",
    "load_arrays",
    "load_network",
    "record_checksum",
    "recorded_checksum",
    "resolve",
    "save_network",
    "verify",
]

__getattr__ = on_demand(__name__, {"checkpoint": "export_fastsurfer"})
