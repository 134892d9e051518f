"""Which images are to be segmented, and under which names."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nansurfer.errors import ConfigError, InputFormatError, InputNotFoundError
from nansurfer.files import other_half, read_list
from nansurfer.pipeline import subject_folder, subject_id
from nansurfer.volume import EXTENSIONS

DESCRIPTION = "dataset_description.json"
"""The file that makes a folder a BIDS dataset."""

_LISTS = (".txt", ".csv", ".tsv")
_IN_SUBJECT = (Path("mri/orig.mgz"), Path("mri/orig/001.mgz"))  # the mean of all T1s comes before the first
_OF_THE_BATCH = ("logs",)


@dataclass(frozen=True)
class Subject:
    """One image to segment.

    Parameters
    ----------
    sid
        Name of the subject's folder, unique in a batch.
    path
        The T1, as an absolute path where `find_subjects` found it.
    """

    sid: str
    path: Path


def find_subjects(inputs: Sequence[str | Path], participants: Sequence[str] = ()) -> list[Subject]:
    """The subjects in all inputs, each once, in the order of the inputs and of the names in them.

    Parameters
    ----------
    inputs
        Images, which need not exist: that is found out when it is their turn; where files in several folders have the
        same name (``scans/*/T1.nii.gz``), subjects are named after the folders. Globs. Text, CSV and TSV files that
        list a path and, if it is not to be the file's name, a subject's name a line; relative paths start at the list's
        folder. BIDS datasets. FreeSurfer subjects, and folders of them. Folders of images; what lies deeper in those is
        not looked at.
    participants
        Subjects to keep, with or without ``sub-``; all images of theirs (``sub-01_ses-2``). Empty for all.

    Raises
    ------
    InputNotFoundError
        An input does not exist, holds no image, or a participant is not there.
    InputFormatError
        An input is neither an image nor a list.
    ConfigError
        Two images have the same name, or one cannot be a folder's.
    """
    wanted = {label.removeprefix("sub-") for label in participants}
    found: dict[str, Subject] = {}
    for subject in _told_apart([subject for entry in inputs for subject in _subjects_in(str(entry), wanted)]):
        if wanted and not wanted & _asked_for_by(subject.sid):
            continue
        _check_name(subject)
        if found.setdefault(subject.sid, subject) != subject:
            raise ConfigError(
                f"{found[subject.sid].path} and {subject.path} would both be subject {subject.sid}; give them "
                "different names in a list (path,id)."
            )
    if missing := sorted(wanted.difference(*map(_asked_for_by, found))):
        raise InputNotFoundError(f"No image of {', '.join(missing)} was found; check the names and the inputs.")
    return list(found.values())


def _asked_for_by(sid: str) -> set[str]:
    """The labels that mean a subject: its name and, if that is a participant's image in BIDS, the participant's."""
    name = sid.removeprefix("sub-")
    return {name, name.split("_")[0]} if name != sid else {name}


def _told_apart(subjects: Sequence[Subject]) -> Iterator[Subject]:
    """The subjects with absolute paths; of files with one name, by the names of their folders if these differ."""
    paths: dict[str, set[Path]] = {}
    for subject in subjects:
        paths.setdefault(subject.sid, set()).add(subject.path.absolute())
    by_folder = {sid for sid, alike in paths.items() if 1 < len(alike) == len({path.parent.name for path in alike})}
    for subject in subjects:
        path, sid = subject.path.absolute(), subject.sid
        yield Subject(path.parent.name if sid in by_folder and sid == subject_id(path) else sid, path)


def _subjects_in(entry: str, wanted: set[str]) -> list[Subject]:
    """The subjects of one input; of a BIDS dataset only those wanted, if any are."""
    path = Path(entry)
    if (path / DESCRIPTION).is_file():
        from nansurfer.bids import find_t1s  # needs a library that not everyone has

        return find_t1s(path, sorted(wanted))
    return _subjects_of(path) if path.exists() or not glob.has_magic(entry) else _subjects_of_glob(entry)


def _subjects_of(path: Path) -> list[Subject]:
    if path.is_dir():
        return _in_folder(path)
    if path.name.lower().endswith(EXTENSIONS):
        return [Subject(subject_id(path), path)]
    if path.suffix.lower() in _LISTS:
        return _listed(path)
    if not path.exists():
        raise InputNotFoundError(f"{path} does not exist; give images, folders, globs or lists of them.")
    raise InputFormatError(
        f"{path} is neither an image ({', '.join(EXTENSIONS)}) nor a list of them ({', '.join(_LISTS)})."
    )


def _subjects_of_glob(pattern: str) -> list[Subject]:
    paths = [Path(name) for name in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207 -- may be absolute
    if not paths:
        raise InputNotFoundError(f"No file is named like {pattern}; check the path.")
    images = _images(path for path in paths if not path.is_dir())
    return images + [subject for path in paths if path.is_dir() for subject in _in_folder(path)]


def _in_folder(folder: Path) -> list[Subject]:
    """A FreeSurfer subject, the FreeSurfer subjects in a folder or, failing that, its images."""
    if subject := _freesurfer_subject(folder):
        return [subject]
    try:
        content = sorted(folder.iterdir())
    except OSError as error:
        raise InputNotFoundError(f"{folder} cannot be read ({error.strerror}); check its permissions.") from error
    shown = [path for path in content if not path.name.startswith(".")]
    subjects = [subject for path in shown if (subject := _freesurfer_subject(path))]
    subjects = subjects or _images(path for path in shown if path.is_file())
    if not subjects:
        raise InputNotFoundError(f"{folder} holds neither images nor FreeSurfer subjects; check the path.")
    return subjects


def _freesurfer_subject(folder: Path) -> Subject | None:
    path = next((folder / path for path in _IN_SUBJECT if (folder / path).is_file()), None)
    return Subject(folder.resolve().name, path) if path else None


def _images(paths: Iterable[Path]) -> list[Subject]:
    """The files that are named as images; of a pair of .img and .hdr, the first."""
    images = [path for path in paths if path.name.lower().endswith(EXTENSIONS)]
    names = set(images)
    headers = {path for path in images if path.suffix.lower() == ".hdr" and other_half(path) in names}
    return [Subject(subject_id(path), path) for path in images if path not in headers]


def _listed(path: Path) -> list[Subject]:
    """The subjects in a list: a path and perhaps a name a line, below a heading or without one."""
    rows = read_list(path, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    place, name = 0, 1
    heading = [cell.lower() for cell in rows[0]] if rows else []
    if "path" in heading:
        place, name = heading.index("path"), heading.index("id") if "id" in heading else len(heading)
        rows = rows[1:]
    if not rows or not all(row[place : place + 1] and row[place] for row in rows):
        raise InputFormatError(f"{path} does not list images; give one a line: its path or path,id.")
    return [_subject_of_row(path.parent, row[place], "".join(row[name : name + 1])) for row in rows]


def _subject_of_row(folder: Path, place: str, name: str) -> Subject:
    path = folder / Path(place).expanduser()
    return Subject(name or subject_id(path), path)


def _check_name(subject: Subject) -> None:
    """A name that can be a folder's in the batch's."""
    try:
        subject_folder(Path(), subject.sid, subject.path)
        usable = subject.sid not in _OF_THE_BATCH and not subject.sid.startswith(".")
    except ConfigError:
        usable = False
    if not usable:
        raise ConfigError(
            f"{subject.path} cannot be subject {subject.sid!r}; give it another name in a list (path,id)."
        )
