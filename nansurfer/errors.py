"""Every error a user can meet, each kind with its exit code.

The message of each is one sentence that says what was found, what was expected and what to do. The library
raises; only the command line prints and exits. Exit code 2 is the command line's own (wrong options), 130 an
interruption from the keyboard.
"""

from __future__ import annotations


class NansurferError(Exception):
    """Base of all errors that are the input's, the machine's or the caller's doing, not a bug."""

    exit_code = 1


class InputNotFoundError(NansurferError):
    """The input file does not exist or may not be read."""

    exit_code = 3


class InputFormatError(NansurferError):
    """The input file is not an image we read, or it is damaged (a truncated gzip, say)."""

    exit_code = 4


class InputGeometryError(NansurferError):
    """The image's dimensions, voxel sizes or affine cannot be used."""

    exit_code = 5


class InputIntensityError(NansurferError):
    """The image's values cannot be used: NaN, infinity, or all the same."""

    exit_code = 6


class NoBrainError(NansurferError):
    """The finished segmentation holds too little brain to be believed."""

    exit_code = 7


class OutputError(NansurferError):
    """The results cannot be written: folder not writable, disk full, other results in their place."""

    exit_code = 8


class OccupiedError(OutputError):
    """Other results, or damaged ones, lie in the place of these."""


class BusyError(OutputError):
    """Another run is at work on the same folder."""


class WeightsError(NansurferError):
    """The weights are missing, damaged, or belong to another network."""

    exit_code = 9


class DownloadError(NansurferError):
    """The weights cannot be fetched."""

    exit_code = 10


class DeviceError(NansurferError):
    """The device asked for is absent or ran out of memory."""

    exit_code = 11


class ConfigError(NansurferError):
    """A configuration file or an option has a value that makes no sense."""

    exit_code = 12


class BatchError(NansurferError):
    """Some subjects of a batch have no result."""

    exit_code = 13
