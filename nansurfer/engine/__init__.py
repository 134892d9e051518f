"""How a network is executed: on which device, at which precision, in which batches."""

from nansurfer.engine.counts import SliceCounts
from nansurfer.engine.dense import DenseEngine
from nansurfer.engine.device import (
    ComputeOptions,
    available_cpus,
    default_threads,
    is_out_of_memory,
    keep_freed_memory,
    one_thread,
    resolve_device,
)
from nansurfer.engine.fast import FastEngine, check_fast_policy
from nansurfer.engine.fold import fold_batch_norms
from nansurfer.engine.masked import MaskedEngine, check_masked_policy
from nansurfer.engine.native import fast_kernels_available
from nansurfer.engine.protocol import Engine
from nansurfer.engine.reference import ReferenceEngine
from nansurfer.engine.sums import LogitSum, zero_sums

__all__ = [
    "ComputeOptions",
    "DenseEngine",
    "Engine",
    "FastEngine",
    "LogitSum",
    "MaskedEngine",
    "ReferenceEngine",
    "SliceCounts",
    "available_cpus",
    "check_fast_policy",
    "check_masked_policy",
    "default_threads",
    "fast_kernels_available",
    "fold_batch_norms",
    "is_out_of_memory",
    "keep_freed_memory",
    "one_thread",
    "resolve_device",
    "zero_sums",
]
