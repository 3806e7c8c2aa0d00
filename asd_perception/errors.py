# SPDX-License-Identifier: Apache-2.0
"""Errors whose cause lies outside the program: one line for the person who can fix it."""

from __future__ import annotations

import difflib
import io
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

# PyTorch, CUDA and its libraries, ONNX Runtime, OpenCV, the operating system: each in its own words
_OUT_OF_MEMORY = re.compile(
    r"out of memory|(not enough|insufficient|(can't|cannot|failed to) allocate) memory"
    r"|bad[ _]alloc|ALLOC(ATION)?_FAILED",
    re.IGNORECASE,
)


class UserError(Exception):
    """A wrong file, argument or setting, told in one line that names it and the remedy."""


class OutOfMemoryError(UserError):
    """A device without the memory that a model needs."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a library ran out of memory. Most raise an error of no special type for it."""
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


@contextmanager
def memory_checked(device: object) -> Iterator[None]:
    """Where the body runs out of memory, raise OutOfMemoryError that names device and remedy."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise OutOfMemoryError(
            f"out of memory on {device}; use a smaller model or another device, or end what else "
            f"takes its memory ({reason})"
        ) from error


def describe_os_error(error: OSError) -> str:
    """One line for an operating system error: what could not be done to which file."""
    subject = f"{error.filename}: " if error.filename else ""
    return f"{subject}{error.strerror or error}"


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """The question after a misspelt name, with the known one that it is near; None: none is."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]}?" if near else None


def run_cli(program: str, main: Callable[[], None]) -> int:
    """Run `main` and return its exit status.

    0 on success, 2 with one line on stderr after a UserError or an operating system error
    (no permission, no space), 130 after Ctrl-C. Any other exception is a defect of this
    program and keeps its traceback. What a terminal's encoding lacks is shown as a question mark.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        main()
    except UserError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{program}: error: {describe_os_error(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)
        return 130
    return 0
