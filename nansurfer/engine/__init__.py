"""How a network is executed: on which device, at which precision, in which batches."""

from nansurfer.engine.counts import SliceCounts
from nansurfer.engine.dense import DenseEngine
from nansurfer.engine.device import ComputeOptions, available_cpus, is_out_of_memory, keep_freed_memory, resolve_device
from nansurfer.engine.fold import fold_batch_norms
from nansurfer.engine.reference import ReferenceEngine

__all__ = [
    "ComputeOptions",
    "DenseEngine",
    "ReferenceEngine",
    "SliceCounts",
    "available_cpus",
    "fold_batch_norms",
    "is_out_of_memory",
    "keep_freed_memory",
    "resolve_device",
]
