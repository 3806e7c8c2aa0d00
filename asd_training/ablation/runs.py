# SPDX-License-Identifier: Apache-2.0
"""Every row of an ablation, trained over several seeds; it can be interrupted.

OUTPUT/teachers/NAME and OUTPUT/runs/ROW-SEED are ordinary run folders; OUTPUT/results holds one
JSON file per finished run, from which the report is written. A run that has its result there is not
repeated, so results may come from several machines. With the same seed all rows see
the same keyframes in the same order, augmented alike, so that they can be compared seed by seed.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from tqdm import tqdm

from asd_perception.configuration import from_dict, to_dict
from asd_perception.cores import available_cores
from asd_perception.errors import UserError
from asd_perception.files import atomic_file, check_output_file
from asd_perception.network import model_directory
from asd_training.ablation.report import DEFINITION, write_report
from asd_training.config.ablation import Ablation, read_ablation
from asd_training.config.read import read_config
from asd_training.config.run import Run, StudentRun, TeacherRun, as_begun
from asd_training.data.index import KeyframeIndex


@dataclass(frozen=True)
class Job:
    """One training run. config: what it trains. teacher: the folder of the run it waits for."""

    name: str
    command: str
    folder: Path
    config: StudentRun | TeacherRun
    base: Path
    changes: list[str]
    result: Path
    labels: dict[str, Any]
    teacher: Path | None = None


def run_ablation(
    data: Path,
    version: str | None,
    out: Path,
    config: Path,
    jobs: int = 1,
    rows: list[str] | None = None,
    seeds: list[int] | None = None,
    report: Path | None = None,
) -> Path:
    """Run what is not finished yet, then write the report; returns its file.

    jobs: runs side by side. rows, seeds: only these. report: default OUTPUT/results.md. Raises
    UserError, at the end where runs failed.
    """
    ablation = read_ablation(config)
    report = report or out / "results.md"
    check_output_file(report)
    if jobs < 1:
        raise UserError(f"--jobs is {jobs}; it must be at least 1")
    KeyframeIndex.open(data, version)  # reports wrong data, and builds the index once
    due = to_do(plan(ablation, config.parent, out.resolve(), rows, seeds))
    options = ["--version", version] if version else []
    with atomic_file(out / "results" / DEFINITION) as path:
        path.write_text(json.dumps(asdict(ablation), indent=1) + "\n")
    failed = Runner(data.resolve(), out.resolve(), options, jobs).run(due)
    write_report(out / "results", report)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(due)} runs failed: {'; '.join(failed)}; "
            f"fix that and start the same command again (report of the others: {report})"
        )
    return report


def plan(
    ablation: Ablation,
    folder: Path,
    out: Path,
    rows: list[str] | None = None,
    seeds: list[int] | None = None,
) -> list[Job]:
    """All runs, teachers first, then seed by seed; only the given rows and seeds.

    folder: of the configurations. Raises UserError if a configuration is wrong, or is not
    the one with which a run in `out` was begun.
    """
    for kind, names, known in (
        ("row", rows, [row.name for row in ablation.rows]),
        ("seed", seeds, list(ablation.seeds)),
    ):
        for name in names or []:
            if name not in known:
                raise UserError(
                    f"there is no {kind} {name}; there are {', '.join(map(str, known))}"
                )
    chosen = [row for row in ablation.rows if rows is None or row.name in rows]
    needed = {row.teacher for row in chosen}
    jobs = [
        _job(
            "teacher",
            TeacherRun,
            f"teacher {teacher.name}",
            out / "teachers" / teacher.name,
            folder / teacher.config,
            teacher.set,
            out / "results" / f"teacher-{teacher.name}.json",
            {"teacher": teacher.name},
        )
        for teacher in ablation.teachers
        if teacher.name in needed
    ]
    for seed in ablation.seeds:
        if seeds is not None and seed not in seeds:
            continue
        for row in chosen:
            teacher = out / "teachers" / row.teacher if row.teacher else None
            changes = {**row.set, "seed": seed}
            if teacher:
                changes["distillation.teacher"] = str(teacher / "model")
            name = f"{row.name}-{seed}"
            jobs.append(
                _job(
                    "student",
                    StudentRun,
                    name,
                    out / "runs" / name,
                    folder / ablation.base,
                    changes,
                    out / "results" / f"{name}.json",
                    {"row": row.name, "title": row.title, "seed": seed, "changes": row.set},
                    teacher,
                )
            )
    return jobs


def to_do(jobs: list[Job]) -> list[Job]:
    """The students without a result, and the teachers that these need.

    Raises UserError for a result of another configuration, and for a teacher that was trained
    elsewhere: the students of one ablation learn from one teacher.
    """
    students = [job for job in jobs if job.command == "student" and not _has_result(job)]
    needed = {job.teacher for job in students}
    teachers = [job for job in jobs if job.command == "teacher" and job.folder in needed]
    for job in teachers:
        if job.result.exists() and not (job.folder / "model").exists():
            raise UserError(
                f"{job.result} is there and its model is not: copy {job.folder / 'model'} from "
                "where it was trained, or remove the results of it and of all its students"
            )
    return teachers + students


def _has_result(job: Job) -> bool:
    """Whether a student's result is there. Raises UserError if it is another configuration's."""
    if not job.result.exists():
        return False
    try:
        result = json.loads(job.result.read_text())
        changes, training = result["changes"], dict(result["training"])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{job.result} is no result of `asd-train ablate`: remove it") from error
    config: Any = job.config  # a run of one kind, and what it began with of the same
    try:
        # A result from before there was a key has its default.
        begun: Any = from_dict(type(config), training)
    except UserError as error:
        raise UserError(
            f"{job.result} was made with another configuration ({error}); "
            "remove it or choose another OUTPUT"
        ) from error
    made, required = (
        {"set": row, **_short_paths(to_dict(values))}
        for row, values in (
            (changes, begun),
            (job.labels["changes"], as_begun(config, begun)),
        )
    )
    for values in (made, required):
        del values["student"], values["distillation"]["teacher"]  # its path
        for key in ("cache", "resident", "curve_from"):  # of no effect on the weights
            del values[key]
    if made != required:
        raise UserError(
            f"{job.result} was made with another configuration "
            f"({'; '.join(_differences(made, required))}); remove it or choose another OUTPUT"
        )
    return True


def _short_paths(value: Any) -> Any:
    """Plain values with the last two names of each path: a result may come from another machine, or
    from another working directory of this one."""
    if isinstance(value, dict):
        return {key: _short_paths(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_short_paths(item) for item in value]
    return "/".join(value.strip("/").split("/")[-2:]) if isinstance(value, str) else value


def _job(
    command: str,
    kind: type[Run],
    name: str,
    folder: Path,
    base: Path,
    values: dict[str, Any],
    result: Path,
    labels: dict[str, Any],
    teacher: Path | None = None,
) -> Job:
    """A job, after checking its configuration and what its folder holds."""
    changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
    try:
        config = read_config(kind, base, changes)
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    if isinstance(config, StudentRun) and config.distillation.needs_teacher != bool(teacher):
        wrong = "names none" if teacher is None else "uses none"
        raise UserError(f"{name}: distillation needs a teacher, and the row {wrong}")
    if (folder / "config.yaml").is_file():
        begun = read_config(kind, folder / "config.yaml")
        # It goes on with its own `resident`, which has no effect on the weights.
        asked = as_begun(replace(config, resident=begun.resident), begun)
        if begun != asked:
            raise UserError(
                f"{folder} was trained with another configuration "
                f"({'; '.join(_differences(to_dict(begun), to_dict(asked)))}); "
                "remove it or choose another OUTPUT"
            )
    return Job(name, command, folder, config, base, changes, result, labels, teacher)


def _differences(old: Any, new: Any, where: str = "") -> list[str]:
    """The keys whose values differ, with both values."""
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return [] if old == new else [f"{where}: {old} there, {new} now"]
    return [
        text
        for key in {**old, **new}
        for text in _differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
    ]


class Runner:
    """Runs jobs side by side, each as a process of `asd-train` on its own share of the cores."""

    def __init__(self, data: Path, out: Path, options: list[str], jobs: int) -> None:
        """options: further arguments of every command."""
        self.data, self.out, self.options, self.jobs = data, out, options, jobs
        self._threads = math.ceil(available_cores() / jobs)  # of a run, where a quota limits them
        self._living: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, jobs: list[Job]) -> list[str]:
        """Run what is not done; returns what went wrong.

        Whenever there is room, the first job begins whose teacher is there. An interruption ends
        all processes; a run resumes from its last checkpoint.
        """
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        shares = iter(core_shares(self.jobs))
        # A process inherits the cores of the thread that starts it.
        pool = ThreadPoolExecutor(
            self.jobs, initializer=lambda: os.sched_setaffinity(0, next(shares))
        )
        waiting, failed = list(jobs), dict[Path, str]()
        running: dict[Future[str], Job] = {}
        try:
            with tqdm(total=len(jobs), desc="ablation", unit="run") as bar:
                while waiting or running:
                    unfinished = {job.folder for job in [*waiting, *running.values()]}
                    for job in [job for job in waiting if job.teacher not in unfinished]:
                        if len(running) < self.jobs:
                            waiting.remove(job)
                            without = job.teacher in failed
                            running[pool.submit(self._do, job, without)] = job
                    bar.set_postfix_str(", ".join(job.name for job in running.values()))
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job, error = running.pop(future), future.result()
                        if error:
                            failed[job.folder] = error
                        bar.write(f"failed: {error}" if error else _in_one_line(job))
                        bar.update()
        finally:
            self._stop()
            pool.shutdown()
            signal.signal(signal.SIGTERM, former)
        return list(failed.values())

    def _do(self, job: Job, without_teacher: bool) -> str:
        """One job, unless it is done; says what went wrong, or nothing."""
        if without_teacher:
            return f"{job.name} has no teacher"
        if not (job.folder / "model").exists():
            error = self._train(job)
            if error:
                return error
        if not job.result.exists():
            write_result(job)
        return ""

    def _train(self, job: Job) -> str:
        arguments = [job.command, str(self.data), str(job.folder), *self.options]
        if (job.folder / "config.yaml").exists():
            arguments.append("--resume")
        else:
            arguments += ["--config", str(job.base)]
            arguments += [part for change in job.changes for part in ("--set", change)]
        log = self.out / "logs" / f"{job.name.replace(' ', '-')}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ)
        if self.jobs > 1:  # this thread's cores are its share
            environment["OMP_NUM_THREADS"] = str(min(len(os.sched_getaffinity(0)), self._threads))
        with log.open("ab") as output:
            with self._lock:
                if self._stopped:
                    return f"{job.name} was not started"
                process = subprocess.Popen(
                    [sys.executable, "-m", "asd_training.commands.asd_train", *arguments],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    start_new_session=True,
                )
                self._living.add(process)
            status = process.wait()
            with self._lock:
                self._living.discard(process)
        return f"{job.name} (see {log})" if status else ""

    def _stop(self) -> None:
        """Kill what still runs, with its loader processes."""
        with self._lock:
            self._stopped = True
            for process in self._living:
                os.killpg(process.pid, signal.SIGKILL)


def core_shares(jobs: int) -> list[set[int]]:
    """This process's cores, dealt out to so many jobs; if there are fewer, jobs share them."""
    cores = sorted(os.sched_getaffinity(0))
    bounds = [job * len(cores) // jobs for job in range(jobs + 1)]
    return [set(cores[at : max(end, at + 1)]) for at, end in itertools.pairwise(bounds)]


def _in_one_line(job: Job) -> str:
    """What a finished run has come to."""
    result = json.loads(job.result.read_text())
    score = result["validation"].get("mean_ap")
    parts = [] if score is None else [f"mAP {score:.3f}"]
    if costs := result.get("core_seconds_per_sample"):
        parts.append(f"{sum(costs.values()):.3f} core-seconds per sample")
    return f"{job.name}: {', '.join(parts) or 'finished'}"


def write_result(job: Job) -> None:
    """The result of a finished run: its labels, its size, and its model's provenance."""
    provenance = model_directory.read_document(job.folder / "model").get("provenance")
    with safe_open(job.folder / "model" / "model.safetensors", framework="np") as weights:
        shapes = [weights.get_slice(name).get_shape() for name in weights.keys()]  # noqa: SIM118
    result = {**job.labels, "parameters": sum(map(math.prod, shapes)), **(provenance or {})}
    with atomic_file(job.result) as path:
        path.write_text(json.dumps(result, indent=1, default=str) + "\n")
