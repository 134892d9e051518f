"""Sets of weights: known by name or in a folder, bundled or downloaded (by ``fetch``), checked before use."""

from nansurfer.weights.cache import import_files
from nansurfer.weights.checkpoint import export_fastsurfer
from nansurfer.weights.checksums import record_checksum, recorded_checksum
from nansurfer.weights.native import save_network
from nansurfer.weights.registry import KnownFile, KnownSet, cache_dir, known_set, known_sets
from nansurfer.weights.sets import WeightSet, load_network, resolve, verify

__all__ = [
    "KnownFile",
    "KnownSet",
    "WeightSet",
    "cache_dir",
    "export_fastsurfer",
    "import_files",
    "known_set",
    "known_sets",
    "load_network",
    "record_checksum",
    "recorded_checksum",
    "resolve",
    "save_network",
    "verify",
]
