"""What can be chosen about a segmentation, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from nansurfer.engine import ComputeOptions, check_fast_policy, check_masked_policy
from nansurfer.errors import ConfigError
from nansurfer.pipeline.skipping import SkipOptions
from nansurfer.volume import VIEWS, View, VoxelSize, check_voxel_size


@dataclass(frozen=True)
class SegmentOptions:
    """Everything that decides what a segmentation looks like and what is written.

    Parameters
    ----------
    weights
        Name of a set of weights, or a folder of them (see ``nansurfer weights list``).
    views
        Views to run; the sum of logits leaves out the others.
    vox_size
        ``"min"``: the image's smallest voxel side, at most 1 mm; or a size in mm, 0.1 to 1.
    fastsurfer_compat
        Conform as FastSurfer does, faults included, compute every slice, fold nothing and, unless told to, skip
        nothing.
    native
        Also write the labels on the input's own grid.
    force
        Keep a result in which no brain was found.
    report
        Count what is skipped and write ``report/``.
    skip
        What need not be computed.
    compute
        Device, precision, threads, batch size and engine.

    Raises
    ------
    ConfigError
        A value makes no sense, or an engine is asked for what it cannot do.
    """

    weights: str = "compact"
    views: tuple[View, ...] = VIEWS
    vox_size: VoxelSize = "min"
    fastsurfer_compat: bool = False
    native: bool = False
    force: bool = False
    report: bool = True
    skip: SkipOptions = field(default_factory=SkipOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)

    def __post_init__(self) -> None:
        check_voxel_size(self.vox_size)
        unknown = [view for view in self.views if view not in VIEWS]
        if unknown or not self.views or len(set(self.views)) < len(self.views):
            raise ConfigError(f"views are {','.join(self.views) or 'none'}; choose from {','.join(VIEWS)}, each once.")
        if self.fastsurfer_compat and self.skip.find_brain:
            raise ConfigError("find_brain has no say when everything is computed as FastSurfer does; leave it out.")
        if self.fastsurfer_compat and self.skip.nan == "auto":
            object.__setattr__(self, "skip", SkipOptions(nan="off"))
        if self.compute.engine in ("masked", "fast"):
            self._check_engine()

    @property
    def as_elsewhere(self) -> bool:
        """Whether another program's computation is repeated: in every slice, and by the reference engine alone."""
        return self.fastsurfer_compat or self.skip.paper_compat

    def _check_engine(self) -> None:
        engine = self.compute.engine
        if self.as_elsewhere:
            raise ConfigError(
                f"The {engine} engine cannot compute as FastSurfer (fastsurfer_compat) or the NaN papers "
                "(paper_compat) do; choose engine 'reference' or 'auto'."
            )
        check_policy = check_fast_policy if engine == "fast" else check_masked_policy
        check_policy(self.skip.policy())


def make_options(**choices: Any) -> SegmentOptions:
    """Options from keywords: fields of :class:`SegmentOptions`, :class:`SkipOptions` or :class:`ComputeOptions`.

    Raises
    ------
    ConfigError
        An unknown keyword, or a value that makes no sense.
    """
    parts: dict[str, type] = {"skip": SkipOptions, "compute": ComputeOptions}
    homes = {field.name: name for name, part in parts.items() for field in fields(part)}
    known = {*homes, *(field.name for field in fields(SegmentOptions))}
    if unknown := set(choices) - known:
        raise ConfigError(f"Unknown options: {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}.")
    for name, part in parts.items():
        own = {key: choices.pop(key) for key in list(choices) if homes.get(key) == name}
        if own:
            choices[name] = part(**own)
    return SegmentOptions(**choices)
