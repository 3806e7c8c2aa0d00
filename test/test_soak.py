# SPDX-License-Identifier: Apache-2.0
"""Promise: under random faults for long, the node leaks no memory, thread or file, nor time.

pytest -m soak                          # a minute
ASD_SOAK_SECONDS=1200 pytest -m soak    # twenty minutes; ASD_SOAK_JSON=FILE keeps the figures
"""

import itertools
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from robot import START, TRIGGERS, jpeg, resources, scene

from asd_perception.cameras.calibration import NUSCENES_CAMERA_NAMES as CAMERAS
from asd_perception.ros.messages.geometry import stamp_ns
from asd_training.benchmarks.results import results_of

SECONDS = float(os.environ.get("ASD_SOAK_SECONDS", "60"))
RATE = 12.0
WARM_UP = 0.3  # share of the time after which nothing may grow any more
GROWTH = 8.0  # MiB that noise may add after the warm-up
SLOPE = 10.0  # MiB an hour, in a run that is long enough to tell
LONG = 600.0  # s
SLOWER = 1.3  # ratio of the p99 latencies of both halves, of a run that is long enough
ANSWER = 2.0  # s after which a whole sweep is not waited for any more
MAX_WAIT = 0.1  # s, the default of sync.max_wait
GAP = MAX_WAIT + 2 / RATE  # s that may lie between detections
GAPS = 0.001  # share of wider ones, of a run that is long enough: late and damaged images make some
ROWS = 20  # of what is written over time


def cameras_away(sweep):
    """For three of every ten seconds up to three cameras, and in every other minute one more."""
    chance = random.Random(sweep // 120)
    away = set(chance.sample(CAMERAS, chance.randint(0, 3)) if sweep % 120 < 36 else ())
    if sweep // 720 % 2:
        away.add(random.Random(sweep // 720).choice(CAMERAS))
    return away


def faulty_sweep(images, stamps, dead):
    """Messages and stamps with random faults, and whether there are none."""
    messages = [None if camera in dead else jpeg(image) for camera, image in images]
    stamps = list(stamps)
    whole = all(messages)
    for i, message in enumerate(messages):
        if message is None:
            continue
        fault = random.random()
        whole &= fault >= 0.05
        if fault < 0.01:
            del message.data[-50:]  # cut short
        elif fault < 0.02:
            message.data = message.data[10:]  # no JPEG
        elif fault < 0.03:
            messages[i] = None
        elif fault < 0.04:
            stamps[i] += random.choice([-1, 1]) * 10**11
        elif fault < 0.05:
            stamps[i] = 0
    return messages, stamps, whole


def over_time(samples, latencies):
    """Rows of the report: medians of the samples, and p99 of the whole sweeps in each part."""
    rows = []
    for begin, end in itertools.pairwise(np.linspace(0, SECONDS, ROWS + 1)):
        if not np.any(sampled := _within(samples, begin, end)):
            continue
        _, resident, threads, files = np.median(samples[sampled], axis=0)
        latency = latencies[_within(latencies, begin, end), 1]
        p99 = round(float(np.percentile(latency, 99) * 1e3), 1) if len(latency) else None
        row = {"until_s": round(end), "resident_mib": round(resident, 1), "threads": int(threads)}
        rows.append(row | {"files": int(files), "p99_ms": p99})
    return rows


def _within(rows, begin, end):
    return (rows[:, 0] >= begin) & (rows[:, 0] < end)


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 600)
def test_nothing_grows(start, robot, small_model):
    random.seed(0)
    wait = {"sync.max_wait": MAX_WAIT}  # other tests let the node wait longer
    process = start(model=small_model, device="cpu", image_transport="compressed", **wait)
    images = list(zip(CAMERAS, scene(0), strict=True))
    robot.connect([jpeg(image) for _, image in images])
    samples, latencies = [], []
    begin, sweep, next_sample = time.monotonic(), 0, 0.0
    heard = robot.received["detector/detections"]
    first = START + int(60e9)  # far from what was sent to connect
    answered = []  # reference stamps
    waiting = {}  # when the whole sweeps that are not answered yet were sent, by reference stamp
    unanswered = 0
    while (elapsed := time.monotonic() - begin) < SECONDS:
        clock = first + int(sweep * 1e9 / RATE)
        messages, stamps, whole = faulty_sweep(
            images, [clock + t for t in TRIGGERS], cameras_away(sweep)
        )
        if whole:
            waiting[max(stamps)] = time.monotonic()
        robot.send(messages, stamps)
        if elapsed >= next_sample:
            samples.append((elapsed, *resources(process.pid)))
            next_sample += 1.0
        sweep += 1
        while (now := time.monotonic()) < begin + sweep / RATE:
            for stamp in [stamp_ns(heard.pop(0).header.stamp) for _ in range(len(heard))]:
                if stamp >= first:
                    answered.append(stamp)
                if stamp in waiting:
                    latencies.append((elapsed, now - waiting.pop(stamp)))
            time.sleep(0.001)
        given_up = [stamp for stamp, sent in waiting.items() if now - sent > ANSWER]
        for stamp in given_up:
            del waiting[stamp]
        unanswered += len(given_up)
        for kept in robot.received.values():  # this process may not grow either
            if kept is not heard:
                kept.clear()
    assert process.poll() is None
    times, resident, threads, files = np.array(samples).T
    warm = times > WARM_UP * SECONDS
    middle = np.median(times[warm])
    grown = np.median(resident[times > middle]) - np.median(resident[warm & (times <= middle)])
    at, latency = np.array(latencies).T
    early, late = latency[(at > WARM_UP * SECONDS) & (at <= middle)], latency[at > middle]
    gaps = np.diff(answered) * 1e-9
    wide = int(np.sum(gaps > GAP))
    report = {
        "seconds": SECONDS,
        "sweeps": sweep,
        "detected": len(answered),
        "widest_gap_ms": float(gaps.max() * 1e3),
        "gaps_wider_than_max_wait_and_two_periods": wide,
        "whole_sweeps_answered": len(latencies),
        "whole_sweeps_unanswered": unanswered,
        "resident_mib": [float(resident[warm][0]), float(resident[-1])],
        "growth_mib_per_hour": float(np.polyfit(times[warm], resident[warm], 1)[0] * 3600),
        "threads": [int(threads[warm].min()), int(threads[warm].max())],
        "files": [int(files[warm].min()), int(files[warm].max())],
        "latency_ms": {
            "p50": float(np.percentile(latency, 50) * 1e3),
            "p99_first_half": float(np.percentile(early, 99) * 1e3),
            "p99_second_half": float(np.percentile(late, 99) * 1e3),
        },
        "over_time": over_time(np.array(samples), np.array(latencies)),
    }
    print(json.dumps(report, indent=1))
    if path := os.environ.get("ASD_SOAK_JSON"):
        command = f"ASD_SOAK_SECONDS={SECONDS:g} pytest -m soak"
        results_of("soak", command, torch.device("cpu"), report).write(Path(path))
    assert len(answered) > 0.5 * sweep
    assert unanswered <= 0.01 * len(latencies), report
    assert grown < GROWTH, report
    if SECONDS >= LONG:
        assert report["growth_mib_per_hour"] < SLOPE, report
        assert wide <= GAPS * sweep, report
        halves = report["latency_ms"]
        assert halves["p99_second_half"] < SLOWER * halves["p99_first_half"], report
    assert np.ptp(threads[warm]) == 0, report
    assert np.ptp(files[warm]) <= 2, report
    assert "Traceback" not in process.log.read_text()
