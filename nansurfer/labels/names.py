"""Names of structures, also of those that FreeSurfer labels and this program does not."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache

from nansurfer.errors import ConfigError
from nansurfer.labels.table import load_table
from nansurfer.volume.read import MAX_LABEL

OTHER_NAMES: Mapping[int, str] = {
    3: "Left-Cerebral-Cortex",
    29: "Left-undetermined",
    30: "Left-vessel",
    42: "Right-Cerebral-Cortex",
    61: "Right-undetermined",
    62: "Right-vessel",
    72: "5th-Ventricle",
    80: "non-WM-hypointensities",
    85: "Optic-Chiasm",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
    1000: "ctx-lh-unknown",
    1001: "ctx-lh-bankssts",
    1032: "ctx-lh-frontalpole",
    1033: "ctx-lh-temporalpole",
    2000: "ctx-rh-unknown",
    2001: "ctx-rh-bankssts",
    2032: "ctx-rh-frontalpole",
    2033: "ctx-rh-temporalpole",
}
"""What FreeSurfer's ``aseg`` and ``aparc+aseg`` hold beyond the 95 labels of the table
(``FreeSurferColorLUT.txt``)."""


def structure_name(label: int) -> str:
    """FreeSurfer's name of a label, ``label-N`` for one that is not known here."""
    return _names().get(label, f"label-{label}")


def find_label(text: str) -> int:
    """The label that a number or a name stands for; upper and lower case are the same.

    Raises
    ------
    ConfigError
        It is neither a label number (1 to 65535) nor a known name.
    """
    text = text.strip()
    if text.isdecimal() and 1 <= int(text) <= MAX_LABEL:
        return int(text)
    known = {name.lower(): label for label, name in _names().items() if label != 0}
    if text.lower() in known:
        return known[text.lower()]
    close = get_close_matches(text.lower(), known, n=1)
    hint = f"did you mean {structure_name(known[close[0]])}?" if close else "use FreeSurfer's, as Left-Hippocampus."
    raise ConfigError(f"'{text}' is neither a label from 1 to {MAX_LABEL} nor the name of a structure; {hint}")


@lru_cache(maxsize=1)
def _names() -> Mapping[int, str]:
    return {**{s.label: s.name for s in load_table().structures}, **OTHER_NAMES}
