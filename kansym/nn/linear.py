"""KANLinear: a layer of splines in the place of `torch.nn.Linear`.

    y_j = sum_i [ w_b,ji b(x_i) + sum_m c_ji,m B_i,m(x_i) ]

The same function as `kansym.layer.KANLayer`, by the same kernels; [batch, out, in] is written
down neither on the way forward nor back. There is no bias: the basis sums to one, so constants are
in the splines. With `groups`, inputs g, g + 1, ... of a group share a function and y = W phi(x).
"""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from kansym import edge
from kansym.errors import (
    NonFiniteInputError,
    NotWholeError,
    OutsideGridWarning,
    check_choice,
    check_grid,
    check_positive_int,
    is_number,
)
from kansym.layer import SPLINE_NOISE
from kansym.network import parse_range
from kansym.nn import parallel, regularise
from kansym.nn.basis import BASES, SITES, Basis, RationalBasis, spread_points
from kansym.nn.ranges import (
    LOOK_EVERY,
    RangeReport,
    RunningRange,
    Target,
    first_target,
    target,
)

RANGES = ("fixed", "adaptive")
INITS = ("kaiming", "xavier")
FEW = 64  # weights by whose change an optimiser's step is known
MUCH_OUTSIDE = 0.2  # of a batch, from which a fixed grid deserves a warning; less may be best


@dataclass
class _Watch:
    """What a layer remembers of its passes beside its state; replicas share it."""

    graph_of: tuple[int, Tensor] | None = None
    """Version and a few of the weights that the last graph was recorded with."""
    batches: int = 0
    has_warned: bool = False


class KANLinear(nn.Module):
    """A Kolmogorov-Arnold layer from [..., in_features] to [..., out_features].

    grid: >= 1, intervals of each spline. k: >= 1, degree. basis: "bspline", "rbf", "chebyshev"
    (grid + k functions each) or "rational" (degrees grid and grid - 1): see `kansym.nn.basis`.
    base: "silu", "identity", "tanh" or "zero", the function beside the spline.
    grid_range: (low, high) of the grid at first. range: "fixed", or "adaptive": the grid follows
    the inputs in training mode, see `kansym.nn.ranges`. momentum: in (0, 1], how fast it does.
    sync: in distributed training, whether an adaptive grid follows the inputs of all processes, by
    two collective calls per pass: True, those of a `torch.distributed.ProcessGroup`, or False. Then
    all processes must make the same training passes.
    outside: what holds beyond the grid, see `kansym.edge`.
    standalone_scale: a factor on the spline of every edge, as in efficient-kan.
    groups: number of runs of neighbouring inputs that share a function up to a weight per edge
    (Yang and Wang 2024, arXiv:2409.10594); in_features must be a multiple. None: every edge has
    its own.
    init: of the weights, "kaiming" (uniform, as in `nn.Linear`) or "xavier"; splines start as
    noise.
    generator: of the initial numbers; by default torch's global one, as in `nn.Linear`.

    Parameters: coef [out, in, grid + k] and base_weight [out, in], scale [out, in] if asked for;
    with groups coef [groups, grid + k], base_weight [groups] and weight [out, in].

    float16 and bfloat16 weights, and autocast, compute in float32 and give what `nn.Linear` would
    give: values of the weights' dtype, or of autocast's. Raises ValueError for a bad argument, and
    for inputs of another width or dtype; NotWholeError where FSDP has the weights in shards;
    NonFiniteInputError for NaN and inf under `torch.autograd.set_detect_anomaly`, else they go
    through. Warns once (OutsideGridWarning) when a fifth of a training batch lies outside a fixed
    grid.

    Which range: over inputs of eight kinds (`benchmarks/ranges.py`) test errors relative to the
    spread of y had the geometric mean 0.120 for a `ZScore` before grid_range=(-1.5, 1.5), 0.161 for
    range="adaptive" and 0.222 for the default. Adaptive grids are for inputs of unknown scale (0.08
    against 1.0 at 1e-8); on digits they cost two points of accuracy and twice the time, which is
    why they are not the default.

    Source: Liu et al. 2024, arXiv:2404.19756, eq. 2.10.
    """

    coef: nn.Parameter
    base_weight: nn.Parameter
    scale: nn.Parameter | None
    weight: nn.Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        grid: int = 5,
        k: int = 3,
        *,
        basis: str = "bspline",
        base: str = "silu",
        grid_range: tuple[float, float] = (-1.0, 1.0),
        range: str = "fixed",
        outside: str = "linear",
        standalone_scale: bool = False,
        groups: int | None = None,
        init: str = "kaiming",
        momentum: float = 0.1,
        sync: bool | parallel.Group = True,
        generator: torch.Generator | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.in_features = check_positive_int("in_features", in_features)
        self.out_features = check_positive_int("out_features", out_features)
        self.sync = self._check_sync(sync)
        self.grid, self.k = check_grid("grid", grid), check_positive_int("k", k)
        kind = BASES[check_choice("basis", basis, BASES)]
        check_choice("base", base, edge.BASES)
        self.range = check_choice("range", range, RANGES)
        self.init = check_choice("init", init, INITS)
        self.groups = None if groups is None else self._check_groups(groups)
        if check_choice("outside", outside, edge.OUTSIDE_RULES) not in kind.rules:
            raise ValueError(f"outside={outside!r} is for basis='bspline'; use 'linear' or 'clamp'")
        if range == "adaptive" and outside in ("reflect", "periodic"):
            raise ValueError(
                f"range='adaptive' moves the grid, and outside={outside!r} would take its new "
                "width for a period; use range='fixed' or outside='linear'"
            )
        if standalone_scale and groups is not None:
            raise ValueError("standalone_scale has no use with groups; their edges have a weight")
        if not is_number(momentum) or not 0 < momentum <= 1:
            raise ValueError(f"momentum must be in (0, 1], got {momentum!r}")
        dtype = torch.get_default_dtype() if dtype is None else dtype
        if not dtype.is_floating_point:
            raise ValueError(f"dtype must be a floating-point type, got {dtype}")
        self.basis_name, self.base, self.outside = basis, base, outside
        rows = in_features if self.groups is None else self.groups
        self.basis: Basis = kind(
            in_features, rows, out_features, grid, k, base=base, outside=outside,
            grid_range=parse_range(grid_range), device=device, dtype=dtype,
        )  # fmt: skip
        at_least_single = torch.promote_types(dtype, torch.float32)
        self.seen = RunningRange(
            in_features, rows, float(momentum), device=device, dtype=at_least_single
        )
        self._watch = _Watch()
        edges, n_coef = (out_features, in_features), self.basis.n_coef
        shape = edges if self.groups is None else (self.groups,)
        self.coef = nn.Parameter(torch.empty(*shape, n_coef, device=device, dtype=dtype))
        self.base_weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        for name, is_there in (("scale", standalone_scale), ("weight", self.groups is not None)):
            empty = torch.empty(edges, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty) if is_there else None)
        self.reset_parameters(generator)

    def _check_groups(self, groups: int) -> int:
        if self.in_features % check_positive_int("groups", groups):
            raise ValueError(f"groups must divide in_features = {self.in_features}, got {groups}")
        return groups

    @staticmethod
    def _check_sync(sync: bool | parallel.Group) -> bool | parallel.Group:
        if isinstance(sync, bool) or parallel.is_group(sync):
            return sync
        raise ValueError(f"sync must be True, False or a torch.distributed group, got {sync!r}")

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        """Draw the parameters anew; the grid stays."""
        if isinstance(self.basis, RationalBasis):
            self.basis.reset(generator)
        if self.weight is not None:
            self._fill(self.weight, generator)
            self.base_weight.fill_(1.0)
            self.coef.normal_(0, SPLINE_NOISE, generator=generator)
            return
        self._fill(self.base_weight, generator)
        noise = SPLINE_NOISE
        if self.scale is None:
            noise /= math.sqrt(self.in_features)
        else:
            self._fill(self.scale, generator)
        self.coef.normal_(0, noise, generator=generator)

    def _fill(self, weights: Tensor, generator: torch.Generator | None) -> None:
        # A constant there leaves all outputs alike: on MNIST, 20 % right instead of 97 %.
        if self.init == "xavier":
            nn.init.xavier_normal_(weights, generator=generator)
        else:
            nn.init.kaiming_uniform_(weights, a=math.sqrt(5), generator=generator)

    # -- values -----------------------------------------------------------------------------------

    def forward(self, input: Float[Tensor, "... in"]) -> Float[Tensor, "... out"]:
        device = input.device.type
        is_mixed = _is_autocast(device)
        self._check_input(input, is_mixed)
        dtype = torch.get_autocast_dtype(device) if is_mixed else self.coef.dtype
        x = input.reshape(-1, self.in_features)
        if self.training:
            self._follow(x)
        with _without_autocast(device):
            y = self._sum(x.to(torch.promote_types(self.coef.dtype, torch.float32)))
        y = y.to(dtype)
        # A view of what has its shape already would be warned of by FSDP.
        return y if input.ndim == 2 else y.reshape(*input.shape[:-1], self.out_features)

    def _sum(self, x: Float[Tensor, "batch in"]) -> Float[Tensor, "batch out"]:
        coef, base_weight = self._edge_weights(x.dtype)
        if self.weight is None:
            return self.basis.combine(x, coef, base_weight)
        shared = self.basis.per_input(torch.cat([coef, base_weight[:, None]], 1))
        values = (shared[:, None] @ self.basis.features(x)).squeeze(1)  # [in, batch]
        return (self.weight.to(x.dtype) @ values).T

    def _edge_weights(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """coef and base_weight as they enter the sum, the scale multiplied in."""
        if parallel.is_cut(self, self.coef, self._coef_ndim):
            raise NotWholeError(
                f"the weights of KANLinear({self.extra_repr()}) are in shards here; FSDP puts them "
                "together for the forward pass of the module it wraps: compute penalties and "
                "scores in there, and convert the layer from a full state_dict"
            )
        coef, base_weight = self.coef.to(dtype), self.base_weight.to(dtype)
        return (coef if self.scale is None else coef * self.scale.to(dtype)[..., None]), base_weight

    def _check_input(self, x: Tensor, is_mixed: bool) -> None:
        if x.ndim == 0 or x.shape[-1] != self.in_features:
            raise ValueError(
                f"input must have {self.in_features} values in its last dimension (in_features), "
                f"got shape {tuple(x.shape)}"
            )
        if x.dtype != self.coef.dtype and not (is_mixed and x.is_floating_point()):
            raise ValueError(
                f"input must be of the layer's dtype {self.coef.dtype}, got {x.dtype}; convert it, "
                "or the layer with .to(dtype)"
            )
        if torch.compiler.is_compiling() or not torch.is_anomaly_enabled():
            return
        bad = torch.nonzero(~torch.isfinite(x))
        if len(bad):
            raise NonFiniteInputError(
                f"{len(bad)} of {x.numel()} inputs of KANLinear({self.extra_repr()}) are not "
                f"finite, first at {tuple(bad[0].tolist())}; look at what comes before it"
            )

    # -- range ------------------------------------------------------------------------------------

    def _follow(self, x: Float[Tensor, "batch in"]) -> None:
        """Take a training batch into account, before its values are computed."""
        if parallel.is_recomputing():
            self._note_graph()
        elif self._is_synchronised() and not x.is_meta:
            self._begin(self._is_time(x), x)
        elif len(x):
            outside = self.seen.update(x, *self.basis.ends)
            if torch.compiler.is_compiling() or x.is_meta:
                return
            is_time = self._is_time(x)
            if self.range == "adaptive":
                self._begin(is_time)
            elif is_time and not self._watch.has_warned:
                self._warn_outside(float(outside) / x.numel())

    def _is_synchronised(self) -> bool:
        """Whether a pass takes in the rows of other processes."""
        if self.range == "fixed" or self.sync is False or torch.compiler.is_compiling():
            return False
        return parallel.is_distributed(self._group)

    @property
    def _group(self) -> parallel.Group:
        return None if isinstance(self.sync, bool) else self.sync

    def _is_time(self, x: Tensor) -> bool:
        self._watch.batches += 1
        return x.is_cpu or self._watch.batches % LOOK_EVERY == 1

    def _begin(self, is_time: bool, spread: Tensor | None = None) -> None:
        """Move the grid where no graph can wait for the old one; then note the graph to come.

        spread: a batch whose other rows are in other processes, to be taken in before.
        """
        may_move = is_time and self._may_move()
        objections = 0
        if spread is not None:
            ends, group = self.basis.ends, self._group
            objections = self.seen.update_together(spread, *ends, not may_move, group)
        elif self._is_synchronised():
            objections = self.seen.agree(not may_move, self._group)
        if may_move and not int(objections):
            self._move()
        self._note_graph()

    def _may_move(self) -> bool:
        """Whether the weights are here to be changed, and no graph needs what they are."""
        if not isinstance(self.coef, nn.Parameter) or parallel.is_managed(self):
            return False  # those of a replica, or gathered for this pass
        if parallel.is_distributed(self._group) and not self._is_synchronised():
            return False  # processes see other batches and must move together
        return self._is_graph_void()

    def _note_graph(self) -> None:
        """A pass is about to record a graph with the weights as they are."""
        is_kept = isinstance(self.coef, nn.Parameter) and not parallel.is_managed(self)
        if is_kept and self.range == "adaptive" and torch.is_grad_enabled():
            self._watch.graph_of = self.coef._version, self._few_weights()

    def _is_graph_void(self) -> bool:
        if self._watch.graph_of is None:
            return True
        version, weights = self._watch.graph_of
        # Fused optimisers change weights and not their version.
        return version != self.coef._version or not torch.equal(weights, self._few_weights())

    def _few_weights(self) -> Tensor:
        parts = [part.detach().flatten() for part in (self.coef, self.base_weight)]
        return torch.cat([part[:: len(part) // FEW + 1] for part in parts])

    def _warn_outside(self, share: float) -> None:
        if share <= MUCH_OUTSIDE:
            return
        self._watch.has_warned = True
        warnings.warn(
            f"{share:.0%} of a training batch lies outside the grid of "
            f"KANLinear({self.extra_repr()}), where outside={self.outside!r} holds; use "
            "range='adaptive', a wider grid_range, or normalise before it (kansym.nn.ZScore)",
            OutsideGridWarning,
            stacklevel=4,
        )

    def follow_range(self) -> bool:
        """Move the grid now if the running range asks for it; whether it did.

        For adaptive layers in compiled graphs and `DataParallel`, which do not move by themselves.
        Not between a forward pass and its backward pass. In distributed training all processes
        must call it, and move to where all of their inputs are. Raises NotWholeError within
        `FullyShardedDataParallel`: `follow_ranges` of the model around it moves such layers.
        """
        self._join_ranges()
        if parallel.is_cut(self, self.coef, self._coef_ndim) and not parallel.is_dtensor(self.coef):
            raise NotWholeError(
                f"the weights of KANLinear({self.extra_repr()}) are in shards, which follow_range "
                "cannot move; use follow_ranges(model) on the model that holds the "
                "FullyShardedDataParallel around it"
            )
        return self._move()

    @property
    def _coef_ndim(self) -> int:
        return 3 if self.groups is None else 2

    def _join_ranges(self) -> None:
        if parallel.is_distributed(self._group):
            self.seen.share(self._group)

    @torch.no_grad()
    def _move(self) -> bool:
        goal = self._goal()
        if goal is None:
            return False
        if self._is_first():
            low, _ = self.basis.ends
            self.basis.put(goal.low.to(low.dtype), goal.high.to(low.dtype))
        else:
            self._re_express(goal)
        self.seen.moves.add_(1)
        return True

    def _is_first(self) -> bool:
        return int(self.seen.batches) == 1 and not int(self.seen.moves)

    @torch.no_grad()
    def _goal(self) -> Target | None:
        """Where the grid should go; None if it should stay."""
        if not int(self.seen.batches):
            return None
        low, high = (end.to(self.seen.low.dtype) for end in self.basis.ends)
        if self._is_first():
            goal = first_target(self.seen, low, high)
        else:
            goal = target(self.seen, low, high, self.basis.intervals)
        return goal if bool(goal.moves.any()) else None

    def _re_express(self, goal: Target) -> None:
        old_low, old_high = self.basis.ends
        low = torch.where(goal.moves, goal.low.to(old_low.dtype), old_low)
        high = torch.where(goal.moves, goal.high.to(old_low.dtype), old_high)
        shared_low, shared_high = torch.maximum(low, old_low), torch.minimum(high, old_high)
        points = spread_points(shared_low, shared_high, SITES * self.basis.n_coef)
        before = self.basis.sampled(points)
        matrix = self.basis.move(low, high)
        same = torch.eye(self.basis.n_coef, dtype=matrix.dtype, device=matrix.device)
        matrix = torch.where(goal.moves[:, None, None], matrix, same)
        coef = parallel.whole(self.coef).double()
        after = matrix.transpose(1, 2) @ self.basis.sampled(points)
        counts = (goal.moves & (shared_low < shared_high))[:, None, None]
        # Root mean squares over all moved edges, from the features' second moments.
        change = torch.where(counts, after - before, 0.0)
        spread = torch.where(counts, before - before.mean(2, keepdim=True), 0.0)
        moved, varied = (_total_square(coef, values) for values in (change, spread))
        error = torch.where(varied > 0, (moved / varied).sqrt(), 0.0)
        self.seen.move_error.copy_(torch.maximum(self.seen.move_error, error))
        parallel.assign(self.coef, torch.einsum("...ic,idc->...id", coef, matrix))

    def range_report(self) -> RangeReport:
        """Where the inputs were in training; see `RangeReport`."""
        seen, per_input = self.seen, self.basis.per_input
        count = max(int(seen.seen), 1)
        low, high = (per_input(end.detach()).clone() for end in self.basis.ends)
        return RangeReport(
            seen_low=per_input(seen.low).clone(),
            seen_high=per_input(seen.high).clone(),
            grid_low=low,
            grid_high=high,
            outside=seen.outside.double() / count,
            outside_total=float(seen.outside.sum()) / count / self.in_features,
            batches=int(seen.batches),
            moves=int(seen.moves),
            move_error=float(seen.move_error),
        )

    # -- sparsity ---------------------------------------------------------------------------------

    def edge_scores(self, x: Float[Tensor, "... in"] | None = None) -> Float[Tensor, "out in"]:
        """How much each edge matters: the standard deviation of its values over a sample x, or
        without one the mean size of its coefficients; in float32 at least, under autocast too.
        See `kansym.nn.regularise`."""
        with _without_autocast(self.coef.device.type):
            return self._mean_sizes() if x is None else self._spreads(x)

    def _mean_sizes(self) -> Float[Tensor, "out in"]:
        coef, _ = self._edge_weights(torch.promote_types(self.coef.dtype, torch.float32))
        sizes = coef.abs().mean(-1)
        return sizes if self.weight is None else self.weight.abs() * self.basis.per_input(sizes)

    def _spreads(self, x: Float[Tensor, "... in"]) -> Float[Tensor, "out in"]:
        dtype = torch.promote_types(self.coef.dtype, torch.float32)
        coef, base_weight = self._edge_weights(dtype)
        self._check_input(x, x.is_floating_point())
        rows = x.reshape(-1, self.in_features).to(dtype)
        if not len(rows):
            raise ValueError("x must have at least one row")
        cov = regularise.covariance(rows, self.basis)
        if self.weight is None:
            return regularise.edge_spread(cov, coef, base_weight)
        shared = (self.basis.per_input(part)[None] for part in (coef, base_weight))
        return self.weight.to(dtype).abs() * regularise.edge_spread(cov, *shared)

    def regularization_loss(
        self, l1: float = 1.0, entropy: float = 1.0, x: Float[Tensor, "... in"] | None = None
    ) -> Tensor:
        """The L1 + entropy penalty of the edge scores, by weights or of a sample x; a scalar.

        As a forward pass, it lets an adaptive grid move first, in training mode.
        """
        if self.training and self.range == "adaptive" and torch.is_grad_enabled():
            self._begin(not torch.compiler.is_compiling())
        return regularise.penalty(self.edge_scores(x), l1, entropy)

    def extra_repr(self) -> str:
        parts = [f"{self.in_features}, {self.out_features}, grid={self.grid}, k={self.k}"]
        shown = {
            "basis": (self.basis_name, "bspline"),
            "base": (self.base, "silu"),
            "range": (self.range, "fixed"),
            "outside": (self.outside, "linear"),
        }
        parts += [f"{name}={value!r}" for name, (value, usual) in shown.items() if value != usual]
        if self.scale is not None:
            parts.append("standalone_scale=True")
        if self.groups is not None:
            parts.append(f"groups={self.groups}")
        return ", ".join(parts)


def _is_autocast(device: str) -> bool:
    return device != "meta" and torch.is_autocast_enabled(device)


def _without_autocast(device: str) -> AbstractContextManager[object]:
    return torch.autocast(device, enabled=False) if _is_autocast(device) else nullcontext()


def _total_square(
    coef: Float[Tensor, "*out rows basis"], values: Float[Tensor, "rows basis points"]
) -> Tensor:
    moments = values @ values.transpose(1, 2) / values.shape[2]
    return torch.einsum("...ic,icd,...id->", coef, moments, coef)


def follow_ranges(model: nn.Module) -> int:
    """Let every adaptive layer of a model move its grid now; how many did.

    Between steps, for compiled models, `DataParallel`, FSDP and `sync=False`; in distributed
    training in all processes. Other models do it by themselves. FSDP puts together the weights of
    one of its units at a time, and only of those with a grid that moves.
    """
    units = parallel.units(model)
    moved = 0
    for layer in model.modules():
        if not isinstance(layer, KANLinear) or layer.range != "adaptive":
            continue
        layer._join_ranges()
        if layer._goal() is not None:
            with parallel.unsharded(units.get(layer)):
                moved += layer._move()
    return moved


def follow_after_steps(model: nn.Module, optimiser: torch.optim.Optimizer) -> RemovableHandle:
    """Call `follow_ranges(model)` after every step of an optimiser, in this process.

    For FSDP, compiled models, `DataParallel` and `sync=False`. Returns a handle whose `remove()`
    ends it.
    """

    def follow(*_: object) -> None:
        follow_ranges(model)

    return optimiser.register_step_post_hook(follow)
