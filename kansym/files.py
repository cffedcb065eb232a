"""Files out: a path that can be written to, and all of a file or nothing of it."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


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


def write_atomically(target: Path, data: bytes) -> None:
    """All of `data` in `target`, or `target` as it was. Raises OSError when writing fails."""
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())  # the name must not point to data that is not on the disk yet
        os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
