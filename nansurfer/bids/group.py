"""The group level: one table over all participants."""

from __future__ import annotations

from pathlib import Path

from nansurfer.batch import RecordFile, write_overview
from nansurfer.batch.tables import MEASURES, read_group_table, structure_columns
from nansurfer.bids.dataset import write_dataset_files
from nansurfer.bids.derivatives import FREESURFER, write_json
from nansurfer.errors import InputNotFoundError
from nansurfer.files import write_csv

GROUP_VOLUMES = Path("group_volumes.tsv")

_NOT_APPLICABLE = "n/a"


def write_group(dataset: Path, output: Path) -> Path:
    """Path of the table of all volumes in mm³, a row a T1, written together with the batch's own tables and page.

    Parameters
    ----------
    dataset
        The raw dataset.
    output
        The derivative dataset, whose participants are segmented.

    Raises
    ------
    InputNotFoundError
        No participant is finished.
    OutputError
        The folder holds another dataset, or a file cannot be written.
    """
    subjects, path = output / FREESURFER, output / GROUP_VOLUMES
    if not any(record.status == "done" for record in RecordFile(subjects).read()):
        raise InputNotFoundError(f"{output} holds no finished participant; run the level 'participant' before 'group'.")
    write_dataset_files(dataset, output)
    write_overview(subjects)
    names = [*structure_columns(), *MEASURES]
    rows = ((*_identity(sid), sid, *(mm3[name] for name in names)) for sid, mm3 in read_group_table(subjects))
    write_csv(path, ("participant_id", "session_id", "bids_name", *names), rows, delimiter="\t")
    columns = {name: {"Description": f"Volume of {name}.", "Units": "mm^3"} for name in names}
    entities = {"Description": f"Entities of the T1; name of its folder in {FREESURFER}."}
    write_json(path.with_suffix(".json"), {"bids_name": entities, **columns})
    return path


def _identity(sid: str) -> tuple[str, str]:
    """Participant and session that a T1's entities name, to be joined to participants.tsv and sessions.tsv."""
    participant, _, rest = sid.partition("_")
    session = rest.partition("_")[0]
    return participant, session if session.startswith("ses-") else _NOT_APPLICABLE
