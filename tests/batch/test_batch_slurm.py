"""Array jobs: what is asked of Slurm, what became of the subjects, and all of it on a real Slurm."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from nansurfer.batch import Record, RecordFile, Subject
from nansurfer.batch.array_job import ArrayJob, SlurmOptions, minutes, plan_array
from nansurfer.batch.local import BatchOptions
from nansurfer.batch.slurm import left_to_submit, submit
from nansurfer.batch.status import BatchStatus, Submission, batch_status
from nansurfer.errors import BatchError, ConfigError
from nansurfer.pipeline import is_finished, make_options

CHECKOUT = Path(__file__).resolve().parents[2]
PREREQUISITE_MISSING = 77


def subjects(count: int) -> list[Subject]:
    return [Subject(f"s{i}", Path(f"/data/s{i}.mgz")) for i in range(1, count + 1)]


def plan(count: int, threads: int | None = None, **slurm: Any) -> ArrayJob:
    return plan_array(subjects(count), make_options(threads=threads), SlurmOptions(**slurm))


# What is asked for


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("90", 90),
        ("90:00", 90),
        ("90:01", 91),
        ("1:30:00", 90),
        ("0:0:5", 1),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("2-00:00:30", 2881),
    ],
)
def test_time_has_the_forms_of_slurm(time, expected):
    assert minutes(time) == expected


@pytest.mark.parametrize("time", ["", "soon", "1h", "1:2:3:4", "-5", "1-", "0", "0:00:00"])
def test_other_times_are_refused(time):
    with pytest.raises(ConfigError, match=f"--time is '{time}'"):
        SlurmOptions(time=time)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gpus": -1}, "--gpus is -1"),
        ({"cpus": 0}, "--cpus is 0"),
        ({"chunk": 0}, "--chunk is 0"),
        ({"others": {"cpus-per-task": "4"}}, "give --cpus"),
        ({"others": {"mem": "4G"}}, "give --mem"),
        ({"others": {"array": "1-3"}}, "--slurm array cannot be chosen"),
    ],
)
def test_what_cannot_be_asked_for(options, said):
    with pytest.raises(ConfigError, match=said):
        SlurmOptions(**options)


def test_chunks_hold_every_subject_once_and_in_order():
    chunks = plan(45, chunk=20).chunks
    assert [len(chunk) for chunk in chunks] == [20, 20, 5]
    assert [subject for chunk in chunks for subject in chunk] == subjects(45)


def test_by_default_a_task_is_one_core_and_twenty_subjects():
    job = plan(45)
    assert (len(job.chunks), job.cpus, job.workers, job.threads, job.minutes) == (3, 1, 1, 1, 110)


def test_cores_are_workers_of_as_many_threads_as_asked():
    assert (plan(9, cpus=8).workers, plan(9, cpus=8).threads) == (8, 1)
    job = plan(9, threads=2, cpus=8)
    assert (job.workers, job.threads) == (4, 2)
    assert plan(9, threads=4).cpus == 4


def test_a_gpu_is_shared_by_two_workers():
    job = plan(9, gpus=1)
    assert (job.workers, job.threads, job.cpus) == (2, 2, 4)


def test_large_batches_have_larger_chunks_rather_than_more_tasks_than_slurm_takes():
    chunks = plan(50_001).chunks
    assert len(chunks) <= 1000
    assert sum(map(len, chunks)) == 50_001


# What became of them


def record(sid: str, status: str = "done", finished: str = "2026-01-02T00:00:00+00:00") -> Record:
    error = None if status == "done" else "InputFormatError"
    return Record(
        id=sid,
        input=f"/data/{sid}.mgz",
        status=status,
        error_kind=error,
        error=error and "It is damaged.",
        exit_code=4 if error else 0,
        seconds=20.0,
        peak_memory_mb=1300,
        brain_volume_ml=None if error else 1200.0,
        skip_ratio=None,
        attempts=1,
        host="node1",
        started="2026-01-01T00:00:00+00:00",
        finished=finished,
    )


@pytest.fixture
def queue(tmp_path_factory, monkeypatch) -> Callable[..., None]:
    """Sets what squeue answers: array tasks with their states; without any, that it knows no such job."""
    folder = tmp_path_factory.mktemp("bin")
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def answer(**states: str) -> None:
        lines = "\n".join(f"{task.removeprefix('t')} {state}" for task, state in states.items())
        unknown = "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1"
        (folder / "squeue").write_text(f"#!/bin/sh\n{f'cat <<END{chr(10)}{lines}{chr(10)}END' if lines else unknown}\n")
        (folder / "squeue").chmod(0o755)

    return answer


def names(status: BatchStatus) -> dict[str, list[str]]:
    return {
        "done": [r.id for r in status.done],
        "failed": [r.id for r in status.failed],
        "running": list(status.running),
        "waiting": list(status.waiting),
        "lost": list(status.lost),
    }


def test_every_subject_of_an_array_job_stands_in_one_place(tmp_path, queue):
    Submission({"17_0": ["a", "b"], "17_1": ["c-1", "d"], "17_2": ["e"], "17_3": ["f"]}, {}).save(tmp_path)
    RecordFile(tmp_path).append(record("a"))
    RecordFile(tmp_path).append(record("b", "failed"))
    (tmp_path / ".c-1-unfinished").mkdir()
    (tmp_path / ".f-unfinished").mkdir()  # killed in the middle of it
    queue(t17_1="RUNNING", t17_2="PENDING")
    status = batch_status(tmp_path)
    assert names(status) == {"done": ["a"], "failed": ["b"], "running": ["c-1"], "waiting": ["d", "e"], "lost": ["f"]}
    assert status.lost == {"f": "17_3"}


def test_a_record_of_before_is_not_the_new_jobs(tmp_path, queue):
    RecordFile(tmp_path).append(record("a", "failed"))
    Submission({"18": ["a"]}, {"a": record("a").of}).save(tmp_path)
    queue(t18="PENDING")
    assert names(batch_status(tmp_path))["waiting"] == ["a"]
    queue()
    assert batch_status(tmp_path).lost == {"a": "18"}
    RecordFile(tmp_path).append(record("a", finished="2026-02-01T00:00:00+00:00"))
    assert names(batch_status(tmp_path))["done"] == ["a"]


def test_a_result_found_again_by_another_path_is_the_new_jobs(tmp_path, queue):
    was = record("a")
    Submission({"18": ["a"]}, {"a": was.of}).save(tmp_path)
    RecordFile(tmp_path).append(replace(was, input="/moved/a.mgz"))
    queue()
    assert names(batch_status(tmp_path))["done"] == ["a"]


def test_the_latest_job_of_a_subject_counts(tmp_path, queue):
    Submission({"19_0": ["a"], "19_1": ["b"]}, {}).save(tmp_path)
    time.sleep(0.01)  # jobs are told apart by when they were noted
    Submission({"20": ["a"]}, {}).save(tmp_path)
    queue(t20="PENDING")
    status = batch_status(tmp_path)
    assert (status.waiting, status.lost) == (["a"], {"b": "19_1"})


def test_a_batch_without_slurm_is_told_by_its_records_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    RecordFile(tmp_path).append(record("a"))
    assert names(batch_status(tmp_path)) == {"done": ["a"], "failed": [], "running": [], "waiting": [], "lost": []}


def test_a_queue_that_cannot_be_asked_is_said(tmp_path, monkeypatch):
    Submission({"17": ["a"]}, {}).save(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="squeue is not on the PATH"):
        batch_status(tmp_path)
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'Unable to contact slurm controller' >&2\nexit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    with pytest.raises(ConfigError, match="Unable to contact slurm controller"):
        batch_status(tmp_path)


def test_only_what_is_neither_finished_nor_queued_is_submitted(tmp_path, queue):
    RecordFile(tmp_path).append(record("s1"))
    RecordFile(tmp_path).append(record("s2", "failed"))
    (tmp_path / "s1").mkdir()
    (tmp_path / "s1" / "nansurfer.json").touch()
    Submission({"17_0": ["s3"], "17_1": ["s4"]}, {}).save(tmp_path)
    queue(t17_0="PENDING")
    assert [s.sid for s in left_to_submit(subjects(5), tmp_path, overwrite=False)] == ["s2", "s4", "s5"]
    assert [s.sid for s in left_to_submit(subjects(5), tmp_path, overwrite=True)] == ["s1", "s2", "s4", "s5"]


def test_where_there_is_no_slurm_submitting_says_so(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="not on the PATH"):
        submit(plan(2), make_options(), tmp_path, BatchOptions(), SlurmOptions())


# A real Slurm


@pytest.fixture(scope="module")
def real_slurm() -> Iterator[dict[str, str]]:
    """Environment in which sbatch and nansurfer reach a Slurm that runs on this machine alone."""
    pytest.importorskip("submitit")
    scripts = CHECKOUT / "scripts" / "slurm"
    with TemporaryDirectory(prefix="slurm-") as folder:  # pytest's own are for their owner only
        started = subprocess.run(["bash", scripts / "start.sh", folder], capture_output=True, text=True)
        if started.returncode == PREREQUISITE_MISSING:
            pytest.skip(started.stderr.strip())
        assert started.returncode == 0, started.stderr
        yield os.environ | {
            "SLURM_CONF": f"{folder}/slurm.conf",
            "PYTHONPATH": str(CHECKOUT),
            "OMP_NUM_THREADS": "1",
            "SLURM_MEM_PER_CPU": "100",  # as where sbatch is typed inside a job
        }
        subprocess.run(["bash", scripts / "stop.sh", folder], check=True)


class Cluster:
    """The commands that a user types."""

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        self.environment, self.folder = environment, folder

    def run(self, *command: str | Path, code: int = 0) -> str:
        answer = subprocess.run(command, env=self.environment, cwd=self.folder, capture_output=True, text=True)
        assert answer.returncode == code, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    def nansurfer(self, *arguments: str | Path, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "nansurfer", *arguments, code=code)

    def until(self, there: Callable[[], object], what: str, seconds: int = 120) -> None:
        deadline = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < deadline, f"{what} did not come about in {seconds} s\n{self.run('squeue')}"
            time.sleep(0.1)

    def until_idle(self) -> None:
        self.until(lambda: not self.run("squeue", "--noheader"), "an empty queue")

    def kill(self, task: str) -> None:
        """End all processes of an array task, as a machine that fails does."""
        job = self.run("squeue", "--noheader", f"--jobs={task}", "--format=%A").strip()
        rows = [line.split() for line in self.run("scontrol", "listpids", job).splitlines()[1:]]
        for pid, _, step, *_ in rows:
            if step == "0":
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def cluster(real_slurm, tmp_path, blob_path) -> Cluster:
    """Eight subjects, of which s4 is damaged, in a folder whose name has a space."""
    inputs = tmp_path / "in put"
    inputs.mkdir()
    for i in range(1, 9):
        shutil.copy(blob_path, inputs / f"s{i}.mgz")
    (inputs / "s4.mgz").write_bytes(blob_path.read_bytes()[:3000])
    return Cluster(real_slurm, tmp_path)


def latest_tasks(folder: Path) -> dict[str, list[str]]:
    paths = sorted((folder / "logs").glob("*_subjects.json"), key=lambda path: path.stat().st_mtime_ns)
    return json.loads(paths[-1].read_text())["tasks"]


@pytest.mark.slow
def test_eight_subjects_of_which_one_is_damaged_one_task_killed_and_one_requeued(cluster):
    out = cluster.folder / "out"
    command = ["batch", "in put", "-o", "out", "--executor", "slurm", "--chunk", "2", "--mem", "2G"]
    command += ["--views", "coronal", "--force", "--no-report"]
    cluster.nansurfer(*command)
    tasks = latest_tasks(out)
    assert list(tasks.values()) == [["s1", "s2"], ["s3", "s4"], ["s5", "s6"], ["s7", "s8"]]
    to_kill, _, to_requeue, _ = tasks

    cluster.until((out / ".s1-unfinished").exists, "s1 at hand")
    cluster.kill(to_kill)
    cluster.until((out / ".s5-unfinished").exists, "s5 at hand")
    cluster.run("scancel", "--signal=USR2", to_requeue)  # as before the time limit
    cluster.until_idle()
    assert {r.id for r in RecordFile(out).read()} == {"s3", "s4", "s5", "s6", "s7", "s8"}
    assert len((out / "batch.csv").read_text().splitlines()) == 1 + 6
    said = cluster.nansurfer("batch", "status", "out", code=BatchError.exit_code)
    assert re.search(rf"s1\b.*\b{to_kill}\b", said)

    cluster.nansurfer(*command)
    assert list(latest_tasks(out).values()) == [["s1", "s2"], ["s4"]]
    cluster.until_idle()
    records = RecordFile(out).read()
    assert sorted(r.id for r in records) == [f"s{i}" for i in range(1, 9)]
    assert len(RecordFile(out).path.read_text().splitlines()) == 8
    failed = [(r.id, r.error_kind, r.exit_code) for r in records if r.status == "failed"]
    assert failed == [("s4", "InputFormatError", 4)]
    assert all(is_finished(out / f"s{i}") for i in (1, 2, 3, 5, 6, 7, 8))
    assert not list(out.glob(".*"))
    assert len((out / "volumes.csv").read_text().splitlines()) == 1 + 7


@pytest.mark.slow
def test_a_plain_array_over_a_list(cluster):
    images = [f"in put/s{i}.mgz" for i in (1, 4)]
    (cluster.folder / "list.txt").write_text("\r\n".join(images))  # made elsewhere, without a last line end
    nansurfer = cluster.folder / "bin" / "nansurfer"
    nansurfer.parent.mkdir()
    nansurfer.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m nansurfer "$@"\n')
    nansurfer.chmod(0o755)
    cluster.environment = cluster.environment | {"PATH": f"{nansurfer.parent}{os.pathsep}{os.environ['PATH']}"}
    script = CHECKOUT / "scripts" / "slurm_array.sh"
    sbatch = ("sbatch", "--array=1-2", "--mem=2G", "--cpus-per-task=1", "--parsable")
    job = cluster.run(*sbatch, script, "list.txt", "o ut", "--views", "coronal", "--force").strip()
    cluster.until_idle()
    assert is_finished(cluster.folder / "o ut" / "s1")
    assert "is not an image we can read" in (cluster.folder / f"nansurfer-{job}_2.log").read_text()
    codes = cluster.run("scontrol", "--oneliner", "show", "job", job)
    assert re.search(r"ArrayTaskId=1 .*JobState=COMPLETED", codes)
    assert re.search(r"ArrayTaskId=2 .*JobState=FAILED .*ExitCode=4:0", codes)


@pytest.mark.slow
def test_what_slurm_refuses_is_said_in_its_words(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])
    slurm = SlurmOptions(partition="nowhere")
    with pytest.raises(ConfigError, match="invalid partition specified: nowhere"):
        submit(plan(2), make_options(), cluster.folder, BatchOptions(), slurm)
