"""The NaN operations as functions, in 2D and 3D."""

from nansurfer.nn.functional.convolution import nan_conv2d, nan_conv3d
from nansurfer.nn.functional.pooling import nan_max_pool2d, nan_max_pool3d
from nansurfer.nn.functional.unpooling import nan_max_unpool2d, nan_max_unpool3d

__all__ = [
    "nan_conv2d",
    "nan_conv3d",
    "nan_max_pool2d",
    "nan_max_pool3d",
    "nan_max_unpool2d",
    "nan_max_unpool3d",
]
