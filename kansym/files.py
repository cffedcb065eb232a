"""Files that are whole or not there, and folders that one process works in at a time.

Every file of the package is written by `write_atomically`: beside its place, on to the disk, and
then put in its place, so that a full disk, a crash or Ctrl-C leaves what was there before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from kansym.errors import FolderInUseError

LOCK, OWNER = ".lock", ".owner"  # in a folder in use; the lock's file stays, empty, when it is free
PATIENCE = 0.5  # seconds


def target_file(path: str | Path) -> Path:
    """The file that a path names, through links; nothing is written yet.

    Raises ValueError when it is no path or a directory, FileNotFoundError when the directory it
    shall lie in does not exist.
    """
    if not isinstance(path, (str, os.PathLike)) or not os.fspath(path):
        raise ValueError(f"path must name a file, got {path!r}")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise ValueError(f"path must name a file, got the directory {str(path)!r}")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"path {str(path)!r}: there is no directory {str(target.parent)!r}")
    return target


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """All of `data`, text as UTF-8, in the file `path`; or the file as it was, and an error.

    Through a link the file that it stands for is written. Raises ValueError for a directory,
    FileNotFoundError where the parent is missing, OSError with the path when writing fails.
    """
    target = target_file(path)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())  # the name must not point to data that is not on the disk yet
        if target.exists():
            shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):  # where it could not even be made
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):  # which would name the temporary file
            words = f"{error.strerror or error}; nothing was changed"
            raise OSError(error.errno, words, str(path)) from error
        raise


@contextlib.contextmanager
def in_use(path: str | Path, argument: str = "path") -> Iterator[Path]:
    """The folder, made if missing, to work in alone until the end of the `with` block.

    The lock is the operating system's and ends with the process, however that ends. argument: what
    messages call the path. Raises FolderInUseError at once where the folder is in use, ValueError
    for a file, FileNotFoundError where the parent is missing, OSError where nothing can be written.
    """
    from filelock import FileLock, Timeout

    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{argument} must name a folder, got the file {str(path)!r}")
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"{argument} {str(path)!r}: there is no directory {str(folder.absolute().parent)!r}"
        )
    folder.mkdir(exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise FolderInUseError(
            f"{argument} {str(path)!r} is in use by {_owner(folder)}; wait for it, or choose "
            "another folder"
        ) from None
    try:
        write_atomically(folder / OWNER, f"process {os.getpid()} on host {socket.gethostname()}\n")
        yield folder
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _owner(folder: Path) -> str:
    """Who says that it holds the folder; one that has only just taken it is given time to."""
    until = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            return (folder / OWNER).read_text(encoding="utf-8").strip()[:200]
        if time.monotonic() > until:
            return "another process"
        time.sleep(PATIENCE / 10)
