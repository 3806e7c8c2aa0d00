# SPDX-License-Identifier: Apache-2.0
"""Promise: under random faults for long, the node leaks no memory, thread or file, nor time.

pytest -m soak                          # a minute
ASD_SOAK_SECONDS=1200 pytest -m soak    # twenty minutes; ASD_SOAK_JSON=FILE keeps the figures
"""

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
ANSWER = 2.0  # s after which a whole sweep counts as not answered


def faulty_sweep(images, stamps, dead):
    """Messages and stamps with random faults, and whether there are none."""
    messages = [None if camera == dead else jpeg(image) for camera, image in images]
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


@pytest.mark.soak
@pytest.mark.timeout(SECONDS * 2 + 600)
def test_nothing_grows(start, robot, small_model):
    random.seed(0)
    process = start(model=small_model, device="cpu", image_transport="compressed")
    images = list(zip(CAMERAS, scene(0), strict=True))
    robot.connect([jpeg(image) for _, image in images])
    samples, latencies = [], []
    begin, sweep, dead, next_sample = time.monotonic(), 0, None, 0.0
    heard = robot.received["detector/detections"]
    detected = unanswered = 0
    while (elapsed := time.monotonic() - begin) < SECONDS:
        if sweep % 120 == 0:  # every ten seconds a camera dies for three, or none
            dead = random.choice([*CAMERAS, None])
        if sweep % 120 == 36:
            dead = None
        clock = START + int(sweep * 1e9 / RATE) + int(60e9)
        messages, stamps, whole = faulty_sweep(images, [clock + t for t in TRIGGERS], dead)
        sent = time.monotonic()
        robot.send(messages, stamps)
        if elapsed >= next_sample:
            samples.append((elapsed, *resources(process.pid)))
            next_sample += 1.0
        if whole:
            while not (heard and stamp_ns(heard[-1].header.stamp) >= max(stamps)):
                if time.monotonic() - sent > ANSWER:
                    unanswered += 1
                    break
                time.sleep(0.002)
            latencies.append((elapsed, time.monotonic() - sent))
        detected += len(heard)
        for kept in robot.received.values():  # this process may not grow either
            kept.clear()
        sweep += 1
        time.sleep(max(0.0, begin + sweep / RATE - time.monotonic()))
    assert process.poll() is None
    times, resident, threads, files = np.array(samples).T
    warm = times > WARM_UP * SECONDS
    middle = np.median(times[warm])
    grown = np.median(resident[times > middle]) - np.median(resident[warm & (times <= middle)])
    at, latency = np.array(latencies).T
    early, late = latency[(at > WARM_UP * SECONDS) & (at <= middle)], latency[at > middle]
    report = {
        "seconds": SECONDS,
        "sweeps": sweep,
        "detected": detected,
        "whole_sweeps": len(latencies),
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
    }
    print(json.dumps(report, indent=1))
    if path := os.environ.get("ASD_SOAK_JSON"):
        command = f"ASD_SOAK_SECONDS={SECONDS:g} pytest -m soak"
        results_of("soak", command, torch.device("cpu"), report).write(Path(path))
    assert detected > 0.5 * sweep
    assert unanswered <= 0.01 * len(latencies), report
    assert grown < GROWTH, report
    if SECONDS >= LONG:
        assert report["growth_mib_per_hour"] < SLOPE, report
        halves = report["latency_ms"]
        assert halves["p99_second_half"] < SLOWER * halves["p99_first_half"], report
    assert np.ptp(threads[warm]) == 0, report
    assert np.ptp(files[warm]) <= 2, report
    assert "Traceback" not in process.log.read_text()
