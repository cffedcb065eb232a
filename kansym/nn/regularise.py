"""Sparsity of a layer: how much each edge matters, and the penalty of it.

By weights, as efficient-kan does: A_ji = mean_m |c_ji,m|, without data. By a sample: A_ji = the
standard deviation of phi_ji over it, exact, from the covariance C_i of the functions of input i:
A_ji^2 = w' C_i w. No [batch, out, in] is written down. The penalty of either is that of Liu et al.
2024, arXiv:2404.19756, sec. 2.5, with A in place of mean |phi|:

    l1 * sum A + entropy * (- sum (A / sum A) log(A / sum A))
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from kansym import kernels, scores
from kansym.nn.basis import Basis, BSplineBasis


def penalty(edge_scores: Float[Tensor, "out in"], l1: float, entropy: float) -> Tensor:
    """The L1 + entropy penalty of one layer."""
    return l1 * edge_scores.sum() + entropy * scores.entropy(edge_scores)


def covariance(x: Float[Tensor, "batch in"], basis: Basis) -> Float[Tensor, "in features features"]:
    """Of the functions of every input, base last. In float64. Differentiable in x."""
    if isinstance(basis, BSplineBasis):
        first, second = kernels.moments(x, basis.shape_for(x.dtype))
    else:
        values = basis.features(x).double()
        first, second = values.mean(2), values @ values.transpose(1, 2) / len(x)
    return second - first[:, :, None] * first[:, None, :]


def edge_spread(
    cov: Float[Tensor, "in features features"],
    coef: Float[Tensor, "out in basis"],
    base_weight: Float[Tensor, "out in"],
) -> Float[Tensor, "out in"]:
    """Standard deviation of every edge."""
    weights = torch.cat([coef, base_weight[..., None]], 2).transpose(0, 1)  # [in, out, features]
    return scores.safe_sqrt(((weights @ cov.to(weights)) * weights).sum(2).T)
