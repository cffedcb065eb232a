"""What is fuzzed: each target takes any bytes and answers, or raises a documented error.

Whatever else it raises is a fault, and so is taking longer than a second. Checksums would stop a
fuzzer at the door, so that targets put right ones where a hostile author would.
"""

import contextlib
import hashlib
import io
import json
import tempfile
import time
import warnings
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import sympy
import torch

from kansym import KAN, CheckpointError, load, read_table, table_dataset
from kansym.discovery import checkpoint
from kansym.estimator.forms import read_forms
from kansym.symbolic import as_formula

SECONDS = 1.0
SYMBOLS = sympy.symbols("x1 x2", real=True)
SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")


def formula(data):
    """Formulas typed by a user, and those in the file of a search."""
    text = data.decode(errors="replace")
    with contextlib.suppress(ValueError):
        read_forms([text], SYMBOLS, ["x1", "x2"], {})
    with contextlib.suppress(ValueError):
        checkpoint.parse(text, SYMBOLS)
    with contextlib.suppress(ValueError):
        as_formula(text)


def search(data):
    """The file of a search as it is, and under a right seal as its steps and as what one left."""
    with _file(data, ".json") as path, contextlib.suppress(ValueError):
        checkpoint.load(path, "key")
    with contextlib.suppress(ValueError, RecursionError):
        given = json.loads(data)
        for steps in (given, [[0, "digest", 1, 0.5, 2, given]]):
            state = {"version": checkpoint.VERSION, "key": "key", "steps": steps}
            sealed = state | {"seal": checkpoint._seal(state)}
            content = json.dumps(sealed).encode()
            with _file(content, ".json") as path, contextlib.suppress(ValueError):
                for step in checkpoint.load(path, "key"):
                    checkpoint.entries_of(step, SYMBOLS)


def model(data):
    """The file of a model. First byte 0: a zip under a right seal; 1: the manifest of a sound
    file; 2: an .npy array of it; else the file as it is."""
    kind, rest = data[:1], data[1:]
    if kind == b"\0":
        content = _sealed(rest)
    elif kind == b"\1":
        content = _packed(rest, _parts()[1])
    elif kind == b"\2":
        content = _with_array(rest)
    else:
        content = data
    with _file(content, ".kan") as path, contextlib.suppress(CheckpointError):
        load(path)


def table(data):
    """A table; the first byte says of which format."""
    suffix = SUFFIXES[data[0] % len(SUFFIXES)] if data else ".csv"
    with _file(data[1:], suffix) as path, contextlib.suppress(ValueError):
        frame = read_table(path)
        table_dataset(frame, str(frame.columns[-1]))


# What chance would be long in finding.
WORDS = {
    "formula": ("x0", "x1", "x2", "**", "sqrt(", "exp(", "log(", "sin(", "tan(", "tanh(", "Abs(",
                "atanh(", "besselj(", "sign(", "erf(", "arcsin(", "gaussian(", "pi", "E", "1e300",
                "1e-300", "999", "1/0", "-1", "lambda", "for", "__class__", ":="),
    "search": ('"steps"', '["00", "x0", 0.5, 2.0, "a"]', '[0, "d", 1, 0.5, 2, []]', '"version"',
               '"seal"', "**", "exp(", "null", "1e999"),
    "model": ('"shape"', '"dtype"', '"symbolic"', '"width"', '"arrays"', '"extra"', "NaN", "1e999",
              "null", "[]", "{}", "-1", "9999999999999999999", "PK\\x01\\x02", "PK\\x05\\x06"),
    "table": (",", ";", "\\x00", "\\x22", "\\xef\\xbb\\xbf", "nan", "inf", "1e400", "PAR1", "\\x0d",
              "1_0", "True", "0x10", "1,5"),
}  # fmt: skip

TARGETS = {f.__name__: f for f in (formula, search, model, table)}


def check(name, data):
    """Run a target; AssertionError when it takes too long."""
    started = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        TARGETS[name](data)
    seconds = time.process_time() - started
    assert seconds < SECONDS, f"{name} took {seconds:.2f} s for {data[:100]!r}"


@contextlib.contextmanager
def _file(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{suffix}"
        path.write_bytes(content)
        yield path


@cache
def _parts():
    """The manifest of a small model and its other entries."""
    network = KAN([2, [1, 1], 1], grid=2, k=2, seed=0)
    network.kan_layers[0].symbolic = {(0, 0): "sin"}
    network.sample = None
    with _file(b"", ".kan") as path:
        network.save(path)
        with zipfile.ZipFile(path) as file:
            entries = {name: file.read(name) for name in file.namelist()}
    return entries.pop("manifest.json"), entries


def _packed(manifest, entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in {"manifest.json": manifest, **entries}.items():
            file.writestr(zipfile.ZipInfo(name), data)
        file.comment = b"0" * 64
    return _sealed(buffer.getvalue()[:-64])


def _sealed(body):
    return body + hashlib.sha256(body).hexdigest().encode()


def _with_array(data):
    text, entries = _parts()
    manifest = json.loads(text)
    record = {"dtype": "<f8", "shape": [2], "sha256": hashlib.sha256(data).hexdigest()}
    manifest["arrays"]["sample/X"] = record
    return _packed(json.dumps(manifest).encode(), {**entries, "sample/X.npy": data})


def seeds(name):
    """Inputs to start from that the program makes itself."""
    if name == "model":
        manifest, entries = _parts()
        whole = _packed(manifest, entries)
        buffer = io.BytesIO()
        np.save(buffer, np.ones(2))
        return [whole, b"\0" + whole[:-64], b"\1" + manifest, b"\2" + buffer.getvalue()]
    if name == "table":
        import pandas as pd

        frame = pd.DataFrame({"a": torch.arange(6).tolist(), "b": np.linspace(0, 1, 6)})
        return [b"\3" + frame.to_parquet(), b"\0" + frame.to_csv(index=False).encode()]
    return []
