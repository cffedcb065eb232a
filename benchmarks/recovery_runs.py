"""A run of the recovery benchmark: `trial.py fit`, then `trial.py judge`, each in a fresh process
that is ended when its time is up.

Workers are sent these functions whole, for they may not be able to import them: what they need is
kansym, and this checkout at the same path.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from common import ROOT, THREAD_VARIABLES

from kansym.workers import is_called_off

TRIAL = Path(__file__).resolve().parent / "trial.py"
JUDGING = 120.0  # seconds
GLANCE = 1.0  # seconds between two looks whether anybody waits for the run
Row = dict[str, Any]


def once(task: Mapping[str, Any], limit: float, path: str) -> Row:
    """What came out. limit: seconds the method may take. path: PYTHONPATH of the processes."""
    started = time.perf_counter()
    row = alone("fit", task, limit, task["jobs"], path)
    row.setdefault("wall_s", time.perf_counter() - started)
    if row.get("formula"):
        return row | judged(task, row["formula"], path)
    return row | {"recovered": False, "why": "" if row.get("error") else "no formula"}


def judged(task: Mapping[str, Any], formula: str, path: str) -> Row:
    answer = alone("judge", {**task, "formula": formula}, JUDGING, 1, path)
    if "error" in answer:  # not the method's error, but no evidence for it either
        return {"recovered": False, "criterion": "", "why": f"judging failed: {answer['error']}"}
    return answer


def alone(stage: str, task: Mapping[str, Any], limit: float, threads: int, path: str) -> Row:
    """The answer of `trial.py` in a fresh process, or {"error": what went wrong}."""
    threads_of = dict.fromkeys(THREAD_VARIABLES, str(threads))
    environment = {**os.environ, **threads_of, "PYTHONPATH": path}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, name) for name in ("task.json", "answer.json", "errors.txt")]
        files[0].write_text(json.dumps(task))
        command = [sys.executable, str(TRIAL), stage, *map(str, files[:2])]
        code = ended(command, folder, files[2], limit, environment)
        if code == 0:
            return json.loads(files[1].read_text())
        if code is None:
            return {"error": f"no answer in {limit:g} s"}
        lines = files[2].read_text(errors="replace").strip().splitlines()
        return {"error": lines[-1][:200] if lines and code > 0 else f"ended by signal {-code}"}


def ended(
    command: Sequence[str], folder: str, errors: Path, limit: float, environment: Mapping[str, str]
) -> int | None:
    """The exit status of a command; None where it was ended because its time was up. Its children
    are ended with it. It stands in `folder`, for some libraries write where they stand."""
    quiet = subprocess.DEVNULL
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env=dict(environment), start_new_session=True,
            stdin=quiet, stdout=quiet, stderr=file,
        )  # fmt: skip
    until = time.monotonic() + limit
    try:
        while (left := until - time.monotonic()) > 0:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(min(left, GLANCE))
            if is_called_off():
                raise KeyboardInterrupt
        return None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def python_path() -> str:
    """kansym is this checkout's, wherever a process stands; methods may come from here."""
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    paths = [str(ROOT), *(str(Path(part).resolve()) for part in given), os.getcwd()]
    return os.pathsep.join(paths)
