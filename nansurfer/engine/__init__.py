"""How a network is executed: on which device, at which precision, in which batches."""

from typing import TYPE_CHECKING

from nansurfer.engine.counts import SliceCounts
from nansurfer.engine.device import (
    ComputeOptions,
    available_cpus,
    default_threads,
    gpu_count,
    is_out_of_memory,
    keep_freed_memory,
    resolve_device,
    use_gpu,
)
from nansurfer.engine.fast import FastEngine
from nansurfer.engine.native import fast_kernels_available
from nansurfer.engine.policies import check_fast_policy, check_masked_policy, masked_serves
from nansurfer.engine.protocol import Engine
from nansurfer.engine.sums import Classes, LogitSum, Sums, zero_sums
from nansurfer.lazy import on_demand

if TYPE_CHECKING:
    from nansurfer.engine.dense import DenseEngine
    from nansurfer.engine.fold import fold_batch_norms
    from nansurfer.engine.masked import MaskedEngine
    from nansurfer.engine.reference import ReferenceEngine

__all__ = [
    "Classes",
    "ComputeOptions",
    "DenseEngine",
    "Engine",
    "FastEngine",
    "LogitSum",
    "MaskedEngine",
    "ReferenceEngine",
    "SliceCounts",
    "Sums",
    "available_cpus",
    "check_fast_policy",
    "check_masked_policy",
    "default_threads",
    "fast_kernels_available",
    "fold_batch_norms",
    "gpu_count",
    "is_out_of_memory",
    "keep_freed_memory",
    "masked_serves",
    "resolve_device",
    "use_gpu",
    "zero_sums",
]

__getattr__ = on_demand(
    __name__,
    {"dense": "DenseEngine", "fold": "fold_batch_norms", "masked": "MaskedEngine", "reference": "ReferenceEngine"},
)
