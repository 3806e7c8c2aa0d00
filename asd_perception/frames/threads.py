# SPDX-License-Identifier: Apache-2.0
"""The end of threads that wait for work."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable


def join_all(threads: Iterable[threading.Thread], timeout: float) -> bool:
    """Wait at most `timeout` s for all of them to end; whether they did."""
    end = time.monotonic() + timeout
    threads = list(threads)
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)
