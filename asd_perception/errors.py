# SPDX-License-Identifier: Apache-2.0
"""How a mistake that lies outside the program reaches the person who can mend it."""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """A wrong file, argument or setting, told in one line that names the thing and the mend."""


class OutOfMemoryError(UserError):
    """A device without the memory that a model needs."""


def describe_os_error(error: OSError) -> str:
    """One line for an operating system error: what could not be done to which file."""
    subject = f"{error.filename}: " if error.filename else ""
    return f"{subject}{error.strerror or error}"


def run_cli(program: str, main: Callable[[], None]) -> int:
    """Run `main` and return its exit status.

    0 on success, 2 with one line on stderr after a UserError or an operating system error
    (no permission, no space), 130 after Ctrl-C. Any other exception is a defect of this
    program and keeps its traceback.
    """
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
