"""One T1 in, one segmentation out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import SpatialImage

from nansurfer.engine import (
    Engine,
    FastEngine,
    default_threads,
    is_out_of_memory,
    keep_freed_memory,
    masked_serves,
    resolve_device,
)
from nansurfer.errors import ConfigError, DeviceError, NoBrainError
from nansurfer.files import sha256
from nansurfer.labels import MIN_BRAIN_VOLUME_ML
from nansurfer.models import ModelConfig, NetworkState
from nansurfer.pipeline.aggregate import MAX_SHARE, Restrict, Scene, ViewModel, aggregate_views
from nansurfer.pipeline.brain import NO_BRAIN_BELOW_ML, BrainSearch
from nansurfer.pipeline.options import SegmentOptions, make_options
from nansurfer.pipeline.outputs import (
    holds_result_of,
    load_result,
    other_choices,
    staged_folder,
    write_outputs,
    write_record,
)
from nansurfer.pipeline.progress import Progress
from nansurfer.pipeline.record import Stopwatch, package_versions, run_record
from nansurfer.pipeline.result import SegmentationResult, result_from_classes
from nansurfer.pipeline.skipping import SkipLog
from nansurfer.report import SkipReport
from nansurfer.volume import EXTENSIONS, View, conform, head_box, head_mask, mask_box, read_image, to_view, whole_box
from nansurfer.weights import WeightSet, load_arrays, resolve

NETWORK_STAGE = "Running the network"
"""Name of the stage whose time the engines decide."""

_logger = logging.getLogger("nansurfer")


@contextmanager
def _memory_shortage_reported() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceError(
            "The memory does not suffice for this image; close other programs, or ask for larger voxels with "
            "--vox-size."
        ) from error


class Segmenter:
    """Networks loaded once, for any number of subjects.

    Parameters
    ----------
    options
        See :class:`SegmentOptions`.

    Raises
    ------
    WeightsError
        The weights are missing, damaged, or not what they claim to be.
    DeviceError
        The device asked for is absent.
    """

    def __init__(self, options: SegmentOptions | None = None) -> None:
        self.options = options or SegmentOptions()
        resolve_device(self.options.compute.device)
        self.threads = self.options.compute.threads or default_threads()
        keep_freed_memory()
        self.weights: WeightSet = resolve(self.options.weights, views=self.options.views)
        self._models: dict[str, Mapping[View, ViewModel]] = {}

    @cached_property
    def _networks(self) -> Mapping[View, tuple[ModelConfig, NetworkState]]:
        loaded = {view: load_arrays(self.weights, view) for view in self.options.views}
        return {view: (config, NetworkState.loaded(config, arrays)) for view, (config, arrays) in loaded.items()}

    def models(self, scene: Scene) -> Mapping[View, ViewModel]:
        """The views' networks in the engine that suits a scene, in the order in which they are added."""
        networks, name = self._networks, self._engine_for(scene)
        if name not in self._models:
            order = next(iter(networks.values()))[0].views
            engines = self._build(name)
            self._models[name] = {
                view: ViewModel.of(engines[view], networks[view][0], view) for view in order if view in engines
            }
        return self._models[name]

    def _prepared_models(self, conformed: nib.MGHImage) -> Mapping[View, ViewModel]:
        """The models for a conformed T1, the first of them ready for its slices."""
        volume = np.asanyarray(conformed.dataobj)
        scene = Scene(volume, whole_box(volume), _scale(conformed))
        models = self.models(scene)
        view, model = next(iter(models.items()))
        rows, columns, _ = to_view(volume, view).shape
        model.engine.prepare((rows, columns), scene.scale)
        return models

    def _engine_for(self, scene: Scene) -> str:
        """One of ``"fast"``, ``"masked"`` and ``"reference"``."""
        compute, policy = self.options.compute, self.options.skip.policy()
        if compute.engine != "auto":
            return compute.engine
        if self.options.as_elsewhere:
            return "reference"
        x, y, z = scene.volume.shape
        fast_serves = (
            resolve_device(compute.device) == "cpu"
            and compute.fast_arithmetic
            and x == y == z
            and all(
                FastEngine.serves(network, policy, (x, y), scene.scale, compute.precision)
                for _, network in self._networks.values()
            )
        )
        if fast_serves:
            return "fast"
        return "masked" if masked_serves(policy) else "reference"

    def _build(self, engine: str) -> Mapping[View, Engine]:
        compute = replace(self.options.compute, threads=self.threads)
        policy, counting = self.options.skip.policy(), self.options.report
        if engine == "fast":
            return {
                view: FastEngine(state, compute, policy, counting=counting)
                for view, (_, state) in self._networks.items()
            }
        if self.options.fastsurfer_compat:
            compute = replace(compute, fold=False)
        from nansurfer.pipeline.pytorch import build_engines  # which takes a second to load

        return build_engines(engine, self._networks, compute, policy, counting=counting)

    @_memory_shortage_reported()
    def segment(
        self,
        path: str | Path,
        output_dir: str | Path | None = None,
        sid: str | None = None,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> SegmentationResult:
        """The segmentation of one T1; see :func:`segment`."""
        path, progress = Path(path), progress or Progress()
        if output_dir is None:
            return self._compute(read_image(path), Stopwatch(progress), progress)
        folder = subject_folder(output_dir, sid, path)
        if not overwrite and holds_result_of(folder, path):
            if other := other_choices(folder, self.options):
                _logger.warning("%s is finished already, but with %s; overwrite it to do it again.", folder, other)
            return load_result(folder)
        watch = Stopwatch(progress)
        with watch.stage("Reading"):
            image = read_image(path)
            source = {"path": str(path.resolve()), "sha256": sha256(path)}
        with staged_folder(folder) as staging:
            result = self._compute(image, watch, progress)
            return self._write(staging, image, source, replace(result, folder=folder), watch)

    def _write(
        self,
        staging: Path,
        image: SpatialImage,
        source: Mapping[str, str],
        result: SegmentationResult,
        watch: Stopwatch,
    ) -> SegmentationResult:
        """The result, written into a folder that will take its place."""
        assert result.folder is not None
        sid = result.folder.name
        with watch.stage("Writing"):
            caption = f"{sid}   brain {result.brain_volume_ml:.0f} ml   weights {self.weights.name}"
            native, threads = self.options.native, self.threads
            report_s = write_outputs(staging, image, result, sid=sid, native=native, caption=caption, threads=threads)
            facts: dict[str, Any] = {
                "input": source,
                "weights": {
                    "name": self.weights.name,
                    "model": self.weights.model,
                    "sha256": self.weights.checksums(),
                },
                "brain_volume_ml": round(result.brain_volume_ml, 3),
                "brain_search": result.brain_search,
            }
            if report := result.skip_report:
                facts["skip_report"] = {**report.bookkeeping, "report_s": round(report_s, 3)}
        machine = {"device": result.device, "engine": result.engine, "threads": self.threads}
        write_record(staging, run_record(self.options, machine, watch.timings_s, **facts))
        return replace(result, timings_s=watch.timings_s)

    def _compute(self, image: SpatialImage, watch: Stopwatch, progress: Progress) -> SegmentationResult:
        with watch.stage("Conforming"):
            conformed = conform(image, self.options.vox_size, fastsurfer_compat=self.options.fastsurfer_compat)
        with ThreadPoolExecutor(1) as beside:
            loading = beside.submit(self._prepared_models, conformed)
            with watch.stage("Finding the head"):
                scene = self._scene(conformed)
            with watch.stage("Loading weights"):  # what of it took longer
                models = loading.result()
        engine = next(iter(models.values())).engine
        _logger.info("Engine: %s, on %s.", engine.name, engine.device)
        with watch.stage(NETWORK_STAGE):
            classes, log, search = self._classes(scene, models, progress)
        with watch.stage("Labelling"):
            result = result_from_classes(conformed, classes, self.threads)
        self._check_brain(result)
        return replace(
            result,
            timings_s=watch.timings_s,
            device=engine.device,
            engine=engine.name,
            skip_report=self._skip_report(scene, log, search, engine) if self.options.report else None,
            brain_search=search.findings if search else None,
        )

    def _classes(
        self, scene: Scene, models: Mapping[View, ViewModel], progress: Progress
    ) -> tuple[npt.NDArray[np.uint8], SkipLog, BrainSearch | None]:
        """The class of each voxel, what was skipped, and what came of the search for the brain, if there was one."""
        if not self.options.skip.finds_brain:
            return *self._aggregate(scene, models, progress), None
        search = BrainSearch(scene)
        classes, log = self._aggregate(scene, models, progress, search.near_brain)
        if search.may_have_cut(classes):
            _logger.warning("Labels reach farther than the brain was found to; all of the head is segmented now.")
            search.give_up()
            classes, log = self._aggregate(scene, models, progress)
        return classes, log, search

    def _aggregate(
        self, scene: Scene, models: Mapping[View, ViewModel], progress: Progress, restrict: Restrict | None = None
    ) -> tuple[npt.NDArray[np.uint8], SkipLog]:
        log = SkipLog()
        on_counts = log.add if self.options.report else None
        nan_wins = self.options.skip.paper_compat
        classes = aggregate_views(scene, models, progress, nan_wins=nan_wins, on_counts=on_counts, restrict=restrict)
        return classes, log

    def _skip_report(self, scene: Scene, log: SkipLog, search: BrainSearch | None, engine: Engine) -> SkipReport:
        options = self.options.skip.chosen(scene.scale) | {"weights": self.weights.name}
        counted = [array for view in log.views for array in (view.skipped, view.mixed, view.tiles)]
        return SkipReport(
            sid="",
            versions=package_versions(),
            options=options | (search.findings if search else {}),
            views=log.views,
            bookkeeping={
                "counting_s": round(log.counting_s, 3),
                "memory_mb": round(sum(array.nbytes for array in counted) / 1e6, 3),
            },
            left_dense=engine.left_dense,
            engine=engine.name,
        )

    def _scene(self, conformed: nib.MGHImage) -> Scene:
        """What of a conformed T1 is to be computed."""
        volume = np.asanyarray(conformed.dataobj)
        skip = self.options.skip
        head = head_mask(volume) if skip.marks_background else None
        if self.options.as_elsewhere:
            box = whole_box(volume)
        elif head is None:
            box = head_box(volume)
        else:
            box = mask_box(head)
        # FastSurfer holds all logits: in parts, slices of two views would be computed again, which it does not do.
        max_share = 1.0 if self.options.fastsurfer_compat else MAX_SHARE
        scale = _scale(conformed)
        return Scene(volume, box, scale, head, skip.chosen(scale)["margin"] or 0, max_share)

    def _check_brain(self, result: SegmentationResult) -> None:
        volume = result.brain_volume_ml
        if volume < NO_BRAIN_BELOW_ML and not self.options.force:
            raise NoBrainError(
                f"No brain was found ({volume:.0f} ml labelled, expected above {NO_BRAIN_BELOW_ML:.0f} ml); look at "
                "the image's orientation and contrast, or keep the result with --force."
            )
        if volume < MIN_BRAIN_VOLUME_ML:
            _logger.warning(
                "Only %.0f ml of brain were labelled, fewer than %.0f ml; look at the picture before you use this.",
                volume,
                MIN_BRAIN_VOLUME_ML,
            )


def subject_id(path: str | Path) -> str:
    """A file's name without its folder and image suffixes: ``data/subj.nii.gz`` gives ``subj``."""
    name = Path(path).name
    suffix = next((suffix for suffix in EXTENSIONS if name.lower().endswith(suffix)), "")
    return name[: len(name) - len(suffix)]


def subject_folder(output_dir: str | Path, sid: str | None, path: str | Path) -> Path:
    """Folder of a subject: ``output_dir/sid``; without ``sid`` it is named after its file.

    Raises
    ------
    ConfigError
        The name is not one of a folder inside ``output_dir``.
    """
    name = subject_id(path) if sid is None else sid
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise ConfigError(f"The subject's name is {name!r}; give --sid a plain name, without slashes.")
    return Path(output_dir) / name


def _scale(conformed: nib.MGHImage) -> float:
    """1 mm divided by the voxel size, in float32 as FastSurfer computes it."""
    return float(np.float32(1) / conformed.header.get_zooms()[0])


def segment(
    path: str | Path,
    output_dir: str | Path | None = None,
    *,
    sid: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    **choices: Any,
) -> SegmentationResult:
    """The segmentation of one T1 by FastSurfer's three-view network.

    Parameters
    ----------
    path
        A T1-weighted volume: .mgz, .mgh, .nii, .nii.gz or .img/.hdr, of any orientation and voxel size.
    output_dir
        Where the subject's folder is made, in FreeSurfer's layout; None to write nothing.
    sid
        Name of the subject's folder; None for the file's name without its suffixes.
    overwrite
        Do a finished subject again; otherwise its result is read from disk, with a warning if other options gave it.
    progress
        Told how far the run is.
    **choices
        Fields of :class:`SegmentOptions` (``weights``, ``views``, ``vox_size``, ...), of :class:`SkipOptions`
        (``nan``, ``threshold``, ``fill``, ...) and of :class:`ComputeOptions` (``device``, ``threads``, ...).

    Returns
    -------
    SegmentationResult
        Labels, mask, aseg and volumes.

    Raises
    ------
    NansurferError
        One of its kinds in :mod:`nansurfer.errors`: the input, the weights, the device or the output folder
        cannot be used, or no brain was found.

    Examples
    --------
    >>> result = nansurfer.segment("subj.mgz", "subjects")  # doctest: +SKIP
    >>> result.brain_volume_ml  # doctest: +SKIP
    1143.2
    """
    segmenter = Segmenter(make_options(**choices))
    return segmenter.segment(path, output_dir, sid, overwrite=overwrite, progress=progress)
