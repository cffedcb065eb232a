"""Rows that do not fit into memory: a fit from Parquet, and what it costs per row.

    python benchmarks/rows.py --rows 10000000

Rows are uniform in [-1, 1]^5, y a sum of an exponential, a product and a sine, with noise; they are
written to a temporary folder in files of a million, by the same process, which the peak of memory
includes. [5, 5, 1] with grid 5 is then fitted for a few steps. Seconds are of wall time.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import kansym

RESULTS = Path(__file__).resolve().parent / "results"
FILE_ROWS = 1_000_000
GROUP_ROWS = 100_000
N_IN = 5


@dataclass(frozen=True)
class Result:
    """step_seconds: of a step, with all dampings it tried. grid_step_seconds: of one before which
    the grids move. Memory is resident memory."""

    rows: int
    steps: int
    threads: int
    parquet_megabytes: float
    in_memory_megabytes: float
    step_seconds: float
    grid_step_seconds: float
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
    with_grid = float(np.median([t for t, record in later if record.moved_grid]))
    return Result(
        rows=rows,
        steps=len(history.steps),
        threads=torch.get_num_threads(),
        parquet_megabytes=sum(f.stat().st_size for f in folder.iterdir()) / 2**20,
        in_memory_megabytes=rows * (N_IN + 1) * 8 / 2**20,
        step_seconds=plain,
        grid_step_seconds=with_grid,
        step_microseconds_per_row=1e6 * plain / rows,
        seconds=seconds,
        megabytes_before=before,
        megabytes_peak=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        train_loss=float(history.train_loss[-1]),
    )


def as_markdown(result: Result) -> str:
    lines = [
        "# Rows from Parquet",
        "",
        "`python benchmarks/rows.py`: [5, 5, 1], grid 5, opt LM, one process.",
        "",
        "| what | value |",
        "|---|---|",
    ]
    for name, value in asdict(result).items():
        lines.append(f"| {name.replace('_', ' ')} | {value:.6g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--out", type=Path, default=RESULTS)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), args.rows)
        result = measure(Path(folder), args.rows, args.steps)
    text = as_markdown(result)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "rows.md").write_text(text, encoding="utf-8")
    (args.out / "rows.json").write_text(json.dumps(asdict(result), indent=1), encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
