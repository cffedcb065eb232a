"""Corrupted files (bit flips, truncation, blocks swapped, doubled, zeroed, appended): none loads
silently wrong, crashes the interpreter, or takes more than 1 s or 200 MB.

A model file and the file of a search come back identical or not at all. So do the compiled kernels:
what is damaged is not loaded. A CSV file has no checksum, nor has a Parquet file whose writer left
none: such a table may come back with other numbers, but with numbers or a clear error.
"""

import io
import itertools
import os
import random
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sandbox import MEGABYTES, SECONDS, Case, run, search_rows

from kansym import KAN, KANRegressor
from kansym.kernels import build

# How many cases of every kind of file; three in ten are in the default run.
COUNTS = {"model": 400, "search": 250, "csv": 130, "parquet": 130, "checked.parquet": 40, "so": 50}
ACTIONS = {"model": "model", "search": "search", "so": "kernels"}
IS_EXACT = {"model", "search", "so"}  # identical, or an error


def flip(data, rng, count=1):
    for _ in range(count):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_many(data, rng):
    flip(data, rng, 20)


def truncate(data, rng):
    del data[rng.randrange(len(data)) :]


def block(data, rng):
    start = rng.randrange(len(data))
    return slice(start, start + rng.choice([1, 16, 64, 512]))


def swap(data, rng):
    first, second = block(data, rng), block(data, rng)
    data[first], data[second] = data[second], data[first]


def double(data, rng):
    where = block(data, rng)
    data[where.stop : where.stop] = data[where]


def zero(data, rng):
    where = block(data, rng)
    data[where] = bytes(len(data[where]))


def append(data, rng):
    data += rng.choice([b"\0" * 512, rng.randbytes(64), b"\n1,2,3\n", bytes(data)])


def rewrite_entries(data, rng):
    """The entries of a zip file with two contents swapped, or one of them twice."""
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        entries = [(name, file.read(name)) for name in file.namelist()]
        comment = file.comment
    i, j = rng.sample(range(len(entries)), 2)
    if rng.random() < 0.5:
        entries[i], entries[j] = (entries[i][0], entries[j][1]), (entries[j][0], entries[i][1])
    else:
        entries.insert(j, (f"{entries[i][0]}2", entries[i][1]))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in entries:
            file.writestr(zipfile.ZipInfo(name), content)
        file.comment = comment
    data[:] = buffer.getvalue()


DAMAGES = (flip, flip_many, truncate, swap, double, zero, append)


@cache
def originals():
    """Sound files of every kind, made through the public interface; bytes by kind."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        X, y = search_rows()
        model = KAN([2, [1, 1], 1], grid=3, seed=0)
        model.fit((X, y), steps=5, progress=False)
        model.fix_symbolic(0, 0, 0, "sin")
        model.save(folder / "model", sample=True)
        options = {"max_time": None, "max_candidates": 60, "random_state": 0}
        KANRegressor(checkpoint=folder / "run", **options).fit(X, y)
        frame = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"])
        frame.to_csv(folder / "csv", index=False)
        frame.to_parquet(folder / "parquet")
        frame.to_parquet(folder / "checked.parquet", write_page_checksum=True)
        os.replace(folder / "run" / "search.json", folder / "search")
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    library = build.TARGET / build.library_name(0)
    return files | ({"so": library.read_bytes()} if library.exists() else {})


def damaged(kind, number):
    """The file of a kind with the damage of this number."""
    rng = random.Random(f"{kind} {number}")
    data = bytearray(originals()[kind])
    entries = [rewrite_entries] if kind == "model" else []
    rng.choice([*DAMAGES, *entries])(data, rng)
    return bytes(data)


def is_slow(number):
    return number % 10 >= 3


@cache
def outcomes(slow):
    """What became of the sound files, number None, and of all cases that are slow or are not."""
    keys = [(kind, None) for kind in originals()]
    keys += [
        (kind, number)
        for kind in originals()
        for number in range(COUNTS[kind])
        if is_slow(number) == slow
    ]
    with tempfile.TemporaryDirectory() as name:
        cases = []
        for k, (kind, number) in enumerate(keys):
            content = originals()[kind] if number is None else damaged(kind, number)
            path = Path(name) / f"{k}.{kind}"
            if kind == "so":  # a folder of libraries, of which one is damaged
                path.mkdir()
                (path / build.library_name(0)).write_bytes(content)
            else:
                path.write_bytes(content)
            cases.append(Case(ACTIONS.get(kind, "table"), str(path)))
        return dict(zip(keys, run(cases, name), strict=True))


CASES = [
    pytest.param(kind, number, marks=[pytest.mark.slow] if is_slow(number) else [])
    for kind, count in COUNTS.items()
    for number in range(count)
]


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_a_damaged_file(kind, number):
    if kind not in originals():
        pytest.skip("the kernels are not compiled")
    found = outcomes(is_slow(number))
    outcome, sound = found[kind, number], found[kind, None]
    assert sound.kind == "loaded", sound
    assert outcome.kind in ("loaded", "refused"), outcome
    if kind in IS_EXACT and outcome.kind == "loaded":
        assert outcome.text == sound.text
    if outcome.kind == "refused":
        assert 10 < len(outcome.text) < 1000
        assert outcome.seconds < SECONDS
    assert outcome.megabytes < MEGABYTES


def test_cases_are_different():
    """Nearly: a swap of equal blocks, or a zero put on a zero, changes nothing."""
    for kind in itertools.islice(originals(), 2):
        files = {damaged(kind, number) for number in range(100)}
        assert len(files - {originals()[kind]}) > 80
