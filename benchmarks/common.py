"""What the benchmarks share: interleaved timing, contenders in processes of their own, the record
of the environment, and results as Markdown and JSON.

Every contender is measured once per round, in an order that rotates from round to round, so that a
busy moment of the machine falls on all of them alike. Ratios are taken within a round, between
measurements seconds apart, and their median is reported. A worker that is not being measured waits
on a pipe: one process computes at a time.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).resolve().parent.parent
SHORTEST = 0.05  # seconds a measurement lasts at least
PATIENCE = 3600.0  # seconds a worker may take to answer
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


# -- timing ---------------------------------------------------------------------------------------


class Sample(NamedTuple):
    """Seconds of one call: on the wall, and of the processor (all threads together)."""

    wall: float
    cpu: float


class Spread(NamedTuple):
    """The median and the quartiles of several numbers."""

    median: float
    low: float
    high: float


def time_calls(action: Callable[[], Any], calls: int = 1) -> Sample:
    """Seconds per call, over `calls` calls in a row."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        action()
    return Sample((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)


def calls_needed(action: Callable[[], Any], shortest: float = SHORTEST) -> int:
    """How many calls last `shortest` seconds, after a first call that only warms up."""
    calls, taken = 1, time_calls(action).wall
    while taken < shortest:
        taken = calls * time_calls(action, calls).wall
        calls *= 1 if taken >= shortest else 2
    return calls


def rotated(names: Sequence[str], turn: int) -> list[str]:
    """The names in the order of round `turn`: each comes first once in len(names) rounds."""
    start = turn % max(len(names), 1)
    return [*names[start:], *names[:start]]


def interleave(
    contenders: Mapping[str, Callable[[], Sample]], rounds: int
) -> dict[str, list[Sample]]:
    """One sample of every contender per round; samples[name][r] belongs to round r."""
    samples: dict[str, list[Sample]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in rotated(list(contenders), turn):
            samples[name].append(contenders[name]())
    return samples


def spread(values: Iterable[float]) -> Spread:
    values = sorted(values)
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def clock(samples: Sequence[Sample], which: str = "wall") -> Spread:
    """Median and quartiles of one clock, "wall" or "cpu"."""
    return spread(getattr(sample, which) for sample in samples)


def ratio(of: Sequence[Sample], to: Sequence[Sample], which: str = "wall") -> Spread:
    """How many times as long as `to`: one ratio per round, then their median and quartiles."""
    pairs = zip(of, to, strict=True)
    return spread(getattr(a, which) / getattr(b, which) for a, b in pairs)


def difference(of: Sequence[Sample], to: Sequence[Sample], which: str = "wall") -> Spread:
    """Seconds beyond `to`, one difference per round."""
    pairs = zip(of, to, strict=True)
    return spread(getattr(a, which) - getattr(b, which) for a, b in pairs)


# -- processes ------------------------------------------------------------------------------------


class Failure(RuntimeError):
    """A worker could not do what it was asked."""


class Worker:
    """A contender in a process of its own, in an empty folder, silent.

    `build(*arguments)` runs there and what it returns stays there; `do(function, ...)` calls
    function(state, ...) there and returns the answer. Both must be functions of a module.
    environment: variables set before the process starts. Raises Failure for an exception over
    there, and when no answer came within `patience` seconds: the process is then ended.
    """

    def __init__(
        self,
        build: Callable[..., Any],
        *arguments: Any,
        environment: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ):
        self.folder = tempfile.TemporaryDirectory()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, self.folder.name, build, arguments), daemon=True
        )
        with _variables(environment or {}):
            self.process.start()
        theirs.close()
        self._answer(patience)

    def do(self, function: Callable[..., Any], *arguments: Any, patience: float = PATIENCE) -> Any:
        self.pipe.send((function, arguments))
        return self._answer(patience)

    def _answer(self, patience: float) -> Any:
        try:
            if self.pipe.poll(patience):
                failed, value = self.pipe.recv()
            else:
                failed, value = True, f"no answer in {patience:g} s"
                self.close()
        except (EOFError, ConnectionResetError):
            failed, value = True, "the process ended; out of memory?"
        if failed:
            raise Failure(value)
        return value

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.pipe.send(None)
        self.process.join(5)
        self.process.kill()
        self.process.join()
        self.folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def alone(function: Callable[..., Any], *arguments: Any, patience: float = PATIENCE) -> Any:
    """function(*arguments) in a fresh process. Raises Failure."""
    with Worker(_nothing) as worker:
        return worker.do(_call, function, arguments, patience=patience)


def _nothing() -> None:
    return None


def _call(_: None, function: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    return function(*arguments)


def _serve(pipe: Any, folder: str, build: Callable[..., Any], arguments: Sequence[Any]) -> None:
    os.chdir(folder)  # some libraries write where they stand
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        failed, state = _attempt(build, arguments)
        pipe.send((failed, state if failed else None))
        while not failed and (question := pipe.recv()) is not None:
            function, rest = question
            pipe.send(_attempt(function, (state, *rest)))


def _attempt(function: Callable[..., Any], arguments: Sequence[Any]) -> tuple[bool, Any]:
    """(False, the value) or (True, what went wrong)."""
    try:
        return False, function(*arguments)
    except Exception as error:  # whatever a peer raises is reported, not passed on
        text = str(error).strip().splitlines() or [""]
        return True, f"{type(error).__name__}: {text[0][:200]}"


@contextlib.contextmanager
def _variables(changes: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def first_call(actions: Mapping[str, Callable[[], Any]], name: str) -> float:
    """For `Worker.do`: seconds of one call of an action."""
    return time_calls(actions[name]).wall


def calibrate(actions: Mapping[str, Callable[[], Any]], name: str) -> int:
    """For `Worker.do`: calls per measurement."""
    return calls_needed(actions[name])


def measure(actions: Mapping[str, Callable[[], Any]], name: str, calls: int) -> Sample:
    """For `Worker.do`: one measurement."""
    return time_calls(actions[name], calls)


def interleave_workers(
    workers: Mapping[str, Worker], action: str, rounds: int
) -> dict[str, list[Sample]]:
    """Samples of an action of workers whose state is {action: callable}."""
    calls = {name: worker.do(calibrate, action) for name, worker in workers.items()}
    timers = {
        name: lambda worker=worker, n=calls[name]: worker.do(measure, action, n)
        for name, worker in workers.items()
    }
    return interleave(timers, rounds)


# -- command line ---------------------------------------------------------------------------------


def parser(description: str, rounds: int = 9) -> argparse.ArgumentParser:
    """The options every benchmark has. rounds: the default of --rounds."""
    result = argparse.ArgumentParser(description=description.splitlines()[0])
    result.add_argument("--threads", type=int, default=1, help="of every process")
    result.add_argument("--rounds", type=int, default=rounds)
    result.add_argument("--out", type=Path, help="stem of a .json and a .md file for the results")
    result.add_argument("--figure", type=Path, help="a .png file for the figure, if there is one")
    result.add_argument("--quick", action="store_true", help="a smoke run: tiny and meaningless")
    return result


def settle(arguments: argparse.Namespace) -> argparse.Namespace:
    """Hand the number of threads to all processes that start from here on, and keep the files of a
    smoke run apart from real results."""
    if arguments.quick:
        for name in ("out", "figure"):
            path = getattr(arguments, name)
            if path:
                setattr(arguments, name, path.with_stem(f"{path.stem}_quick"))
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(arguments.threads)))
    return arguments


# -- results --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Table:
    """A Markdown table with a title above and a note below it."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    note: str = ""

    def markdown(self) -> str:
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        table = "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
        parts = [f"## {self.title}" if self.title else "", table, self.note]
        return "\n\n".join(part for part in parts if part)


def environment(threads: int, packages: Mapping[str, str | None]) -> dict[str, Any]:
    """Where and with what a result came about. packages: {name: version or None}."""
    return {
        "command": command(),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("diff", "HEAD") else ""),
        "machine": f"{_cpu_model()}, {os.cpu_count()} cores, {threads} thread(s) per process",
        "load": [round(load, 2) for load in os.getloadavg()],
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {name: value or "not installed" for name, value in packages.items()},
    }


def command() -> str:
    """The command line, folders of this machine left out."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *words])


def installed(*packages: str) -> dict[str, str | None]:
    """Versions of installed packages; None for one that is not there."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def source_version(folder: str) -> str:
    """The last commit that touched the folder, and a mark of what was changed in it since."""
    commit = _git("log", "-1", "--format=%h", "--", folder)
    changed = _git("diff", "HEAD", "--", folder) + _git("status", "--porcelain", "--", folder)
    return commit + (f"+{zlib.crc32(changed.encode()):08x}" if changed else "")


def publish(
    arguments: argparse.Namespace,
    title: str,
    tables: Sequence[Table],
    data: Mapping[str, Any],
    facts: Mapping[str, Any],
    log: Sequence[str] = (),
) -> None:
    """Print the tables, and write them and the data where --out says."""
    text = "\n\n".join(table.markdown() for table in tables)
    title += " (smoke run)" if arguments.quick else ""
    print(text)
    if arguments.out:
        write(arguments.out, title, text, data, facts, log)


def write(
    stem: Path,
    title: str,
    text: str,
    data: Mapping[str, Any],
    facts: Mapping[str, Any],
    log: Sequence[str] = (),
) -> None:
    """STEM.json with the facts and all numbers, STEM.md with the facts, the text and the log."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_suffix(".json").write_text(json.dumps({**facts, **data}, indent=1) + "\n")
    header = "\n".join(f"- {key}: {value}" for key, value in facts.items())
    block = ["```\n" + "\n".join(log) + "\n```"] if log else []
    stem.with_suffix(".md").write_text("\n\n".join([f"# {title}", header, text, *block]) + "\n")


def shown(value: Spread, unit: float = 1.0) -> str:
    """1.23 [1.20, 1.30], in units of `unit`."""
    middle, low, high = (f"{part / unit:.3g}" for part in value)
    return f"{middle} [{low}, {high}]"


def save_figure(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)


# Okabe and Ito's colours, told apart by colour-blind readers too.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
FIGURE_STYLE = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8,
    "legend.frameon": False,
    "lines.linewidth": 1.5,
}
