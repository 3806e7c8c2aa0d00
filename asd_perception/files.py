# SPDX-License-Identifier: Apache-2.0
"""Outputs appear under their final name complete, or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from asd_perception.errors import UserError

T = TypeVar("T")


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, delete it on failure.

    An existing file is replaced.
    """
    path = Path(path)
    _make_parent(path)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _named(path):
            yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; rename it to `path` on success, else delete it.

    Raises UserError if `path` exists already and is not an empty folder: nothing is overwritten.
    """
    path = Path(path)
    check_output_folder(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        with _named(path):
            yield temporary
        temporary.chmod(0o777 & ~_umask())
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def locked(file: Path) -> Iterator[bool]:
    """Wait while another process is in here for the same lock file, which stays.

    The lock ends with its process. Yields False on a file system without locks, where nobody waits.
    Raises UserError if the file cannot be made.
    """
    _make_parent(file)
    with file.open("a") as lock:
        held = True
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            held = False
        yield held


@contextmanager
def claimed(file: Path) -> Iterator[bool]:
    """Within it no other process is in here for the same lock file; False where one is already.

    The claim ends with its process, and the file with the claim. On a file system without locks
    nobody is refused. Raises UserError if the file cannot be made.
    """
    _make_parent(file)
    while True:
        with file.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                yield True
                return
            with suppress(FileNotFoundError):
                if os.fstat(lock.fileno()).st_ino == file.stat().st_ino:
                    try:
                        yield True
                    finally:
                        file.unlink(missing_ok=True)
                    return
        # Who held it before has removed the file that was opened here.


def built_once(
    lock: Path,
    folders: Sequence[Path],
    read: Callable[[Path], T | str],
    build: Callable[[list[Path]], None],
) -> list[T]:
    """What `folders` hold; those without use are first made by `build`, with `atomic_directory`.

    read: what a folder holds, or why that is of no use, in words. If several processes come at
    once, one builds while the others wait at the file `lock`. What is damaged is named and removed
    before, and so is what a killed process left. Raises UserError, and what `build` does.
    """

    def useless() -> dict[Path, str]:
        return {folder: what for folder in folders if isinstance(what := read(folder), str)}

    if useless():
        with locked(lock) as alone:
            missing = useless()  # less what another process has built
            for folder, reason in missing.items():
                if folder.exists():
                    print(f"{folder} is damaged and is built anew ({reason})", file=sys.stderr)
                    shutil.rmtree(folder)
                if alone:  # then what is here, a killed process left
                    for leftover in folder.parent.glob(f".{folder.name}.*"):
                        shutil.rmtree(leftover, ignore_errors=True)
            try:
                if missing:
                    build(list(missing))
            except (OSError, UserError):
                if not all(folder.exists() for folder in missing):
                    raise  # else a process that did not wait was faster
    found = []
    for folder in folders:
        what = read(folder)
        if isinstance(what, str):
            raise UserError(f"{folder} cannot be read ({what})")
        found.append(what)
    return found


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """An operating system's error that names no file, as that of a full disk, is about `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def check_output_folder(path: Path) -> None:
    """Make the folder's parent. Raises UserError where a new folder `path` cannot be made.

    An empty one may be there.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise UserError(f"{path} exists already; remove it or choose another output")
    _make_parent(path)


def check_fetched(path: Path, begin: bytes) -> None:
    """Raise UserError where a file's first bytes are those of what Git LFS leaves in its place."""
    if begin.startswith(b"version https://git-lfs"):
        raise UserError(f"{path} is a pointer of Git LFS; `git lfs pull` fetches the file")


def check_output_file(path: str | Path) -> None:
    """Raise UserError now, before long work, if a file could not be written to `path` after it."""
    path = Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file to write")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir():
        raise UserError(f"cannot create the folder {path.parent}: {folder} is a file")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to the folder {folder}; choose another output")


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the folder {path.parent}: {error.strerror}") from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write to the folder {path.parent}; choose another output")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
