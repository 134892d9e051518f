"""Time FastSurfer's own run_prediction.py beside ``nansurfer segment``: same weights, same threads, a CSV row a run.

    python scripts/benchmarks/widen.py compact wide
    python scripts/benchmarks/fastsurfer.py T1 ... --fastsurfer DIR --python PYTHON --weights wide --threads 2

DIR is a checkout of FastSurfer, PYTHON an interpreter with what it requires. ``--options`` is repeated for each way of
running nansurfer; Dice is against FastSurfer's labels of the same T1. FastSurfer computes every voxel of every T1, so
it is run for the first only, unless ``--each`` is given. Quote ratios: machines are noisy.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from segment import measured

from nansurfer.pipeline.outputs import LABELS
from nansurfer.pipeline.provenance import commit, processor
from nansurfer.report.comparison import compare_labels
from nansurfer.report.table import write_table

VIEWS = {"ax": "axial", "cor": "coronal", "sag": "sagittal"}
OPTIONS = ("--nan off", "", "--precision float16")
UNKNOWN = {"dice_mean": None, "dice_whole": None}


def run_fastsurfer(image: Path, args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """FastSurfer's figures; its labels lie in ``folder`` afterwards, as subject ``fastsurfer``."""
    checkpoints = folder / "checkpoints"
    export = [sys.executable, "-m", "nansurfer", "weights", "export", args.weights, "--format", "fastsurfer"]
    subprocess.run([*export, "-o", str(checkpoints)], check=True)
    command = [args.python, str(args.fastsurfer / "FastSurferCNN" / "run_prediction.py")]
    command += ["--t1", str(image.resolve()), "--sid", "fastsurfer", "--sd", str(folder)]
    command += ["--aseg_name", "mri/aseg.auto_noCCseg.mgz", "--device", "cpu", "--viewagg_device", "cpu"]
    command += ["--batch_size", "1", "--threads", str(args.threads), "--allow_root"]
    for short, view in VIEWS.items():
        (checkpoint,) = checkpoints.glob(f"*{view}*.pkl")
        config = args.fastsurfer / "FastSurferCNN" / "config" / f"FastSurferVINN_{view}.yaml"
        command += [f"--ckpt_{short}", str(checkpoint), f"--cfg_{short}", str(config)]
    search = os.pathsep.join(filter(None, [str(args.fastsurfer), os.environ.get("PYTHONPATH")]))
    return measured(command, env={**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": str(args.threads)})


def run_nansurfer(image: Path, options: str, args: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The figures of ``nansurfer segment``; its labels lie in ``folder`` afterwards, as subject ``nansurfer``."""
    command = [sys.executable, "-m", "nansurfer", "segment", str(image), "-o", str(folder), "--sid", "nansurfer"]
    command += ["-q", "--overwrite", "--weights", args.weights, "--threads", str(args.threads)]
    return measured([*command, *shlex.split(options)])


def dice(folder: Path) -> dict[str, object]:
    """How nansurfer's labels agree with FastSurfer's."""
    theirs, ours = (nib.load(folder / sid / LABELS) for sid in ("fastsurfer", "nansurfer"))
    labels = (np.asanyarray(image.dataobj).astype(np.int16) for image in (theirs, ours))
    compared = compare_labels(*labels, ours.affine)
    return {"dice_mean": round(compared.mean_dice, 5), "dice_whole": round(compared.whole.dice, 5)}


def main() -> None:
    """Run both, write the CSV."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="+", type=Path, metavar="T1")
    parser.add_argument("--fastsurfer", type=Path, required=True, metavar="DIR")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--weights", default="official")
    parser.add_argument("--options", action="append", metavar="'--nan off ...'")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--each", action="store_true")
    parser.add_argument("--csv", type=Path, default=Path("benchmark-fastsurfer.csv"))
    args = parser.parse_args()
    machine = {"commit": commit(), "processor": processor(), "threads": args.threads, "weights": args.weights}
    rows: list[dict[str, object]] = []
    theirs: dict[str, object] = {}
    for number, image in enumerate(args.images):
        with tempfile.TemporaryDirectory() as name:
            folder, compared = Path(name), args.each or number == 0
            if compared:
                theirs = run_fastsurfer(image, args, folder)
                told = {"program": "fastsurfer", "image": image.name, "options": ""} | theirs
                rows.append(machine | told | {"ratio": 1.0} | UNKNOWN)
            for options in args.options or OPTIONS:
                ours = run_nansurfer(image, options, args, folder)
                ratio = round(float(str(theirs["wall_s"])) / float(str(ours["wall_s"])), 2)
                told = {"program": "nansurfer", "image": image.name, "options": options} | ours | {"ratio": ratio}
                rows.append(machine | told | (dice(folder) if compared else UNKNOWN))
                write_table(args.csv, rows)


if __name__ == "__main__":
    main()
