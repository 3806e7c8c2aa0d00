# SPDX-License-Identifier: Apache-2.0
"""What the keyframe index costs, and what it saves.

Nothing is written to the dataset: the index is built for a temporary folder of links to it.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from asd_perception.files import atomic_file
from asd_training.data.index import KeyframeIndex, index_files
from asd_training.data.nuscenes import dataset_version, open_dataset

LOADS = 5
READS = 100


def measure(root: Path, version: str | None, repeat_to: int) -> dict[str, Any]:
    """Build, load and read the index of a dataset; load it once more with `repeat_to` keyframes.

    Times in seconds, but for those of one keyframe, in milliseconds; medians of several, but for
    the build. They are CPU time, so that other programs on the machine do not count, and no wait
    for the disk: files that were read before lie in memory. The size and the loading time at
    `repeat_to` are measured on a file in which the dataset's keyframes are repeated; the build time
    there is extrapolated.
    """
    version = dataset_version(root, version)
    tables = [path.stat().st_size for path in (root / version).glob("*.json")]
    devkit_s, _ = _timed(lambda: open_dataset(root, version))
    with tempfile.TemporaryDirectory() as folder:
        linked = Path(folder) / "data"
        linked.mkdir()
        for entry in root.iterdir():
            if entry.name != ".asd_index":
                (linked / entry.name).symlink_to(entry.resolve())
        file = index_files(linked, version)[0]

        def load() -> KeyframeIndex:
            return KeyframeIndex.open(linked, version)

        build_s, index = _timed(load)
        load_s = statistics.median(_timed(load)[0] for _ in range(LOADS))
        file_bytes = file.stat().st_size
        ids = np.random.default_rng(0).choice(len(index), min(READS, len(index)), replace=False)
        frames_s = [_timed(partial(_frame_and_objects, index, i))[0] for i in ids]
        clouds = [_timed(partial(index.lidar, i)) for i in ids]
        _repeat(file, repeat_to)
        repeated_load_s = statistics.median(_timed(load)[0] for _ in range(LOADS))
        return {
            "root": str(root),
            "version": version,
            "keyframes": len(index),
            "objects": len(index.object_tokens),
            "sweeps": len(index.sweep_paths),
            "tables_bytes": sum(tables),
            "devkit_open_s": round(devkit_s, 3),
            "build_s": round(build_s, 3),
            "load_s": round(load_s, 4),
            "index_bytes": file_bytes,
            "frame_and_objects_ms": round(1e3 * statistics.median(frames_s), 3),
            "lidar_ms": round(1e3 * statistics.median(seconds for seconds, _ in clouds), 3),
            "lidar_points": round(float(np.mean([len(points) for _, points in clouds]))),
            "projected": {
                "keyframes": repeat_to,
                "build_s": round(build_s * repeat_to / len(index), 1),
                "load_s": round(repeated_load_s, 4),
                "index_bytes": file.stat().st_size,
            },
        }


def _repeat(file: Path, keyframes: int) -> None:
    """Rewrite an index file with its keyframes repeated, or cut, to the given number."""
    with np.load(file, allow_pickle=False) as content:
        arrays = dict(content)
    ids = np.resize(np.arange(len(arrays["sample_tokens"])), keyframes)
    rows = {}
    for kind in ("object", "sweep"):
        offsets = arrays[f"{kind}_offsets"]
        spans = [np.arange(offsets[i], offsets[i + 1]) for i in ids]
        rows[kind] = np.concatenate(spans)
        arrays[f"{kind}_offsets"] = np.cumsum([0] + [len(span) for span in spans])

    def repeated(name: str, array: NDArray[Any]) -> NDArray[Any]:
        kind = name.split("_")[0]
        if name.endswith(("_offsets", "_names")) or kind in ("identity", "table"):
            return array
        return array[rows.get(kind, ids)]

    with atomic_file(file) as temporary:
        np.savez(temporary, **{name: repeated(name, array) for name, array in arrays.items()})


def _frame_and_objects(index: KeyframeIndex, i: int) -> None:
    index.frame(i)
    index.objects(i)


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    result = call()
    return time.process_time() - start, result
