"""What was saved comes back bit for bit, or not at all."""

import contextlib
import hashlib
import io
import itertools
import json
import os
import random
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch

from kansym import checkpoint, files
from kansym.checkpoint import load_network, save_network
from kansym.errors import CheckpointError
from kansym.functions import register_function
from kansym.network import Network, Nodes

SAMPLE = {
    "X": torch.arange(21.0).reshape(7, 3).double(),
    "labels": torch.tensor([0, 1, 2]),
    "weights_1": torch.ones(2, dtype=torch.float32),
    "used": torch.tensor([True, False]),
    "none": torch.zeros(0, 3),
    "number": torch.tensor(2.5),
}
EXTRA = {"feature_names": ["a", "µ", '"]['], "loss": [1.5, None], "deep": {"a": [{"b": []}]}}


def make_network(dtype=torch.float64, **options):
    """Everything a network can carry: products, symbolic and cut edges, grids of unequal size."""
    options = {"grid": 4, "k": 2, "mult_arity": 3, "grid_eps": 0.25, "seed": 5} | options
    network = Network([3, [2, 1], 2], dtype=dtype, **options)
    first, second = network.kan_layers
    first.symbolic = {(1, 2): "sin", (4, 0): "x^2"}
    first.mask[0, 0] = False
    second.move_grid(torch.linspace(-2, 2, 8, dtype=dtype).expand(3, 8))
    network.input_shift = torch.tensor([1, 2, 3], dtype=dtype)
    network.output_scale = torch.tensor([4, 0.5], dtype=dtype)
    return network


def points(dtype=torch.float64):
    return torch.linspace(-3, 5, 33, dtype=dtype).reshape(11, 3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.kan"


@pytest.fixture
def saved(path):
    save_network(make_network(), path, SAMPLE, EXTRA)
    return path


def seal(body):
    return body + hashlib.sha256(body).hexdigest().encode()


def read_parts(path):
    """The manifest and the entries of a file, to be tampered with."""
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    return json.loads(entries.pop("manifest.json")), entries


def write_parts(path, manifest, entries, compression=zipfile.ZIP_STORED):
    """What somebody hostile can do: a file with any content, and a seal that is right."""
    text = manifest if isinstance(manifest, (str, bytes)) else json.dumps(manifest)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        if text:
            file.writestr(zipfile.ZipInfo("manifest.json"), text, compression)
        for name, data in entries if isinstance(entries, list) else entries.items():
            file.writestr(zipfile.ZipInfo(name), data, compression)
        file.comment = b"0" * 64
    path.write_bytes(seal(buffer.getvalue()[:-64]))


def npy(array, **options):
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def put(manifest, entries, name, data, **record):
    """Replace an array, with a checksum that is right."""
    entries[f"{name}.npy"] = data
    manifest["arrays"][name] |= {"sha256": hashlib.sha256(data).hexdigest()} | record


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(
        ("k", "base", "outside"),
        [(1, "silu", "linear"), (3, "tanh", "zero"), (5, "zero", "periodic")],
    )
    def test_network_is_equal(self, path, dtype, k, base, outside):
        network = make_network(dtype, k=k, base=base, outside=outside)
        save_network(network, path)
        loaded, sample, extra = load_network(path)
        assert type(loaded) is Network
        assert (sample, extra) == ({}, {})
        x = points(dtype)
        assert torch.equal(loaded(x), network(x))
        old, new = network.state_dict(), loaded.state_dict()
        assert old.keys() == new.keys()
        for key, value in old.items():
            is_equal = torch.equal if isinstance(value, torch.Tensor) else dict.__eq__
            assert is_equal(value, new[key]), key
        for name in ("width", "mult_arity", "grid_eps", "dtype", "k", "grid"):
            assert getattr(loaded, name) == getattr(network, name)
        for a, b in zip(loaded.kan_layers, network.kan_layers, strict=True):
            assert (a.k, a.grid, a.base, a.outside) == (b.k, b.grid, b.base, b.outside)

    def test_sample_and_extra_come_back(self, saved):
        _, sample, extra = load_network(saved)
        assert extra == EXTRA
        assert sample.keys() == SAMPLE.keys()
        for name, tensor in SAMPLE.items():
            assert torch.equal(sample[name], tensor)
            assert sample[name].dtype == tensor.dtype

    def test_loaded_network_can_be_trained(self, saved):
        network, sample, _ = load_network(saved)
        network(sample["X"]).sum().backward()
        first = network.kan_layers[0]
        for parameter in (first.coef, first.base_weight, first.affine):
            assert parameter.grad.abs().sum() > 0
        with torch.no_grad():  # memory that may be written to
            for tensor in itertools.chain(network.parameters(), network.buffers()):
                tensor.zero_()

    def test_a_class_of_ones_own(self, saved):
        class Mine(Network):
            pass

        assert type(load_network(saved, Mine)[0]) is Mine

    def test_a_selection_of_a_network(self, path):
        network = make_network()
        first, second = network.kan_layers
        small = network.with_layers(
            [network.width[0], Nodes(1), network.width[2]],
            [first.select([1], [0, 1, 2]), second.select([0, 1], [1])],
        )
        save_network(small, path)
        assert torch.equal(load_network(path)[0](points()), small(points()))

    def test_layers_of_different_kinds(self, path):
        network = make_network()
        second = network.kan_layers[1]
        second.base, second.outside = "tanh", "reflect"
        save_network(network, path)
        assert torch.equal(load_network(path)[0](points()), network(points()))

    def test_strange_parameters_are_kept(self, path):
        """A model that went wrong can still be looked at."""
        network = make_network()
        with torch.no_grad():
            network.kan_layers[0].coef[0, 0, 0] = float("nan")
            network.kan_layers[0].affine[1, 2] = torch.tensor([-0.0, 5e-324, 1e308, float("inf")])
        save_network(network, path)
        loaded = load_network(path)[0].kan_layers[0]
        for name in ("coef", "affine"):
            old, new = getattr(network.kan_layers[0], name), getattr(loaded, name)
            assert old.detach().numpy().tobytes() == new.detach().numpy().tobytes()

    def test_equal_neighbours_among_knots_are_kept(self, path):
        network = make_network()
        network.kan_layers[0].knots[:, 4] = network.kan_layers[0].knots[:, 5]
        save_network(network, path)
        load_network(path)

    def test_the_same_network_gives_the_same_bytes(self, tmp_path):
        for name in ("a", "b"):
            save_network(make_network(), tmp_path / name, SAMPLE, EXTRA)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_saving_changes_nothing_and_leaves_one_file(self, path):
        network = make_network()
        before = {key: str(value) for key, value in network.state_dict().items()}
        save_network(network, path, SAMPLE)
        assert {key: str(value) for key, value in network.state_dict().items()} == before
        assert list(path.parent.iterdir()) == [path]

    def test_the_file_is_an_ordinary_zip_of_json_and_npy(self, saved):
        with zipfile.ZipFile(saved) as file:
            assert file.testzip() is None
            assert json.loads(file.read("manifest.json"))["format"] == "kansym"
            knots = np.load(io.BytesIO(file.read("layers/1/knots.npy")), allow_pickle=False)
        assert np.array_equal(knots, make_network().kan_layers[1].knots)


class TestFunctionsOfOnesOwn:
    def test_must_be_registered(self, path, monkeypatch):
        from kansym import functions

        monkeypatch.setattr(functions, "_REGISTRY", dict(functions._REGISTRY))
        register_function("bump", lambda x: 1 / (1 + x**2), lambda x: 1 / (1 + x**2))
        network = make_network()
        network.kan_layers[0].symbolic[3, 1] = "bump"
        save_network(network, path)
        assert load_network(path)[0].kan_layers[0].symbolic[3, 1] == "bump"
        del functions._REGISTRY["bump"]
        message = r"edge \(0, 1, 3\) uses the function 'bump', which is not .* register_function"
        with pytest.raises(CheckpointError, match=message):
            load_network(path)


class TestSavingIsAllOrNothing:
    @pytest.mark.parametrize("step", ["fsync", "replace"])
    def test_a_failure_keeps_the_old_file(self, saved, monkeypatch, step):
        old = saved.read_bytes()

        def fail(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(files.os, step, fail)
        with pytest.raises(OSError, match="No space left"):
            save_network(make_network(seed=9), saved)
        assert saved.read_bytes() == old
        assert list(saved.parent.iterdir()) == [saved]

    def test_an_interrupt_keeps_the_old_file(self, saved, monkeypatch):
        old = saved.read_bytes()

        def interrupt(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(files.os, "fsync", interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_network(make_network(seed=9), saved)
        assert saved.read_bytes() == old
        assert list(saved.parent.iterdir()) == [saved]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_a_read_only_directory_keeps_the_old_file(self, saved):
        old = saved.read_bytes()
        saved.parent.chmod(0o500)
        try:
            with pytest.raises(PermissionError):
                save_network(make_network(seed=9), saved)
        finally:
            saved.parent.chmod(0o700)
        assert saved.read_bytes() == old

    def test_a_link_stays_a_link(self, saved):
        link = saved.with_name("link")
        link.symlink_to(saved)
        save_network(make_network(seed=9), link)
        assert link.is_symlink()
        assert torch.equal(load_network(saved)[0](points()), make_network(seed=9)(points()))

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"sample": {"a/../b": torch.ones(1)}}, ValueError, "names in sample must be 1 to 40"),
            ({"sample": {3: torch.ones(1)}}, ValueError, "names in sample .* got 3"),
            (
                {"sample": {"X": [1, 2]}},
                ValueError,
                r"sample\['X'\] must be a float32, .* got list",
            ),
            ({"sample": {"X": torch.ones(1).half()}}, ValueError, "got torch.float16"),
            ({"sample": {"X": torch.ones(1) * 1j}}, ValueError, "got torch.complex64"),
            ({"extra": {"a": torch.ones(1)}}, ValueError, "extra must be something JSON can hold"),
            ({"extra": {"a": {1, 2}}}, ValueError, "extra must be something JSON can hold"),
        ],
    )
    def test_says_what_cannot_be_saved(self, path, arguments, error, message):
        with pytest.raises(error, match=message):
            save_network(make_network(), path, **arguments)
        assert list(path.parent.iterdir()) == []

    def test_says_where_it_cannot_be_saved(self, tmp_path):
        with pytest.raises(ValueError, match="path must name a file, got the directory"):
            save_network(make_network(), tmp_path)
        with pytest.raises(FileNotFoundError, match="there is no directory"):
            save_network(make_network(), tmp_path / "none" / "model.kan")

    def test_what_could_not_be_read_back_is_not_written(self, saved):
        old = saved.read_bytes()
        network = make_network()
        network.kan_layers[0].symbolic[0, 0] = "no such function"
        with pytest.raises(CheckpointError, match=r"cannot be saved .* which is not registered"):
            save_network(network, saved)
        nested = []
        for _ in range(100):
            nested = [nested]
        with pytest.raises(CheckpointError, match="nested deeper than 64"):
            save_network(make_network(), saved, extra={"a": nested})
        with pytest.raises(ValueError, match="must be of dtype float32 or float64"):
            save_network(make_network().bfloat16(), saved)
        assert saved.read_bytes() == old


def assert_refused(path, message=None):
    with pytest.raises(CheckpointError, match=message) as caught:
        load_network(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 600
    return str(caught.value)


class TestDamage:
    def test_every_single_byte_counts(self, saved):
        """200 random corruptions: none loads, none ends in another error."""
        data = saved.read_bytes()
        random_ = random.Random(0)
        for _ in range(200):
            damaged = bytearray(data)
            damaged[random_.randrange(len(data))] ^= random_.randrange(1, 256)
            saved.write_bytes(damaged)
            assert_refused(saved)

    def test_every_bit_of_the_ends_counts(self, saved):
        data = saved.read_bytes()
        for position in (*range(40), *range(len(data) - 100, len(data))):
            damaged = bytearray(data)
            damaged[position] ^= 1
            saved.write_bytes(damaged)
            assert_refused(saved)

    def test_truncated_or_too_long(self, saved):
        data = saved.read_bytes()
        for length in (1, 3, 4, 64, 90, 500, len(data) // 2, len(data) - 64, len(data) - 1):
            saved.write_bytes(data[:length])
            assert_refused(saved)
        for longer in (data + b"\0", data + data, b"\0" + data):
            saved.write_bytes(longer)
            assert_refused(saved)

    def test_blocks_that_never_reached_the_disk(self, saved):
        data = saved.read_bytes()
        saved.write_bytes(data[:4096] + bytes(512) + data[4608:])
        assert_refused(saved, "damaged: its checksum does not match")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "it is empty"),
            (b"hello", "not a kansym checkpoint"),
            (b"\x80\x04K\x01.", "not a kansym checkpoint"),
            (b"PK\x03\x04", "truncated or damaged"),
            (seal(b"PK\x03\x04"), "its zip directory is missing"),
            (seal(b"PK\x03\x04" + bytes(200)), "its zip directory is of another kind"),
        ],
    )
    def test_something_else(self, path, content, message):
        path.write_bytes(content)
        assert_refused(path, message)

    def test_a_checkpoint_of_torch(self, path):
        torch.save(make_network().state_dict(), path)
        assert_refused(path, "not a kansym checkpoint")

    def test_no_file_and_no_regular_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"there is no file .*none\.kan"):
            load_network(tmp_path / "none.kan")
        assert_refused(tmp_path, "it is a directory")
        os.mkfifo(tmp_path / "pipe")
        assert_refused(tmp_path / "pipe", "it is not a file")

    def test_too_large(self, saved, monkeypatch):
        monkeypatch.setattr(checkpoint, "MAX_FILE_BYTES", 1000)
        assert_refused(saved, "it is larger than 1000 bytes")


def with_manifest(**changes):
    return lambda manifest, entries: manifest.update(changes)


def with_layer(**changes):
    return lambda manifest, entries: manifest["layers"][0].update(changes)


def with_array(name, array, **record):
    def change(manifest, entries):
        put(manifest, entries, name, npy(array), **record)

    return change


def with_bytes(name, data, **record):
    return lambda manifest, entries: put(manifest, entries, name, data, **record)


def with_shape(name, *shape, n_bytes=64):
    """A shape in manifest and header that the values do not have."""

    def change(manifest, entries):
        array = np.lib.format.header_data_from_array_1_0(np.zeros(1)) | {"shape": shape}
        buffer = io.BytesIO()
        np.lib.format.write_array_header_1_0(buffer, array)
        data = buffer.getvalue() + bytes(n_bytes)
        put(manifest, entries, name, data, shape=list(shape), dtype="<f8")

    return change


def with_sample(name, data=None, **record):
    def change(manifest, entries):
        data_ = npy(np.zeros(2)) if data is None else data
        manifest["arrays"][name] = {"dtype": "<f8", "shape": [2]}
        put(manifest, entries, name, data_, **record)

    return change


HUGE = 2**40
HOSTILE = {
    "another format": (
        with_manifest(format="pykan"),
        r"not a kansym checkpoint \(format 'pykan'\)",
    ),
    "no format": (with_manifest(format=None), "not a kansym checkpoint"),
    "a later version": (
        with_manifest(version=2),
        "its format version is 2, and this kansym reads 1",
    ),
    "a version of text": (with_manifest(version="1"), "version must be an integer"),
    "width of one row": (with_manifest(width=[[3, 0]]), "width must list at least"),
    "width of text": (with_manifest(width="311"), "'width' must be of type list, got '311'"),
    "negative width": (
        with_manifest(width=[[3, 0], [-2, 1], [2, 0]]),
        r"width\[1\] must be an int",
    ),
    "another width": (
        with_manifest(width=[[3, 0], [3, 1], [2, 0]]),
        r"must have shape \(6, 3\), got",
    ),
    "huge width": (with_manifest(width=[[HUGE, 0], [HUGE, 0], [2, 0]]), "must have shape"),
    "many layers": (with_manifest(width=[[3, 0]] * 9), "width asks for 8 layers, got 2"),
    "huge arity": (with_manifest(mult_arity=HUGE), "mult_arity must be at most 1000, got"),
    "arity one": (with_manifest(mult_arity=1), "mult_arity must be an integer >= 2, got 1"),
    "grid_eps": (with_manifest(grid_eps=1.5), r"grid_eps must be in \[0, 1\], got 1.5"),
    "grid_eps nan": (
        with_manifest(grid_eps=float("nan")),
        r"grid_eps must be in \[0, 1\], got nan",
    ),
    "dtype": (
        with_manifest(dtype="float16"),
        "dtype must be one of float32, float64, got 'float16'",
    ),
    "other dtype": (with_manifest(dtype="float32"), "must be torch.float32, got torch.float64"),
    "extra": (with_manifest(extra=[1]), r"'extra' must be of type dict, got \[1\]"),
    "layers": (with_manifest(layers=[1, 2]), r"layers\[0\] must be an object, got 1"),
    "arrays": (with_manifest(arrays=None), "'arrays' must be of type dict"),
    "huge grid": (with_layer(grid=HUGE), r"array 'layers/0/knots' must have shape"),
    "huge degree": (with_layer(k=HUGE), r"array 'layers/0/knots' must have shape"),
    "grid zero": (with_layer(grid=0), "grid must be an integer >= 1, got 0"),
    "grid true": (with_layer(grid=True), "grid must be an integer >= 1, got True"),
    "base": (with_layer(base="__class__"), "base must be one of silu, .* got '__class__'"),
    "outside": (with_layer(outside=["linear"]), r"outside must be one of linear, .* got \['linear"),
    "symbolic": (with_layer(symbolic=[[1, 2]]), r"symbolic must list \[out, in, name\], got"),
    "symbolic beyond": (with_layer(symbolic=[[5, 0, "sin"]]), r"symbolic edge \[5, 0, 'sin'\] of"),
    "symbolic twice": (with_layer(symbolic=[[1, 0, "sin"]] * 2), "of layer 0 is not possible"),
    "symbolic negative": (with_layer(symbolic=[[-1, 0, "sin"]]), "symbolic out must be an integer"),
    "symbolic code": (
        with_layer(symbolic=[[1, 0, "os.system"]]),
        "the function 'os.system', which",
    ),
    "symbolic list": (with_layer(symbolic=[[1, 0, []]]), r"uses the function \[\], which"),
    "missing array": (
        lambda m, e: m["arrays"].pop("layers/0/mask") and e.pop("layers/0/mask.npy"),
        "array 'layers/0/mask' is missing",
    ),
    "missing entry": (lambda m, e: e.pop("layers/0/mask.npy"), "'layers/0/mask.npy' is missing"),
    "extra entry": (lambda m, e: e.update({"x.py": b""}), "'x.py' is not listed in manifest.json"),
    "path traversal": (lambda m, e: e.update({"../../x.npy": b""}), "'../../x.npy' is not listed"),
    "extra array": (with_sample("layers/2/coef"), "'layers/2/coef' does not belong to a network"),
    "listed traversal": (with_sample("sample/../x"), "'sample/../x' does not belong to a network"),
    "checksum": (
        lambda m, e: e.update({"layers/0/coef.npy": e["layers/0/coef.npy"][:-8] + bytes(8)}),
        "array 'layers/0/coef' is damaged",
    ),
    "no record": (lambda m, e: m["arrays"].update({"sample/X": 5}), "'sample/X' must be an object"),
    "huge shape": (with_shape("sample/X", HUGE, HUGE), r"'sample/X' must have \d+ bytes, got 64"),
    "huge and empty": (with_shape("sample/X", 0, HUGE, HUGE, HUGE, n_bytes=0), "impossible shape"),
    "dimensions": (with_shape("sample/X", *[1] * 70), "'sample/X' has 70 dimensions"),
    "negative shape": (
        with_array("sample/X", np.ones(2), shape=[-2]),
        "shape must be an integer >= 0",
    ),
    "other shape": (
        with_array("sample/X", np.ones((3, 7))),
        "'sample/X' is not what manifest.json",
    ),
    "fortran order": (
        with_array("sample/X", np.asfortranarray(np.ones((7, 3)))),
        "is not what manif",
    ),
    "other kind": (with_array("sample/X", np.ones((7, 3), "i8")), "is not what manifest.json says"),
    "trailing bytes": (with_bytes("sample/X", npy(np.ones((7, 3))) + b"0"), "168 bytes, got 169"),
    "no npy": (with_bytes("sample/X", b"\x93NUMPZ"), "array 'sample/X' is not an .npy file"),
    "empty npy": (with_bytes("sample/X", b""), "array 'sample/X' is not an .npy file"),
    "npy version": (
        with_bytes("sample/X", b"\x93NUMPY\x02\x00" + bytes(64)),
        r"is not an .npy file of version \(1, 0\)",
    ),
    "long header": (
        with_bytes("sample/X", b"\x93NUMPY\x01\x00\xff\xff" + b"-" * 65535 + b"1"),
        "'sample/X' is not what manifest.json says",
    ),
    "deep header": (
        with_bytes("sample/X", b"\x93NUMPY\x01\x00\xf4\x01" + b"-" * 499 + b"1"),
        "'sample/X' is not what manifest.json says",
    ),
    "commas": (
        with_bytes("sample/X", npy(np.ones((7, 3))).replace(b"<f8", b",f8")),
        "'sample/X' is not what manifest.json says",
    ),
    "pickle": (
        with_bytes("sample/X", npy(np.array([print], object), allow_pickle=True)),
        "'sample/X' is not what manifest.json says",
    ),
    "pickle, admitted": (
        with_bytes(
            "sample/X", npy(np.array([print], object), allow_pickle=True), dtype="|O", shape=[1]
        ),
        r"dtype must be one of <f4, .* got '\|O'",
    ),
    "mask of twos": (
        with_bytes("layers/0/mask", npy(np.full((5, 3), 2, "u1")).replace(b"|u1", b"|b1")),
        "'layers/0/mask' must hold 0 and 1 only",
    ),
    "knots": (
        with_array("layers/0/knots", np.zeros((3, 9))),
        "knots' must be finite and ascending",
    ),
    "falling knots": (
        with_array("layers/0/knots", np.tile(np.arange(9.0)[::-1], (3, 1)).copy()),
        "knots' must be finite and ascending",
    ),
    "wavy knots": (
        with_array("layers/0/knots", np.tile([0.0, 2, 1, 3, 4, 5, 6, 7, 8], (3, 1))),
        "knots' must be finite and ascending",
    ),
    "infinite knots": (
        with_array("layers/0/knots", np.tile([*range(8), np.inf], (3, 1))),
        "knots' must be finite and ascending",
    ),
    "nan scale": (
        with_array("buffers/input_scale", np.full(3, np.nan)),
        "input_scale' must be finite",
    ),
}


class TestHostileFiles:
    """The seal is right in all of them."""

    def test_tampering_itself_does_no_harm(self, saved):
        write_parts(saved, *read_parts(saved))
        assert torch.equal(load_network(saved)[0](points()), make_network()(points()))

    @pytest.mark.parametrize("case", HOSTILE)
    def test_is_refused(self, saved, case):
        change, message = HOSTILE[case]
        manifest, entries = read_parts(saved)
        change(manifest, entries)
        write_parts(saved, manifest, entries)
        assert_refused(saved, message)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"not a kansym checkpoint \(no manifest.json\)"),
            ("{", "manifest.json is not JSON"),
            (b"\xff\xfe{}", "manifest.json is not JSON"),
            ("[]", "manifest.json must hold an object, got list"),
            ("[" * 100_000, "manifest.json is nested deeper than 64 levels"),
            ('{"a":' * 70 + "1" + "}" * 70, "manifest.json is nested deeper than 64 levels"),
            ('{"format": "' + "[" * 100 + '"}', "not a kansym checkpoint"),
            ('{"format": "kansym", "version": ' + "9" * 5000 + "}", "manifest.json is not JSON"),
            ('{"format": "kansym", "version": ' + "9" * 4000 + "}", "its format version is 9999"),
            ('{"format": "kansym", "version": 1e999}', "version must be an integer"),
            ('{"format": "kansym", "version": 1}', "'arrays' must be of type dict, got None"),
        ],
    )
    def test_manifest_is_refused(self, saved, text, message):
        _, entries = read_parts(saved)
        write_parts(saved, text, entries)
        assert_refused(saved, message)

    def test_zip_bomb(self, saved):
        manifest, entries = read_parts(saved)
        entries["bomb.npy"] = bytes(2**26)
        write_parts(saved, manifest, entries, zipfile.ZIP_DEFLATED)
        assert saved.stat().st_size < 2**20
        tracemalloc.start()
        assert_refused(saved, "is compressed or encrypted")
        assert tracemalloc.get_traced_memory()[1] < 2**22
        tracemalloc.stop()

    def test_huge_shapes_ask_for_no_memory(self, saved):
        manifest, entries = read_parts(saved)
        original = json.dumps(manifest)
        for case in ("huge shape", "huge width", "huge grid", "huge degree", "huge arity"):
            manifest, changed = json.loads(original), dict(entries)
            HOSTILE[case][0](manifest, changed)
            write_parts(saved, manifest, changed)
            tracemalloc.start()
            assert_refused(saved)
            assert tracemalloc.get_traced_memory()[1] < 2**22
            tracemalloc.stop()

    @pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
    def test_an_entry_twice(self, saved):
        manifest, entries = read_parts(saved)
        rows = list(entries.items())
        write_parts(saved, manifest, [*rows, rows[0]])
        assert_refused(saved, "entry 'buffers/input_shift.npy' is there 2 times")

    def test_too_many_entries(self, saved, monkeypatch):
        monkeypatch.setattr(checkpoint, "MAX_ENTRIES", 5)
        assert_refused(saved, "entries, more than 5")

    def test_too_large_a_directory(self, saved, monkeypatch):
        monkeypatch.setattr(checkpoint, "MAX_DIRECTORY_BYTES", 500)
        assert_refused(saved, "its zip directory is larger than 500 bytes")

    def test_too_large_a_manifest(self, saved, monkeypatch):
        monkeypatch.setattr(checkpoint, "MAX_MANIFEST_BYTES", 500)
        assert_refused(saved, "manifest.json is larger than 500 bytes")

    def test_entries_that_overlap(self, saved):
        """Every name points to the largest entry: together they claim more than there is."""
        manifest, entries = read_parts(saved)
        entries["sample/big.npy"] = bytes(2**18)
        write_parts(saved, manifest, entries)
        data = bytearray(saved.read_bytes()[:-64])
        position = data.find(b"PK\x01\x02")
        while position >= 0:
            struct.pack_into("<2L", data, position + 20, 2**18, 2**18)
            position = data.find(b"PK\x01\x02", position + 1)
        saved.write_bytes(seal(bytes(data)))
        assert_refused(saved, "its entries claim to be larger than the file")

    def test_random_bytes_under_a_right_seal(self, saved):
        """Whatever zip directory and headers say, the answer is a CheckpointError or a network."""
        body = saved.read_bytes()[:-64]
        random_ = random.Random(1)
        for _ in range(300):
            damaged = bytearray(body)
            for _ in range(random_.choice([1, 1, 4])):
                position = random_.choice([0, len(body) - 1500]) + random_.randrange(1500)
                damaged[position] = random_.choice([0, 255, random_.randrange(256)])
            saved.write_bytes(seal(bytes(damaged)))
            with contextlib.suppress(CheckpointError):
                load_network(saved)

    def test_random_text_in_the_manifest(self, saved):
        manifest, entries = read_parts(saved)
        text = json.dumps(manifest)
        texts = ["", "0", "-1", "null", "[", "]", '"', "1e99", "{}", "true", "9" * 30]
        random_ = random.Random(2)
        for _ in range(150):
            position, length = random_.randrange(len(text)), random_.randrange(4)
            new = random_.choice(texts)
            write_parts(saved, text[:position] + new + text[position + length :], entries)
            with contextlib.suppress(CheckpointError):
                load_network(saved)
