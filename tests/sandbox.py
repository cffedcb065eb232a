"""Hostile input in a process of its own, with limits: a crash, a hang or a gigabyte ends that one.

`run` hands a list of cases to a child process, one call each, and returns what became of every one.
A child that dies or hangs is replaced by another for the cases that are left.
"""

import contextlib
import hashlib
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

SECONDS, MEGABYTES = 1.0, 200  # what a case may take
PATIENCE = 60  # seconds without an answer, after which a child hangs
ADDRESS_SPACE = 16 * 2**30  # bytes, so that nothing takes the machine down
MARK = "evaluated"  # a file that hostile text would make, were it run


@dataclass(frozen=True)
class Case:
    action: str  # a key of ACTIONS
    argument: str  # a path or a text


@dataclass(frozen=True)
class Outcome:
    """What a case came to: "loaded", with what was loaded; "refused" or the name of an error that
    is not documented, with the message; "crashed" or "hung"."""

    kind: str
    text: str
    seconds: float = 0.0  # of the processor
    megabytes: float = 0.0
    is_evaluated: bool = False


def run(cases, folder):
    """Outcomes of the cases; the child works in `folder`."""
    outcomes = []
    while len(outcomes) < len(cases):
        outcomes += _run_child(cases[len(outcomes) :], folder)
    return outcomes


def _run_child(cases, folder):
    """Outcomes of the first cases, up to one that ends the child, if there is one."""
    given = json.dumps([[case.action, case.argument] for case in cases])
    path = Path(folder) / "cases.json"
    path.write_text(given)
    command = [sys.executable, __file__, str(path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    answers, fault = [], "crashed"
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            if line == "hung\n":
                fault = "hung"
                break
            answers.append(Outcome(*json.loads(line)))
    missing = len(answers) < len(cases)
    return [*answers, Outcome(fault, f"exit status {child.returncode}")] if missing else answers


# -- in the child ---------------------------------------------------------------------------------


def _model(path):
    import kansym

    model = kansym.load(path)
    digest = hashlib.sha256(repr(model.extra_repr()).encode())
    for name, value in model.state_dict().items():
        digest.update(f"{name}{value}".encode())
    sample = model.sample
    for tensor in () if sample is None else (sample.X, sample.y):
        digest.update(repr(None if tensor is None else tensor.tolist()).encode())
    digest.update(repr((model.feature_names, model.target_names, model.is_fitted)).encode())
    return digest.hexdigest()


def search_rows():
    """The rows of the search whose file is damaged."""
    import numpy as np

    X = np.random.default_rng(0).uniform(1, 2, (40, 2))
    return X, np.exp(-X[:, 0]) * np.sin(4 * X[:, 1]) + X[:, 1] ** 0.7


def _search(path):
    from kansym import KANRegressor

    folder = Path(f"{path}-run")
    folder.mkdir()
    os.replace(path, folder / "search.json")
    est = KANRegressor(max_time=None, max_candidates=20, random_state=0, checkpoint=folder)
    est.fit(*search_rows())
    # Every digit of the answer, and the steps as they were read, for they are written again.
    kept = (folder / "search.json").read_text()
    answer = f"{est.formula_.exprs} {est.equations_table().to_csv()} {kept}"
    return hashlib.sha256(answer.encode()).hexdigest()


def _table(path):
    from kansym import read_table

    return read_table(path).to_csv()[:200]


def _dataset(path):
    """A table as `kansym fit` takes it."""
    from kansym import read_table, table_dataset

    frame = read_table(path)
    return repr(table_dataset(frame, str(frame.columns[-1])).X.shape)


def _kernels(folder):
    """The kernels of a folder, as a process that finds its own there."""
    from kansym.kernels import build, library

    build.TARGET = Path(folder)
    found = library.load.__wrapped__()
    if found.library is None:
        raise ValueError(found.reason)
    return found.name


def _form(text):
    from kansym import KANRegressor

    KANRegressor(max_time=1, features=[text]).fit(*search_rows())


def _stored(text):
    import sympy

    from kansym.discovery import checkpoint

    return str(checkpoint.parse(text, sympy.symbols("x1 x2", real=True)))


def _unit(text):
    from kansym.discovery.units import parse_unit

    return str(parse_unit(text))


def _function(text):
    from kansym.functions import get_library

    return str(get_library(["x", text]))


def _constant(text):
    from kansym import KANRegressor

    KANRegressor(max_time=1, constants={text: 2.5}).fit(*search_rows())


def _column(text):
    from kansym import KANRegressor

    KANRegressor(max_time=1, required=[text]).fit(*search_rows())


def _formula(text):
    import sympy

    from kansym import Formula

    x = sympy.Symbol("x", real=True)
    return str(Formula((text,), (x,)).evaluate([[1.0]]))


def _compiled(text):
    """A network from the text."""
    from kansym import KAN

    return str(KAN.from_formula(text, variables=["x1", "x2"]))


def _symbol(text):
    """A formula with a symbol of this name that is none of its variables."""
    import sympy

    from kansym import Formula

    x = sympy.Symbol("x", real=True)
    return str(Formula((sympy.Symbol(text, real=True) + x,), (x,)).evaluate([[1.0]]))


def _undefined(text):
    """A formula with an undefined function of this name."""
    import sympy

    from kansym import Formula

    x = sympy.Symbol("x", real=True)
    formula = Formula((sympy.Function(text)(x),), (x,))
    try:
        return str(formula.evaluate([[1.0]]))
    except ValueError:
        return formula.to("sympy")  # source code, which must refuse it too


def _sympy_form(text):
    from kansym import register_function

    return register_function("own", lambda x: 0 * x, lambda _: text).name


def _name(text):
    """A function of this name, registered, looked up and printed."""
    import sympy

    from kansym import register_function

    own = register_function(text, lambda x: x**2 + x, lambda x: x**2 + x)
    return str(own.sympy(sympy.Symbol("x")))


def _cli(*options):
    from click.testing import CliRunner

    from kansym.cli import main

    Path("table.csv").write_text("a,b\n1,2\n2,4\n3,6\n")
    command = ["fit", "table.csv", "--target", "b", "--no-progress", "--max-time", "1", *options]
    result = CliRunner().invoke(main, command)
    if result.exit_code in (1, 2) and isinstance(result.exception, SystemExit):
        raise ValueError(result.output)
    if result.exception is not None:
        raise result.exception
    return result.output


ACTIONS = {
    "model": _model,
    "search": _search,
    "table": _table,
    "dataset": _dataset,
    "kernels": _kernels,
    "form": _form,
    "stored": _stored,
    "unit": _unit,
    "function": _function,
    "constant": _constant,
    "column": _column,
    "formula": _formula,
    "compiled": _compiled,
    "symbol": _symbol,
    "undefined": _undefined,
    "sympy form": _sympy_form,
    "name": _name,
    "width": lambda text: _cli("--width", text),
    "units": lambda text: _cli("--units", f"a={text},b=m"),
    "lib": lambda text: _cli("--lib", text),
}


def _outcome(action, argument):
    from kansym import CheckpointError

    before = _reset_peak()
    started = time.process_time()
    try:
        kind, text = "loaded", str(ACTIONS[action](argument))
    except (ValueError, CheckpointError, FileNotFoundError) as error:
        kind, text = "refused", str(error)
    except Exception as error:
        kind, text = type(error).__name__, str(error)
    seconds = time.process_time() - started
    megabytes = _peak() - before
    is_evaluated = os.path.exists(MARK)
    with contextlib.suppress(FileNotFoundError):
        os.remove(MARK)
    return kind, text[:2000], seconds, megabytes, is_evaluated


def _reset_peak():
    """Megabytes in use; the peak starts anew from there."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    return _peak()


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 if _LINUX is None else _read()


def _read():
    with open(_LINUX) as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024


_LINUX = "/proc/self/status" if os.path.exists("/proc/self/status") else None


def _main(path):
    import signal

    import torch

    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer

    def hang(*_):
        print("hung", file=answers, flush=True)
        os._exit(1)

    signal.signal(signal.SIGALRM, hang)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    _warm_up()
    for action, argument in json.loads(Path(path).read_text()):
        signal.alarm(PATIENCE)
        print(json.dumps(_outcome(action, argument)), file=answers, flush=True)
        signal.alarm(0)


def _warm_up():
    """Imports count for nobody."""
    import pyarrow.parquet  # noqa: F401

    import kansym.cli
    import kansym.pipeline  # noqa: F401

    for action, argument in (
        ("form", "x1*x2/7"), ("unit", "m/s"), ("lib", "nothing"), ("width", "0"),
        ("units", "nothing"), ("formula", "x"), ("symbol", "x"), ("stored", "sin(x0)"),
    ):  # fmt: skip
        _outcome(action, argument)


if __name__ == "__main__":
    _main(sys.argv[1])
