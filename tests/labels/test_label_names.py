"""Names and numbers of structures."""

from __future__ import annotations

import pytest

from nansurfer.errors import ConfigError
from nansurfer.labels import find_label, load_table, structure_name
from nansurfer.labels.names import OTHER_NAMES


@pytest.mark.parametrize(
    ("label", "name"),
    [(17, "Left-Hippocampus"), (3, "Left-Cerebral-Cortex"), (2033, "ctx-rh-temporalpole"), (4711, "label-4711")],
)
def test_names(label, name) -> None:
    assert structure_name(label) == name


@pytest.mark.parametrize("text", ["53", " 53 ", "Right-Hippocampus", "right-hippocampus"])
def test_labels(text) -> None:
    assert find_label(text) == 53


def test_every_name_is_found_again() -> None:
    labels = [*load_table().labels[1:], *OTHER_NAMES]
    assert [find_label(structure_name(label)) for label in labels] == labels


def test_the_table_is_not_repeated() -> None:
    assert not set(OTHER_NAMES) & set(load_table().labels)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("Left-Hipocampus", "did you mean Left-Hippocampus?"),
        ("xyz", "use FreeSurfer's"),
        ("0", "from 1 to 65535"),
        ("65536", "from 1 to 65535"),
        ("", "neither a label"),
        ("background", "neither a label"),
    ],
)
def test_what_is_no_structure(text, hint) -> None:
    with pytest.raises(ConfigError, match=hint.replace("?", r"\?")):
        find_label(text)
