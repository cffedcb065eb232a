"""How long `import kansym` and `kansym --help` take, each in a fresh interpreter.

    make bench-import        or        python benchmarks/import_time.py

Wall and processor time of the whole process, start of the interpreter included.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import common
import peers
from common import Sample, Table

TORCH, KANSYM, MODEL = "import torch", "import kansym", "from kansym import KAN"
STATEMENTS = ("pass", TORCH, KANSYM, MODEL)
HELP, PYKAN = "kansym --help", "import kan"


def main() -> None:
    arguments = common.settle(common.parser(__doc__, rounds=15).parse_args())
    rounds = 2 if arguments.quick else arguments.rounds
    commands = present()
    for command in commands.values():
        run(command)  # warms the file cache and writes the byte code
    timers = {name: lambda command=command: run(command) for name, command in commands.items()}
    samples = common.interleave(timers, rounds)
    facts = common.environment(
        arguments.threads, common.installed("kansym", "torch") | {"pykan": version_of_pykan()}
    )
    common.publish(arguments, "Start-up", [table(samples)], {"samples": samples}, facts)


def version_of_pykan() -> str | None:
    return peers.PEERS["pykan"].version


def present() -> dict[str, list[str]]:
    """The commands there are."""
    commands = {statement: [sys.executable, "-c", statement] for statement in STATEMENTS}
    script = Path(sys.executable).with_name("kansym")
    if script.exists():
        commands[HELP] = [str(script), "--help"]
    if version_of_pykan():
        commands[PYKAN] = [sys.executable, "-c", PYKAN]
    return commands


def run(command: Sequence[str]) -> Sample:
    wall, cpu = time.perf_counter(), children_seconds()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Sample(time.perf_counter() - wall, children_seconds() - cpu)


def children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(samples: dict[str, list[Sample]]) -> Table:
    rows = []
    for name in (*STATEMENTS, HELP, PYKAN):
        if name not in samples:
            rows.append([f"`{name}`", peers.NOT_INSTALLED, "", ""])
            continue
        mine = samples[name]
        rows.append(
            [
                f"`{name}`",
                common.shown(common.clock(mine)),
                common.shown(common.clock(mine, "cpu")),
                f"{common.ratio(mine, samples[TORCH]).median:.3g}",
            ]
        )
    for name in (KANSYM, MODEL):
        beyond = [common.difference(samples[name], samples[TORCH], c) for c in ("wall", "cpu")]
        rows.append([f"`{name}` minus `{TORCH}`", *map(common.shown, beyond), ""])
    return Table(["", "seconds", "CPU seconds", f"x `{TORCH}`"], rows)


if __name__ == "__main__":
    main()
