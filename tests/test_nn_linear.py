"""KANLinear in the place of nn.Linear."""

import copy
import json
import pickle
import re
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from kansym.errors import NonFiniteInputError, OutsideGridWarning
from kansym.layer import KANLayer
from kansym.nn import BASES, KANLinear


def kan(generator, n_in=3, n_out=2, **options):
    return KANLinear(n_in, n_out, generator=generator, **{"dtype": torch.float64} | options)


def rows(generator, *shape, scale=0.9, dtype=torch.float64):
    return scale * (2 * torch.rand(*shape, generator=generator, dtype=dtype) - 1)


# -- the same function ----------------------------------------------------------------------------


@pytest.mark.parametrize("outside", ["linear", "zero", "clamp", "base", "reflect", "periodic"])
@pytest.mark.parametrize("scale", [False, True])
def test_it_is_the_layer_of_a_kan(outside, scale, generator):
    layer = kan(generator, outside=outside, standalone_scale=scale, grid=4, k=2).eval()
    twin = KANLayer(3, 2, 4, 2, "silu", (-1.0, 1.0), outside, generator, torch.float64)
    with torch.no_grad():
        twin.coef.copy_(layer.coef * layer.scale[..., None] if scale else layer.coef)
        twin.base_weight.copy_(layer.base_weight)
    x = rows(generator, 50, 3, scale=2.0)
    torch.testing.assert_close(layer(x), twin(x), rtol=0, atol=1e-14)


def test_names_and_shapes_of_parameters(generator):
    shapes = {n: tuple(p.shape) for n, p in kan(generator).named_parameters()}
    assert shapes == {"coef": (2, 3, 8), "base_weight": (2, 3)}
    scaled = dict(kan(generator, standalone_scale=True).named_parameters())
    assert scaled["scale"].shape == (2, 3)
    grouped = kan(generator, 6, 2, groups=3)
    shapes = {n: tuple(p.shape) for n, p in grouped.named_parameters()}
    assert shapes == {"coef": (3, 8), "base_weight": (3,), "weight": (2, 6)}


@pytest.mark.parametrize("basis", BASES)
def test_inputs_of_a_group_share_a_function(basis, generator):
    layer = kan(generator, 4, 2, groups=2, basis=basis).eval()
    x = rows(generator, 7, 4)
    functions = []
    for i in range(4):
        only = torch.zeros_like(x)
        only[:, i] = x[:, 0]
        rest = layer(torch.zeros_like(x))
        functions.append((layer(only) - rest) / layer.weight[:, i])
    torch.testing.assert_close(functions[0], functions[1])
    torch.testing.assert_close(functions[2], functions[3])
    assert (functions[0] - functions[2]).abs().max() > 1e-4


def test_a_group_for_each_input_is_a_layer_of_proportional_edges(generator):
    layer = kan(generator, groups=3).eval()
    full = kan(generator).eval()
    with torch.no_grad():
        full.coef.copy_(layer.weight[..., None] * layer.coef)
        full.base_weight.copy_(layer.weight * layer.base_weight)
    x = rows(generator, 7, 3, scale=2)
    torch.testing.assert_close(layer(x), full(x))


# -- as nn.Linear ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (1,), (7,), (2, 5), (2, 1, 5), (0,), (2, 0)])
@pytest.mark.parametrize("options", [{}, {"groups": 3}, {"basis": "rbf"}, {"range": "adaptive"}])
def test_any_leading_dimensions(shape, options, generator):
    layer = kan(generator, **options)
    x = rows(generator, *shape, 3).requires_grad_()
    y = layer(x)
    assert y.shape == (*shape, 2)
    y.sum().backward()
    assert x.grad.shape == x.shape
    flat = layer.eval()(x.reshape(-1, 3))
    torch.testing.assert_close(layer(x), flat.reshape(y.shape))


def test_strides_do_not_matter(generator):
    layer, x = kan(generator), rows(generator, 3, 7)
    assert torch.equal(layer(x.T), layer(x.T.contiguous()))


@pytest.mark.parametrize("options", [{}, {"groups": 3}, {"basis": "chebyshev"}])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_computes_in_float32(options, dtype, generator):
    layer = kan(generator, dtype=torch.float32, **options)
    x = rows(generator, 9, 3, dtype=torch.float32)
    with torch.autocast("cpu", dtype):
        y, from_half = layer(x), layer(x.to(dtype))
    assert y.dtype == dtype
    assert torch.equal(y, layer(x).to(dtype))  # to the last bit: only the result is rounded
    assert torch.equal(from_half, layer(x.to(dtype).float()).to(dtype))
    y.float().sum().backward()
    assert layer.coef.grad.dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights(dtype, generator):
    layer = kan(generator, grid=50, dtype=torch.float32)
    x = rows(generator, 9, 3, dtype=torch.float32)
    y = copy.deepcopy(layer).to(dtype)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), layer(x), atol=0.05, rtol=0)


def test_another_generator_state_gives_other_numbers():
    make = [KANLinear(3, 2, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert torch.equal(make[0].coef, make[1].coef)
    assert not torch.equal(make[0].base_weight, make[2].base_weight)


def test_without_a_generator_numbers_are_those_of_torch():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        first = KANLinear(3, 2)
        torch.manual_seed(3)
        second = KANLinear(3, 2)
    assert torch.equal(first.coef, second.coef)


@pytest.mark.parametrize("options", [{}, {"standalone_scale": True}, {"groups": 4}])
def test_no_two_outputs_begin_alike(options, generator):
    layer = kan(generator, 8, 5, **options)
    y = layer(rows(generator, 100, 8))
    assert torch.linalg.matrix_rank(y - y.mean(0)) == 5
    assert 0.01 < y.std() < 3


def test_meta_device_and_default_dtype():
    layer = KANLinear(3, 2, device="meta")
    assert layer.coef.is_meta
    assert layer.basis.knots.is_meta
    assert layer.coef.dtype == torch.float32


def test_extra_repr(generator):
    assert kan(generator).extra_repr() == "3, 2, grid=5, k=3"
    layer = kan(generator, basis="rbf", groups=3, range="adaptive")
    want = "3, 2, grid=5, k=3, basis='rbf', range='adaptive', groups=3"
    assert layer.extra_repr() == want


def test_it_learns_as_a_part_of_a_model(generator):
    x = rows(generator, 256, 2, dtype=torch.float32)
    y = (torch.sin(3 * x[:, :1]) * x[:, 1:]).detach()
    options = {"generator": generator, "range": "adaptive"}
    model = torch.nn.Sequential(KANLinear(2, 6, **options), KANLinear(6, 1, **options))
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimiser.zero_grad()
        loss = ((model(x) - y) ** 2).mean()
        loss.backward()
        optimiser.step()
    assert loss < 0.02 * y.var()


def test_checkpointing_gives_the_same_gradients(generator):
    layer, x = kan(generator, range="adaptive"), rows(generator, 7, 3).requires_grad_()
    layer(x)  # the grid finds its place
    checkpoint(layer, x, use_reentrant=False).square().sum().backward()
    found, x.grad = x.grad, None
    layer(x).square().sum().backward()
    torch.testing.assert_close(found, x.grad)


def test_a_replica_leaves_the_layer_alone(generator):
    layer = kan(generator, range="adaptive")
    replica = layer._replicate_for_data_parallel()
    replica._parameters = dict.fromkeys(("scale", "weight"))
    for name, parameter in layer.named_parameters():
        setattr(replica, name, parameter.clone())  # what DataParallel gives it: no parameters
    before = copy.deepcopy(dict(layer.named_parameters()))
    replica(rows(generator, 7, 3, scale=30)).sum().backward()
    assert all(torch.equal(p, before[name]) for name, p in layer.named_parameters())
    assert layer.range_report().batches == 1
    assert layer.range_report().moves == 0
    assert layer.coef.grad is not None


@pytest.mark.filterwarnings("ignore:torch.searchsorted", "ignore:There is a performance drop")
def test_rows_one_by_one_with_vmap(generator):
    layer, x = kan(generator).eval(), rows(generator, 7, 3)
    torch.testing.assert_close(torch.vmap(layer)(x), layer(x))


COMPILED = """
import copy, json, sys, torch
from kansym.nn import KANLinear, ZScore
for options in json.loads(sys.argv[1]):
    torch.compiler.reset()
    g = torch.Generator().manual_seed(0)
    layer = KANLinear(4, 2, grid_range=(-3, 3), generator=g, **options)
    model = torch.nn.Sequential(ZScore(4), layer)
    twin = copy.deepcopy(model)
    twin[1]._begin(False)  # a graph waits, for compiled layers do not move
    x = 0.5 * torch.randn(32, 4, generator=g)
    y, want = torch.compile(model, fullgraph=True, backend="aot_eager")(x), twin(x)
    torch.testing.assert_close(y, want)
    y.square().sum().backward(); want.square().sum().backward()
    torch.testing.assert_close(model[1].coef.grad, twin[1].coef.grad)
    torch.testing.assert_close(model.state_dict(), twin.state_dict())
"""


@pytest.mark.parametrize(
    "options",
    [
        [{"range": "adaptive"}],
        pytest.param(
            [
                *({"basis": basis} for basis in BASES),
                *({"basis": basis, "groups": 2} for basis in BASES),
                {"standalone_scale": True, "outside": "zero"},
                {"k": 2, "outside": "reflect"},
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_compiled_in_one_graph(options):
    # In a process of its own: the checks of shapes while testing would be compiled too.
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, json.dumps(options)],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("range", ["fixed", "adaptive"])
def test_shapes_without_numbers(basis, range):
    layer = KANLinear(3, 2, basis=basis, range=range, device="meta")
    assert layer(torch.empty(5, 7, 3, device="meta")).shape == (5, 7, 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("basis", BASES)
def test_on_a_gpu(basis, generator):
    layer = kan(generator, basis=basis, range="adaptive")
    x = rows(generator, 64, 3)
    other = copy.deepcopy(layer).cuda()
    torch.testing.assert_close(other(x.cuda()).cpu(), layer(x))
    with torch.no_grad():
        assert other.follow_range() is layer.follow_range()
    near, far = x.clone().requires_grad_(), x.cuda().requires_grad_()
    layer(near).square().sum().backward()
    other(far).square().sum().backward()
    torch.testing.assert_close(far.grad.cpu(), near.grad)
    for mine, theirs in zip(layer.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(theirs.grad.cpu(), mine.grad)
    assert torch.equal(other.seen.outside.cpu(), layer.seen.outside)


# -- memory ---------------------------------------------------------------------------------------


class Largest(TorchDispatchMode):
    """The number of elements of the largest tensor that any operation makes."""

    size = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for part in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(part, torch.Tensor):
                # Not numel: an expanded tensor takes no memory.
                self.size = max(self.size, part.untyped_storage().nbytes() // part.element_size())
        return result


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("options", [{}, {"groups": 4}, {"standalone_scale": True}])
def test_edges_are_never_expanded(basis, options, generator):
    batch, n_in, n_out = 64, 32, 48
    layer = kan(generator, n_in, n_out, basis=basis, **options)
    x = rows(generator, batch, n_in).requires_grad_()
    with Largest() as largest:
        layer(x).square().sum().backward()
        layer.regularization_loss(x=x).backward()
    assert 0 < largest.size < batch * n_in * n_out / 2


# -- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_features": 0}, "in_features must be an integer >= 1, got 0"),
        ({"out_features": 2.5}, "out_features must be an integer >= 1, got 2.5"),
        ({"grid": 0}, "grid must be an integer >= 1"),
        ({"basis": "splines"}, "unknown basis 'splines'; did you mean 'bspline'"),
        ({"base": "relu"}, "unknown base 'relu'"),
        ({"range": "moving"}, "unknown range 'moving'"),
        ({"outside": "zero", "basis": "rbf"}, "outside='zero' is for basis='bspline'"),
        ({"range": "adaptive", "outside": "periodic"}, "would take its new width for a period"),
        ({"groups": 2}, "groups must divide in_features = 3, got 2"),
        ({"groups": 3, "standalone_scale": True}, "standalone_scale has no use with groups"),
        ({"momentum": 0}, r"momentum must be in \(0, 1\], got 0"),
        ({"grid_range": (1, 1)}, "grid_range must be"),
        ({"init": "constant"}, "unknown init 'constant'"),
        ({"dtype": torch.int64}, "dtype must be a floating-point type"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        KANLinear(**{"in_features": 3, "out_features": 2} | options)


@pytest.mark.parametrize("shape", [(7, 4), (3, 2), ()])
def test_wrong_width(shape, generator):
    message = f"input must have 3 values in its last dimension (in_features), got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        kan(generator)(torch.zeros(shape, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_wrong_dtype(dtype, generator):
    with pytest.raises(ValueError, match=r"input must be of the layer's dtype torch\.float64, got"):
        kan(generator)(torch.zeros(7, 3, dtype=dtype))


@pytest.mark.parametrize("basis", BASES)
def test_nan_and_inf_go_through(basis, generator):
    layer = kan(generator, basis=basis, range="adaptive")
    x = rows(generator, 5, 3)
    layer(x)
    want = layer.eval()(x)
    bad = x.clone()
    bad[1, 0], bad[3, 2] = torch.nan, torch.inf
    y = layer.train()(bad)
    assert not torch.isfinite(y[[1, 3]]).any()
    torch.testing.assert_close(y[[0, 2, 4]], want[[0, 2, 4]])


def test_anomaly_detection_names_what_is_not_finite(generator):
    x = rows(generator, 2, 4, 3)
    x[1, 2, 0] = torch.nan
    layer = kan(generator)
    message = r"1 of 24 inputs of KANLinear\(3, 2, .* first at \(1, 2, 0\)"
    with (
        torch.autograd.set_detect_anomaly(True),
        pytest.raises(NonFiniteInputError, match=message),
    ):
        layer(x)


def test_much_outside_a_fixed_grid_is_told_once(generator):
    layer = kan(generator)
    x = rows(generator, 100, 3, scale=2.0)
    layer.eval()(x)  # nothing to say when not training
    with pytest.warns(OutsideGridWarning, match=r"\d\d% of a training batch .* outside='linear'"):
        layer.train()(x)
    layer(x)
    with pytest.warns(OutsideGridWarning):
        kan(generator)(x)


def test_a_twelfth_outside_is_no_matter(generator):
    kan(generator)(rows(generator, 1000, 3, scale=1 / 0.92))


def test_pickle_keeps_what_was_warned_of(generator):
    layer, x = kan(generator), rows(generator, 9, 3, scale=9.0)
    with pytest.warns(OutsideGridWarning):
        layer(x)
    pickle.loads(pickle.dumps(layer))(x)


# -- sparsity -------------------------------------------------------------------------------------


@pytest.mark.parametrize("basis", BASES)
@pytest.mark.parametrize("options", [{}, {"groups": 3}, {"standalone_scale": True}])
def test_scores_by_sample_are_standard_deviations_of_edges(basis, options, generator):
    layer = kan(generator, basis=basis, **options).eval()
    x = rows(generator, 40, 3, scale=1.5)
    found = layer.edge_scores(x.reshape(4, 10, 3))
    middle = x.mean(0).expand_as(x)
    for i in range(3):
        only = middle.clone()
        only[:, i] = x[:, i]
        torch.testing.assert_close(found[:, i], layer(only).std(0, correction=0))


def test_scores_by_weights(generator):
    layer = kan(generator)
    torch.testing.assert_close(layer.edge_scores(), layer.coef.abs().mean(2))
    grouped = kan(generator, 4, 2, groups=2)
    sizes = grouped.coef.abs().mean(1)[[0, 0, 1, 1]]
    torch.testing.assert_close(grouped.edge_scores(), grouped.weight.abs() * sizes)


def test_the_penalty_is_l1_plus_entropy(generator):
    layer, x = kan(generator), rows(generator, 40, 3)
    for sample in (None, x):
        scores = layer.edge_scores(sample)
        share = scores / scores.sum()
        want = 2 * scores.sum() - 3 * (share * share.log()).sum()
        torch.testing.assert_close(layer.regularization_loss(2.0, 3.0, sample), want)


def test_penalties_have_right_gradients(generator):
    layer, x = kan(generator), rows(generator, 9, 3).requires_grad_()

    def run(coef, x):
        parts = {"coef": coef}
        return torch.func.functional_call(Penalty(layer, True), {"layer.coef": coef}, (x,)) + sum(
            torch.func.functional_call(Penalty(layer, False), {f"layer.{n}": p}, (x,))
            for n, p in parts.items()
        )

    assert torch.autograd.gradcheck(run, (layer.coef, x))


class Penalty(torch.nn.Module):
    def __init__(self, layer, is_sampled):
        super().__init__()
        self.layer, self.is_sampled = layer, is_sampled

    def forward(self, x):
        return self.layer.regularization_loss(x=x if self.is_sampled else None)


def test_scores_need_a_row(generator):
    with pytest.raises(ValueError, match="x must have at least one row"):
        kan(generator).edge_scores(torch.zeros(0, 3, dtype=torch.float64))
