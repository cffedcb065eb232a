"""Layers for PyTorch models: splines in the place of `nn.Linear`, and normalisers before them."""

from kansym.nn.basis import BASES, Basis, UnitBasis
from kansym.nn.convert import to_kan
from kansym.nn.linear import KANLinear, follow_after_steps, follow_ranges
from kansym.nn.normalise import Affine, MinMax, Normaliser, SigmaClip, ZScore
from kansym.nn.ranges import RangeReport

__all__ = [
    "KANLinear",
    "to_kan",
    "follow_ranges",
    "follow_after_steps",
    "RangeReport",
    # normalisers
    "ZScore",
    "MinMax",
    "SigmaClip",
    "Affine",
    "Normaliser",
    # bases
    "BASES",
    "Basis",
    "UnitBasis",
]
