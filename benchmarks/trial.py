"""What happens in the process of one run: `python trial.py STAGE TASK.json ANSWER.json`.

fit     draws the sample, runs the method on it, and measures: seconds without imports, and the
        error of what it predicts on a test sample.
judge   says whether the formula is the law. In a process of its own: SymPy may take its time, and
        that is not the method's.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

TEST_ROWS = 1000
WATCH = 1.0  # seconds between two looks whether the parent is there


def main() -> None:
    end_with_parent()
    stage, task, answer = sys.argv[1:]
    result = STAGES[stage](json.loads(Path(task).read_text()))
    Path(answer).write_text(json.dumps(result))


def fit(task: dict[str, Any]) -> dict[str, Any]:
    import problems
    import recovery_peers

    equation = problems.from_row(task["equation"])
    seed, level = task["seed"], task["noise"]
    X, y = problems.training_sample(equation, task["rows"], seed, task["as_set"])
    y = y + problems.noise(equation, y, level, seed)
    method = recovery_peers.method(task["method"])
    method.load()
    wall, cpu = time.perf_counter(), processor_seconds()
    found = method.find(X, y, equation.names, task["budget"], seed, task["jobs"], **task["options"])
    seconds = {"cpu_s": processor_seconds() - cpu, "wall_s": time.perf_counter() - wall}
    claims = {name: getattr(found, name) for name in ("formula", "verdict", "exact")}
    return {"rows": len(y), **seconds, **claims, **quality(found, equation, seed, level)}


def judge(task: dict[str, Any]) -> dict[str, Any]:
    import problems
    from judge import judge

    equation = problems.from_row(task["equation"])
    return asdict(judge(task["formula"], equation, task["noise"] > 0, task["seed"]))


STAGES = {"fit": fit, "judge": judge}


def end_with_parent() -> None:
    """When the process that keeps the time is gone, this one and its children end too."""
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def processor_seconds() -> float:
    """Of this process with all its threads, and of the children it has waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def quality(found: Any, equation: Any, seed: int, level: float) -> dict[str, float | None]:
    """R2 against the law and against noisy values of it, and the relative error, on test rows."""
    import numpy as np
    import problems

    X, y = problems.test_sample(equation, TEST_ROWS, seed)
    try:
        values = _predicted(found, equation, X)
    except Exception:  # unreadable formulas, and whatever a peer's predict raises
        return {"r2_clean": None, "r2_noisy": None, "relative_rmse": None}
    rng = np.random.default_rng([seed, 1])
    noisy = y + level * y.std() * rng.standard_normal(len(y))
    with np.errstate(all="ignore"):
        error = float(np.sqrt(np.mean((values - y) ** 2)) / (y.std() or 1.0))
        against_noise = float(1 - np.mean((values - noisy) ** 2) / (noisy.var() or 1.0))
    numbers = {"r2_clean": 1 - error**2, "r2_noisy": against_noise, "relative_rmse": error}
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _predicted(found: Any, equation: Any, X: Any) -> Any:
    import formulas
    import numpy as np

    if found.predict is not None:
        return np.asarray(found.predict(X), dtype=float).reshape(len(X))
    return formulas.evaluate(formulas.read(found.formula, equation.names), equation.names, X)


if __name__ == "__main__":
    main()
