"""3D Dice of a set of weights against a labelled T1 and copies of it, through the whole pipeline.

    python scripts/training/evaluate.py --t1 orig.mgz --labels aparc+aseg.mgz --weights compact --csv dice.csv
    python scripts/training/evaluate.py --t1 orig.mgz --labels aparc+aseg.mgz --copies rotated,flipped,1.2mm,0.8mm

``--labels`` are FreeSurfer's: an aseg, or an aparc+aseg of the Desikan-Killiany atlas, whose cortex is mapped to DKT
and compared where both protocols have the parcel. They are compared on the conformed grid of each run, where they
take the nearest label.

The CSV has a row a structure, then the groups, and three columns a copy: its Dice; the difference from the T1 as it
is; and the ceiling, which is the Dice of the labels taken to the copy's grid and back: what resampling them twice
costs without any network. In a mirrored copy, a structure is what it was before.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
from copies import COPIES, LabelledT1, swapped_sides
from nibabel.spatialimages import SpatialImage

from nansurfer import SegmentationResult, segment
from nansurfer.files import write_csv
from nansurfer.labels import (
    LEFT_CORTEX,
    RIGHT_CORTEX,
    count_overlap,
    load_table,
    mapped_dk_to_dkt,
    merge_parcels,
    structure_name,
)
from nansurfer.volume import read_image, read_labels, save_image, to_native

FIRST_PARCEL = 1000
CORTEX_OF_ASEG = (LEFT_CORTEX, RIGHT_CORTEX)  # an aseg has the cortex of a side as one label

Labels = npt.NDArray[np.integer]
Scores = dict[str, float]


def scores(labels: Labels, truth: Labels) -> Scores:
    """Dice of each structure that the truth holds and the network knows, then of the groups.

    The groups are the means of the subcortical and cerebellar structures and of the cortex, and the Dice of
    everything labelled, whatever the label.
    """
    if not (truth >= FIRST_PARCEL).any():
        labels = merge_parcels(labels)
    known = set(np.unique(truth).tolist()) & {*load_table().labels, *CORTEX_OF_ASEG} - {0}
    overlap = count_overlap(labels, truth, sorted(known))
    dice = {label: counts.dice for label, counts in overlap.structures.items()}
    cortex = {label for label in dice if label >= FIRST_PARCEL or label in CORTEX_OF_ASEG}
    groups = {"subcortical and cerebellar": dice.keys() - cortex, "cortex": cortex}
    means = {name: float(np.mean([dice[label] for label in group])) for name, group in groups.items() if group}
    return {structure_name(label): dice[label] for label in dice} | means | {"whole brain": overlap.foreground.dice}


def score_run(result: SegmentationResult, subject: LabelledT1) -> tuple[Scores, Scores]:
    """Scores of a segmentation, and those of its truth taken to the conformed grid and back: the ceiling."""
    labels = subject.labels
    truth = np.asanyarray(labels.dataobj)
    there = np.asanyarray(to_native(truth, labels.affine, result.conformed).dataobj)
    back = np.asanyarray(to_native(there, result.conformed.affine, labels).dataobj)
    found = swapped_sides(result.labels) if subject.mirrored else result.labels
    return scores(found, there), scores(back, truth)


def columns_of(copies: Mapping[str, tuple[Scores, Scores]], original: Scores) -> dict[str, Scores]:
    """Column names to their cells; a structure of the original that a copy's truth lacks is nan there."""
    columns = {"dice": original}
    for copy, (found, ceiling) in copies.items():
        columns[copy] = {name: found.get(name, math.nan) for name in original}
        columns[f"{copy} difference"] = {name: columns[copy][name] - original[name] for name in original}
        columns[f"{copy} ceiling"] = {name: ceiling.get(name, math.nan) for name in original}
    return columns


def print_table(columns: Mapping[str, Scores]) -> None:
    """Dice, without differences and ceilings."""
    shown = [heading for heading in columns if " " not in heading]
    print(f"{'':32s}" + "".join(f"{heading:>9s}" for heading in shown))
    for name in columns["dice"]:
        print(f"{name:32s}" + "".join(f"{columns[heading][name]:9.3f}" for heading in shown))


def as_dkt(labels: SpatialImage) -> SpatialImage:
    """FreeSurfer's labels with what the network knows no class of, callosum and three parcels, merged."""
    return type(labels)(mapped_dk_to_dkt(np.asanyarray(labels.dataobj)), labels.affine, labels.header)


def copy_names(text: str) -> list[str]:
    """Names of copies, separated by commas."""
    names = text.split(",")
    if unknown := set(names) - set(COPIES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}; choose from {', '.join(COPIES)}")
    return names


def main() -> None:
    """Segment, compare, print a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--t1", type=Path, required=True)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--copies", type=copy_names, default=[], help=f"of {','.join(COPIES)}; default: none")
    args = parser.parse_args()

    run = partial(segment, weights=args.weights, threads=args.threads, report=False, force=True)
    subject = LabelledT1(read_image(args.t1), as_dkt(read_labels(args.labels)))
    original, _ = score_run(run(args.t1), subject)
    copies = {}
    for name in args.copies:
        copy = COPIES[name](subject)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{name}.mgz"
            save_image(copy.t1, path)
            copies[name] = score_run(run(path), copy)
    columns = columns_of(copies, original)
    print_table(columns)
    if args.csv:
        rows = ([name, *(f"{cells[name]:.4f}" for cells in columns.values())] for name in columns["dice"])
        write_csv(args.csv, ["structure", *columns], rows)


if __name__ == "__main__":
    main()
