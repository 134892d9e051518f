"""``nansurfer example``: a brain to try the program with, without any download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from nansurfer.errors import ConfigError
from nansurfer.files import check_absent

# nilearn (0.11 to 0.14) carries ICBM 2009a symmetric: 1 mm, uint8, without the skull.
_TEMPLATE = Path("datasets", "data", "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz")
_NIFTI_MNI_152 = 4  # NIFTI_XFORM_MNI_152: coordinates of that template


def example(
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .nii.gz, .nii, .mgz or .mgh.")] = Path(
        "nansurfer-example.nii.gz"
    ),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
) -> None:
    """Write an example T1 (the MNI152 template, skull-stripped, 1 mm) from the nilearn package."""
    import numpy as np

    from nansurfer.volume import read_image, save_image
    from nansurfer.volume.write import nifti_image

    check_absent(output, overwrite=overwrite)
    template = read_image(_template_path())
    save_image(nifti_image(np.asanyarray(template.dataobj), template.affine, _NIFTI_MNI_152), output)
    typer.echo(output)


def _template_path() -> Path:
    """Where the installed nilearn keeps the template; nilearn itself, slow to import, is not imported."""
    nilearn = find_spec("nilearn")
    for folder in (nilearn.submodule_search_locations or ()) if nilearn else ():
        if (path := Path(folder) / _TEMPLATE).is_file():
            return path
    raise ConfigError("The example comes with nilearn, which is not installed: pip install 'nansurfer[example]'.")
