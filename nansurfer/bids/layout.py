"""What ancpbids is asked for; imported only where it is installed."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ancpbids import load_dataset
from ancpbids.vfs import LocalVfs

from nansurfer.batch.subjects import Subject

T1W = "T1w"

_EXTENSIONS = [".nii.gz", ".nii"]
_NO_MAGNITUDE = ("phase", "real", "imag")  # values of the entity "part": no image to segment


class AnatomyOnly(LocalVfs):  # type: ignore[misc]
    """The ``anat`` folders of some participants and sessions; the rest of a dataset is as if it were not there.

    Looking into all folders would take minutes in a large dataset on a shared file system, for each participant.

    Parameters
    ----------
    dataset
        The dataset's folder.
    participants, sessions
        Names of folders, as ``sub-01`` and ``ses-1``; all of them if there are none.
    """

    def __init__(self, dataset: Path, participants: Collection[str], sessions: Collection[str]) -> None:
        self._dataset, self._participants, self._sessions = dataset, participants, sessions

    def listdir(self, path: str) -> list[str]:
        """Names in a folder, without those that lead to nothing that is wanted."""
        names: list[str] = super().listdir(path)
        folder = Path(path).relative_to(self._dataset)
        if folder.name == "anat":
            return names
        if not folder.parts:
            return [name for name in names if name.startswith("sub-") and _is_of(name, self._participants)]
        sessions = [name for name in names if name.startswith("ses-") and _is_of(name, self._sessions)]
        in_session = folder.name.startswith("ses-")
        return sessions + ["anat"] * ("anat" in names and (in_session or not self._sessions))


def _is_of(name: str, chosen: Collection[str]) -> bool:
    return not chosen or name in chosen


def t1_images(dataset: Path, participants: Collection[str], sessions: Collection[str]) -> list[Subject]:
    """The T1-weighted images in ``anat`` folders, in the order of their names."""
    graph = load_dataset(str(dataset), vfs=AnatomyOnly(dataset, participants, sessions))
    return [
        Subject(file.name.removesuffix(f"_{T1W}{file.extension}"), Path(file.get_absolute_path()))
        for file in graph.query(suffix=T1W, extension=_EXTENSIONS)
        if file.entities.get("part") not in _NO_MAGNITUDE
    ]
