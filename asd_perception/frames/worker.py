# SPDX-License-Identifier: Apache-2.0
"""A thread that always works on the newest item."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestWorker(Generic[T]):
    """Runs `work` on items in a thread of its own, behind a mailbox with one slot.

    An item that is still in the slot when the next one comes is dropped: work that takes longer
    than items take to come skips some, and never falls behind. `work` must not raise.

    dropped: items dropped so far. waits_since, works_since: since when, on time.monotonic(), an
    item is in the slot, or worked on; None if none is.
    """

    def __init__(self, work: Callable[[T], None], name: str) -> None:
        self._work = work
        self._slot: list[T] = []
        self._closed = False
        self._changed = threading.Condition()
        self.dropped = 0
        self.waits_since: float | None = None
        self.works_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        with self._changed:
            self.dropped += len(self._slot)
            self._slot[:] = [item]
            self.waits_since = time.monotonic()
            self._changed.notify()

    def close(self, timeout: float) -> bool:
        """Finish the item at work, forget the one that waits, and end the thread.

        False if the work took longer than `timeout` s: the thread is then left behind.
        """
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot or self._closed)
                if self._closed:
                    return
                item = self._slot.pop()
                self.works_since = time.monotonic()  # first: at no moment is there no work
                self.waits_since = None
            self._work(item)
            self.works_since = None
