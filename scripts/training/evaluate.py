"""3D Dice of a set of weights against a labelled T1, through the whole pipeline.

    python scripts/training/evaluate.py --t1 orig.mgz --labels aparc+aseg.mgz --weights compact --csv dice.csv

``--labels`` are FreeSurfer's, on the conformed grid: an aseg, or an aparc+aseg of the Desikan-Killiany atlas, whose
cortex is mapped to DKT and compared where both protocols have the parcel.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import nibabel as nib
import numpy as np

from nansurfer import segment
from nansurfer.labels import dice, load_table, mapped_dk_to_dkt

CORTEX = 1000
ASEG_CORTEX = {3: 1000, 42: 2000}  # an aseg has the cortex of a side as one label


def compare(labels: np.ndarray, truth: np.ndarray) -> dict[int, float]:
    """Dice of each structure that the truth holds."""
    if not (truth >= CORTEX).any():
        labels = np.where(labels >= 2 * CORTEX, 42, np.where(labels >= CORTEX, 3, labels))
    known = {label for label in np.unique(truth).tolist() if label in {*load_table().labels, *ASEG_CORTEX}}
    return dice(labels, truth, sorted(known - {0}))


def groups(scores: dict[int, float], labels: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean Dice of the subcortical structures and of the cortex, and Dice of everything labelled."""
    cortex = [score for label, score in scores.items() if label >= CORTEX or label in ASEG_CORTEX]
    other = [score for label, score in scores.items() if label < CORTEX and label not in ASEG_CORTEX]
    both = {"subcortical and cerebellar": other, "cortex": cortex}
    whole = 2 * ((labels > 0) & (truth > 0)).sum() / ((labels > 0).sum() + (truth > 0).sum())
    return {name: float(np.mean(values)) for name, values in both.items() if values} | {"whole brain": float(whole)}


def main() -> None:
    """Segment, compare, print the groups and write a row for each structure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--t1", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--csv", type=Path)
    args = parser.parse_args()

    result = segment(args.t1, weights=args.weights, threads=args.threads, force=True)
    truth = np.asarray(nib.load(args.labels).dataobj).astype(np.int16)
    if (truth >= CORTEX).any():
        truth = mapped_dk_to_dkt(truth)
    scores = compare(result.labels, truth)
    rows = [
        (load_table().name(label) if label not in ASEG_CORTEX else f"Cortex-{label}", score)
        for label, score in scores.items()
    ]
    rows += list(groups(scores, result.labels, truth).items())
    for name, score in rows:
        print(f"{name:40s} {score:.3f}")
    if args.csv:
        with args.csv.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("structure", "dice"), *((name, f"{score:.4f}") for name, score in rows)])


if __name__ == "__main__":
    main()
