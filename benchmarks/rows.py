"""Rows that do not fit into memory: a fit from Parquet, and what it costs per row.

    make bench-rows        or        python benchmarks/rows.py --rows 1000000

Rows are uniform in [-1, 1]^5, y a sum of an exponential, a product and a sine, with noise; they are
written to a temporary folder in files of a million. [5, 5, 1] with grid 5 is then fitted for a few
steps, in a process of its own, whose memory is counted. Seconds are of wall time.
"""

from __future__ import annotations

import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import common
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FILE_ROWS = 1_000_000
GROUP_ROWS = 100_000
N_IN = 5


@dataclass(frozen=True)
class Result:
    """step_seconds: of a step, with all dampings it tried. grid_step_seconds: of one before which
    the grids move; None where there was none. Memory is resident memory."""

    rows: int
    steps: int
    threads: int
    parquet_megabytes: float
    in_memory_megabytes: float
    step_seconds: float
    grid_step_seconds: float | None
    step_microseconds_per_row: float
    seconds: float
    megabytes_before: float
    megabytes_peak: float
    train_loss: float


def write(folder: Path, rows: int) -> None:
    for at, start in enumerate(range(0, rows, FILE_ROWS)):
        generator = np.random.default_rng(at)
        x = generator.uniform(-1, 1, (min(FILE_ROWS, rows - start), N_IN))
        y = np.exp(x[:, 0]) + x[:, 1] * x[:, 2] + np.sin(3 * x[:, 3] + x[:, 4])
        y += 0.01 * generator.standard_normal(len(y))
        columns = {f"x{i + 1}": x[:, i] for i in range(N_IN)}
        table = pa.table({**columns, "y": y})
        pq.write_table(table, folder / f"{at:05d}.parquet", row_group_size=GROUP_ROWS)


def megabytes_now() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def measure(folder: Path, rows: int, steps: int) -> Result:
    import torch

    import kansym

    model = kansym.KAN([N_IN, 5, 1], grid=5)
    ends: list[float] = []

    def note(*_: object) -> None:
        ends.append(time.perf_counter())

    before, started = megabytes_now(), time.perf_counter()
    history = model.fit(
        kansym.read_rows(folder, "y"),
        steps=steps,
        grid_update_num=2,
        stop_grid_update_step=4,  # before steps 0 and 2
        callbacks=[note],
        progress=False,
    )
    seconds = time.perf_counter() - started
    later = list(zip(np.diff(ends), history.steps[1:], strict=True))
    plain = float(np.median([t for t, record in later if not record.moved_grid]))
    moved = [t for t, record in later if record.moved_grid]
    return Result(
        rows=rows,
        steps=len(history.steps),
        threads=torch.get_num_threads(),
        parquet_megabytes=sum(f.stat().st_size for f in folder.iterdir()) / 2**20,
        in_memory_megabytes=rows * (N_IN + 1) * 8 / 2**20,
        step_seconds=plain,
        grid_step_seconds=float(np.median(moved)) if moved else None,
        step_microseconds_per_row=1e6 * plain / rows,
        seconds=seconds,
        megabytes_before=before,
        megabytes_peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        train_loss=float(history.train_loss[-1]),
    )


def table(result: Result) -> common.Table:
    rows = [
        (name.replace("_", " "), "none" if value is None else f"{value:.6g}")
        for name, value in asdict(result).items()
    ]
    return common.Table(["what", "value"], rows)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=4)
    arguments = common.settle(parser.parse_args())
    rows = 20_000 if arguments.quick else arguments.rows
    with tempfile.TemporaryDirectory() as name:
        write(Path(name), rows)
        result = common.alone(measure, Path(name), rows, arguments.steps)
    facts = common.environment(arguments.threads, common.installed("kansym", "torch", "pyarrow"))
    data = {"result": asdict(result)}
    common.publish(arguments, "Rows from Parquet", [table(result)], data, facts)


if __name__ == "__main__":
    main()
