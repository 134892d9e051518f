"""The compiled kernels: which library is loaded, and its structs in ctypes, which mirror those of the C++ sources."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from ctypes import POINTER, Structure, c_float, c_int16, c_int32, c_int64, c_void_p
from functools import cache
from typing import Any, ClassVar

from nansurfer.engine.kernels.build import instruction_sets, library_path, sources_checksum

_logger = logging.getLogger("nansurfer")


class Map(Structure):
    """A feature map, or some of its channels: ``data`` points to row 0, column 0 of the first."""

    _fields_: ClassVar = [("data", c_void_p), ("row", c_int64), ("channel", c_int64), ("ring", c_int64)]


class Blank(Structure):
    """What a feature map is for an empty slice: all channels of a pixel together, and where rows and columns are."""

    _fields_: ClassVar = [("data", c_void_p), ("rows", c_void_p), ("columns", c_void_p)]


class Run(Structure):
    """Columns of a row."""

    _fields_: ClassVar = [("start", c_int16), ("stop", c_int16)]


class Runs(Structure):
    """Runs of all rows."""

    _fields_: ClassVar = [("first", c_void_p), ("runs", c_void_p)]


class Output(Structure):
    """Where a kernel writes, and what it makes of the values by channel (as they are if ``positive`` is null)."""

    _fields_: ClassVar = [("map", Map), ("positive", c_void_p), ("negative", c_void_p), ("shift", c_void_p)]


class Halo(Structure):
    """Pixels of some channels to be taken from the blank response."""

    _fields_: ClassVar = [("runs", Runs), ("channel", c_int32), ("channels", c_int32)]


class Convolution(Structure):
    """A convolution with what follows it."""

    _fields_: ClassVar = [
        ("input", Map),
        ("blank", Blank),
        ("competitor", Map),
        ("outputs", Output * 2),
        ("halos", Halo * 2),
        ("compute", Runs),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("channels_in", c_int32),
        ("channels_out", c_int32),
        ("kernel", c_int32),
    ]


class ConvolutionMask(Structure):
    """Which pixels of a convolution are valid, and what has to be computed."""

    _fields_: ClassVar = [
        ("inputs", c_void_p * 2),
        ("channels", c_int32 * 2),
        ("needed", c_void_p),
        ("competitor", c_void_p),
        ("kinds", c_void_p),
        ("output", c_void_p),
        ("compute", Runs),
        ("halos", Runs * 2),
        ("height", c_int32),
        ("width", c_int32),
        ("kernel", c_int32),
    ]


class Positions(Structure):
    """Where in its window each maximum was, 0 to 3."""

    _fields_: ClassVar = [("data", c_void_p), ("row", c_int64), ("channel", c_int64)]


class Pooling(Structure):
    """A pooling, or the unpooling that undoes it."""

    _fields_: ClassVar = [
        ("input", Map),
        ("pooled", Map),
        ("positions", Positions),
        ("outputs", Output * 2),
        ("compute", Runs),
        ("holes", Runs),
        ("ring", Runs),
        ("blank", Blank),
        ("channels", c_int32),
        ("height", c_int32),
    ]


class Axis(Structure):
    """Where the pixels along an axis of a resampled map come from."""

    _fields_: ClassVar = [("first", c_void_p), ("second", c_void_p), ("share", c_void_p)]


class Zoom(Structure):
    """A bilinear resampling."""

    _fields_: ClassVar = [
        ("input", Map),
        ("output", Output),
        ("compute", Runs),
        ("rows", Axis),
        ("columns", Axis),
        ("channels", c_int32),
        ("height", c_int32),
    ]


class Classifier(Structure):
    """A 1x1 convolution to logits, classes contiguous."""

    _fields_: ClassVar = [
        ("features", Map),
        ("valid", Runs),
        ("weights", c_void_p),
        ("bias", c_void_p),
        ("channels", c_int32),
        ("classes", c_int32),
        ("padded", c_int32),
        ("height", c_int32),
        ("width", c_int32),
    ]


class Sum(Structure):
    """Float16 sums of logits, classes contiguous, and the part of the slice that they are of."""

    _fields_: ClassVar = [
        ("data", c_void_p),
        ("row", c_int64),
        ("column", c_int64),
        ("top", c_int32),
        ("bottom", c_int32),
        ("left", c_int32),
        ("right", c_int32),
    ]


_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "enter": (c_void_p, POINTER(Output), POINTER(Runs), c_int32, c_int32, c_int32),
    "flush_denormals": (),
    "convolve": (POINTER(Convolution), c_int32, c_int32),
    "convolve_part": (POINTER(Convolution), c_int32, c_int32, c_int32),
    "pool": (POINTER(Pooling),),
    "unpool": (POINTER(Pooling),),
    "runs": (c_void_p, c_int32, c_int32, POINTER(Runs)),
    "mask_convolution": (POINTER(ConvolutionMask),),
    "count_kinds": (c_void_p, c_int32, c_int32, c_int32, c_int32, c_void_p, POINTER(c_int64), POINTER(c_int64)),
    "mask_pool": (c_void_p, c_int32, c_int32, c_int32, c_void_p, POINTER(Runs), POINTER(Runs), POINTER(Runs)),
    "mask_unpool": (c_void_p, c_void_p, c_int32, c_int32, c_void_p, POINTER(Runs)),
    "finite": (POINTER(Classifier),),
    "zoom": (POINTER(Zoom),),
    "mask_zoom": (c_void_p, c_int32, POINTER(Axis), POINTER(Axis), c_int32, c_int32, c_void_p, POINTER(Runs)),
    "logits": (POINTER(Classifier), c_void_p),
    "accumulate": (POINTER(Classifier), c_float, POINTER(Sum)),
    "largest": (POINTER(Classifier), c_float, POINTER(Sum), c_void_p, c_int64, c_int64),
}


def fast_kernels_available() -> bool:
    """Whether the package was installed with compiled kernels that this processor can run."""
    return load_kernels() is not None


@cache
def load_kernels(*, half: bool = False) -> ctypes.CDLL | None:
    """The kernels for the instruction set that suits the processor best; None if there are none.

    Each releases the interpreter's lock while it runs.

    Parameters
    ----------
    half
        Those that compute in float16; otherwise in float32.
    """
    kernels = next((kernels for _, kernels in suitable_libraries(half=half)), None)
    if kernels is None and not half:
        _logger.info("There are no compiled kernels for this processor, so the fast engine cannot be used.")
    return kernels


def suitable_libraries(*, half: bool = False) -> Iterator[tuple[str, ctypes.CDLL]]:
    """Instruction set and kernels of the libraries that suit the processor, best first."""
    for name in instruction_sets(half=half):
        kernels = open_library(name)
        if kernels is not None and kernels.suits():
            yield name, kernels


def open_library(instruction_set: str) -> ctypes.CDLL | None:
    """The kernels for an instruction set; None if there are none, or only some made of other sources."""
    path = library_path(instruction_set)
    if not path.is_file():
        return None
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        _logger.warning("The compiled kernels cannot be loaded (%s); going on without them.", error)
        return None
    if library.sources() != sources_checksum():
        _logger.warning("%s was compiled from other sources; install the package again to use it.", path)
        return None
    for name, arguments in _SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, c_int32 if name == "finite" else None
    return library
