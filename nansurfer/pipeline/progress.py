"""How a run tells how far it is. The library itself shows nothing."""

from __future__ import annotations


class Progress:
    """What a run reports while it goes; this one keeps silent, a command line overrides it."""

    def run(self, description: str) -> None:
        """One of several segmentations begins."""

    def stage(self, description: str) -> None:
        """A new stage begins, for instance "Conforming"."""

    def view(self, view: str, slices: int) -> None:
        """The network begins with a view of so many slices."""

    def advance(self, slices: int) -> None:
        """So many more slices of the current view are done."""
