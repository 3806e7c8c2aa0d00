# SPDX-License-Identifier: Apache-2.0
"""The end of threads that wait for work, and of what has such threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Protocol


class Closable(Protocol):
    """What has threads."""

    def close(self, timeout: float) -> bool:
        """End them; False if not within `timeout` s."""


def close_all(parts: Iterable[Closable | None], timeout: float) -> bool:
    """Close them one after the other, within `timeout` s in all; whether all ended."""
    end = time.monotonic() + timeout
    closed = [part is None or part.close(max(0.0, end - time.monotonic())) for part in parts]
    return all(closed)


def join_all(threads: Iterable[threading.Thread], timeout: float) -> bool:
    """Wait at most `timeout` s for all of them to end; whether they did."""
    end = time.monotonic() + timeout
    threads = list(threads)
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
