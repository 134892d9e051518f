"""One T1 in, one subject folder out."""

from __future__ import annotations

import errno
import importlib
import json
import logging
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

import nansurfer
from nansurfer.engine import DenseEngine, fast_kernels_available
from nansurfer.errors import ConfigError, DeviceError, NoBrainError, OutputError, WeightsError
from nansurfer.files import sha256
from nansurfer.pipeline import Progress, Segmenter, make_options
from nansurfer.pipeline.aggregate import Scene

segment_module = importlib.import_module("nansurfer.pipeline.segment")

FILES = {
    "mri/orig/001.mgz",
    "mri/orig.mgz",
    "mri/aparc.DKTatlas+aseg.deep.mgz",
    "mri/mask.mgz",
    "mri/aseg.auto_noCCseg.mgz",
    "stats/aseg+DKT.stats",
    "stats/volumes.csv",
    "qc/segmentation.png",
    "qc/thumbnail.jpg",
    "report/skip_report.json",
    "report/skip_report.csv",
    "report/skip_report.html",
    "nansurfer.json",
}
SCENE = Scene(np.zeros((256, 256, 256), np.uint8), (slice(0, 256),) * 3)
NATIVE = "mri/aparc.DKTatlas+aseg.deep.native.nii.gz"

# The thin cortex and the right white matter of the fixture's brain, as labels.
RIGHT_WHITE, LEFT_WHITE, RIGHT_PARCEL = 41, 2, 2003


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def labels_of(classes: np.ndarray) -> np.ndarray:
    return np.select([classes == 19, classes == 1, classes == 35], [RIGHT_WHITE, LEFT_WHITE, RIGHT_PARCEL], 0)


@pytest.fixture(autouse=True)
def unchanged_threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    torch.set_flush_denormal(False)


@pytest.fixture
def segmenter(tiny_weights: Path) -> Segmenter:
    return Segmenter(make_options(weights=str(tiny_weights), threads=1))


class TestWithARealNetwork:
    def test_every_step_works_together(self, tiny_weights: Path, blob_path: Path, tmp_path: Path) -> None:
        result = nansurfer.segment(
            blob_path, tmp_path, views=("axial",), weights=str(tiny_weights), device="cpu", threads=1
        )
        assert files(tmp_path / "blob") == FILES
        assert result.folder == tmp_path / "blob"
        # Outside of the box around the head nothing is labelled, and a random network labels much inside.
        occupied = [np.flatnonzero(result.labels.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        assert all(64 < axis.min() < axis.max() < 192 for axis in occupied)
        assert result.brain_volume_ml == np.count_nonzero(result.labels) / 1000 > 100

    def test_views_are_run_in_the_models_order(self, tiny_weights: Path) -> None:
        options = make_options(weights=str(tiny_weights), views=("axial", "sagittal", "coronal"))
        assert list(Segmenter(options).models(SCENE)) == ["coronal", "sagittal", "axial"]

    def test_a_view_that_is_left_out_needs_no_weights(self, tiny_weights: Path, tmp_path: Path) -> None:
        (tmp_path / "axial.safetensors").write_bytes((tiny_weights / "axial.safetensors").read_bytes())
        options = make_options(weights=str(tmp_path), views=("axial",))
        assert list(Segmenter(options).models(SCENE)) == ["axial"]
        with pytest.raises(WeightsError, match="coronal"):
            Segmenter(make_options(weights=str(tmp_path), views=("axial", "coronal")))

    def test_tampered_weights(self, tiny_weights: Path, blob_path: Path, tmp_path: Path) -> None:
        folder = tmp_path / "weights"
        folder.mkdir()
        for path in tiny_weights.iterdir():
            content = bytearray(path.read_bytes())
            content[-4:] = b"\xff\xff\xff\xff"  # NaN, in the last tensor
            (folder / path.name).write_bytes(content)
        with pytest.raises(WeightsError, match="NaN or infinite"):
            nansurfer.segment(blob_path, tmp_path / "out", weights=str(folder))
        assert files(tmp_path / "out") == set()


class TestOutputs:
    @pytest.fixture
    def folder(self, segmenter: Segmenter, instant_network, blob_path: Path, tmp_path: Path) -> Path:
        segmenter.segment(blob_path, tmp_path, "s1")
        return tmp_path / "s1"

    def test_images(self, folder: Path, instant_network: np.ndarray, blob_path: Path) -> None:
        blob = nib.load(blob_path)
        labels = labels_of(instant_network)
        aseg = np.where(labels == RIGHT_PARCEL, 42, labels)
        for name, dtype, expected in (
            ("orig/001.mgz", np.uint8, blob.get_fdata()),
            ("orig.mgz", np.uint8, blob.get_fdata()),
            ("aparc.DKTatlas+aseg.deep.mgz", np.int16, labels),
            ("aseg.auto_noCCseg.mgz", np.uint8, aseg),
        ):
            image = nib.load(folder / "mri" / name)
            assert image.get_data_dtype().newbyteorder("=") == dtype
            np.testing.assert_array_equal(image.affine, blob.affine)
            np.testing.assert_array_equal(np.asanyarray(image.dataobj), expected)

    def test_mask_holds_the_labels_and_little_more(self, folder: Path, instant_network: np.ndarray) -> None:
        mask = np.asanyarray(nib.load(folder / "mri" / "mask.mgz").dataobj)
        assert set(np.unique(mask)) == {0, 1}
        assert mask[instant_network > 0].all()
        assert mask.sum() == 98**3  # dilated by 5, eroded by 4

    def test_tables(self, folder: Path) -> None:
        csv = (folder / "stats" / "volumes.csv").read_text().splitlines()
        assert csv[0].startswith("label,name,n_voxels,volume_mm3,")
        assert [line.split(",")[:4] for line in csv if line.startswith("2003,")] == [
            ["2003", "ctx-rh-caudalmiddlefrontal", "9600", "9600.0"]
        ]
        stats = (folder / "stats" / "aseg+DKT.stats").read_text()
        assert "# subjectname s1\n" in stats
        assert f"# Measure Mask, MaskVol, Mask Volume, {98**3}.000000, mm^3\n" in stats

    def test_record(self, folder: Path, blob_path: Path, tiny_weights: Path) -> None:
        record = json.loads((folder / "nansurfer.json").read_text())
        assert record["input"] == {"path": str(blob_path), "sha256": sha256(blob_path)}
        assert record["weights"] == {
            "name": "weights",
            "model": "tiny",
            "sha256": {view: sha256(tiny_weights / f"{view}.safetensors") for view in ("axial", "coronal", "sagittal")},
        }
        assert record["versions"]["nansurfer"] == nansurfer.__version__
        assert {"python", "torch", "numpy", "scipy", "nibabel"} < set(record["versions"])
        assert record["options"]["compute"]["threads"] == record["machine"]["threads"] == 1
        assert record["machine"]["device"] in ("cpu", "cuda")
        assert record["brain_volume_ml"] == 884.736
        assert list(record["timings_s"]) == [
            "Reading",
            "Conforming",
            "Finding the head",
            "Loading weights",
            "Running the network",
            "Labelling",
            "Writing",
        ]
        assert record["elapsed_s"] == pytest.approx(sum(record["timings_s"].values()), abs=1e-3)
        assert 50 < record["peak_memory_mb"] < 100_000
        assert list(record["skip_report"]) == ["counting_s", "memory_mb", "report_s"]
        assert record["finished"].endswith("+00:00")

    def test_a_finished_subject_is_read_and_not_computed(
        self, segmenter: Segmenter, folder: Path, instant_network: np.ndarray, blob_path: Path, monkeypatch
    ) -> None:
        monkeypatch.setattr(segment_module, "aggregate_views", None)
        again = segmenter.segment(blob_path, folder.parent, "s1")
        np.testing.assert_array_equal(again.labels, labels_of(instant_network))
        assert again.labels.dtype == np.int16
        assert again.mask.dtype == again.aseg.dtype == np.uint8
        assert again.brain_volume_ml == 884.736
        assert next(iter(again.timings_s)) == "Reading"
        assert again.folder == folder

    def test_a_subject_finished_with_other_options_is_told(
        self, folder: Path, tiny_weights: Path, blob_path: Path, caplog
    ) -> None:
        options = make_options(weights=str(tiny_weights), device="cpu", views=("coronal",))
        Segmenter(options).segment(blob_path, folder.parent, "s1")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "is finished already, but with views axial,coronal,sagittal instead of coronal" in caplog.text

    def test_another_image_is_not_taken_for_it(
        self, segmenter: Segmenter, folder: Path, blob_path: Path, tmp_path: Path
    ) -> None:
        other = tmp_path / "other.mgz"
        nib.load(blob_path).slicer[:, :, :200].to_filename(other)
        with pytest.raises(OutputError, match="holds the segmentation of another image"):
            segmenter.segment(other, folder.parent, "s1")

    def test_overwrite_does_it_again(
        self, segmenter: Segmenter, folder: Path, instant_network: np.ndarray, blob_path: Path
    ) -> None:
        instant_network[80:100] = 0
        segmenter.segment(blob_path, folder.parent, "s1", overwrite=True)
        labels = np.asanyarray(nib.load(folder / "mri" / "aparc.DKTatlas+aseg.deep.mgz").dataobj)
        np.testing.assert_array_equal(labels, labels_of(instant_network))

    def test_without_a_report_the_old_one_goes(self, tiny_weights: Path, folder: Path, blob_path: Path) -> None:
        options = make_options(weights=str(tiny_weights), report=False)
        Segmenter(options).segment(blob_path, folder.parent, "s1", overwrite=True)
        assert files(folder) == {name for name in FILES if not name.startswith("report/")}
        assert not (folder / "report").exists()

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (OSError(errno.ENOSPC, "No space left on device"), OutputError),
            (KeyboardInterrupt(), KeyboardInterrupt),
        ],
    )
    def test_an_overwriting_run_that_fails_leaves_the_old_result(
        self, segmenter: Segmenter, folder: Path, blob_path: Path, monkeypatch, error, expected
    ) -> None:
        before = {name: sha256(folder / name) for name in files(folder)}
        written = []

        def fail_at_the_third(self, path, **options) -> None:
            written.append(path)
            Path(path).write_bytes(b"half")
            if len(written) == 3:
                raise error

        monkeypatch.setattr(nib.MGHImage, "to_filename", fail_at_the_third)
        with pytest.raises(expected):
            segmenter.segment(blob_path, folder.parent, "s1", overwrite=True)
        assert files(folder.parent) == {f"s1/{name}" for name in FILES}
        assert before == {name: sha256(folder / name) for name in FILES}


class TestSegmenter:
    def test_without_an_output_folder_nothing_is_written(
        self, segmenter: Segmenter, instant_network, blob_path: Path, tmp_path: Path, monkeypatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        result = segmenter.segment(blob_path)
        assert result.folder is None
        np.testing.assert_array_equal(result.labels, labels_of(instant_network))
        assert files(tmp_path) == set()

    def test_native_labels_lie_on_the_inputs_grid(
        self, tiny_weights: Path, instant_network: np.ndarray, blob_path: Path, tmp_path: Path
    ) -> None:
        blob = nib.load(blob_path)
        image = nib.Nifti1Image(np.asanyarray(blob.dataobj), blob.affine).as_reoriented(
            np.array([[0, -1], [2, 1], [1, -1]])
        )
        image.to_filename(tmp_path / "ras.nii.gz")
        options = make_options(weights=str(tiny_weights), native=True)
        result = Segmenter(options).segment(tmp_path / "ras.nii.gz", tmp_path)
        assert files(tmp_path / "ras") == FILES | {NATIVE}
        native = nib.load(tmp_path / "ras" / NATIVE)
        np.testing.assert_array_equal(native.affine, image.affine)
        assert np.count_nonzero(native.dataobj) == np.count_nonzero(result.labels)

    def test_progress(self, segmenter: Segmenter, instant_network, blob_path: Path) -> None:
        stages = []

        class Listening(Progress):
            def stage(self, description: str) -> None:
                stages.append(description)

        segmenter.segment(blob_path, progress=Listening())
        assert stages == ["Conforming", "Finding the head", "Loading weights", "Running the network", "Labelling"]

    def test_the_networks_are_loaded_once(
        self, segmenter: Segmenter, instant_network, blob_path: Path, monkeypatch
    ) -> None:
        segmenter.segment(blob_path)
        monkeypatch.setattr(segment_module, "load_arrays", None)
        segmenter.segment(blob_path)

    def test_fastsurfer_compat_looks_everywhere_and_folds_nothing(
        self, tiny_weights: Path, blob_path: Path, monkeypatch
    ) -> None:
        class SeenError(Exception):
            pass

        def look(scene, models, progress, **options):
            raise SeenError(scene, models["axial"].engine)

        monkeypatch.setattr(segment_module, "aggregate_views", look)
        options = make_options(weights=str(tiny_weights), fastsurfer_compat=True)
        with pytest.raises(SeenError) as seen:
            Segmenter(options).segment(blob_path)
        scene, engine = seen.value.args
        assert scene.box == (slice(0, 256),) * 3
        assert scene.scale == 1.0
        assert scene.head is None
        assert type(engine) is DenseEngine
        assert "inp_block.gn1.weight" in engine._network.state_dict()

    @pytest.mark.parametrize(
        ("choices", "expected"),
        [
            ({}, "fast"),
            ({"engine": "reference"}, "reference"),
            ({"nan": "aggressive"}, "reference"),
            ({"nan": "off"}, "fast"),
            ({"fastsurfer_compat": True}, "reference"),
            ({"fill": "mean"}, "masked"),
            ({"paper_compat": True}, "reference"),
            ({"engine": "masked"}, "masked"),
            ({"precision": "bfloat16"}, "masked"),
            ({"precision": "bfloat16", "nan": "off"}, "reference"),
            ({"precision": "float16"}, "fast"),
            ({"fold": False}, "masked"),
            ({"fold": False, "nan": "conservative"}, "reference"),
        ],
    )
    def test_the_engine_that_serves(self, tiny_weights: Path, monkeypatch, choices, expected) -> None:
        monkeypatch.setattr("nansurfer.engine.native.load_kernels", lambda *, half: object())
        segmenter = Segmenter(make_options(weights=str(tiny_weights), device="cpu", **choices))
        assert segmenter._engine_for(SCENE) == expected
        finer = replace(SCENE, volume=np.zeros((320, 320, 320), np.uint8), scale=1.25)
        assert segmenter._engine_for(finer) == expected

    @pytest.mark.parametrize(
        ("choices", "expected"), [({}, "masked"), ({"nan": "off"}, "reference"), ({"paper_compat": True}, "reference")]
    )
    def test_without_compiled_kernels_pytorch_does_it(self, tiny_weights: Path, monkeypatch, choices, expected) -> None:
        monkeypatch.setattr("nansurfer.engine.native.load_kernels", lambda *, half: None)
        segmenter = Segmenter(make_options(weights=str(tiny_weights), device="cpu", **choices))
        assert segmenter._engine_for(SCENE) == expected

    def test_all_engines_find_the_same(self, tiny_weights: Path, blob_path: Path) -> None:
        choices = {"weights": str(tiny_weights), "device": "cpu", "views": ("coronal",), "force": True}
        masked, reference = (
            Segmenter(make_options(engine=engine, **choices)).segment(blob_path) for engine in ("masked", "reference")
        )
        assert (masked.engine, reference.engine) == ("masked", "reference")
        np.testing.assert_array_equal(masked.labels, reference.labels)
        for found, expected in zip(masked.skip_report.views, reference.skip_report.views, strict=True):
            np.testing.assert_array_equal(found.skipped, expected.skipped)
            np.testing.assert_array_equal(found.mixed, expected.mixed)

    def test_the_record_and_the_log_tell_which_engine_ran(
        self, tiny_weights: Path, instant_network, blob_path: Path, tmp_path: Path, caplog
    ) -> None:
        options = make_options(weights=str(tiny_weights), device="cpu", engine="reference")
        with caplog.at_level(logging.INFO, "nansurfer"):
            Segmenter(options).segment(blob_path, tmp_path)
        assert "Engine: reference, on cpu." in caplog.messages
        machine = json.loads((tmp_path / "blob" / "nansurfer.json").read_text())["machine"]
        assert (machine["engine"], machine["device"]) == ("reference", "cpu")

    def test_batch_norms_stay_where_they_are_told_to(self, tiny_weights: Path) -> None:
        options = make_options(weights=str(tiny_weights), device="cpu", nan="off", fold=False)
        engine = Segmenter(options).models(SCENE)["axial"].engine
        assert "inp_block.gn1.weight" in engine._network.state_dict()

    @pytest.mark.parametrize("engine", ["reference", "masked"])
    def test_pytorchs_threads(self, tiny_weights: Path, engine) -> None:
        segmenter = Segmenter(make_options(weights=str(tiny_weights), threads=3, engine=engine))
        assert segmenter.models(SCENE)
        assert torch.get_num_threads() == 3

    @pytest.mark.skipif(not fast_kernels_available(), reason="installed without compiled kernels")
    def test_the_kernels_threads(self, tiny_weights: Path) -> None:
        segmenter = Segmenter(make_options(weights=str(tiny_weights), threads=3, engine="fast"))
        assert {model.engine._threads for model in segmenter.models(SCENE).values()} == {3}


class TestTooLittleBrain:
    def test_no_brain(self, segmenter: Segmenter, instant_network, blob_path: Path, tmp_path: Path) -> None:
        instant_network[:] = 0
        instant_network[:46, :46, :46] = 1  # 97 ml
        with pytest.raises(
            NoBrainError, match=r"No brain was found \(97 ml labelled, expected above 100 ml\).*--force"
        ):
            segmenter.segment(blob_path, tmp_path)
        assert files(tmp_path) == set()

    def test_nothing_at_all_kept_by_force(
        self, tiny_weights: Path, instant_network, blob_path: Path, tmp_path: Path, caplog
    ) -> None:
        instant_network[:] = 0
        options = make_options(weights=str(tiny_weights), force=True)
        with caplog.at_level(logging.WARNING, "nansurfer"):
            result = Segmenter(options).segment(blob_path, tmp_path)
        assert result.brain_volume_ml == 0
        assert files(tmp_path / "blob") == FILES
        assert "Only 0 ml of brain were labelled, fewer than 700 ml" in caplog.text

    def test_a_small_one_is_a_warning(self, segmenter: Segmenter, instant_network, blob_path: Path, caplog) -> None:
        instant_network[:, :110] = 0
        with caplog.at_level(logging.WARNING, "nansurfer"):
            segmenter.segment(blob_path)
        assert "Only 608 ml of brain were labelled" in caplog.text


class TestErrors:
    def test_absent_device(self, tiny_weights: Path, monkeypatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(DeviceError, match="Device 'cuda'"):
            Segmenter(make_options(weights=str(tiny_weights), device="cuda"))

    def test_unknown_weights(self) -> None:
        with pytest.raises(WeightsError, match="'nonsense' is neither a known set"):
            Segmenter(make_options(weights="nonsense"))

    @pytest.mark.parametrize("sid", ["", "..", "a/b"])
    def test_bad_names(self, segmenter: Segmenter, blob_path: Path, tmp_path: Path, sid) -> None:
        with pytest.raises(ConfigError, match="give --sid a plain name"):
            segmenter.segment(blob_path, tmp_path / "out", sid)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")]
    )
    def test_too_little_memory(self, segmenter: Segmenter, blob_path: Path, monkeypatch, error) -> None:
        def exhaust(*arguments, **options):
            raise error

        monkeypatch.setattr(segment_module, "aggregate_views", exhaust)
        with pytest.raises(DeviceError, match=r"memory does not suffice for this image; .*--vox-size"):
            segmenter.segment(blob_path)

    def test_bugs_come_through(self, segmenter: Segmenter, blob_path: Path, monkeypatch) -> None:
        def fail(*arguments, **options):
            raise RuntimeError("shape mismatch")

        monkeypatch.setattr(segment_module, "aggregate_views", fail)
        with pytest.raises(RuntimeError, match="shape mismatch"):
            segmenter.segment(blob_path)
