"""Scores say how much an edge, a node or a feature matters."""

import itertools

import pytest
import torch

from kansym import scores
from kansym.network import Network

N, N_IN, N_OUT = 7, 3, 2
WIDE = [N_IN, [2, 1], N_OUT]


def make_network(generator, width=WIDE, **options):
    network = Network(width, grid=3, **options)
    network.kan_layers[0].symbolic = {(1, 0): "sin"}
    network.kan_layers[0].mask[0, 2] = False
    with torch.no_grad():
        for layer in network.kan_layers:
            layer.coef += torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
    return network


def make_sample(generator, n=N, n_in=N_IN):
    return 2 * torch.rand(n, n_in, generator=generator, dtype=torch.float64) - 1


def make_lines(slopes, width, **options):
    """A network whose edges are phi_ji(x) = slopes[l][j][i] x, and 0 is an edge that is off."""
    network = Network(width, base="identity", **options)
    with torch.no_grad():
        for layer, values in zip(network.kan_layers, slopes, strict=True):
            layer.coef.zero_()
            layer.base_weight.copy_(torch.tensor(values, dtype=torch.float64))
            layer.mask.copy_(layer.base_weight != 0)
    return network


def assert_close(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


# -- edges ---------------------------------------------------------------------------------------


def by_hand(kind, values):
    if kind == "mean_abs":
        return sum(abs(v) for v in values) / len(values)
    mean = sum(values) / len(values)
    return (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5


@pytest.mark.parametrize("kind", ["mean_abs", "std"])
def test_mean_abs_and_std_are_those_of_the_values(kind, generator):
    network = make_network(generator)
    trace = network.trace(make_sample(generator))
    for layer, values in zip(trace.edges, scores.edge_scores(network, trace, kind), strict=True):
        assert values.shape == layer.shape[1:]
        for j, i in itertools.product(*map(range, values.shape)):
            expected = by_hand(kind, layer[:, j, i].tolist())
            assert values[j, i].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kind", scores.SCORES)
def test_edges_that_are_off_score_zero_and_no_score_is_negative(kind, generator):
    network = make_network(generator)
    network.kan_layers[0].mask[1, 0] = False  # one with a name
    trace = network.trace(make_sample(generator))
    edges = scores.edge_scores(network, trace, kind)
    assert edges[0][0, 2] == 0
    assert edges[0][1, 0] == 0
    for layer, values in zip(network.kan_layers, edges, strict=True):
        assert (values[layer.mask] > 0).all()
        assert (values[~layer.mask] == 0).all()


def test_a_constant_has_a_mean_but_no_spread(generator):
    network = Network([1, 1], base="zero")
    with torch.no_grad():
        network.kan_layers[0].coef.fill_(-2.0)
    trace = network.trace(make_sample(generator, n_in=1))
    assert_close(scores.edge_scores(network, trace, "mean_abs")[0], tensor([[2.0]]))
    assert scores.edge_scores(network, trace, "std")[0].item() < 1e-14


@pytest.mark.parametrize("kind", scores.SCORES)
def test_gradients_are_finite_where_an_edge_is_exactly_zero(kind, generator):
    network = make_network(generator)
    with torch.no_grad():
        first = network.kan_layers[0]
        first.coef[:, 1] = 0
        first.base_weight[:, 1] = 0
    trace = network.trace(make_sample(generator))
    sum(values.sum() for values in scores.edge_scores(network, trace, kind)).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_an_unknown_score_is_refused(generator):
    network = make_network(generator)
    with pytest.raises(ValueError, match="unknown score 'atribution'; did you mean 'attribution'"):
        scores.edge_scores(network, network.trace(make_sample(generator)), "atribution")


# -- attribution ---------------------------------------------------------------------------------


def test_attribution_of_one_edge_is_its_share_of_the_spread(generator):
    network = make_lines([[[3.0, -4.0]]], [2, 1])
    x = make_sample(generator, 50, 2)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    y = x @ tensor([3.0, -4.0])
    edges, nodes = scores.attribution(network, network.trace(x))
    expected = tensor([3.0, 4.0]) / y.std(correction=0)
    assert_close(edges[0], expected[None])
    assert_close(nodes[0], expected)
    assert_close(nodes[1], tensor([1.0]))


def test_a_node_scores_the_sum_of_what_leaves_it(generator):
    network = make_network(generator, [N_IN, 4, 5, 1])
    edges, nodes = scores.attribution(network, network.trace(make_sample(generator)))
    assert [len(row) for row in nodes] == [3, 4, 5, 1]
    for row, leaving in zip(nodes[:-1], edges, strict=True):
        assert_close(row, leaving.sum(0))  # one output: the largest over outputs is the only one


def test_what_enters_a_node_is_its_score_by_the_spread_of_each_edge(generator):
    network = make_network(generator, [N_IN, 4, 1])
    trace = network.trace(make_sample(generator))
    edges, nodes = scores.attribution(network, trace)
    std = trace.edges[0].std(0, correction=0), trace.subnodes[0].std(0, correction=0)
    assert_close(edges[0], nodes[1][:, None] * std[0] / std[1][:, None])


def test_the_largest_over_the_outputs_counts(generator):
    """Each output of 40 hangs on one input of its own: averaged, every edge would score 1/40."""
    count = 40
    network = make_lines([torch.eye(count).tolist()], [count, count])
    edges, nodes = scores.attribution(network, network.trace(make_sample(generator, 50, count)))
    assert_close(edges[0], torch.eye(count, dtype=torch.float64))
    assert_close(nodes[0], torch.ones(count, dtype=torch.float64))


def test_attribution_is_taken_output_by_output(generator):
    network = make_network(generator, [N_IN, 4, N_OUT])
    trace = network.trace(make_sample(generator))
    share = [
        edges.std(0, correction=0) / subnodes.std(0, correction=0)[:, None]
        for edges, subnodes in zip(trace.edges, trace.subnodes, strict=True)
    ]
    by_output = share[1][:, :, None] * share[0]  # [output, hidden, in]
    edges, nodes = scores.attribution(network, trace)
    assert_close(edges[0], by_output.amax(0))
    assert_close(nodes[0], by_output.sum(1).amax(0))  # the largest sum, not the sum of the largest


def test_a_feature_without_influence_scores_zero(generator):
    network = make_network(generator, [N_IN, 4, N_OUT])
    network.kan_layers[0].mask[:, 1] = False
    values = scores.feature_scores(network, network.trace(make_sample(generator)))
    assert values.shape == (N_IN,)
    assert values[1] == 0
    assert (values[[0, 2]] > 0).all()


@pytest.mark.parametrize("arity", [2, 3])
def test_every_factor_has_the_score_of_its_product(arity, generator):
    """h = (x_0, x_1 ... x_arity), y = 2 h_0 + 5 h_1."""
    n_in = arity + 1
    network = make_lines(
        [torch.eye(n_in).tolist(), [[2.0, 5.0]]], [n_in, [1, 1], 1], mult_arity=arity
    )
    x = make_sample(generator, 50, n_in)
    edges, nodes = scores.attribution(network, network.trace(x))
    parts = torch.stack([2 * x[:, 0], 5 * x[:, 1:].prod(1)], 1)
    share = parts.std(0, correction=0) / parts.sum(1).std(correction=0)
    assert_close(nodes[1], share)
    assert_close(edges[0], torch.diag(torch.cat([share[:1], share[1:].expand(arity)])))
    assert_close(nodes[0], edges[0].sum(0))


def test_a_constant_output_gives_nothing_to_attribute(generator):
    """Rounding makes its values differ by 1e-16, as those of its edges."""
    network = make_network(generator, [N_IN, N_OUT], base="zero")
    with torch.no_grad():
        network.kan_layers[0].coef[1] = torch.tensor([[0.1], [0.7], [-1.3]])
    network.kan_layers[0].symbolic.clear()
    trace = network.trace(make_sample(generator, 50))
    assert trace.subnodes[0].std(0)[1] > 0
    edges, nodes = scores.attribution(network, trace)
    assert edges[0][1].tolist() == [0, 0, 0]
    assert torch.equal(nodes[0], edges[0][0])


# -- nodes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean_abs", "std"])
def test_a_node_is_as_alive_as_the_weaker_of_its_sides(kind, generator):
    network = make_network(generator, [N_IN, 4, N_OUT])
    trace = network.trace(make_sample(generator))
    first, last = scores.edge_scores(network, trace, kind)
    rows = scores.node_scores(network, trace, kind)
    assert [len(row) for row in rows] == [N_IN, 4, N_OUT]
    for n in range(N_IN):
        assert rows[0][n] == first[:, n].max()
    for n in range(4):
        assert rows[1][n] == min(first[n].max(), last[:, n].max())
    for n in range(N_OUT):
        assert rows[2][n] == last[n].max()


@pytest.mark.parametrize("kind", ["mean_abs", "std"])
def test_a_product_is_as_alive_as_its_own_values(kind, generator):
    """0.001 x_0 * 3 x_1 * 1000: no factor alone says how much there is of the product."""
    network = make_lines(
        [[[1.0, 1.0], [0.001, 0.0], [0.0, 3.0], [1.0, 0.0]], [[9.0, 9.0]]],
        [2, [1, 1], 1],
        mult_arity=3,
    )
    network.kan_layers[0].symbolic[3, 0] = "x^2"
    with torch.no_grad():
        network.kan_layers[0].affine[3, 0] = tensor([0.0, 0.0, 0.0, 1000.0])
    x = make_sample(generator, n_in=2)
    row = scores.node_scores(network, network.trace(x), kind)[1]
    values = 3 * x.prod(1)
    expected = values.abs().mean() if kind == "mean_abs" else values.std(correction=0)
    assert row[1].item() == pytest.approx(expected.item(), rel=1e-12)


def test_node_scores_by_attribution_are_attribution(generator):
    network = make_network(generator)
    trace = network.trace(make_sample(generator))
    for row, expected in zip(
        scores.node_scores(network, trace, "attribution"),
        scores.attribution(network, trace)[1],
        strict=True,
    ):
        assert torch.equal(row, expected)
