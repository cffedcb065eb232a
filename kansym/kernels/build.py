"""Compile the C kernels with the compiler at hand: `python -m kansym.kernels`.

Installing kansym runs this where there is a compiler, and goes on without where there is none.
Uses the standard library alone: it runs before anything is installed. One library is made for each
level of the CPU (see `kansym_cpu_level` in core/kansym.h); which one is loaded is decided on the
machine that runs it, so that a wheel works on every CPU of its architecture.

Every library ends with a seal, the sha256 of the bytes before it. The loader of the system does not
look there, and would end the process over a library that was cut short.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).with_name("core")
TARGET = Path(__file__).with_name("built")
# No -ffast-math: NaN must propagate, and sums keep their order.
SEAL_LENGTH = 64  # hexadecimal digits of a sha256
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-fPIC",
    "-shared",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
]
LEVELS = {
    0: "",
    1: "-mavx2 -mfma",
    2: "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma -mprefer-vector-width=512",
}


def library_name(level: int) -> str:
    return f"kansym_level{level}.so"


def find_compiler() -> list[str] | None:
    """The command in CC, else the first of cc, gcc and clang on the path."""
    try:
        if wanted := shlex.split(os.environ.get("CC", "")):
            return wanted
    except ValueError as error:
        raise RuntimeError(f"CC cannot be read: {error}") from error
    found = next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)
    return [found] if found else None


def levels() -> list[int]:
    """The levels that make sense on this architecture."""
    return sorted(LEVELS) if platform.machine().lower() in ("x86_64", "amd64") else [0]


def build(target: Path = TARGET) -> list[Path]:
    """Compile every level into `target`; returns the libraries.

    Raises RuntimeError, with what the compiler said, when there is none or it fails.
    """
    compiler = find_compiler()
    if sys.platform == "win32" or compiler is None:
        raise RuntimeError("no C compiler found (set CC, or install gcc or clang)")
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_compile(compiler, level, target) for level in levels()]
    except OSError as error:
        raise RuntimeError(f"cannot write to {target}: {error}") from error


def _compile(compiler: list[str], level: int, target: Path) -> Path:
    library = target / library_name(level)
    # Compiled elsewhere and moved into place: a library in use is never half written.
    with tempfile.TemporaryDirectory(dir=target) as folder:
        made = Path(folder) / library.name
        command = [*compiler, *FLAGS, *LEVELS[level].split(), "-o", str(made)]
        command += [str(SOURCES / "kansym.c"), "-lm"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            raise RuntimeError(f"{compiler[0]} cannot be run: {error}") from error
        if done.returncode:
            raise RuntimeError(f"{shlex.join(command)} failed:\n{done.stderr.strip()}")
        seal(made)
        os.replace(made, library)
    return library


def seal(library: Path) -> None:
    """Append to a library the checksum that `is_whole` looks for."""
    checksum = hashlib.sha256(library.read_bytes()).hexdigest()
    with library.open("ab") as file:
        file.write(checksum.encode())
        file.flush()
        os.fsync(file.fileno())  # the name must not point to data that is not on the disk yet


def is_whole(library: Path) -> bool:
    """Whether every byte of a library is as it was built. Raises OSError when it cannot be read."""
    data = library.read_bytes()
    body, found = data[:-SEAL_LENGTH], data[-SEAL_LENGTH:]
    return hashlib.sha256(body).hexdigest().encode() == found
