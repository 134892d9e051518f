"""Records to write tables and pages of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from nansurfer.batch import Record


@pytest.fixture
def done() -> Callable[..., Record]:
    """A subject that was segmented, by its id and whatever fields are to differ."""

    def record(sid: str, **fields: Any) -> Record:
        usual = Record(
            id=sid,
            input=f"/data/{sid}.mgz",
            status="done",
            error_kind=None,
            error=None,
            exit_code=0,
            seconds=20.5,
            peak_memory_mb=1300,
            brain_volume_ml=1200.0,
            skip_ratio=0.75,
            attempts=1,
            host="node01",
            started="2026-11-22T20:00:03+00:00",
            finished="2026-11-22T20:00:24+00:00",
        )
        return replace(usual, **fields)

    return record


@pytest.fixture
def failed(done: Callable[..., Record]) -> Callable[..., Record]:
    """A subject whose file was damaged, by its id and whatever fields are to differ."""

    def record(sid: str, **fields: Any) -> Record:
        usual = done(
            sid,
            status="failed",
            error_kind="InputFormatError",
            error=f"/data/{sid}.mgz is damaged; copy it again.",
            exit_code=4,
            seconds=0.5,
            peak_memory_mb=300,
            brain_volume_ml=None,
            skip_ratio=None,
            host="node02",
            finished="2026-11-22T20:00:04+00:00",
        )
        return replace(usual, **fields)

    return record
