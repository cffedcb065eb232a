"""Finds and loads the compiled kernels, and says which are in use and why.

KANSYM_KERNELS=torch in the environment switches them off.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_double, c_int, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from kansym.kernels import build

VARIABLE = "KANSYM_KERNELS"
ABI = 1  # KANSYM_ABI of core/kansym.h
LEVEL_NAMES = {0: "baseline", 1: "AVX2", 2: "AVX-512"}


class LayerStruct(ctypes.Structure):
    """kansym_layer of core/kansym.h."""

    _fields_ = [(name, c_int64) for name in ("n_in", "n_out", "grid", "k", "base", "outside")] + [
        (name, c_void_p) for name in ("knots", "coef", "base_weight", "numeric")
    ]


class GradientStruct(ctypes.Structure):
    """kansym_gradient of core/kansym.h."""

    _fields_ = [("coef", c_void_p), ("base_weight", c_void_p)]


class NetworkStruct(ctypes.Structure):
    """kansym_network of core/kansym.h."""

    _fields_ = [
        ("n_layers", c_int64),
        ("arity", c_int64),
        ("layers", POINTER(LayerStruct)),
        ("n_sum", POINTER(c_int64)),
        ("n_product", POINTER(c_int64)),
    ]


_LAYER, _NETWORK, _GRADIENT = POINTER(LayerStruct), POINTER(NetworkStruct), POINTER(GradientStruct)
_SIGNATURES = {
    "features": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p],
    "features_backward": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p],
    "moments": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p],
    "moments_backward": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p, c_void_p],
    "variances": [_LAYER, c_void_p, c_void_p, c_void_p, _GRADIENT],
    "forward": [_LAYER, c_int64, c_void_p, c_void_p],
    "backward": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p, _GRADIENT],
    "edges": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p],
    "edges_backward": [_LAYER, c_int64, c_void_p, c_void_p, c_void_p, _GRADIENT],
    "network_forward": [_NETWORK, c_int64, c_void_p, c_void_p],
    "network_loss": [
        _NETWORK, c_int64, c_void_p, c_void_p, c_void_p, POINTER(c_double), _GRADIENT,
    ],
    "network_normal": [
        _NETWORK, c_int64, c_int64, *[c_void_p] * 3, c_double, *[c_void_p] * 3, POINTER(c_double),
    ],
    "network_jacobian": [_NETWORK, c_int64, c_int64, c_void_p, c_void_p, c_void_p],
}  # fmt: skip


@dataclass(frozen=True)
class Kernels:
    """What is in use. `library` is None when it is PyTorch, and `reason` says why."""

    library: ctypes.CDLL | None
    level: int | None
    reason: str

    @property
    def name(self) -> str:
        return "torch" if self.level is None else f"native ({LEVEL_NAMES[self.level]})"


@lru_cache(maxsize=1)
def load() -> Kernels:
    """The fastest kernels this machine can run; decided once per process."""
    wanted = os.environ.get(VARIABLE, "auto")
    if wanted not in ("auto", "torch"):
        raise ValueError(f"{VARIABLE} must be 'auto' or 'torch', got {wanted!r}")
    if wanted == "torch":
        return Kernels(None, None, f"{VARIABLE}=torch")
    baseline = _path(0)
    if not baseline.is_file():
        return Kernels(
            None, None, "not compiled; python -m kansym.kernels does it, given a C compiler"
        )
    try:
        possible = int(_opened(baseline).kansym_cpu_level())
        level = max(n for n in build.levels() if n <= possible and _path(n).is_file())
        path = _path(level)
        return Kernels(_declared(_opened(path)), level, f"loaded {path}")
    except (OSError, AttributeError) as error:  # made for another system, or by another version
        return Kernels(
            None, None, f"cannot be loaded ({error}); python -m kansym.kernels makes them anew"
        )


def _path(level: int) -> Path:
    return build.TARGET / build.library_name(level)


def _opened(path: Path) -> ctypes.CDLL:
    if not build.is_whole(path):
        raise OSError(f"{path} is damaged: its checksum does not match")
    found = ctypes.CDLL(str(path))
    if found.kansym_abi() != ABI:
        raise OSError(f"{path} was made by another version of kansym")
    return found


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    for name, arguments in _SIGNATURES.items():
        for suffix in ("f64", "f32"):
            function = getattr(library, f"kansym_{name}_{suffix}")
            function.argtypes, function.restype = arguments, c_int
    return library
