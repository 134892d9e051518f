"""The labels of a segmentation: FreeSurfer's number, name and colour, and the network's class of each."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.resources import files

import numpy as np
import numpy.typing as npt

from nansurfer.errors import ConfigError

N_CLASSES = 79
"""Classes of the coronal and axial networks, and of the summed logits."""

_NO_CLASS = "n/a"


@dataclass(frozen=True)
class Structure:
    """One labelled structure.

    Parameters
    ----------
    label
        FreeSurfer's label number.
    name
        FreeSurfer's name of it, such as ``Left-Putamen`` or ``ctx-rh-cuneus``.
    color
        Red, green and blue, 0 to 255.
    class_index
        The network's class, or None for the right cortical parcels that the network calls by their left
        neighbour's class and that exist only after the split of the hemispheres.
    """

    label: int
    name: str
    color: tuple[int, int, int]
    class_index: int | None


@dataclass(frozen=True)
class LabelTable:
    """All structures that a finished segmentation may hold, background included.

    Parameters
    ----------
    structures
        In ascending order of label.
    """

    structures: tuple[Structure, ...]

    @cached_property
    def class_labels(self) -> npt.NDArray[np.int16]:
        """Label of each class, shape (79,), int16, read-only; ascending."""
        labels = {s.class_index: s.label for s in self.structures if s.class_index is not None}
        array = np.array([labels[index] for index in range(len(labels))], dtype=np.int16)
        array.setflags(write=False)
        return array

    @property
    def labels(self) -> tuple[int, ...]:
        """All labels, ascending, background first."""
        return tuple(s.label for s in self.structures)

    @property
    def labels_without_class(self) -> tuple[int, ...]:
        """Right cortical labels that only the split of the hemispheres gives, ascending."""
        return tuple(s.label for s in self.structures if s.class_index is None)

    def name(self, label: int) -> str:
        """FreeSurfer's name of ``label``."""
        return self._structure(label).name

    def color(self, label: int) -> tuple[int, int, int]:
        """FreeSurfer's colour of ``label``: red, green and blue, 0 to 255."""
        return self._structure(label).color

    @cached_property
    def _by_label(self) -> dict[int, Structure]:
        return {s.label: s for s in self.structures}

    def _structure(self, label: int) -> Structure:
        try:
            return self._by_label[int(label)]
        except KeyError:
            raise ConfigError(
                f"Label {label} is none of the {len(self.structures)} labels of the segmentation; "
                "see nansurfer/labels/fastsurfer.tsv for those that are."
            ) from None


@lru_cache(maxsize=1)
def load_table() -> LabelTable:
    """The label table in this package, read once.

    Notes
    -----
    Order, names and colours of the 79 classes are those of FastSurfer's colour table; the rows without a
    class are from FreeSurfer's ``FreeSurferColorLUT.txt``.
    """
    text = (files(__package__) / "fastsurfer.tsv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines(), delimiter="\t")
    return LabelTable(tuple(sorted(map(_structure_from_row, rows), key=lambda s: s.label)))


def _structure_from_row(row: dict[str, str]) -> Structure:
    return Structure(
        label=int(row["label"]),
        name=row["name"],
        color=(int(row["r"]), int(row["g"]), int(row["b"])),
        class_index=None if row["class"] == _NO_CLASS else int(row["class"]),
    )
