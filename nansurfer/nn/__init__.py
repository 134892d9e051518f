"""NaN pooling, unpooling and convolution; any network as a NaN network; what it skips. Knows nothing of brains."""

from typing import TYPE_CHECKING

from nansurfer.lazy import on_demand
from nansurfer.nn.options import Fill, nan_needed
from nansurfer.nn.policy import NaNPolicy

if TYPE_CHECKING:
    from nansurfer.nn import functional
    from nansurfer.nn.blank import record_blank
    from nansurfer.nn.conversion import nanify
    from nansurfer.nn.counts import (
        LayerCounts,
        counting_s,
        mac_skip_ratio,
        mean_skip_ratio,
        reset_counts,
        set_counting,
        skip_counts,
        speedup_bound,
    )
    from nansurfer.nn.dense import left_dense
    from nansurfer.nn.functional import (
        nan_conv2d,
        nan_conv3d,
        nan_max_pool2d,
        nan_max_pool3d,
        nan_max_unpool2d,
        nan_max_unpool3d,
    )
    from nansurfer.nn.layers import (
        NaNConv2d,
        NaNConv3d,
        NaNMaxPool2d,
        NaNMaxPool3d,
        NaNMaxUnpool2d,
        NaNMaxUnpool3d,
    )

__all__ = [
    "Fill",
    "LayerCounts",
    "NaNConv2d",
    "NaNConv3d",
    "NaNMaxPool2d",
    "NaNMaxPool3d",
    "NaNMaxUnpool2d",
    "NaNMaxUnpool3d",
    "NaNPolicy",
    "counting_s",
    "functional",
    "left_dense",
    "mac_skip_ratio",
    "mean_skip_ratio",
    "nan_conv2d",
    "nan_conv3d",
    "nan_max_pool2d",
    "nan_max_pool3d",
    "nan_max_unpool2d",
    "nan_max_unpool3d",
    "nan_needed",
    "nanify",
    "record_blank",
    "reset_counts",
    "set_counting",
    "skip_counts",
    "speedup_bound",
]

__getattr__ = on_demand(
    __name__,
    {
        "blank": "record_blank",
        "counts": "LayerCounts counting_s mac_skip_ratio mean_skip_ratio reset_counts set_counting skip_counts "
        "speedup_bound",
        "dense": "left_dense",
        "functional": "nan_conv2d nan_conv3d nan_max_pool2d nan_max_pool3d nan_max_unpool2d nan_max_unpool3d",
        "layers": "NaNConv2d NaNConv3d NaNMaxPool2d NaNMaxPool3d NaNMaxUnpool2d NaNMaxUnpool3d",
        "conversion": "nanify",
    },
)
