"""A batch on this machine: what is planned, what is tried again, and real workers that are killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pebble import ProcessExpired

from nansurfer.batch import BatchOptions, BatchProgress, Plan, Record, RecordFile, Subject, local, plan_batch, run_local
from nansurfer.batch.memory import memory_per_worker_mb
from nansurfer.batch.worker import Outcome, failure
from nansurfer.errors import ConfigError, OutputError, WeightsError
from nansurfer.pipeline import make_options
from nansurfer.pipeline.outputs import staged_folder, write_record

OPTIONS = make_options(device="cpu")


def subjects(*names: str) -> list[Subject]:
    return [Subject(name, Path("/data", f"{name}.mgz")) for name in names]


def failed(subject: Subject, kind: str, attempt: int = 1) -> Record:
    return failure(subject, kind=kind, sentence="What was found.", exit_code=4, seconds=1.0, attempt=attempt)


def done(subject: Subject, attempt: int = 1) -> Record:
    return replace(failed(subject, "", attempt), status="done", error_kind=None, error=None, exit_code=0)


class ToldPool:
    """A pool whose workers do as they are told, at once: ``kinds`` has the kinds of errors of a subject's attempts."""

    def __init__(self, kinds: dict[str, list[str]]) -> None:
        self.kinds, self.scheduled, self.active = kinds, [], True

    def schedule(self, function: Callable[..., Outcome], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Future[Any]:
        subject, attempt = args[0], kwargs["attempt"]
        kind = (self.kinds.get(subject.sid, []) + [""] * attempt)[attempt - 1]
        self.scheduled.append(subject.sid)
        future: Future[Any] = Future()
        if kind == "Killed":
            future.set_exception(ProcessExpired("", code=-9))
        elif kind == "Broken":
            future.set_exception(BrokenProcessPool())
            self.active = False
        elif kind == "Busy":
            future.set_result(Outcome(None))
        else:
            record = failed(subject, kind, attempt) if kind else done(subject, attempt)
            future.set_result(Outcome(record))
        return future

    def stop(self) -> None:
        """Nothing runs."""

    join = stop


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Run a batch of ``names``, one at a time, in a `ToldPool`; its records by name, and what was scheduled."""

    def run(*names: str, batch: BatchOptions | None = None, **kinds: list[str]) -> tuple[dict[str, Record], list[str]]:
        pools: list[ToldPool] = []

        def new_pool(jobs: int) -> ToldPool:
            pools.append(ToldPool(kinds))
            return pools[-1]

        monkeypatch.setattr(local, "_new_pool", new_pool)
        records = run_local(subjects(*names), OPTIONS, tmp_path, replace(batch or BatchOptions(), jobs=1))
        assert records == RecordFile(tmp_path).read()
        return {record.id: record for record in records}, [sid for pool in pools for sid in pool.scheduled]

    return run


def test_one_record_a_subject(told) -> None:
    records, scheduled = told("a", "b", "c", b=["InputFormatError"])
    assert {sid: (r.status, r.error_kind, r.attempts) for sid, r in records.items()} == {
        "a": ("done", None, 1),
        "b": ("failed", "InputFormatError", 1),
        "c": ("done", None, 1),
    }
    assert scheduled == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["InputFormatError", "OccupiedError", "WeightsError"])
def test_what_stays_as_it_is_is_not_tried_again(told, kind: str) -> None:
    _, scheduled = told("a", "b", a=[kind])
    assert scheduled == ["a", "b"]


@pytest.mark.parametrize("kind", ["Killed", "Broken", "DeviceError", "OutputError"])
def test_what_may_come_out_differently_is_tried_again_after_the_others(told, kind: str) -> None:
    records, scheduled = told("a", "b", a=[kind])
    assert scheduled == ["a", "b", "a"]
    assert (records["a"].status, records["a"].attempts) == ("done", 2)


def test_but_not_forever(told) -> None:
    records, scheduled = told("a", a=["Killed"] * 9, batch=BatchOptions(max_retries=2))
    assert scheduled == ["a"] * 3
    assert (records["a"].error_kind, records["a"].exit_code, records["a"].attempts) == ("Killed", 137, 3)
    assert "The worker was killed by SIGKILL" in str(records["a"].error)


def test_fail_fast_starts_nothing_after_a_failure(told) -> None:
    records, scheduled = told("a", "b", "c", b=["InputFormatError"], batch=BatchOptions(fail_fast=True))
    assert list(records) == scheduled == ["a", "b"]


def test_a_subject_of_another_run_is_left_to_it(told) -> None:
    records, _ = told("a", "b", a=["Busy"])
    assert list(records) == ["b"]


def finish(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "nansurfer.json").touch()


def test_only_what_is_not_finished_is_done_again(told, tmp_path: Path) -> None:
    told("finished", "failed", "lost", "other", failed=["InputFormatError"])
    finish(tmp_path, "finished", "failed", "other")  # of "lost" the folder was removed
    file = RecordFile(tmp_path)
    file.append(replace(done(*subjects("other")), input="/elsewhere/other.mgz"))
    file.append(done(*subjects("of an earlier list")))
    _, scheduled = told_again(told, tmp_path, "finished", "failed", "lost", "other", "new")
    assert scheduled == ["failed", "lost", "other", "new"]
    _, scheduled = told_again(told, tmp_path, "finished", batch=BatchOptions(overwrite=True))
    assert scheduled == ["finished"]
    ids = [record.id for record in file.read()]
    assert sorted(ids) == sorted({*ids})


def told_again(told, folder: Path, *names: str, **how: Any) -> tuple[dict[str, Record], list[str]]:
    """As ``told``, where the folder holds records of other subjects too."""
    others = [record for record in RecordFile(folder).read() if record.id not in names]
    RecordFile(folder).drop(record.id for record in others)
    result = told(*names, **how)
    for record in others:
        RecordFile(folder).append(record)
    return result


def test_what_is_finished_with_other_options_is_a_warning(told, tmp_path: Path, caplog) -> None:
    told("a", "b")
    finish(tmp_path, "a")

    def warnings(**how: Any) -> list[str]:
        caplog.clear()
        told("a", "b", **how)
        return caplog.messages

    def record(**options: Any) -> None:
        write_record(tmp_path / "a", {"input": {}, "timings_s": {}, "options": options})

    assert warnings() == []  # a damaged record does not tell
    record(weights="compact", compute={"threads": 3, "precision": "auto"})
    assert warnings() == []
    record(weights="official", views=["axial", "sagittal"])
    assert warnings() == [
        "a and perhaps others are finished, but with weights official instead of compact, views axial,sagittal instead "
        "of axial,coronal,sagittal; use --overwrite to do them again."
    ]
    assert warnings(batch=BatchOptions(overwrite=True)) == []


def test_records_that_cannot_be_written_end_the_batch(told, monkeypatch) -> None:
    def fail(self: RecordFile, record: Record) -> None:
        raise OutputError("The disk is full.")

    monkeypatch.setattr(RecordFile, "append", fail)
    with pytest.raises(OutputError, match="The disk is full"):
        told("a", "b")


class TestPlan:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Eight processors and much memory."""
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        monkeypatch.setattr(local, "available_cpus", lambda: 8)
        monkeypatch.setattr(local, "available_memory_mb", lambda: 100_000)

    @staticmethod
    def plan(folder: Path, count: int = 20, threads: int | None = None, **batch: Any) -> Plan:
        names = [f"s{number}" for number in range(count)]
        return plan_batch(subjects(*names), make_options(device="cpu", threads=threads), folder, BatchOptions(**batch))

    @pytest.mark.parametrize(
        ("how", "jobs", "threads"),
        [
            ({}, 8, 1),
            ({"jobs": 3}, 3, 2),
            ({"jobs": 20}, 8, 1),
            ({"threads": 4}, 2, 4),
            ({"jobs": 6, "threads": 4}, 6, 4),  # who gives both has a reason
            ({"count": 2}, 2, 4),
            ({"count": 0}, 1, 8),
        ],
    )
    def test_processors_are_shared_out(self, tmp_path: Path, how: dict[str, int], jobs: int, threads: int) -> None:
        plan = self.plan(tmp_path, **how)
        assert (plan.jobs, plan.threads) == (jobs, threads)

    def test_the_environment_bounds_threads_but_not_processes(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        plans = [self.plan(tmp_path, **how) for how in ({}, {"jobs": 2}, {"jobs": 2, "threads": 4})]
        assert [(plan.jobs, plan.threads) for plan in plans] == [(8, 1), (2, 2), (2, 4)]

    @pytest.mark.parametrize(
        ("available_mb", "jobs", "threads"), [(6300, 3, 2), (6100, 2, 4), (100, 1, 8), (None, 8, 1)]
    )
    def test_memory_bounds_the_jobs(self, tmp_path: Path, monkeypatch, available_mb, jobs: int, threads: int) -> None:
        monkeypatch.setattr(local, "available_memory_mb", lambda: available_mb)
        plan = self.plan(tmp_path)
        assert (plan.jobs, plan.threads) == (jobs, threads)
        assert plan.memory_mb == memory_per_worker_mb(256, make_options(), threads=threads)

    def test_nothing_is_written(self, tmp_path: Path) -> None:
        assert len(self.plan(tmp_path / "out").todo) == 20
        assert list(tmp_path.iterdir()) == []

    def test_what_is_wrong_for_all_is_said_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError):
            run_local(subjects("a"), make_options(weights=str(tmp_path)), tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("numbers", [{"jobs": 0}, {"max_retries": -1}])
    def test_numbers_that_make_no_sense(self, numbers: dict[str, int]) -> None:
        with pytest.raises(ConfigError, match="it must be at least"):
            BatchOptions(**numbers)


# Real workers. They are new processes, which know the package's own weights and nothing of a test's.

REAL = make_options(views=("coronal",), force=True, report=False, device="cpu")


class Worker(BatchProgress):
    """Does something to the only worker when it has begun with a subject."""

    def __init__(self, folder: Path, sid: str, act: Callable[[int], None]) -> None:
        self.staging, self.act = folder / f".{sid}-unfinished", act
        self.thread = threading.Thread(target=self._run)

    def begin(self, plan: Plan) -> None:
        self.thread.start()

    def _run(self) -> None:
        while not self.staging.exists():
            time.sleep(0.01)
        [worker] = multiprocessing.active_children()
        assert worker.pid
        self.act(worker.pid)


@pytest.fixture
def few(blob_path: Path, tmp_path: Path) -> list[Subject]:
    """A good image and a damaged one."""
    (tmp_path / "bad.mgz").write_bytes(blob_path.read_bytes()[:1000])
    return [Subject("good", blob_path), Subject("bad", tmp_path / "bad.mgz")]


@pytest.fixture(autouse=True)
def no_process_stays() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_a_killed_worker_costs_one_attempt(few, tmp_path: Path) -> None:
    """SIGINT and SIGTERM, which a terminal and Slurm send to all processes, do not end it; SIGKILL does."""
    out = tmp_path / "out"

    def strike(pid: int) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            os.kill(pid, number)
            time.sleep(0.1)

    records = run_local(few, REAL, out, BatchOptions(jobs=1), Worker(out, "good", strike))
    assert [(r.id, r.status, r.error_kind, r.exit_code, r.attempts) for r in records] == [
        ("bad", "failed", "InputFormatError", 4, 1),
        ("good", "done", None, 0, 2),
    ]
    good = records[1]
    assert good.peak_memory_mb is not None
    assert 200 < good.peak_memory_mb < 3000
    assert good.brain_volume_ml is not None
    assert good.skip_ratio is None
    assert good.started <= good.finished
    assert hidden(out) == []
    assert not (out / "bad").exists()
    times = (out / "good" / "nansurfer.json").stat().st_mtime_ns

    # What has no record though it is finished gets one, and nothing is computed.
    RecordFile(out).drop(["good"])
    assert run_local(few[:1], REAL, out, BatchOptions(jobs=1)) == [replace(good, attempts=1)]
    assert (out / "good" / "nansurfer.json").stat().st_mtime_ns == times


def test_an_interruption_drops_what_is_at_hand(few, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main = threading.main_thread().ident
    assert main

    with pytest.raises(KeyboardInterrupt):
        run_local(few, REAL, out, BatchOptions(jobs=1), Worker(out, "good", lambda pid: signal.pthread_kill(main, 2)))
    assert RecordFile(out).read() == []
    assert list(out.iterdir()) == []


def test_another_run_has_the_subject(few, tmp_path: Path) -> None:
    out = tmp_path / "out"
    left: list[str] = []

    class Left(BatchProgress):
        def left_out(self, subject: Subject) -> None:
            left.append(subject.sid)

    with staged_folder(out / "good"):
        records = run_local(few, REAL, out, BatchOptions(jobs=1), Left())
    assert left == ["good"]
    assert [record.id for record in records] == ["bad"]
