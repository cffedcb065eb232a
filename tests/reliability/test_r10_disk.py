"""Disks and folders: the old file intact, a clear error, and nothing left over.

A full disk, a folder that may not be written, four processes in one folder, two models in one
folder, and paths that are none; for every file that kansym writes.
"""

import contextlib
import errno
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import kansym
from kansym import KAN, FolderInUseError, KANRegressor, files, load
from kansym.cli import main
from kansym.files import in_use, write_atomically

X = np.random.default_rng(0).uniform(0.5, 2, (40, 2))
Y = X[:, 0] * X[:, 1]
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def trained(seed=0):
    model = KAN([2, 1], grid=3, seed=seed)
    model.fit((X, Y), "Adam", 2, progress=False)
    return model


def save(path):
    trained().save(path)


def to_onnx(path):
    pytest.importorskip("onnx")
    trained().to_onnx(path)


def predict(path):
    """Through the command, whose errors are one line."""
    done = CliRunner().invoke(main, ["predict", *INPUTS, "--out", str(path)])
    if done.exit_code:
        assert isinstance(done.exception, SystemExit)
        raise OSError(done.output)


INPUTS: list[str] = []  # a model and a table, for `predict`


@pytest.fixture(scope="module", autouse=True)
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    trained().save(folder / "model.kansym")
    pd.DataFrame(X, columns=["a", "b"]).to_csv(folder / "rows.csv", index=False)
    INPUTS[:] = [str(folder / "model.kansym"), str(folder / "rows.csv")]


def fit(path):
    """A checkpoint: the folder is that of the file."""
    KAN([2, 1], grid=3, seed=0).fit((X, Y), "Adam", 4, progress=False, checkpoint=path.parent)


def search(path):
    KANRegressor(max_time=None, max_candidates=5, checkpoint=path.parent).fit(X, Y)


WRITERS = {
    "KAN.save": (save, "model.kansym"),
    "to_onnx": (to_onnx, "model.onnx"),
    "predict --out": (predict, "predicted.csv"),
    "checkpoint of a fit": (fit, "fit.kansym"),
    "checkpoint of a search": (search, "search.json"),
}
each_writer = pytest.mark.parametrize(("write", "name"), WRITERS.values(), ids=WRITERS.keys())


def files_in(folder):
    return sorted(p.name for p in folder.rglob("*") if p.name != files.LOCK)


# -- full disks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
@each_writer
def test_no_space_left(tmp_path, monkeypatch, write, name, step):
    """The error comes when data go to the disk, or when the file is put in its place."""
    path = tmp_path / name
    write(path)
    old = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, step, full)
        with pytest.raises(OSError, match="No space left on device; nothing was changed"):
            write(path)
    assert path.read_bytes() == old
    assert files_in(tmp_path) == [name]
    write(path)  # with room again, all is as it was


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits are those of POSIX")
@pytest.mark.parametrize("old", [None, b"old"])
def test_largest_size_of_a_file(tmp_path, old):
    """Under `ulimit -f`, in a process of its own."""
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    code = (
        "import resource, sys; from kansym.files import write_atomically;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000));"
        "write_atomically(sys.argv[1], bytes(5000))"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert "File too large; nothing was changed" in done.stderr
    assert (path.read_bytes() if path.exists() else None) == old
    assert files_in(tmp_path) == ([] if old is None else ["file"])


@pytest.mark.skipif(not IS_ROOT or platform.system() != "Linux", reason="mounting needs root")
def test_a_disk_that_is_full(tmp_path):
    """A small file system, really full."""
    options = ["-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("this machine does not mount")
    try:
        path = tmp_path / "model.kansym"
        trained().save(path)
        old = path.read_bytes()
        (tmp_path / "ballast").write_bytes(bytes(4096 * 13 - len(old) // 4096 * 4096 - 4096))
        with pytest.raises(OSError, match="No space left on device"):
            KAN([2, 40, 1], grid=20, seed=0).save(path)
        assert path.read_bytes() == old
        assert files_in(tmp_path) == ["ballast", "model.kansym"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# -- folders that may not be written --------------------------------------------------------------


@contextlib.contextmanager
def read_only(folder):
    """A folder that may only be read, also by root, as a mount of its own."""
    if not IS_ROOT:
        folder.chmod(0o500)
        try:
            yield
        finally:
            folder.chmod(0o700)
        return
    bound = subprocess.run(["mount", "--bind", folder, folder], capture_output=True)
    if bound.returncode:
        pytest.skip("this machine does not mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("name", ["KAN.save", "checkpoint of a fit", "checkpoint of a search"])
def test_a_folder_that_may_only_be_read(tmp_path, name):
    write, file = WRITERS[name]
    path = tmp_path / file
    write(path)
    old = path.read_bytes()
    with read_only(tmp_path), pytest.raises(OSError, match=r"Read-only|Permission denied"):
        write(path)
    assert path.read_bytes() == old
    assert files_in(tmp_path) == [file]


# -- folders in use -------------------------------------------------------------------------------

HOLD = """
import sys, time
from kansym.files import in_use
with in_use(sys.argv[1], "--out"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that works in a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path / "run"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("name", ["checkpoint of a fit", "checkpoint of a search"])
def test_a_folder_in_use(tmp_path, holder, name):
    write, file = WRITERS[name]
    begun = time.perf_counter()
    words = rf"is in use by process {holder.pid} on host {platform.node()}; wait for it, or choose"
    with pytest.raises(FolderInUseError, match=words):
        write(tmp_path / "run" / file)
    assert time.perf_counter() - begun < 1
    assert files_in(tmp_path / "run") == [files.OWNER]


def test_the_command_says_who_is_there(tmp_path, holder):
    done = CliRunner().invoke(
        main, ["fit", "no.csv", "--target", "y", "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 1
    assert f"is in use by process {holder.pid} on host" in done.output


def test_a_killed_process_leaves_no_lock(tmp_path, holder):
    holder.kill()
    holder.wait()
    fit(tmp_path / "run" / "fit.kansym")
    assert files_in(tmp_path / "run") == ["fit.kansym"]


def test_the_same_process_twice(tmp_path):
    with in_use(tmp_path), pytest.raises(FolderInUseError, match=f"process {os.getpid()} on host"):
        fit(tmp_path / "fit.kansym")
    fit(tmp_path / "fit.kansym")


@pytest.mark.slow
def test_four_processes_at_once(tmp_path):
    """One does the work; three say who does."""
    a = np.linspace(1, 2, 40)
    pd.DataFrame({"a": a, "y": np.sin(3 * a) + a**2}).to_csv(tmp_path / "t.csv", index=False)
    command = [sys.executable, "-m", "kansym.cli", "fit", tmp_path / "t.csv", "--target", "y"]
    command += ["--out", tmp_path / "run"]
    four = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    ends = [(process, *process.communicate(timeout=300)) for process in four]
    done = [process.pid for process, *_ in ends if process.returncode == 0]
    assert len(done) == 1
    for process, _, words in ends:
        assert process.pid == done[0] or f"is in use by process {done[0]} on host" in words
    assert not any(name.endswith(".tmp") for name in files_in(tmp_path))
    assert (tmp_path / "run" / "summary.json").exists()


def test_two_models_in_one_folder(tmp_path):
    """Side by side under two names; a second fit does not take the first one's checkpoint."""
    models = [trained(seed) for seed in (0, 1)]
    for number, model in enumerate(models):
        model.save(tmp_path / f"{number}.kansym")
    inputs = torch.as_tensor(X)
    for number, model in enumerate(models):
        assert torch.equal(load(tmp_path / f"{number}.kansym")(inputs), model(inputs))
    fit(tmp_path / "fit.kansym")
    old = (tmp_path / "fit.kansym").read_bytes()
    with pytest.raises(ValueError, match="belongs to another fit"):
        KAN([2, 1], grid=3, seed=1).fit((X, Y), "Adam", 4, progress=False, checkpoint=tmp_path)
    assert (tmp_path / "fit.kansym").read_bytes() == old
    assert files_in(tmp_path) == ["0.kansym", "1.kansym", "fit.kansym"]


# -- paths that are none --------------------------------------------------------------------------


@pytest.mark.parametrize("write", [save, to_onnx, predict], ids=lambda f: f.__name__)
def test_a_directory(tmp_path, write):
    (tmp_path / "place").mkdir()
    with pytest.raises((ValueError, OSError), match="path must name a file, got the directory"):
        write(tmp_path / "place")
    assert files_in(tmp_path) == ["place"]


@pytest.mark.parametrize("write", [save, to_onnx], ids=lambda f: f.__name__)
def test_a_missing_parent(tmp_path, write):
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        write(tmp_path / "missing" / "file")
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("write", [fit, search], ids=lambda f: f.__name__)
def test_a_checkpoint_that_is_no_folder(tmp_path, write):
    """A file, and a folder whose parent is missing."""
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError, match="checkpoint must name a folder, got the file"):
        write(tmp_path / "file" / "x")
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        write(tmp_path / "missing" / "run" / "x")
    assert files_in(tmp_path) == ["file"]


@pytest.mark.parametrize("write", [save, to_onnx, predict], ids=lambda f: f.__name__)
def test_a_link(tmp_path, write):
    """Through a link the file that it stands for is written, and the link stays."""
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() != b"old"
    assert files_in(tmp_path) == ["link", "target"]


@pytest.mark.parametrize("length", [255, 256])
def test_a_very_long_name(tmp_path, length):
    """The longest that the file system takes, and one beyond."""
    path = tmp_path / ("n" * length)
    if length == 255:
        save(path)
        assert load(path).width == trained().width
    else:
        with pytest.raises(OSError, match="File name too long"):
            save(path)
    assert files_in(tmp_path) == (["n" * 255] if length == 255 else [])


def test_permissions_stay(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_every_writer_is_atomic():
    """No module of the package opens a file for writing by other means."""
    means = r"write_text\(|write_bytes\(|open\([^)]*\"[wxa]b?\"|torch\.save\(|^[^`]*savefig\(path"
    found = []
    for path in sorted(Path(kansym.__file__).parent.rglob("*.py")):
        for line in path.read_text(encoding="utf-8").splitlines():
            # The compiler writes beside its place, too; `build` seals that and moves it.
            if path.name not in ("files.py", "build.py") and re.search(means, line):
                found.append(f"{path.name}: {line.strip()}")
    assert not found
