"""The files of a derivative dataset that are nobody's in particular."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nansurfer.batch.subjects import DESCRIPTION
from nansurfer.bids.derivatives import ASEG_DSEG, FREESURFER, LABELS_DSEG, RAW, Derivative, shared_facts, write_json
from nansurfer.bids.find import read_description
from nansurfer.errors import OutputError
from nansurfer.files import atomic_path, write_csv
from nansurfer.labels import LEFT_CORTEX, RIGHT_CORTEX, load_table, structure_name
from nansurfer.version import __version__

Colors = Mapping[int, tuple[int, int, int]]

BIDS_VERSION = "1.11.1"

GROUP_FILES = "group_*"
"""Tables over all participants, for which BIDS has no place yet; named as MRIQC's."""

_NAME = "nansurfer"
_FIRST_PARCEL = 1000
_CORTEX_COLOR = (205, 62, 78)  # FreeSurferColorLUT.txt, both sides

_README = f"""# Segmentations of T1-weighted images by nansurfer

`sub-*/**/anat/` holds, on the grid of each T1:

- `*_desc-aparcaseg_dseg.nii.gz`: subcortical structures and cortical parcels (DKT),
- `*_desc-aseg_dseg.nii.gz`: subcortical structures and the cortex of each side,
- `*_desc-brain_mask.nii.gz`: the brain mask.

Labels are FreeSurfer's; `desc-*_dseg.tsv` names them. `{FREESURFER}/` holds the same subjects in FreeSurfer's layout,
with volumes, pictures and skip reports; its `batch.html` shows all of them. `group_volumes.tsv`, written at the group
level, holds the volumes of all structures in mm³, a row a T1.
"""


def check_output(output: Path) -> None:
    """Check that a folder is free for our derivatives, or holds them already.

    Raises
    ------
    OutputError
        It holds another dataset.
    """
    if not (output / DESCRIPTION).exists():
        return
    generators = read_description(output).get("GeneratedBy")
    if not (isinstance(generators, list) and _NAME in [g.get("Name") for g in generators if isinstance(g, dict)]):
        raise OutputError(f"{output} holds a dataset that nansurfer has not made; choose another output folder.")


def write_dataset_files(dataset: Path, output: Path) -> None:
    """Write the description, label tables, README and ``.bidsignore`` of a derivative dataset.

    Parameters
    ----------
    dataset
        The raw dataset.
    output
        The derivative dataset.

    Raises
    ------
    OutputError
        The folder holds another dataset, or a file cannot be written.
    """
    check_output(output)
    write_json(output / DESCRIPTION, _description(dataset, output))
    _write_text(output / "README.md", _README)
    _write_text(output / ".bidsignore", f"{GROUP_FILES}\n")
    for derivative, colors in _colors():
        columns, rows = ("index", "name", "color"), _label_rows(colors)
        write_csv(output / f"{derivative.ending}.tsv", columns, rows, delimiter="\t")
        write_json(output / f"{derivative.ending}.json", shared_facts(derivative))


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _description(dataset: Path, output: Path) -> dict[str, Any]:
    raw, link = read_description(dataset), _link(dataset, output)
    doi = raw.get("DatasetDOI")
    return {
        "Name": f"nansurfer segmentations of {raw.get('Name') or dataset.resolve().name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": _NAME, "Version": __version__, **_container()}],
        "SourceDatasets": [{"DOI": doi} if doi else {"URL": link}],
        "DatasetLinks": {RAW: link},
    }


def _link(dataset: Path, output: Path) -> str:
    """Where the raw dataset is; from within it, so that both can be moved together."""
    dataset, output = dataset.resolve(), output.resolve()
    return os.path.relpath(dataset, output) if output.is_relative_to(dataset) else dataset.as_uri()


def _container() -> Mapping[str, Any]:
    """What kind of container this runs in, as ``GeneratedBy`` says it; empty outside of one."""
    if image := os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER"):
        return {"Container": {"Type": "apptainer", "Tag": Path(image).name}}
    kinds = {"docker": Path("/.dockerenv"), "podman": Path("/run/.containerenv")}
    found = next((kind for kind, mark in kinds.items() if mark.exists()), None)
    return {"Container": {"Type": found}} if found else {}


def _colors() -> list[tuple[Derivative, Colors]]:
    """The segmentations, and the colours of all labels that they may hold."""
    colors = {s.label: s.color for s in load_table().structures}
    aseg = {label: color for label, color in colors.items() if label < _FIRST_PARCEL}
    aseg |= {LEFT_CORTEX: _CORTEX_COLOR, RIGHT_CORTEX: _CORTEX_COLOR}
    return [(LABELS_DSEG, colors), (ASEG_DSEG, aseg)]


def _label_rows(colors: Colors) -> list[tuple[int, str, str]]:
    return [(label, structure_name(label), "#{:02x}{:02x}{:02x}".format(*colors[label])) for label in sorted(colors)]
