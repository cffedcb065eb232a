"""Layers, sum and product nodes add up to the network; running it leaves no trace."""

import copy

import pytest
import torch

from kansym import edge
from kansym.network import Network, Nodes, parse_width

N, N_IN, N_OUT = 7, 3, 2
WIDE = [N_IN, [4, 2], [1, 1], N_OUT]


def make_sample(generator, dtype=torch.float64):
    """Also outside the grid of [-1, 1]."""
    return 1.5 * (2 * torch.rand(N, N_IN, generator=generator, dtype=dtype) - 1)


def make_scaled(width, generator, **options):
    """A network whose inputs and outputs have units."""
    network = Network(width, **options)
    for name in ("input_shift", "input_scale", "output_shift", "output_scale"):
        buffer = getattr(network, name)
        buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
    return network


def snapshot(network):
    """Everything the modules of a network hold, to be compared by identity."""
    return [dict(module.__dict__) for module in network.modules()]


def assert_close(actual, expected, tolerance=1e-12):
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(actual[name], value), name
        else:
            assert actual[name] == value, name


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "rows"),
    [
        ([3, 2], ((3, 0), (2, 0))),
        ((3, (4, 1), [2]), ((3, 0), (4, 1), (2, 0))),
        ([[3, 0], [0, 2], 1], ((3, 0), (0, 2), (1, 0))),
        ([3, [1, 1]], ((3, 0), (1, 1))),
    ],
)
def test_width_is_rows_of_nodes(width, rows):
    assert parse_width(width) == tuple(Nodes(*row) for row in rows)


@pytest.mark.parametrize(
    ("width", "message"),
    [
        ([3], r"width must list at least an input and an output row, got \[3\]"),
        ([], r"width must list at least an input and an output row, got \[\]"),
        ("32", "width must list at least an input and an output row, got '32'"),
        (3, "width must list at least an input and an output row, got 3"),
        (None, "width must list at least an input and an output row, got None"),
        ([3, [1, 2, 3], 1], r"width\[1\] must be n or \[n_sum, n_product\], got \[1, 2, 3\]"),
        ([3, [], 1], r"width\[1\] must be n or \[n_sum, n_product\], got \[\]"),
        ([3, 2.0, 1], r"width\[1\] must be an integer >= 0, got 2.0"),
        ([3, True, 1], r"width\[1\] must be an integer >= 0, got True"),
        ([3, -2, 1], r"width\[1\] must be an integer >= 0, got -2"),
        ([3, [2, -1], 1], r"width\[1\] must be an integer >= 0, got -1"),
        ([3, "2", 1], r"width\[1\] must be an integer >= 0, got '2'"),
        ([3, None, 1], r"width\[1\] must be an integer >= 0, got None"),
        ([3, 2, 0], r"width\[2\] must have at least one node, got 0"),
        ([3, [0, 0], 1], r"width\[1\] must have at least one node, got \[0, 0\]"),
        ([0, 1], r"width\[0\] must have at least one node, got 0"),
        ([[2, 1], 1], r"width\[0\] is the inputs and has no product nodes, got \[2, 1\]"),
    ],
)
def test_refused_widths(width, message):
    with pytest.raises(ValueError, match=message):
        Network(width)


RANGE_RULE = "grid_range must be .low, high., finite, with low < high"


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("grid", 0, "grid must be an integer >= 1, got 0"),
        ("grid", 2.5, "grid must be an integer >= 1, got 2.5"),
        ("k", 0, "k must be an integer >= 1, got 0"),
        ("k", "3", "k must be an integer >= 1, got '3'"),
        ("mult_arity", 1, "mult_arity must be an integer >= 2, got 1"),
        ("base", "sillu", "unknown base 'sillu'; did you mean 'silu'"),
        ("base", None, "unknown base None"),
        ("outside", "line", "unknown outside 'line'; did you mean 'linear'"),
        ("grid_range", (1.0, -1.0), RANGE_RULE),
        ("grid_range", (1.0, 1.0), RANGE_RULE),
        ("grid_range", (float("nan"), 1.0), RANGE_RULE),
        ("grid_range", (float("-inf"), 1.0), RANGE_RULE),
        ("grid_range", (0.0, 1.0, 2.0), RANGE_RULE),
        ("grid_range", 1, RANGE_RULE),
        ("grid_eps", "a", r"grid_eps must be a number in \[0, 1\], got 'a'"),
        ("seed", None, "seed must be an integer >= 0, got None"),
        ("seed", 1.5, "seed must be an integer >= 0, got 1.5"),
        ("dtype", "float32", "dtype must be torch.float32 or torch.float64, got 'float32'"),
        ("grid_eps", 1.1, r"grid_eps must be a number in \[0, 1\], got 1.1"),
        ("grid_eps", float("nan"), r"grid_eps must be a number in \[0, 1\], got nan"),
        ("dtype", torch.int64, "dtype must be torch.float32 or torch.float64, got torch.int64"),
    ],
)
def test_refused_arguments(argument, value, message):
    with pytest.raises(ValueError, match=message):
        Network([3, 2], **{argument: value})


@pytest.mark.parametrize("shape", [(N, N_IN + 1), (N, N_IN - 1), (N_IN,), (N, N_IN, 1), ()])
def test_inputs_of_a_wrong_shape_are_refused(shape):
    network = Network([N_IN, N_OUT])
    for run in (network, network.trace):
        with pytest.raises(ValueError, match=r"X must have 3 columns \(width\[0\]\), got shape"):
            run(torch.zeros(shape, dtype=torch.float64))


# -- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("outside", edge.OUTSIDE_RULES)
@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_the_trace_adds_up_to_forward(k, outside, generator):
    network = make_scaled(WIDE, generator, k=k, outside=outside)
    x = make_sample(generator)
    trace = network.trace(x)
    assert [tuple(h.shape) for h in trace.nodes] == [(N, 3), (N, 6), (N, 2), (N, 2)]
    assert [tuple(s.shape) for s in trace.subnodes] == [(N, 8), (N, 3), (N, 2)]
    assert [tuple(e.shape) for e in trace.edges] == [(N, 8, 3), (N, 3, 6), (N, 2, 2)]
    assert_close(trace.nodes[0], (x - network.input_shift) * network.input_scale)
    for l, layer in enumerate(network.kan_layers):
        assert_close(trace.subnodes[l], trace.edges[l].sum(2))
        assert_close(trace.subnodes[l], layer(trace.nodes[l]))
    assert_close(network(x), trace.nodes[-1] * network.output_scale + network.output_shift)


@pytest.mark.parametrize("base", edge.BASES)
def test_every_base_function(base, generator):
    network, x = Network([N_IN, N_OUT], base=base), make_sample(generator).clamp(-1, 1)
    value = edge.BASES[base].value
    layer = network.kan_layers[0]
    rest = network(x) - value(x) @ layer.base_weight.T
    with torch.no_grad():
        layer.base_weight.zero_()
    assert_close(network(x), rest)


@pytest.mark.parametrize("arity", [2, 3])
def test_product_nodes_multiply_runs_of_subnodes(arity, generator):
    network = Network([N_IN, [4, 2], [0, N_OUT]], mult_arity=arity)
    trace = network.trace(make_sample(generator))
    for l, n_sum in enumerate((4, 0)):
        s, h = trace.subnodes[l], trace.nodes[l + 1]
        assert torch.equal(h[:, :n_sum], s[:, :n_sum])
        for p in range(2):
            first = n_sum + arity * p
            product = torch.ones(N).double()
            for factor in range(first, first + arity):
                product = product * s[:, factor]
            assert_close(h[:, n_sum + p], product)


@pytest.mark.parametrize("arity", [2, 3, 4])
def test_subnodes_and_nodes_name_each_other(arity):
    network = Network([N_IN, [4, 2], [0, 1], N_OUT], mult_arity=arity)
    for l, nodes in enumerate(network.width[1:]):
        runs = [network.subnodes_of_node(l, node) for node in range(nodes.total)]
        assert [len(run) for run in runs] == [1] * nodes.n_sum + [arity] * nodes.n_product
        assert [sub for run in runs for sub in run] == list(range(network.kan_layers[l].n_out))
        for node, run in enumerate(runs):
            assert [network.node_of_subnode(l, sub) for sub in run] == [node] * len(run)


def test_a_factor_without_edges_is_left_out(generator):
    network = Network([N_IN, [1, 2], 1], mult_arity=3)
    x = make_sample(generator)
    network.kan_layers[0].mask[2] = False
    network.kan_layers[0].mask[4:] = False
    trace = network.trace(x)
    s, h = trace.subnodes[0], trace.nodes[1]
    assert network.is_left_out(0).tolist() == [False, False, True, False, False, False, False]
    assert_close(h[:, 1], s[:, 1] * s[:, 3])
    assert network.numeric_network is None  # the kernels multiply all factors
    assert not h[:, 2].any()  # no factor at all: 0, as a sum of nothing
    with torch.no_grad():
        assert_close(network(x), trace.nodes[-1])


def test_scaling_is_a_change_of_units(generator):
    plain = Network(WIDE)
    scaled = make_scaled(WIDE, generator)
    x = make_sample(generator)
    inner = (x - scaled.input_shift) * scaled.input_scale
    assert_close(scaled(x), plain(inner) * scaled.output_scale + scaled.output_shift)
    assert {"input_shift", "input_scale", "output_shift", "output_scale"} <= set(
        scaled.state_dict()
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_have_the_type_of_the_network(dtype, generator):
    network = Network(WIDE, dtype=dtype)
    assert network.dtype == dtype
    assert {p.dtype for p in network.parameters()} == {dtype}
    for given in (torch.float32, torch.float64):
        assert network(make_sample(generator, dtype=given)).dtype == dtype
    assert network(torch.ones(N, N_IN, dtype=torch.int64)).dtype == dtype


def test_float32_is_float64_rounded(generator):
    narrow, x = Network(WIDE, dtype=torch.float32), make_sample(generator, torch.float32)
    wide = copy.deepcopy(narrow).double()
    torch.testing.assert_close(narrow(x).double(), wide(x.double()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arity", [2, 3])
def test_gradients(arity, generator):
    """By the inputs and by every parameter, through products and scales, in and out of the grid."""
    network = make_scaled([N_IN, [1, 1], N_OUT], generator, grid=2, mult_arity=arity)
    names, values = zip(*network.named_parameters(), strict=True)
    x = make_sample(generator)[:4].requires_grad_()

    def run(x, *values):
        parameters = dict(zip(names, values, strict=True))
        return torch.func.functional_call(network, parameters, (x,)).sum(0)

    assert torch.autograd.gradcheck(run, (x, *values))


def test_no_samples():
    assert Network(WIDE)(torch.empty(0, N_IN)).shape == (0, N_OUT)


def test_counts():
    network = Network(WIDE, grid=4, k=2)
    assert (network.n_in, network.n_out, network.grid, network.k) == (N_IN, N_OUT, 4, 2)
    assert network.n_active_edges == 3 * 8 + 6 * 3 + 2 * 2
    network.kan_layers[1].mask[0, :4] = False
    assert network.n_active_edges == 3 * 8 + 6 * 3 + 2 * 2 - 4


# -- state ---------------------------------------------------------------------------------------


def test_a_seed_gives_one_network():
    assert_same_state(Network(WIDE, seed=3).state_dict(), Network(WIDE, seed=3).state_dict())
    one, other = Network(WIDE, seed=3), Network(WIDE, seed=4)
    assert not torch.equal(one.kan_layers[0].coef, other.kan_layers[0].coef)
    assert not torch.equal(one.kan_layers[0].base_weight, other.kan_layers[0].base_weight)


def test_the_global_random_state_has_no_say(generator):
    first = Network(WIDE)
    with torch.random.fork_rng():
        torch.manual_seed(12345)
        state = torch.get_rng_state()
        second = Network(WIDE)
        second(make_sample(generator))
        assert torch.equal(torch.get_rng_state(), state)
    assert_same_state(first.state_dict(), second.state_dict())


def test_running_stores_nothing(generator):
    network, x = make_scaled(WIDE, generator), make_sample(generator)
    state, before, given = copy.deepcopy(network.state_dict()), snapshot(network), x.clone()
    network(x)
    network.trace(x)
    after = snapshot(network)
    assert torch.equal(x, given)
    assert_same_state(network.state_dict(), state)
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        assert all(new[name] is value for name, value in old.items())


def test_the_state_dict_holds_everything(generator):
    network, x = make_scaled(WIDE, generator), make_sample(generator)
    network.kan_layers[0].symbolic = {(0, 1): "sin", (7, 2): "x^2"}
    network.kan_layers[1].mask[1, 3] = False
    other = Network(WIDE, seed=1)
    other.load_state_dict(network.state_dict())
    assert other.kan_layers[0].symbolic == network.kan_layers[0].symbolic
    assert torch.equal(other(x), network(x))


def test_a_copy_is_independent(generator):
    network, x = make_scaled(WIDE, generator), make_sample(generator)
    before = network(x)
    twin = network.copy()
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for tensor in twin.state_dict().values():
            if isinstance(tensor, torch.Tensor):
                tensor.zero_()
    twin.kan_layers[0].symbolic[0, 0] = "sin"
    assert torch.equal(network(x), before)


def test_with_layers_leaves_the_original_alone(generator):
    network, x = make_scaled([N_IN, 4, N_OUT], generator), make_sample(generator)
    before, kept = network(x), [0, 2, 3]
    first, second = network.kan_layers
    second.mask[:, 1] = False
    part = network.with_layers(
        (Nodes(N_IN), Nodes(3), Nodes(N_OUT)),
        [first.select(kept, list(range(N_IN))), second.select(list(range(N_OUT)), kept)],
    )
    assert_close(part(x), network(x))
    assert part.width == (Nodes(3), Nodes(3), Nodes(2))
    part.output_shift += 1
    with torch.no_grad():
        part.kan_layers[0].coef.zero_()
    second.mask[:] = True
    assert network.width == (Nodes(3), Nodes(4), Nodes(2))
    assert torch.equal(network(x), before)


def test_the_trace_ignores_a_column_nobody_uses(generator):
    network, x = Network([N_IN, 4, N_OUT]), make_sample(generator)
    network.kan_layers[0].mask[:, 1] = False
    before = network(x)
    x[:, 1] = torch.nan
    assert torch.equal(network(x), before)
    assert_close(network.trace(x).nodes[-1], before)
