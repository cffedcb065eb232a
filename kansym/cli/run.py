"""How a command runs: signals, the folder of its results, errors as one line."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from kansym.errors import KansymError, visible_lines
from kansym.files import in_use


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """SIGTERM is an interrupt as Ctrl-C is; yields the signals that came, and exits with 128 plus
    the last of them, whether the work was ended by it or came to an end with what it had."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    heard = (signal.SIGINT, signal.SIGTERM)
    # One that is ignored, as under nohup, stays so.
    before = {n: signal.getsignal(n) for n in heard if signal.getsignal(n) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, note)
    try:
        yield caught
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(128 + (caught or [signal.SIGINT])[-1])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if caught:
        sys.exit(128 + caught[-1])


@contextlib.contextmanager
def run_folder(out: Path | None, resume: bool, caught: list[int]) -> Iterator[Path | None]:
    """Where to keep the run while it is unfinished, in --out, which no other process may use until
    the end; None without --out. Removed when the run has come to its end without a signal."""
    if out is None:
        if resume:
            raise ValueError("--resume needs --out, the folder of the unfinished run")
        yield None
        return
    check_folder(out)
    with in_use(out, "--out"):
        unfinished = out / "unfinished"
        files = [p for p in unfinished.rglob("*") if p.suffix in (".json", ".kansym")]
        if files and not resume:
            raise ValueError(
                f"--out {str(out)!r} holds an unfinished run; add --resume to go on with it, "
                f"remove {str(unfinished)!r}, or choose another folder"
            )
        yield unfinished
        if not caught and unfinished.exists():
            shutil.rmtree(unfinished)


def check_folder(out: Path | None) -> None:
    """Make the folder before the search rather than lose its results after it."""
    if out is None:
        return
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must name a folder, got the file {str(out)!r}")
    out.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def clear_errors() -> Iterator[None]:
    """A user's mistake is one line on standard error and exit status 1, never a traceback."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        click.echo(f"warning: {visible_lines(message)}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.showwarning = show
            yield
    except (ValueError, OSError, ImportError, KansymError) as error:
        raise click.ClickException(visible_lines(error)) from error


def to_stderr(line: str) -> None:
    click.echo(f"  {line}", err=True)


def versions(packages: Sequence[str]) -> dict[str, str]:
    return {package: version(package) for package in packages}
