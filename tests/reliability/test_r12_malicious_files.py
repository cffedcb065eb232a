"""Malicious files (pickle, traversal, bombs, absurd shapes and numbers, pipes and devices): each is
refused before memory is asked for, under 1 s, with a clear error.

The files carry right checksums where a hostile author can put them there.
"""

import hashlib
import io
import json
import os
import pickle
import shutil
import struct
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sandbox import MARK, MEGABYTES, SECONDS, Case, run, search_rows

from kansym import KAN, KANRegressor
from kansym.discovery import checkpoint
from kansym.kernels import build, library

SMALL = 20_000_000  # bytes; what is larger may take longer than a second


class Evil:
    """Unpickling it writes a file."""

    def __reduce__(self):
        return os.system, (f"touch {MARK}",)


@cache
def model_parts():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        KAN([2, 1], grid=2, seed=0).save(path)
        with zipfile.ZipFile(path) as file:
            entries = {name: file.read(name) for name in file.namelist()}
    return json.loads(entries.pop("manifest.json")), entries


@cache
def search_file():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search"
        est = KANRegressor(max_time=None, max_candidates=1, random_state=0, checkpoint=path)
        est.fit(*search_rows())
        return (path / "search.json").read_bytes()


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(text, body=b""):
    """An .npy file with any header."""
    line = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line + body


def sealed(body):
    return body + hashlib.sha256(body).hexdigest().encode()


def packed(manifest, entries, compression=zipfile.ZIP_STORED):
    """A model file with a right seal; entries: (name or ZipInfo, bytes)."""
    buffer = io.BytesIO()
    text = manifest if isinstance(manifest, (str, bytes)) else json.dumps(manifest)
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in [("manifest.json", text), *entries]:
            info = name if isinstance(name, zipfile.ZipInfo) else zipfile.ZipInfo(name)
            file.writestr(info, data, None if info is name else compression)
        file.comment = b"0" * 64
    return sealed(buffer.getvalue()[:-64])


def with_entry(name, data=b"", compression=zipfile.ZIP_STORED):
    manifest, entries = model_parts()
    return packed(manifest, [*entries.items(), (name, data)], compression)


def with_sample(data, **record):
    """An array that the manifest lists, checksum and all."""
    manifest, entries = model_parts()
    record = {"dtype": "<f8", "shape": [2], "sha256": hashlib.sha256(data).hexdigest()} | record
    manifest = manifest | {"arrays": manifest["arrays"] | {"sample/X": record}}
    return packed(manifest, [*entries.items(), ("sample/X.npy", data)])


def with_own(name, array):
    """An array of the network in the place of its own, or beside it."""
    manifest, entries = model_parts()
    data = npy(array)
    record = {"dtype": array.dtype.str, "shape": list(array.shape)}
    record["sha256"] = hashlib.sha256(data).hexdigest()
    manifest = manifest | {"arrays": manifest["arrays"] | {name: record}}
    return packed(manifest, (entries | {f"{name}.npy": data}).items())


def with_shape(*shape):
    text = str({"descr": "<f8", "fortran_order": False, "shape": shape})
    return with_sample(header(text, bytes(64)), shape=list(shape))


def with_manifest(**changes):
    manifest, entries = model_parts()
    return packed(manifest | changes, entries.items())


def with_text(text):
    return packed(text, model_parts()[1].items())


def symlink():
    info = zipfile.ZipInfo("sample/X.npy")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return with_entry(info, b"/etc/passwd")


def overlapping():
    """Every name points to one entry of 256 kB."""
    data = bytearray(with_entry("sample/X.npy", bytes(2**18))[:-64])
    position = data.find(b"PK\x01\x02")
    while position >= 0:
        struct.pack_into("<2L", data, position + 20, 2**18, 2**18)
        position = data.find(b"PK\x01\x02", position + 1)
    return sealed(bytes(data))


def declared(size):
    """A directory in which every entry claims to be of this size."""
    data = bytearray(with_manifest()[:-64])
    position = data.find(b"PK\x01\x02")
    while position >= 0:
        struct.pack_into("<2L", data, position + 20, size, size)
        position = data.find(b"PK\x01\x02", position + 1)
    return sealed(bytes(data))


def nested_bomb():
    inner = bytes(2**24)
    for _ in range(3):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
            for k in range(4):
                file.writestr(zipfile.ZipInfo(f"{k}"), inner, zipfile.ZIP_DEFLATED)
        inner = buffer.getvalue()
    return inner


def torch_file():
    buffer = io.BytesIO()
    torch.save({"x": Evil()}, buffer)
    return buffer.getvalue()


DEEP = 100_000
WRONG = (None, True, -1, 1.5, "text", [], [[]], {}, 10**30, [1e308], [None], {"a": 1})
MODELS = {
    "pickle": lambda: pickle.dumps(Evil()),
    "torch file": torch_file,
    "torch file, sealed": lambda: sealed(torch_file()),
    "npy of objects": lambda: npy(np.array([Evil()], object), allow_pickle=True),
    "npy of objects, listed": lambda: with_sample(
        npy(np.array([Evil()], object), allow_pickle=True), shape=[1]
    ),
    "npy of objects, admitted": lambda: with_sample(
        npy(np.array([Evil()], object), allow_pickle=True), dtype="|O", shape=[1]
    ),
    "path traversal": lambda: with_entry("../../../tmp/x.npy"),
    "path traversal, Windows": lambda: with_entry("..\\..\\x.npy"),
    "absolute name": lambda: with_entry("/etc/cron.d/x"),
    "drive": lambda: with_entry("C:/x.npy"),
    "name with NUL": lambda: with_entry("sample/X\0.npy"),
    "folder entry": lambda: with_entry("sample/"),
    "symbolic link": symlink,
    "bomb": lambda: with_entry("x.npy", bytes(2**27), zipfile.ZIP_DEFLATED),
    "bomb in bzip2": lambda: with_entry("x.npy", bytes(2**24), zipfile.ZIP_BZIP2),
    "nested bomb": lambda: with_entry("x.npy", nested_bomb()),
    "nested bomb alone": lambda: sealed(nested_bomb()),
    "overlapping entries": overlapping,
    "declared 4 GB": lambda: declared(2**32 - 2),
    "declared more than Zip64": lambda: declared(2**32 - 1),
    "100,000 entries": lambda: packed(model_parts()[0], [(f"{k}", b"") for k in range(100_000)]),
    "shape negative": lambda: with_shape(-2),
    "shape 2^62": lambda: with_shape(2**62),
    "shape whose product overflows": lambda: with_shape(2**33, 2**33),
    "shape with a zero": lambda: with_shape(0, 2**62, 2**62),
    "shape of a million sizes": lambda: with_sample(
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (" + "1," * 20000 + ")}"),
        shape=[1] * 10**6,
    ),
    "coefficients of another shape": lambda: with_own("layers/0/coef", np.zeros((7, 7, 7))),
    "coefficients without a shape": lambda: with_own("layers/0/coef", np.zeros(())),
    "mask of another shape": lambda: with_own("layers/0/mask", np.ones((9, 9), bool)),
    "scale of another shape": lambda: with_own("buffers/input_scale", np.ones(3)),
    "shape of a layer that is not there": lambda: with_own("layers/7/coef", np.zeros((7, 7, 7))),
    "header of code": lambda: with_sample(header(f"__import__('os').system('touch {MARK}')")),
    "header of code in a field": lambda: with_sample(
        header("{'descr': '<f8', 'fortran_order': False, 'shape': (2 for _ in [1])}")
    ),
    "header of a tower": lambda: with_sample(header("9**9**9**9")),
    "header of commas": lambda: with_sample(
        header("{'descr': ',f8', 'fortran_order': False, 'shape': (2,), }", bytes(16))
    ),
    "header of minuses": lambda: with_sample(header("-" * 60_000 + "1")),
    "structured dtype": lambda: with_sample(npy(np.zeros(2, [("a", "O"), ("b", "f8")])[["b"]])),
    "brackets": lambda: with_text("[" * DEEP + "]" * DEEP),
    "objects in objects": lambda: with_text('{"a":' * DEEP + "1" + "}" * DEEP),
    "100,000 digits": lambda: with_text('{"format": "kansym", "version": ' + "9" * 10**5 + "}"),
    "NaN": lambda: with_manifest(grid_eps=float("nan")),
    "Infinity": lambda: with_manifest(version=float("inf")),
    "duplicate keys": lambda: with_text('{"format": "kansym", "format": "other"}'),
    "not UTF-8": lambda: with_text(b'{"format": "\xff\xfe"}'),
    "UTF-16": lambda: with_text('{"format": "kansym"}'.encode("utf-16")),
    "lone surrogate": lambda: with_text('{"format": "\\ud800"}'),
    "unknown version": lambda: with_manifest(version=99),
    "negative version": lambda: with_manifest(version=-1),
    "huge width": lambda: with_manifest(width=[[2**40, 0], [2**40, 0]]),
    "long width": lambda: with_manifest(width=[[1, 0]] * 200_000),
    "names of wrong types": lambda: with_manifest(
        extra={"is_fitted": True, "feature_names": [1, None], "target_names": {"a": 1}}
    ),
    "names too many": lambda: with_manifest(extra={"feature_names": ["a"] * 50}),
    "names as text": lambda: with_manifest(extra={"feature_names": "ab"}),
    "sample of another width": lambda: with_sample(npy(np.zeros((4, 7))), shape=[4, 7]),
}
FIELDS = ("format", "version", "width", "mult_arity", "dtype", "layers", "arrays", "extra")


def sealed_search(state):
    plain = {name: value for name, value in state.items() if name != "seal"}
    return plain | {"seal": checkpoint._seal(plain)}


def search_with(**changes):
    """The file of a search with other fields and, where it has one, the checksum that was."""
    state = json.loads(search_file()) | changes
    if "seal" not in changes:
        state = sealed_search(state)
    return json.dumps(state).encode()


def step_with(*texts, fingerprint="00"):
    """A step of a search that left these formulas."""
    return [0, "digest", 1, 0.5, 2, [[fingerprint, text, 0.5, 2.0, "x"] for text in texts]]


SEARCHES = {
    "pickle": lambda: pickle.dumps(Evil()),
    "brackets": lambda: b"[" * DEEP + b"]" * DEEP,
    "objects in objects": lambda: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "100,000 digits": lambda: b'{"version": ' + b"9" * 10**5 + b"}",
    "NaN": lambda: search_with(version=float("nan")),
    "Infinity": lambda: search_with(version=float("inf")),
    "duplicate keys": lambda: search_file().rstrip()[:-1] + b', "version": 2}',
    "not UTF-8": lambda: b'{"version": "\xff\xfe"}',
    "UTF-16": lambda: search_file().decode().encode("utf-16"),
    "lone surrogate": lambda: b'{"key": "\\ud800"}',
    "unknown version": lambda: search_with(version=99),
    "one string of 9 MB": lambda: json.dumps("x" * 9_000_000).encode(),
    "21 MB": lambda: search_file() + b" " * 21_000_000,
    "null": lambda: b"null",
    "nothing": lambda: b"",
}
SEARCHES |= {
    f"{field} {k}": lambda field=field, value=value: search_with(**{field: value})
    for field in ("steps", "key", "seal")
    for k, value in enumerate(WRONG)
    if (field, value) != ("steps", [])  # a search that has only begun
}
NO_FORMULAS = {
    "code": f"__import__('os').system('touch {MARK}')",
    "attribute": "x0.__class__",
    "unknown function": "system(x0)",
    "name that is no column": "secret",
    "tower": "9**9**9**9",
    "brackets": "(" * 10_000 + "x0" + ")" * 10_000,
    "minuses": "-" * 19_000 + "x0",
    "infinite": "zoo*x0",
    "imaginary": "log(-1)",
    "text": "'x0'",
    "nothing": "",
    "huge": "+".join(["x0"] * 10_000),
}
SEARCHES |= {
    f"formula: {name}": lambda text=text: search_with(steps=[step_with("x0", text)])
    for name, text in NO_FORMULAS.items()
}
SEARCHES["fingerprint"] = lambda: search_with(steps=[step_with("x0", fingerprint="no")])


def parquet_of(rows, columns):
    """A table of one constant: a few kilobytes that claim to be gigabytes."""
    table = pa.table({f"c{k}": pa.array(np.zeros(2**20)) for k in range(columns)})
    buffer = io.BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd") as writer:
        for _ in range(rows // 2**20):
            writer.write_table(table, row_group_size=2**20)
    return buffer.getvalue()


def parquet_with(metadata):
    """A table whose pandas part is any JSON."""
    table = pa.table({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"pandas": metadata}), buffer)
    return buffer.getvalue()


MILLION = 10**6
# name: (suffix, content, action)
TABLES = {
    "a million columns": (
        ".csv", lambda: b",".join(b"c%d" % k for k in range(MILLION)) + b"\n" + b"1," * MILLION),
    "a million columns without a name": (".csv", lambda: b"," * MILLION + b"\n" + b"1," * MILLION),
    "a million cells in a row": (".csv", lambda: b"a,b\n1,2\n" + b"1," * MILLION),
    "a name of 100 MB": (".csv", lambda: b"a" * 10**8 + b",b\n1,2\n3,4\n"),
    "a cell of 100 MB first": (".csv", lambda: b"a,b\n" + b"9" * 10**8 + b",4\n"),
    "a cell of 100 MB": (".csv", lambda: b"a,b\n1,2\nx" + b"9" * 10**8 + b",4\n"),
    "ten million empty lines": (".csv", lambda: b"\n" * 10**7),
    "ten million empty lines, then a table": (".csv", lambda: b"\n" * 10**7 + b"a,b\n1,2\n"),
    "ten million empty lines in a table": (".csv", lambda: b"a,b\n" + b"\n" * 10**7 + b"1,2\n"),
    "the same in a .txt": (".txt", lambda: b"a b\n" + b"\n" * 10**7 + b"1 2\n"),
    "NUL": (".csv", lambda: b"a,b\n1,2\0\n3,4\n"),
    "zeros at the end": (".csv", lambda: b"a,b\n1,2\n3,4\n" + bytes(4096)),
    "UTF-16": (".csv", lambda: "a,b\n1,2\n3,4\n".encode("utf-16")),
    "UTF-32": (".csv", lambda: "a,b\n1,2\n3,4\n".encode("utf-32")),
    "Latin 1": (".csv", lambda: b"a,\xe9\n1,2\n"),
    "mixed separators": (".csv", lambda: b"a,b\n1;2\n3,4\n"),
    "mixed separators, tabs": (".tsv", lambda: b"a\tb\n1,2\n3\t4\n"),
    "quote without end": (".csv", lambda: b'a,b\n1,2\n"3,4\n' + b"5,6\n" * 10**5),
    "quoted name without end": (".csv", lambda: b'"a,b\n' + b"1,2\n" * 10**6),
    "numbers as words": (".csv", lambda: b"a,b\n1,2\n=cmd|' /C calc'!A0,4\n"),
    "huge exponent": (".csv", lambda: b"a,b\n1e99999999999,2\n3,4\n"),
    "100,000 digits": (".csv", lambda: b"a,b\n" + b"9" * 10**5 + b",2\n3,4\n"),
    "pickle": (".csv", lambda: pickle.dumps(Evil())),
    "gzip": (".csv", lambda: b"\x1f\x8b\x08\x00" + bytes(100)),
    "parquet: pickle": (".parquet", lambda: pickle.dumps(Evil())),
    "parquet: bomb": (".parquet", lambda: parquet_of(2**22, 10)),
    "parquet: footer of 2 GB": (
        ".parquet", lambda: b"PAR1" + bytes(64) + struct.pack("<I", 2**31 - 1) + b"PAR1"),
    "parquet: deep metadata": (".parquet", lambda: parquet_with(b"[" * DEEP + b"]" * DEEP)),
    "parquet: wrong metadata": (".parquet", lambda: parquet_with(b'{"columns": 3}')),
    "parquet: metadata that is no JSON": (".parquet", lambda: parquet_with(b"{")),
    "parquet: 20,000 columns": (
        ".parquet", lambda: pa_bytes(pa.table({f"c{k}": [1.0] for k in range(20_000)}))),
    "parquet: nested": (".parquet", lambda: pa_bytes(pa.table({"a": [[[1.0]]], "b": [1.0]}))),
    "parquet: names twice": (
        ".parquet", lambda: pa_bytes(pa.Table.from_arrays([pa.array([1.0])] * 2, ["a", "a"]))),
}  # fmt: skip


def pa_bytes(table):
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def special(kind):
    """What is no file but has the name of one: made in a folder, its path is returned."""

    def make(folder, suffix):
        path = folder / f"special{suffix}"
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            path.symlink_to(kind)
        return path

    return make


SPECIAL = ("folder", "pipe", "/dev/zero", "/dev/null", "/dev/tty", "/proc/self/mem", "nowhere")


def cut_library(part):
    def make(folder, suffix):
        path = folder / f"kernels{suffix}"
        path.mkdir()
        content = (build.TARGET / build.library_name(0)).read_bytes()
        (path / build.library_name(0)).write_bytes(content[: int(part * len(content))])
        return path

    return make


def own_library(content):
    def make(folder, suffix):
        path = folder / f"kernels{suffix}"
        path.mkdir()
        (path / build.library_name(0)).write_bytes(content)
        return path

    return make


def library_pipe(folder, suffix):
    path = folder / f"kernels{suffix}"
    path.mkdir()
    os.mkfifo(path / build.library_name(0))
    return path


def of_content(content):
    def make(folder, suffix):
        path = folder / f"file{suffix}"
        path.write_bytes(content())
        return path

    return make


# id: (action, suffix, maker of the file)
CASES = {f"model: {name}": ("model", "", of_content(c)) for name, c in MODELS.items()}
CASES |= {
    f"model: {field} {k}": (
        "model", "", of_content(lambda f=field, v=value: with_manifest(**{f: v})))
    for field in FIELDS
    for k, value in enumerate(WRONG)
    if not (field == "extra" and isinstance(value, dict))
}  # fmt: skip
CASES |= {f"search: {name}": ("search", "", of_content(c)) for name, c in SEARCHES.items()}
CASES |= {f"table: {name}": ("dataset", s, of_content(c)) for name, (s, c) in TABLES.items()}
CASES |= {
    f"{action}: {kind}": (action, suffix, special(kind))
    for action, suffix in (("model", ""), ("search", ""), ("table", ".csv"), ("table", ".parquet"))
    for kind in SPECIAL
    if not (action == "search" and kind == "nowhere")  # a search begins there
}
CASES |= {
    f"kernels: {part:.0%} of a library": ("kernels", "", cut_library(part))
    for part in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999)
}
CASES |= {
    "kernels: text": ("kernels", "", own_library(b"#!/bin/sh\n")),
    "kernels: sealed text": ("kernels", "", own_library(sealed(b"\x7fELF" + bytes(200)))),
    "kernels: pipe": ("kernels", "", library_pipe),
}
NATIVE = library.load().library is not None
SLOW = {name for name in CASES if "100 MB" in name or "bomb" in name}


@cache
def outcomes(slow):
    """What became of every case that is slow or is not, and the size of its file."""
    names = [name for name in CASES if (name in SLOW) == slow]
    names = [name for name in names if NATIVE or not name.startswith("kernels")]
    with tempfile.TemporaryDirectory() as folder:
        made, paths = [], []
        for k, name in enumerate(names):
            action, suffix, make = CASES[name]
            own = Path(folder) / str(k)
            own.mkdir()
            paths.append(make(own, suffix))
            made.append(Case(action, str(paths[-1])))
        sizes = [path.stat().st_size if path.is_file() else 0 for path in paths]
        found = run(made, folder)
        shutil.rmtree(folder, ignore_errors=True)
        Path(folder).mkdir(exist_ok=True)
    return dict(zip(names, zip(found, sizes, strict=True), strict=True))


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in CASES]
)
def test_a_malicious_file(name):
    if name.startswith("kernels") and not NATIVE:
        pytest.skip("the kernels are not compiled")
    outcome, size = outcomes(name in SLOW)[name]
    assert outcome.kind == "refused", outcome
    assert 10 < len(outcome.text) < 1000
    assert not outcome.is_evaluated
    assert outcome.megabytes < MEGABYTES
    assert outcome.seconds < SECONDS or size > SMALL


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "__import__('os')", r"entry \d+ of step \d+: not a formula: "),
        (lambda text: text.replace("x0", "x7").replace("x1", "x7"), "Name has no place in it"),
    ],
    ids=["code", "another column"],
)
def test_a_search_with_another_formula_is_left_as_it_is(tmp_path, change, words):
    """What finished steps left is worth something to whoever can tell what is wrong with it."""
    path, options = tmp_path / "search.json", {"max_time": None, "random_state": 0}
    KANRegressor(max_candidates=10, checkpoint=tmp_path, **options).fit(*search_rows())
    state = json.loads(path.read_bytes())
    step = next(step for step in state["steps"] if any("x" in text for _, text, *_ in step[5]))
    entry = next(entry for entry in step[5] if "x" in entry[1])
    entry[1] = change(entry[1])
    path.write_text(json.dumps(sealed_search(state)))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words) as caught:
        KANRegressor(max_candidates=20, checkpoint=tmp_path, **options).fit(*search_rows())
    assert f"checkpoint {str(path)!r} cannot be read" in str(caught.value)
    assert "remove it or choose another folder" in str(caught.value)
    assert path.read_bytes() == before


def test_a_byte_order_mark_is_no_malice(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\n1,2\n3,4\n")
    (outcome,) = run([Case("table", str(path))], tmp_path)
    assert outcome.kind == "loaded"
    assert outcome.text == pd.DataFrame({"a": [1, 3], "b": [2, 4]}).to_csv()
