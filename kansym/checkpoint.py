"""Save and load a network without pickle: a zip of JSON and .npy, sealed by checksums.

    manifest.json              what the network is, and dtype, shape and sha256 of every array
    layers/<l>/<name>.npy      knots, mask, coef, base_weight, affine
    buffers/<name>.npy         shift and scale of inputs and outputs
    sample/<name>.npy          tensors that the caller wants to keep with the network
    (zip comment)              sha256 of every byte before it

A damaged file is told from a sound one by the seal, before anything is parsed. A hostile file can
carry a right seal, so nothing is believed: sizes are bounded by the size of the file, shapes by the
width, and no memory is asked for until both agree. Nothing is extracted to disk, and entries are
stored uncompressed, so that paths and compression can do no harm.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import math
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kansym import edge
from kansym.errors import CheckpointError
from kansym.files import write_atomically
from kansym.functions import function_names
from kansym.layer import KANLayer
from kansym.network import Network, Nodes, parse_width

FORMAT = "kansym"
VERSION = 1
MAX_FILE_BYTES = 2**30
MAX_MANIFEST_BYTES = 2**24
MAX_JSON_DEPTH = 64
MAX_ENTRIES = 10_000
MAX_ROWS = 1000  # of a width
MAX_ARITY = 1000

MAX_DIRECTORY_BYTES = 2**21
MAX_DIMENSIONS = 8

MANIFEST = "manifest.json"
SEAL_LENGTH = 64  # hexadecimal digits of a sha256
ZIP_END = "<4s4H2LH"  # magic, disks and entries, directory bytes and offset, comment bytes
ZIP64_LOCATOR_LENGTH = 20
NPY_MAGIC = b"\x93NUMPY\x01\x00"
BUFFERS = ("input_shift", "input_scale", "output_shift", "output_scale")
DTYPES = {"float32": torch.float32, "float64": torch.float64}
# Little-endian on every machine. What else a sample may hold: labels and masks.
NPY_DTYPES = {"<f4": torch.float32, "<f8": torch.float64, "<i8": torch.int64, "|b1": torch.bool}

N = TypeVar("N", bound=Network)


class _Fault(Exception):
    """What is wrong with a file; the public function adds which file."""


class _ArraySpec(NamedTuple):
    """What the manifest says of an array."""

    dtype: str
    shape: tuple[int, ...]
    sha256: str

    @property
    def n_bytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True)
class _LayerSpec:
    """What the manifest says of a layer."""

    grid: int
    k: int
    base: str
    outside: str
    symbolic: dict[tuple[int, int], str]


@dataclass(frozen=True)
class _Contents:
    """A file that passed every check."""

    width: tuple[Nodes, ...]
    mult_arity: int
    grid_eps: float
    dtype: torch.dtype
    layers: list[_LayerSpec]
    arrays: dict[str, Tensor]
    extra: dict[str, Any]


def save_network(
    network: Network,
    path: str | Path,
    sample: Mapping[str, Tensor] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write a network to one file; a file that is already there stays whole until the new one is.

    sample: tensors to keep with it, by names such as "X" (float32, float64, int64 or bool).
    extra: anything JSON can hold; it comes back as JSON gives it (tuples as lists, keys as text).

    Raises ValueError for a sample or an extra that cannot be kept, OSError when writing fails.
    """
    arrays = _network_arrays(network) | _sample_arrays(sample or {})
    data = _pack(_manifest(network, arrays, dict(extra or {})), arrays)
    try:
        _unpack(data)  # what could not be read back is not written
    except _Fault as fault:
        raise CheckpointError(f"the network cannot be saved to {str(path)!r}: {fault}") from fault
    write_atomically(path, data)


def load_network(
    path: str | Path, cls: type[N] = Network
) -> tuple[N, dict[str, Tensor], dict[str, Any]]:
    """The network, sample and extra that `save_network` wrote, on the CPU.

    Raises CheckpointError, with the path and what is wrong, for any file that is not exactly what
    was written; FileNotFoundError when there is none.
    """
    try:
        contents = _unpack(_read(Path(path)))
        network = _rebuild(contents, cls)
    except _Fault as fault:
        raise CheckpointError(f"cannot load {str(path)!r}: {fault}") from fault
    sample = {
        name.removeprefix("sample/"): array
        for name, array in contents.arrays.items()
        if name.startswith("sample/")
    }
    return network, sample, contents.extra


def _network_arrays(network: Network) -> dict[str, np.ndarray]:
    if network.dtype not in DTYPES.values():
        raise ValueError(f"network must be of dtype float32 or float64, got {network.dtype}")
    tensors = {f"buffers/{name}": getattr(network, name) for name in BUFFERS}
    for l, layer in enumerate(network.kan_layers):
        tensors |= {f"layers/{l}/{name}": getattr(layer, name) for name in _LAYER_SHAPES}
    return {name: _to_numpy(tensor) for name, tensor in tensors.items()}


def _sample_arrays(sample: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    for name, tensor in sample.items():
        if not (isinstance(name, str) and _SAMPLE_NAME.fullmatch(name)):
            raise ValueError(f"names in sample must be 1 to 40 of A-Z, a-z, 0-9, _; got {name!r}")
        if not isinstance(tensor, Tensor) or tensor.dtype not in NPY_DTYPES.values():
            got = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(
                f"sample[{name!r}] must be a float32, float64, int64 or bool tensor, got {got}"
            )
    return {f"sample/{name}": _to_numpy(tensor) for name, tensor in sample.items()}


_SAMPLE_NAME = re.compile(r"[A-Za-z0-9_]{1,40}")


def _to_numpy(tensor: Tensor) -> np.ndarray:
    array = tensor.detach().cpu().contiguous().numpy()
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def _manifest(
    network: Network, arrays: Mapping[str, np.ndarray], extra: dict[str, Any]
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "version": VERSION,
        "width": [list(nodes) for nodes in network.width],
        "mult_arity": network.mult_arity,
        "grid_eps": network.grid_eps,
        "dtype": str(network.dtype).removeprefix("torch."),
        "layers": [_layer_record(layer) for layer in network.kan_layers],
        "arrays": {name: _array_record(array) for name, array in arrays.items()},
        "extra": extra,
    }


def _layer_record(layer: KANLayer) -> dict[str, Any]:
    return {
        "grid": layer.grid,
        "k": layer.k,
        "base": layer.base,
        "outside": layer.outside,
        "symbolic": [[j, i, name] for (j, i), name in sorted(layer.symbolic.items())],
    }


def _array_record(array: np.ndarray) -> dict[str, Any]:
    return {"dtype": array.dtype.str, "shape": list(array.shape), "sha256": _sha256(_npy(array))}


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _sha256(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()


def _pack(manifest: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of the file; the same network gives the same bytes."""
    try:
        text = json.dumps(manifest)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"extra must be something JSON can hold: {error}") from error
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        # ZipInfo without a date: the year 1980, so that no clock gets into the file.
        file.writestr(zipfile.ZipInfo(MANIFEST), text)
        for name, array in arrays.items():
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), _npy(array))
        file.comment = b"0" * SEAL_LENGTH
    body = buffer.getvalue()[:-SEAL_LENGTH]
    return body + _sha256(body).encode()


def _read(path: Path) -> bytes:
    if not path.exists():
        raise FileNotFoundError(f"there is no file {str(path)!r}")
    if not path.is_file():
        raise _Fault("it is not a file" if not path.is_dir() else "it is a directory")
    n_bytes = path.stat().st_size
    if n_bytes > MAX_FILE_BYTES:
        raise _Fault(f"it is larger than {MAX_FILE_BYTES} bytes")
    try:
        with path.open("rb") as file:
            return file.read(n_bytes)
    except OSError as error:
        raise _Fault(f"it cannot be read ({error.strerror})") from error


def _unpack(data: bytes) -> _Contents:
    """Everything in the file, checked."""
    _check_seal(data)
    _check_zip_end(data)
    entries = _entries(data)
    manifest = _parse_json(entries.pop(MANIFEST, b""))
    _check_format(manifest)
    specs = {name: _array_spec(name, r) for name, r in _field(manifest, "arrays", dict).items()}
    _check_names(entries, specs)
    width, arity = _width(manifest)
    dtype = DTYPES[_choice("dtype", manifest.get("dtype"), DTYPES)]
    layers = _layer_specs(manifest, width, arity)
    _check_shapes(specs, _expected_shapes(width, arity, layers), dtype)
    arrays = {name: _array(name, entries[f"{name}.npy"], spec) for name, spec in specs.items()}
    _check_values(arrays, len(layers))
    extra = _field(manifest, "extra", dict)
    return _Contents(width, arity, _grid_eps(manifest), dtype, layers, arrays, extra)


def _check_seal(data: bytes) -> None:
    if not data:
        raise _Fault("it is empty")
    if not data.startswith(b"PK\x03\x04"):
        raise _Fault("it is not a kansym checkpoint (not a zip file)")
    seal = data[-SEAL_LENGTH:]
    if not re.fullmatch(rb"[0-9a-f]{64}", seal):
        raise _Fault("it is truncated or damaged, or not a kansym checkpoint: it has no seal")
    if _sha256(memoryview(data)[:-SEAL_LENGTH]).encode() != seal:
        raise _Fault("it is damaged: its checksum does not match")


def _check_zip_end(data: bytes) -> None:
    """A bound on the zip directory, before zipfile makes an object of every entry in it."""
    size, start = struct.calcsize(ZIP_END), len(data) - SEAL_LENGTH
    if start < size + ZIP64_LOCATOR_LENGTH:
        raise _Fault("it is not a kansym checkpoint (its zip directory is missing)")
    magic, *_, directory_bytes, _, comment = struct.unpack_from(ZIP_END, data, start - size)
    locator = data[start - size - ZIP64_LOCATOR_LENGTH :][:4]
    if magic != b"PK\x05\x06" or comment != SEAL_LENGTH or locator == b"PK\x06\x07":
        raise _Fault("it is not a kansym checkpoint (its zip directory is of another kind)")
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise _Fault(f"its zip directory is larger than {MAX_DIRECTORY_BYTES} bytes")


# What zipfile raises for directories that make no sense.
_ZIP_ERRORS = (
    zipfile.BadZipFile,
    NotImplementedError,
    EOFError,
    OverflowError,
    ValueError,
    struct.error,
)


def _entries(data: bytes) -> dict[str, bytes]:
    """Name and bytes of every entry. They cannot be larger than the file together."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            infos = file.infolist()
            _check_directory(infos, len(data))
            return {info.filename: file.read(info) for info in infos}
    except _ZIP_ERRORS as error:
        raise _Fault(f"its zip directory is damaged ({error})") from error


def _check_directory(infos: Sequence[zipfile.ZipInfo], n_bytes: int) -> None:
    """Limits, before any entry is read."""
    if len(infos) > MAX_ENTRIES:
        raise _Fault(f"it has {len(infos)} entries, more than {MAX_ENTRIES}")
    for name, count in Counter(info.filename for info in infos).most_common(1):
        if count > 1:
            raise _Fault(f"entry {name!r} is there {count} times")
    for info in infos:
        is_plain = info.compress_type == zipfile.ZIP_STORED and info.file_size == info.compress_size
        if not is_plain or info.flag_bits & 1:
            raise _Fault(f"entry {info.filename!r} is compressed or encrypted")
    if sum(info.file_size for info in infos) > n_bytes:
        raise _Fault("its entries claim to be larger than the file")
    manifest_bytes = next((i.file_size for i in infos if i.filename == MANIFEST), None)
    if manifest_bytes is None:
        raise _Fault(f"it is not a kansym checkpoint (no {MANIFEST})")
    if manifest_bytes > MAX_MANIFEST_BYTES:
        raise _Fault(f"{MANIFEST} is larger than {MAX_MANIFEST_BYTES} bytes")


def _parse_json(data: bytes) -> dict[str, Any]:
    try:
        text = data.decode()
        if _json_depth(text) > MAX_JSON_DEPTH:
            raise _Fault(f"{MANIFEST} is nested deeper than {MAX_JSON_DEPTH} levels")
        manifest = json.loads(text)
    except ValueError as error:
        raise _Fault(f"{MANIFEST} is not JSON ({error})") from error
    if not isinstance(manifest, dict):
        raise _Fault(f"{MANIFEST} must hold an object, got {type(manifest).__name__}")
    return manifest


def _json_depth(text: str) -> int:
    """How deep brackets are nested, those inside strings left out."""
    depth = deepest = 0
    # Possessive: a text of megabytes must not leave a backtracking point per character.
    outside_strings = re.sub(r'"(?:[^"\\]++|\\.)*+"', "", text)
    for bracket in re.finditer(r"[\[\]{}]", outside_strings):
        depth += 1 if bracket[0] in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _check_format(manifest: dict[str, Any]) -> None:
    if manifest.get("format") != FORMAT:
        raise _Fault(f"it is not a kansym checkpoint (format {_short(manifest.get('format'))})")
    version = _integer("version", manifest.get("version"))
    if version != VERSION:
        raise _Fault(f"its format version is {_short(version)}, and this kansym reads {VERSION}")


def _field(record: dict[str, Any], key: str, kind: type) -> Any:
    value = record.get(key)
    if not isinstance(value, kind):
        raise _Fault(f"{MANIFEST}: {key!r} must be of type {kind.__name__}, got {_short(value)}")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _integer(name: str, value: object, minimum: int = 0) -> int:
    if type(value) is not int or value < minimum:
        raise _Fault(f"{MANIFEST}: {name} must be an integer >= {minimum}, got {_short(value)}")
    return value


def _choice(name: str, value: object, choices: Iterable[str]) -> str:
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise _Fault(f"{MANIFEST}: {name} must be one of {', '.join(known)}, got {_short(value)}")
    return value


def _array_spec(name: str, record: object) -> _ArraySpec:
    if not isinstance(record, dict):
        raise _Fault(f"{MANIFEST}: array {name!r} must be an object, got {_short(record)}")
    dtype = _choice("dtype", record.get("dtype"), NPY_DTYPES)
    shape = tuple(_integer("shape", n) for n in _field(record, "shape", list))
    if len(shape) > MAX_DIMENSIONS:
        raise _Fault(f"{MANIFEST}: array {name!r} has {len(shape)} dimensions")
    return _ArraySpec(dtype, shape, _field(record, "sha256", str))


def _check_names(entries: Mapping[str, bytes], specs: Mapping[str, _ArraySpec]) -> None:
    listed = {f"{name}.npy" for name in specs}
    for name in entries:
        if name not in listed:
            raise _Fault(f"entry {name!r} is not listed in {MANIFEST}")
    for name in sorted(listed):
        if name not in entries:
            raise _Fault(f"entry {name!r} is missing")


def _width(manifest: dict[str, Any]) -> tuple[tuple[Nodes, ...], int]:
    rows = _field(manifest, "width", list)
    if len(rows) > MAX_ROWS:
        raise _Fault(f"{MANIFEST}: width has {len(rows)} rows, more than {MAX_ROWS}")
    try:
        width = parse_width(rows)
    except ValueError as error:
        raise _Fault(f"{MANIFEST}: {str(error)[:200]}") from error
    arity = _integer("mult_arity", manifest.get("mult_arity"), 2)
    if arity > MAX_ARITY:
        raise _Fault(f"{MANIFEST}: mult_arity must be at most {MAX_ARITY}, got {_short(arity)}")
    return width, arity


def _grid_eps(manifest: dict[str, Any]) -> float:
    value = manifest.get("grid_eps")
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise _Fault(f"{MANIFEST}: grid_eps must be in [0, 1], got {_short(value)}")
    return float(value)


def _layer_specs(
    manifest: dict[str, Any], width: tuple[Nodes, ...], arity: int
) -> list[_LayerSpec]:
    records = _field(manifest, "layers", list)
    if len(records) != len(width) - 1:
        raise _Fault(f"{MANIFEST}: width asks for {len(width) - 1} layers, got {len(records)}")
    sizes = itertools.pairwise(width)
    return [
        _layer_spec(l, record, _subnodes(after, arity), before.total)
        for l, (record, (before, after)) in enumerate(zip(records, sizes, strict=True))
    ]


def _subnodes(nodes: Nodes, arity: int) -> int:
    return nodes.n_sum + arity * nodes.n_product


def _layer_spec(l: int, record: object, n_out: int, n_in: int) -> _LayerSpec:
    if not isinstance(record, dict):
        raise _Fault(f"{MANIFEST}: layers[{l}] must be an object, got {_short(record)}")
    return _LayerSpec(
        grid=_integer("grid", record.get("grid"), 1),
        k=_integer("k", record.get("k"), 1),
        base=_choice("base", record.get("base"), edge.BASES),
        outside=_choice("outside", record.get("outside"), edge.OUTSIDE_RULES),
        symbolic=_symbolic(l, _field(record, "symbolic", list), n_out, n_in),
    )


def _symbolic(l: int, rows: list[Any], n_out: int, n_in: int) -> dict[tuple[int, int], str]:
    named = {}
    for row in rows:
        if not isinstance(row, list) or len(row) != 3:
            raise _Fault(f"{MANIFEST}: symbolic must list [out, in, name], got {_short(row)}")
        j, i = _integer("symbolic out", row[0]), _integer("symbolic in", row[1])
        if j >= n_out or i >= n_in or (j, i) in named:
            raise _Fault(f"{MANIFEST}: symbolic edge {_short(row)} of layer {l} is not possible")
        if row[2] not in function_names():
            raise _Fault(
                f"edge {(l, i, j)} uses the function {_short(row[2])}, which is not registered;"
                " call register_function for it first"
            )
        named[j, i] = row[2]
    return named


# Shapes by number of outputs and inputs, grid and degree.
_LAYER_SHAPES = {
    "knots": lambda out, n, grid, k: (n, grid + 2 * k + 1),
    "mask": lambda out, n, grid, k: (out, n),
    "coef": lambda out, n, grid, k: (out, n, grid + k),
    "base_weight": lambda out, n, grid, k: (out, n),
    "affine": lambda out, n, grid, k: (out, n, 4),
}


def _expected_shapes(
    width: tuple[Nodes, ...], arity: int, layers: Sequence[_LayerSpec]
) -> dict[str, tuple[int, ...]]:
    ends = {"input": width[0].total, "output": width[-1].total}
    shapes = {f"buffers/{name}": (ends[name.split("_")[0]],) for name in BUFFERS}
    for l, layer in enumerate(layers):
        sizes = (_subnodes(width[l + 1], arity), width[l].total, layer.grid, layer.k)
        shapes |= {f"layers/{l}/{name}": shape(*sizes) for name, shape in _LAYER_SHAPES.items()}
    return shapes


def _check_shapes(
    specs: Mapping[str, _ArraySpec], expected: Mapping[str, tuple[int, ...]], dtype: torch.dtype
) -> None:
    """Exactly the arrays of the network, and samples, with the shapes that its width asks for."""
    for name, shape in expected.items():
        if name not in specs:
            raise _Fault(f"array {name!r} is missing")
        if specs[name].shape != shape:
            raise _Fault(f"array {name!r} must have shape {shape}, got {_short(specs[name].shape)}")
        wanted = torch.bool if name.endswith("/mask") else dtype
        if NPY_DTYPES[specs[name].dtype] != wanted:
            raise _Fault(f"array {name!r} must be {wanted}, got {NPY_DTYPES[specs[name].dtype]}")
    for name in specs.keys() - expected.keys():
        prefix, _, rest = name.partition("/")
        if prefix != "sample" or not _SAMPLE_NAME.fullmatch(rest):
            raise _Fault(f"array {name!r} does not belong to a network of this width")


def _array(name: str, data: bytes, spec: _ArraySpec) -> Tensor:
    """The array in an .npy entry, if it is what the manifest says."""
    if _sha256(data) != spec.sha256:
        raise _Fault(f"array {name!r} is damaged: its checksum does not match")
    start = _check_npy_header(name, data, spec)
    if len(data) - start != spec.n_bytes:
        raise _Fault(f"array {name!r} must have {spec.n_bytes} bytes, got {len(data) - start}")
    if spec.dtype == "|b1" and not set(data[start:]) <= {0, 1}:
        raise _Fault(f"array {name!r} must hold 0 and 1 only")
    try:
        values = np.frombuffer(data[start:], spec.dtype).reshape(spec.shape)
    except ValueError as error:  # no bytes, but sizes beyond what an index can hold
        raise _Fault(f"array {name!r} has the impossible shape {_short(spec.shape)}") from error
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))


def _check_npy_header(name: str, data: bytes, spec: _ArraySpec) -> int:
    """Where the values start. The header must repeat the manifest, in the words that NumPy writes:
    what its reader would make of other words nobody can say."""
    if not data.startswith(NPY_MAGIC):
        raise _Fault(f"array {name!r} is not an .npy file of version (1, 0)")
    start = len(NPY_MAGIC) + 2
    end = start + int.from_bytes(data[start - 2 : start], "little")
    words = f"{{'descr': '{spec.dtype}', 'fortran_order': False, 'shape': {spec.shape}, }}"
    header = data[start:end]
    if len(header) < end - start or header.rstrip(b" \n") != words.encode():
        got = _short(header.rstrip(b" \n"))
        raise _Fault(f"array {name!r} is not what {MANIFEST} says, got {got}")
    return end


def _check_values(arrays: Mapping[str, Tensor], n_layers: int) -> None:
    for name in BUFFERS:
        if not bool(arrays[f"buffers/{name}"].isfinite().all()):
            raise _Fault(f"array 'buffers/{name}' must be finite")
    for l in range(n_layers):
        knots = arrays[f"layers/{l}/knots"]
        # Equal neighbours are sound: in float32 a narrow interval far from 0 has no width.
        ascending = bool((knots.diff() >= 0).all() and (knots[:, 0] < knots[:, -1]).all())
        if not (ascending and bool(knots.isfinite().all())):
            raise _Fault(f"array 'layers/{l}/knots' must be finite and ascending")


def _rebuild(contents: _Contents, cls: type[N]) -> N:
    """A new network with the arrays of the file in place of its own."""
    first = contents.layers[0]
    network = cls(
        width=contents.width,
        grid=1,  # the arrays bring their own grid
        k=first.k,
        mult_arity=contents.mult_arity,
        base=first.base,
        grid_eps=contents.grid_eps,
        outside=first.outside,
        dtype=contents.dtype,
    )
    for name in BUFFERS:
        setattr(network, name, contents.arrays[f"buffers/{name}"])
    for l, (layer, spec) in enumerate(zip(network.kan_layers, contents.layers, strict=True)):
        _fill(layer, spec, {n: contents.arrays[f"layers/{l}/{n}"] for n in _LAYER_SHAPES})
    return network


def _fill(layer: KANLayer, spec: _LayerSpec, arrays: Mapping[str, Tensor]) -> None:
    layer.k, layer.base, layer.outside = spec.k, spec.base, spec.outside
    layer.symbolic = dict(spec.symbolic)
    for name, array in arrays.items():
        is_parameter = isinstance(getattr(layer, name), nn.Parameter)
        setattr(layer, name, nn.Parameter(array) if is_parameter else array)
