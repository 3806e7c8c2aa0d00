# SPDX-License-Identifier: Apache-2.0
"""Record many scenes in parallel and write them as one nuScenes data set; it can be resumed."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from tqdm import tqdm

from asd_perception.cores import available_cores
from asd_perception.errors import UserError, describe_os_error
from asd_perception.files import atomic_file
from asd_training.synthetic.nuscenes_writer import VERSION, write_tables
from asd_training.synthetic.scene import SceneJob, record

PARAMETERS_FILE = "synthesis.json"
PARTS_FOLDER = "synthesis_parts"  # rows of finished scenes, until the tables are written


def synthesize(
    out: Path,
    scenes: dict[str, int],
    keyframes: int,
    seed: int,
    scale: float,
    sweeps: bool,
    workers: int | None,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Write a data set in nuScenes format, version v1.0-synthetic, to the folder `out`.

    scenes: number of scenes of each of "train", "val" and "test"; the splits are named
    synthetic_train, ... in splits.json. The result depends only on scenes, keyframes, seed,
    scale and sweeps, not on the number of worker processes (None: one per core).

    shard: (k, n) records the k-th of n shares of the scenes alone, on one of n machines, and writes
    no tables. In a folder with the files of all shards, shared or copied together, the call without
    one writes the data set that one machine alone would have made.

    An interrupted run continues where it stopped. Raises UserError if `out` holds anything else, or
    if it cannot be written.
    """
    out = Path(out)
    check_arguments(scenes, keyframes, seed, scale, workers, shard)
    counts = {split: scenes.get(split, 0) for split in ("train", "val", "test")}
    parameters = {
        "scenes": counts,
        "keyframes": keyframes,
        "seed": seed,
        "scale": scale,
        "sweeps": sweeps,
    }
    try:
        _open(out, parameters)
        if (out / VERSION).exists():
            shutil.rmtree(out / PARTS_FOLDER, ignore_errors=True)
            print(f"{out} is complete already")
            return
        jobs = [
            SceneJob(f"synthetic_{split}", index, seed, keyframes, scale, sweeps)
            for split, count in counts.items()
            for index in range(count)
        ]
        number, shards = shard
        mine = jobs[number - 1 :: shards]
        missing = [job for job in mine if not _part(out, job).exists()]
        with tqdm(total=len(mine), initial=len(mine) - len(missing), unit="scene") as bar:
            for _ in _record_all(out, missing, workers or available_cores()):
                bar.update()
        if shards > 1:
            print(
                f"shard {number}/{shards} is recorded; with the files of all in one folder, the "
                "same command without --shard writes the tables"
            )
            return
        splits: dict[str, list[str]] = {f"synthetic_{split}": [] for split in counts}
        for job in jobs:
            splits[job.split].append(job.name)
        write_tables(out, [json.loads(_part(out, job).read_text()) for job in jobs], splits)
        shutil.rmtree(out / PARTS_FOLDER, ignore_errors=True)
        print(f"{out}: {len(jobs)} scenes of {keyframes} keyframes")
    except OSError as error:
        raise UserError(
            f"cannot write the data set: {describe_os_error(error)}; "
            "once that is fixed, the same command continues where it stopped"
        ) from error


def check_arguments(
    scenes: dict[str, int],
    keyframes: int,
    seed: int,
    scale: float,
    workers: int | None,
    shard: tuple[int, int] = (1, 1),
) -> None:
    """Raises UserError for arguments that `synthesize` refuses, by the option's name."""
    unknown = set(scenes) - {"train", "val", "test"}
    if unknown:
        raise UserError(f"no such split: {', '.join(sorted(unknown))}; there are train, val, test")
    if min(scenes.values(), default=0) < 0 or not sum(scenes.values()):
        raise UserError("ask for at least one scene, and for none less than 0")
    if max(scenes.values()) > 10_000:
        raise UserError("a split has room for 10000 scenes")
    if keyframes < 1 or keyframes > 1000:
        raise UserError(f"--keyframes {keyframes}: a scene has 1 to 1000")
    if seed < 0:
        raise UserError(f"--seed {seed}: must not be negative")
    if not 0.02 <= scale <= 1.0:
        raise UserError(f"--scale {scale}: must lie between 0.02 and 1")
    if workers is not None and workers < 1:
        raise UserError(f"--workers {workers}: must be at least 1")
    if not 1 <= shard[0] <= shard[1]:
        raise UserError(f"--shard {shard[0]}/{shard[1]}: must be 1/N to N/N")


def _open(out: Path, parameters: dict) -> None:
    """Start a data set, or check that the one started there has the same parameters."""
    file = out / PARAMETERS_FILE
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is no folder; choose another output")
    if file.exists():
        try:
            found = json.loads(file.read_text())
            differences = [
                f"{name} was {found.get(name)}, is now {value}"
                for name, value in parameters.items()
                if found.get(name) != value
            ]
        except (ValueError, AttributeError) as error:
            raise UserError(f"{file} cannot be read; remove {out} and start again") from error
        if differences:
            raise UserError(
                f"{out} holds another data set ({'; '.join(differences)}); "
                "repeat its parameters or choose another output"
            )
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"{out} holds something else; choose an empty or a new folder")
    with atomic_file(file) as temporary:
        temporary.write_text(json.dumps(parameters, indent=1))


def _part(out: Path, job: SceneJob) -> Path:
    return out / PARTS_FOLDER / f"{job.name}.json"


def _record_part(out: Path, job: SceneJob) -> None:
    """Record one scene; its part appears only when all its files are there."""
    tables = record(job, out)
    with atomic_file(_part(out, job)) as temporary:
        temporary.write_text(json.dumps(tables))


def _record_all(out: Path, jobs: list[SceneJob], workers: int) -> Iterator[None]:
    """Record the scenes, yielding as each is done. An interruption drops those under way."""
    record_part = partial(_record_part, out)
    if workers == 1 or len(jobs) <= 1:
        yield from map(record_part, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(workers, len(jobs)), mp_context=context, initializer=_end_with_parent
    ) as pool:
        former = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as at Ctrl-C
        futures = [pool.submit(record_part, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise UserError(
                "a worker process was killed, perhaps for want of memory; "
                "run the same command again with fewer --workers"
            ) from error
        except KeyboardInterrupt:
            for process in multiprocessing.active_children():
                process.kill()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            signal.signal(signal.SIGTERM, former)


def _end_with_parent() -> None:
    """Let this worker process end with its parent, even one that was killed: it would wait for its
    next scene for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
