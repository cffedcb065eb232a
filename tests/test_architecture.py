"""Which room of the house may call which, and what importing it may cost."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import kansym

PACKAGE = Path(kansym.__file__).parent

# A module imports from its own room and from those before it.
ROOMS = (
    "errors",
    "files",
    "threads",
    "progress",
    "arrays",
    "datasets",
    "tables",
    "parquet",
    "partitions",
    "bspline",
    "edge",
    "kernels",
    "functions",
    "workers",
    "boards",
    "affine",
    "layer",
    "network",
    "checkpoint",
    "scaling",
    "jacobian",
    "derivatives",
    "scores",
    "nn",
    "training",
    "structure",
    "symbolic",
    "views",
    "model",
    "pipeline",
    "discovery",
    "estimator",
    "sweeps",
    "relations",
    "cli",
)
FACES = ("kansym", "kansym.__main__")  # these may import everything

MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def room(module):
    return module.split(".")[1]


def kansym_imports(module, path):
    """Modules of kansym that a file imports, at its top or inside a function."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:  # relative to the package that the file lies in
                package = module if path.name == "__init__.py" else module.rpartition(".")[0]
                parents = package.split(".")
                parents = parents[: len(parents) - node.level + 1]
                base = ".".join([*parents, *base.split(".")] if base else parents)
            if base == "kansym":  # from kansym import edge
                found += [(node.lineno, f"kansym.{alias.name}") for alias in node.names]
            else:
                found.append((node.lineno, base))
    return [(line, name) for line, name in found if name.split(".")[0] == "kansym"]


def faults(module, path):
    """What a module imports and may not, in words."""
    if module in FACES:
        return []
    if room(module) not in ROOMS:
        return [f"{module} is in no room: add {room(module)!r} to ROOMS, where it belongs"]
    here, words = ROOMS.index(room(module)), []
    for line, name in kansym_imports(module, path):
        if name == "kansym":
            words.append(f"{module}, line {line}: imports the package's face; import the module")
        elif room(name) not in ROOMS:
            words.append(f"{module}, line {line}: imports {name}, which is in no room")
        elif ROOMS.index(room(name)) > here:
            words.append(f"{module}, line {line}: imports {name}, a room below it")
    return words


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module):
    assert not faults(module, MODULES[module])


@pytest.mark.parametrize(
    ("module", "source", "is_fault"),
    [
        ("kansym.layer", "from kansym import edge", False),
        ("kansym.layer", "from kansym.edge import features", False),
        ("kansym.layer", "from kansym.network import Network", True),
        ("kansym.layer", "from kansym import edge, network", True),
        ("kansym.layer", "import kansym.model", True),
        ("kansym.layer", "from .network import Network", True),
        ("kansym.layer", "from . import model", True),
        ("kansym.layer", "def f():\n    from kansym.training import train", True),
        ("kansym.layer", "import kansym", True),
        ("kansym.layer", "from kansym import KAN", True),
        ("kansym.training.loop", "from kansym.training.history import History", False),
        ("kansym.training.loop", "from ..structure import prune", True),
        ("kansym.training.loop", "from ..scores import edge_scores\nimport torch", False),
        ("kansym.attic", "import torch", True),
        ("kansym.cli.fit", "from kansym.estimator import KANRegressor", False),
    ],
)
def test_the_test_sees_wrong_imports(module, source, is_fault, tmp_path):
    path = tmp_path / "module.py"
    path.write_text(source)
    assert bool(faults(module, path)) is is_fault


EXTRAS = ("sympy", "matplotlib", "networkx", "pandas", "pyarrow", "sklearn", "click", "tqdm")


def extras_after(statement):
    """Which heavy packages importing brings in, besides those that torch itself does."""
    code = (
        f"import sys, json, torch; before = set(sys.modules); {statement};"
        f"print(json.dumps([n for n in {EXTRAS!r} if n in sys.modules and n not in before]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return json.loads(done.stdout)


def test_importing_is_light():
    assert extras_after("import kansym") == []


def test_the_core_needs_no_extras():
    core = ROOMS[: ROOMS.index("scores") + 1]
    modules = [name for name in core if f"kansym.{name}" in MODULES]
    assert extras_after("import " + ", ".join(f"kansym.{name}" for name in modules)) == []


def test_a_network_runs_without_extras():
    run = "from kansym.network import Network; Network([2, 3, 1])(torch.zeros(4, 2))"
    assert extras_after(run) == []
