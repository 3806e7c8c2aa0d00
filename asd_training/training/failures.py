# SPDX-License-Identifier: Apache-2.0
"""External causes that end a run, reported in one line that says how to continue."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Trainer

from asd_perception.errors import UserError, describe_os_error, is_out_of_memory
from asd_training.training.checkpoints import RunCheckpoints
from asd_training.training.run_folder import LAST, is_first_process

RESUME_HINT = "; fix that, then continue with --resume"


@contextmanager
def in_one_line(trainer: Trainer, checkpoints: RunCheckpoints) -> Iterator[None]:
    """External causes end a run with one line that says how to continue."""
    try:
        yield
    except Exception as error:
        reason = outside_reason(error, checkpoints.run)
        if reason is None:
            raise
        raise UserError(reason) from error
    except SystemExit as stop:  # Lightning's answer to Ctrl-C (with status 1) and SIGTERM (with 0)
        if is_first_process():
            step, saved = trainer.global_step, checkpoints.saved_step
            kept = f"{checkpoints.run / LAST} holds step {saved}" if saved else "nothing is saved"
            print(
                f"\nstopped at step {step} of {checkpoints.config.steps}; {kept}: continue with "
                "--resume",
                file=sys.stderr,
            )
        raise SystemExit(130 if stop.code == 1 else 143) from stop


def outside_reason(error: Exception, run: Path) -> str | None:
    """The line that names the external cause of the error; None if it has none."""
    # The death of a loader process is raised wherever the main thread is, so any library's `except`
    # may have converted it to another error.
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RuntimeError) and "DataLoader worker" in str(cause):
            first = str(cause).splitlines()[0]
            return f"a loader process was killed ({first}), perhaps for want of memory{RESUME_HINT}"
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, (UserError, OSError)):
        # One from a loader's process carries that process's traceback, the error in its last line.
        _, from_loader, text = str(error).partition("\nOriginal Traceback")
        if from_loader:
            return text.strip().splitlines()[-1].partition(": ")[2] + RESUME_HINT
    if is_out_of_memory(error) and not isinstance(error, UserError):  # it names its own remedy
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return (
            f"out of memory ({first}); begin a new run with a smaller batch_size and a larger "
            "accumulate, or with recompute_images=true"
        )
    if isinstance(error, OSError):
        where = "" if error.filename else f"{run}: "
        return where + describe_os_error(error) + RESUME_HINT
    return None
