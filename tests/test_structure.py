"""Changing the shape of a network: what goes is what does not matter, and the original stays."""

import copy
import math

import numpy as np
import pytest
import torch

from kansym import scores
from kansym.errors import EmptyNetworkError, NoSampleError
from kansym.model import KAN, Sample
from kansym.structure.prune import restrict
from kansym.training.grids import update_grids

N, N_IN, N_OUT = 30, 3, 2
WIDE = [N_IN, [4, 2], [3, 1], N_OUT]
by_score = pytest.mark.parametrize("score", scores.SCORES)


def make_inputs(generator, n_in=N_IN, n=N):
    return 2 * torch.rand(n, n_in, generator=generator, dtype=torch.float64) - 1


def make_model(generator, width=WIDE, **options):
    """Every edge a spline that varies; outputs with units."""
    model = KAN(width, **{"grid": 3, **options})
    with torch.no_grad():
        for layer in model.kan_layers:
            layer.coef += 0.3 * torch.randn(layer.coef.shape, generator=generator).to(layer.coef)
    model.output_shift.copy_(torch.arange(1.0, 1 + model.n_out))
    model.output_scale.copy_(torch.arange(2.0, 2 + model.n_out))
    return model


def make_lines(slopes, width, **options):
    """A model whose edges are phi_ji(x) = slopes[l][j][i] x, and 0 is an edge that is off."""
    model = KAN(width, base="identity", **options)
    with torch.no_grad():
        for layer, values in zip(model.kan_layers, slopes, strict=True):
            layer.coef.zero_()
            layer.base_weight.copy_(torch.tensor(values, dtype=torch.float64))
            layer.mask.copy_(layer.base_weight != 0)
    return model


@torch.no_grad()
def make_constant(model, l, i, j, value):
    """Edge (l, i, j) becomes a constant."""
    layer = model.kan_layers[l]
    layer.coef[j, i] = value
    layer.base_weight[j, i] = 0


def rows(model):
    return [tuple(nodes) for nodes in model.width]


def output(model, X):
    with torch.no_grad():
        return model(X)


def assert_same_output(model, other, X, tolerance=1e-12):
    torch.testing.assert_close(output(model, X), output(other, X), rtol=0, atol=tolerance)


def assert_same_state(actual, expected):
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        same = torch.equal(actual[name], value) if torch.is_tensor(value) else actual[name] == value
        assert same, name


def is_clean(model):
    """Every hidden node has edges in and out; shapes agree with the width."""
    for l, layer in enumerate(model.kan_layers):
        assert layer.mask.shape[1] == model.width[l].total
        assert layer.mask.shape[0] == len(
            [s for n in range(model.width[l + 1].total) for s in model.subnodes_of_node(l, n)]
        )
        if l:
            assert layer.mask.any(0).all()
        if l + 1 < len(model.kan_layers):
            for node in range(model.width[l + 1].total):
                assert layer.mask[model.subnodes_of_node(l, node)].any()
    return True


VERBS = {
    "prune": lambda model, **data: model.prune(0.2, 0.2, **data),
    "prune_nodes": lambda model, **data: model.prune_nodes(0.2, **data),
    "prune_edges": lambda model, **data: model.prune_edges(0.2, **data),
    "prune_inputs": lambda model, **data: model.prune_inputs(0.2, **data),
    "merge": lambda model, **data: model.merge(0.9, **data),
}


# -- all verbs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [*VERBS, "refine"])
def test_the_original_is_untouched(verb, generator):
    X, model = make_inputs(generator), make_model(generator)
    model.fix_symbolic(0, 0, 1, "sin", params=(1, 0, 1, 0))
    model.layers[1].mask[2, 3] = False
    model.fit((X, output(model, X)), "Adam", 1, progress=False)
    before, width = copy.deepcopy(model.state_dict()), model.width
    new = model.refine(6) if verb == "refine" else VERBS[verb](model)
    assert type(new) is KAN
    assert_same_state(model.state_dict(), before)
    assert model.width == width
    with torch.no_grad():  # nor does the new one share anything that training would move
        for tensor in [*new.parameters(), *new.buffers()]:
            tensor.fill_(1)
    for layer in new.kan_layers:
        layer.symbolic.clear()
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize("verb", VERBS)
def test_verbs_need_data(verb, generator):
    model = make_model(generator)
    message = "this needs data and the model has seen none; call fit or pass X"
    with pytest.raises(NoSampleError, match=message):
        VERBS[verb](model)
    VERBS[verb](model, X=make_inputs(generator))


def test_verbs_use_the_rows_of_the_last_fit_and_hand_them_on(generator):
    X, model = make_inputs(generator), make_model(generator)
    model.fit((X, output(model, X)), "Adam", 1, progress=False, update_grid=False)
    once = model.prune(0.1, 0.1)
    assert_same_state(once.state_dict(), model.prune(0.1, 0.1, X=X).state_dict())
    once.prune().merge().refine(6).prune_inputs()  # each finds the rows


@pytest.mark.parametrize(
    ("verb", "argument"),
    [("prune_nodes", "node_th"), ("prune_edges", "edge_th"), ("prune_inputs", "threshold")],
)
@pytest.mark.parametrize("value", [-0.1, math.nan])
def test_thresholds_are_numbers_from_0(verb, argument, value, generator):
    model, X = make_model(generator), make_inputs(generator)
    with pytest.raises(ValueError, match=f"{argument} must be >= 0, got {value}"):
        getattr(model, verb)(value, X=X)


@pytest.mark.parametrize("verb", ["prune", "prune_nodes", "prune_edges", "prune_inputs"])
def test_an_unknown_score_is_refused(verb, generator):
    model, X = make_model(generator), make_inputs(generator)
    with pytest.raises(ValueError, match="unknown score 'men_abs'; did you mean 'mean_abs'"):
        getattr(model, verb)(score="men_abs", X=X)


# -- pruning edges -------------------------------------------------------------------------------


@by_score
def test_thresholds_of_0_keep_everything(score, generator):
    X, model = make_inputs(generator), make_model(generator)
    for new in (model.prune(0, 0, score, X), model.prune_inputs(0, score, X)):
        assert_same_state(new.state_dict(), model.state_dict())
        assert rows(new) == rows(model)


@by_score
def test_edges_that_are_zero_go_and_the_output_stays(score, generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 4, N_OUT])
    for l, i, j in [(0, 0, 1), (0, 2, 3), (1, 3, 0)]:
        make_constant(model, l, i, j, 0)
    new = model.prune_edges(1e-6, score, X)
    assert new.n_active_edges == model.n_active_edges - 3
    assert not new.layers[0].mask[1, 0]
    assert not new.layers[1].mask[0, 3]
    assert_same_output(new, model, X)
    assert_same_output(new, model, 5 * X)  # not only on the rows it was measured on


@pytest.mark.parametrize("score", ["std", "attribution"])
@pytest.mark.parametrize("width", [[N_IN, 4, N_OUT], WIDE])
def test_edges_that_are_constant_go_and_their_constants_stay(score, width, generator):
    X, model = make_inputs(generator), make_model(generator, width)
    for l, i, j, value in [(0, 0, 1, 2.0), (0, 2, 3, -1.0), (1, 3, 0, 0.7), (1, 1, 0, -3.0)]:
        make_constant(model, l, i, j, value)
    new = model.prune_edges(1e-6, score, X)
    assert new.n_active_edges == model.n_active_edges - 4
    assert_same_output(new, model, X)
    inside = make_inputs(generator)  # not only the rows it was measured on
    assert_same_output(new, model, inside)


def test_a_constant_goes_to_a_named_edge_too(generator):
    X = make_inputs(generator, 2)
    model = make_model(generator, [2, 1])
    model.fix_symbolic(0, 0, 0, "sin", params=(2, 0, 3, 1))
    make_constant(model, 0, 1, 0, 5.0)
    new = model.prune_edges(0.01, X=X)
    assert new.n_active_edges == 1
    assert new.layers[0].affine[0, 0].tolist() == pytest.approx([2, 0, 3, 6])
    assert_same_output(new, model, X)


def test_the_paper_prunes_constants_by_their_size(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 1])
    make_constant(model, 0, 1, 0, 2.0)
    assert model.prune_edges(0.01, "mean_abs", X).n_active_edges == 3
    assert model.prune_edges(0.01, "std", X).n_active_edges == 2


def test_only_edges_below_the_threshold_go(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 4, N_OUT])
    for score in scores.SCORES:
        values = model.edge_scores(score, X)
        threshold = torch.cat([v.flatten() for v in values]).quantile(0.2).item()
        new = model.prune_edges(threshold, score, X)
        kept = sum(int((v >= threshold).sum()) for v in values)
        assert rows(new) == rows(model)
        assert new.n_active_edges == kept


@pytest.mark.parametrize("n_output", [N_OUT, [1, 1], [0, 2]])
def test_an_output_that_loses_every_edge_becomes_its_mean(n_output, generator):
    X = make_inputs(generator)
    model = make_model(generator, [N_IN, 4, n_output])
    last = model.kan_layers[-1]
    for subnode in model.subnodes_of_node(1, 0):
        for i in range(4):
            make_constant(model, 1, i, subnode, 0.3 + i)
    new = model.prune_edges(0.01, X=X)
    assert last.mask.all()
    assert not new.kan_layers[-1].mask[model.subnodes_of_node(1, 0)].any()
    assert_same_output(new, model, X)
    again = new.prune(X=X)
    assert_same_output(again, new, X)


@pytest.mark.parametrize("verb", ["prune", "prune_nodes", "prune_edges", "prune_inputs"])
def test_pruning_everything_is_an_error_that_says_so(verb, generator):
    X, model = make_inputs(generator), make_model(generator)
    largest = max(float(e.abs().mean(0).detach().max()) for e in model.trace(X).edges)
    threshold = (1e9, 1e9) if verb == "prune" else (1e9,)
    message = (
        r"pruning with (node_th|edge_th|threshold)=1e\+09 leaves no path from an input to an "
        rf"output \(largest mean \|phi\| of an edge: {largest:.3g}\); lower the threshold"
    )
    with pytest.raises(EmptyNetworkError, match=message):
        getattr(model, verb)(*threshold, X=X)


# -- pruning nodes -------------------------------------------------------------------------------


@by_score
def test_hidden_nodes_below_the_threshold_go(score, generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 5, 4, N_OUT])
    with torch.no_grad():
        for l, node in [(0, 1), (1, 2)]:
            model.layers[l].coef[node] *= 1e-9
            model.layers[l].base_weight[node] *= 1e-9
            # Leaving edges as faint: what a trained network has, and attribution looks at.
            model.layers[l + 1].coef[:, node] *= 1e-9
            model.layers[l + 1].base_weight[:, node] *= 1e-9
    new = model.prune_nodes(1e-6, score, X)
    assert rows(new) == [(3, 0), (4, 0), (3, 0), (2, 0)]
    assert is_clean(new)
    assert_same_output(new, model, X, 1e-7)
    kept = [0, 2, 3, 4]
    assert torch.equal(new.layers[0].base_weight, model.layers[0].base_weight[kept])


def test_nodes_that_lead_nowhere_go(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 5, 4, N_OUT])
    model.layers[1].mask[:, 0] = False  # nothing leaves node 0 of row 1
    model.layers[0].mask[1] = False  # nothing enters node 1 of row 1
    model.layers[2].mask[:, 3] = False  # node 3 of row 2 is the only way on from node 2 of row 1
    model.layers[1].mask[:3, 2] = False
    new = model.prune(0, 0, X=X)
    assert rows(new) == [(3, 0), (2, 0), (3, 0), (2, 0)]
    assert is_clean(new)
    assert_same_output(new, model, X)


def test_a_node_that_nothing_enters_leaves_its_constant(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 3, N_OUT])
    model.layers[0].mask[1] = False
    at_zero = model.trace(X).edges[1][0, :, 1]
    assert at_zero.abs().max() > 0.01  # phi(0) is not 0
    new = model.prune(0, 0, X=X)
    assert rows(new) == [(3, 0), (2, 0), (2, 0)]
    assert_same_output(new, model, X)


@pytest.mark.parametrize("arity", [2, 3])
def test_products_go_as_a_whole(arity, generator):
    """h = (x_0, x_1, product, product / 1e6): the last one goes with all its factors."""
    eye, factors = torch.eye(3).tolist()[:2], [[1.0, 0.5, 0.0], [0.0, 1.0, 2.0], [1.0, 0.0, 1.0]]
    slopes = [[*eye, *factors[:arity], *factors[:arity]], [[1.0, 2.0, 3.0, 3e-6]]]
    model = make_lines(slopes, [3, [2, 2], 1], mult_arity=arity)
    X = make_inputs(generator)
    for score in scores.SCORES:
        new = model.prune_nodes(1e-3, score, X)
        assert rows(new) == [(3, 0), (2, 1), (1, 0)]
        assert new.layers[0].mask.shape == (2 + arity, 3)
        assert is_clean(new)
        assert_same_output(new, model, X, 1e-4)


def test_a_sum_node_before_a_product_shifts_its_factors(generator):
    model = make_model(generator, [N_IN, [2, 1], 1])
    with torch.no_grad():
        model.layers[1].coef[:, 0] *= 0
        model.layers[1].base_weight[:, 0] *= 0
    X = make_inputs(generator)
    new = model.prune_nodes(1e-6, X=X)
    assert rows(new) == [(3, 0), (1, 1), (1, 0)]
    assert torch.equal(new.layers[0].coef, model.layers[0].coef[1:])
    assert_same_output(new, model, X)


# -- factors -------------------------------------------------------------------------------------


def test_a_product_that_stays_keeps_an_edge_of_every_factor(generator):
    """y = (2 x_0 + 0.001 x_1) (0.004 x_2 + 0.002 x_1): by size, the second factor would go."""
    model = make_lines([[[2.0, 0.001, 0.0], [0.0, 0.002, 0.004]], [[100.0]]], [3, [0, 1], 1])
    X = make_inputs(generator)
    new = model.prune_edges(0.01, "mean_abs", X)
    assert new.layers[0].mask.tolist() == [[True, False, False], [False, False, True]]


def test_an_edge_that_is_off_is_not_what_a_factor_keeps(generator):
    """Both edges of the second factor score 0: one is constant, the other, the first, is off."""
    model = make_lines([[[2.0, 1.0], [1.0, 1.0]], [[1.0]]], [2, [0, 1], 1])
    model.layers[0].mask[1, 0] = False
    model.fix_symbolic(0, 1, 1, "x", params=(1, 0, 0, 4))
    X = make_inputs(generator, 2)
    assert model.edge_scores("std", X)[0][1].tolist() == [0, 0]
    new = model.prune_edges(0.01, "std", X)
    assert_same_output(new, model, X)
    assert new.layers[0].mask[1].tolist() == [False, True]


@pytest.mark.parametrize("verb", ["prune_inputs", "prune"])
@pytest.mark.parametrize("is_named", [False, True])
def test_a_factor_of_inputs_that_go_becomes_a_constant(verb, is_named, generator):
    """y = 3 x_0 * 4: the factor 4 hangs on x_1, which matters to nobody."""
    model = make_lines([[[3.0, 0.0], [1.0, 1.0]], [[1.0]]], [2, [0, 1], 1])
    make_constant(model, 0, 1, 1, 4.0)
    if is_named:  # a name on the edge that has to take the constant on
        model.fix_symbolic(0, 0, 1, "sin", params=(1, 0, 1, 0))
    model.layers[0].mask[1, 0] = False
    X = make_inputs(generator, 2)
    new = model.prune_inputs(1e-3, "std", X)
    if verb == "prune":
        new = new.prune(1e-3, 1e-3, X=X)
    assert not new.layers[0].mask[:, 1].any()
    assert_same_output(new, model, X)
    assert output(new, X).std() > 1


def test_a_factor_of_a_node_that_goes_becomes_a_constant(generator):
    """h = (x_0, 0.002 x_1); y = h_0 * (5 + h_1): the node h_1 goes, the factor 5 stays."""
    model = make_lines(
        [[[1.0, 0.0], [0.0, 0.002]], [[1.0, 0.0], [0.0, 1.0]], [[1.0]]], [2, 2, [0, 1], 1]
    )
    with torch.no_grad():
        model.layers[1].coef[1, 1] += 5
    X = make_inputs(generator, 2)
    for new in (model.prune_nodes(0.01, "std", X), model.prune(0.01, 0.01, "std", X)):
        assert rows(new) == [(2, 0), (1, 0), (0, 1), (1, 0)]
        assert is_clean(new)
        assert_same_output(new, model, X, 0.003)
        assert output(new, X).std() > 1


# -- inputs --------------------------------------------------------------------------------------


def make_with_an_idle_input(generator):
    """x_1 of three does next to nothing."""
    model = make_model(generator, [N_IN, 4, N_OUT])
    with torch.no_grad():
        model.layers[0].coef[:, 1] *= 1e-9
        model.layers[0].base_weight[:, 1] *= 1e-9
    return model


@by_score
def test_an_ignored_column_may_hold_anything(score, generator):
    X, model = make_inputs(generator), make_with_an_idle_input(generator)
    new = model.prune_inputs(1e-6, score, X)
    assert rows(new) == rows(model)
    assert new.layers[0].mask.any(0).tolist() == [True, False, True]
    assert_same_output(new, model, X, 1e-7)
    expected = output(new, X)
    for anything in (1e300, -math.inf, math.nan):
        hostile = X.clone()
        hostile[:, 1] = anything
        assert torch.equal(output(new, hostile), expected)
    hostile[:, 1] = 1e300
    np.testing.assert_array_equal(new.predict(hostile.numpy()), expected.numpy())  # and no warning


def test_pruning_after_prune_inputs_reads_the_right_columns(generator):
    X, model = make_inputs(generator), make_with_an_idle_input(generator)
    with torch.no_grad():
        model.layers[0].coef[2] *= 1e-9
        model.layers[0].base_weight[2] *= 1e-9
        model.layers[1].coef[:, 2] *= 1e-9
        model.layers[1].base_weight[:, 2] *= 1e-9
    for new in (
        model.prune_inputs(1e-6, X=X).prune(1e-6, 1e-6, X=X),
        model.prune(1e-6, 1e-6, X=X).prune_inputs(1e-6, X=X),
    ):
        assert rows(new) == [(3, 0), (3, 0), (2, 0)]
        assert new.layers[0].mask.any(0).tolist() == [True, False, True]
        assert_same_output(new, model, X, 1e-7)
        with pytest.raises(ValueError, match="X must have 3 columns"):
            new(X[:, :2])


def test_what_is_left_trains_on_the_same_table(generator):
    X, model = make_inputs(generator), make_with_an_idle_input(generator)
    new = model.prune_inputs(1e-6, X=X)
    y = torch.stack([X[:, 0] ** 2, X[:, 2]], 1)
    new.fit((X, y), "LM", 8, progress=False)
    assert (output(new, X) - y).pow(2).mean() < 1e-3
    assert new.feature_scores().tolist()[1] == 0


# -- symbolic edges ------------------------------------------------------------------------------


def test_names_survive_at_their_new_indices(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, [3, 1], [2, 1], N_OUT])
    names = {(0, 2, 2): "sin", (0, 1, 4): "exp", (1, 3, 1): "x^2", (2, 2, 1): "tanh"}
    for (l, i, j), name in names.items():
        model.fix_symbolic(l, i, j, name, params=(1.1, 0.2, 1.3, 0.4))
    model.layers[1].mask[:, 1] = False  # node 1 of row 1 goes: 2 becomes 1, the product becomes 2
    model.layers[1].mask[0] = False  # nothing enters node 0 of row 2: 1 becomes 0
    new = model.prune(0, 0, X=X)
    assert rows(new) == [(3, 0), (2, 1), (1, 1), (2, 0)]
    assert [layer.symbolic for layer in new.kan_layers] == [
        {(1, 2): "sin", (3, 1): "exp"},
        {(0, 2): "x^2"},
        {(1, 1): "tanh"},
    ]
    for layer in new.kan_layers:
        for j, i in layer.symbolic:
            assert layer.affine[j, i, 0].item() == 1.1
    assert_same_output(new, model, X)


# -- merging -------------------------------------------------------------------------------------


def move_grids(model, X):
    """To where the activations are; the functions stay."""
    model.sample = Sample(X, output(model, X))
    update_grids(model, X)


def make_twins(generator, alpha, beta, width=(N_IN, 4, N_OUT)):
    """Hidden node 2 is alpha h_0 + beta; grids where the activations are."""
    model = make_model(generator, list(width), grid=6, k=3)
    first, X = model.layers[0], make_inputs(generator)
    with torch.no_grad():
        first.coef[2] = alpha * first.coef[0]
        first.base_weight[2] = alpha * first.base_weight[0]
        first.coef[2, 0] += beta
    move_grids(model, X)
    return model, X


@pytest.mark.parametrize(
    ("alpha", "beta"), [(1, 0), (0.4, 0.2), (-0.4, 0.2), (3, -1), (-3, 1), (1e-3, 0), (1e3, 5)]
)
def test_collinear_nodes_become_one(alpha, beta, generator):
    model, X = make_twins(generator, alpha, beta)
    new = model.merge(1e-6)
    assert rows(new) == [(3, 0), (3, 0), (2, 0)]
    assert is_clean(new)
    # silu(alpha x + beta) has to be followed by the spline of the node that stays: good to 1e-3 of
    # the deviation of the outputs at 6 intervals.
    spread = output(model, X).std(0).max()
    assert (output(new, X) - output(model, X)).abs().max() < 1e-3 * spread


@pytest.mark.parametrize(("alpha", "beta"), [(0.4, 0.2), (-3, 1)])
def test_without_a_base_function_merging_is_exact(alpha, beta, generator):
    """Grids that follow the activations are scaled and shifted as the nodes are."""
    model, X = make_twins(generator, alpha, beta)
    with torch.no_grad():
        model.layers[1].base_weight.zero_()
    assert_same_output(model.merge(1e-6), model, X, 1e-8)


def test_three_of_a_kind_become_one(generator):
    model, X = make_twins(generator, 0.5, 0.1)
    with torch.no_grad():
        model.layers[0].coef[3] = -2 * model.layers[0].coef[0]
        model.layers[0].base_weight[3] = -2 * model.layers[0].base_weight[0]
    move_grids(model, X)
    new = model.merge(1e-6)
    assert rows(new) == [(3, 0), (2, 0), (2, 0)]
    spread = output(model, X).std(0).max()
    assert (output(new, X) - output(model, X)).abs().max() < 1e-3 * spread


def test_edges_that_only_the_dropped_node_had_pass_to_the_other(generator):
    model, X = make_twins(generator, 0.5, 0.1)  # node 0 is the livelier one and stays
    model.layers[1].mask[1, 0] = False
    model.layers[1].symbolic[1, 0] = "sin"  # a name from before it was switched off
    with torch.no_grad():
        model.layers[1].coef[1, 0] = 99  # no part of the function
    new = model.merge(1e-6)
    assert rows(new) == [(3, 0), (3, 0), (2, 0)]
    assert new.layers[1].mask.all()
    assert new.layers[1].symbolic == {}
    spread = output(model, X).std(0).max()
    assert (output(new, X) - output(model, X)).abs().max() < 1e-3 * spread


def test_nothing_to_merge_leaves_the_network_as_it_is(generator):
    X, model = make_inputs(generator), make_model(generator)
    new = model.merge(1e-6, X)
    assert new is not model
    assert_same_state(new.state_dict(), model.state_dict())


def test_the_tolerance_is_one_minus_the_squared_correlation(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 2, 1])
    with torch.no_grad():
        layer = model.layers[0]
        layer.coef[1] = layer.coef[0] + 0.05 * layer.coef[1]
        layer.base_weight[1] = layer.base_weight[0]
        h = model.trace(X).nodes[1]
    gap = 1 - np.corrcoef(h.numpy().T)[0, 1] ** 2
    assert 0 < gap < 0.1
    assert rows(model.merge(gap * 1.01, X))[1] == (1, 0)
    assert rows(model.merge(gap * 0.99, X))[1] == (2, 0)


@pytest.mark.parametrize("tolerance", [-0.1, 1, math.nan])
def test_the_tolerance_of_merge_is_in_0_to_1(tolerance, generator):
    model, X = make_model(generator), make_inputs(generator)
    with pytest.raises(ValueError, match=r"tolerance must be a number in \[0, 1\), got"):
        model.merge(tolerance, X)


def test_sums_merge_beside_products_and_into_factors(generator):
    model, X = make_twins(generator, 0.5, 0.1, (N_IN, [4, 1], [1, 1], N_OUT))
    new = model.merge(1e-6)
    assert rows(new) == [(3, 0), (3, 1), (1, 1), (2, 0)]
    assert is_clean(new)
    spread = output(model, X).std(0).max()
    assert (output(new, X) - output(model, X)).abs().max() < 2e-3 * spread


def test_products_are_not_merged(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, [1, 2], 1])
    with torch.no_grad():
        layer = model.layers[0]
        layer.coef[3:] = layer.coef[1:3]
        layer.base_weight[3:] = layer.base_weight[1:3]
    new = model.merge(1e-6, X)
    assert_same_state(new.state_dict(), model.state_dict())


@pytest.mark.parametrize("i", [0, 2])
def test_a_node_with_a_named_edge_out_is_not_merged(i, generator):
    model, _ = make_twins(generator, 0.5, 0.1)
    model.fix_symbolic(1, i, 1, "sin", params=(1, 0, 1, 0))
    assert rows(model.merge(1e-6))[1] == (4, 0)
    model.layers[1].mask[1, i] = False  # an edge that is off has no say
    assert rows(model.merge(1e-6))[1] == (3, 0)


def test_a_named_edge_into_a_merged_node_goes_with_it_or_stays(generator):
    X = make_inputs(generator, 1)
    model = make_model(generator, [1, 2, 1])
    model.fix_symbolic(0, 0, 0, "sin", params=(2, 0, 1, 0))
    model.fix_symbolic(0, 0, 1, "sin", params=(2, 0, -0.1, 3))
    new = model.merge(1e-6, X)
    assert rows(new) == [(1, 0), (1, 0), (1, 0)]
    assert new.layers[0].symbolic == {(0, 0): "sin"}
    assert new.layers[0].affine[0, 0].tolist() == [2, 0, 1, 0]


# -- refining ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("grid", [3, 6, 12])
def test_refining_to_a_multiple_keeps_the_function_exactly(grid, k, generator):
    X = 1.5 * make_inputs(generator)  # also outside the grid
    model = make_model(generator, k=k)
    model.fix_symbolic(0, 0, 1, "sin", params=(1, 0, 1, 0))
    model.layers[1].mask[2, 3] = False
    move_grids(model, X)
    new = model.refine(grid)
    assert [layer.grid for layer in new.kan_layers] == [grid] * 3
    assert new.layers[0].symbolic == model.layers[0].symbolic
    assert torch.equal(new.layers[1].mask, model.layers[1].mask)
    assert_same_output(new, model, 1.2 * X, 1e-9)


def test_refining_otherwise_keeps_the_function_closely(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 4, N_OUT])
    before = output(model, X)
    gaps = []
    for grid in (4, 10, 31, 100):
        gaps.append(((output(model.refine(grid), X) - before).abs().max() / before.std()).item())
    assert gaps[0] > gaps[1] > gaps[2] > gaps[3]  # the space holds more and more of the old spline
    assert gaps[1] < 0.1
    assert gaps[3] < 1e-4


def test_refining_keeps_the_ranges_and_the_density(generator):
    X = make_inputs(generator) ** 3
    model = make_model(generator, [N_IN, N_OUT], grid_eps=0.0)
    model.fit((X, output(model, X)), "Adam", 1, progress=False)
    new = model.refine(9)
    k = model.k
    breaks = model.layers[0].knots[:, k:-k]
    torch.testing.assert_close(new.layers[0].knots[:, k:-k][:, ::3], breaks, rtol=0, atol=1e-14)


def test_refine_needs_no_data_and_checks_its_grid(generator):
    model = make_model(generator)
    assert model.refine(1).grid == 1
    for grid, message in [(0, "got 0"), (2.5, "got 2.5")]:
        with pytest.raises(ValueError, match=f"grid must be an integer >= 1, {message}"):
            model.refine(grid)


def test_a_refined_model_trains_further(generator):
    X = make_inputs(generator, 1, 60)
    y = torch.sin(4 * X)
    model = KAN([1, 1], grid=3)
    model.fit((X, y), "LM", 5, progress=False)
    coarse = (output(model, X) - y).pow(2).mean()
    new = model.refine(12)
    new.fit((X, y), "LM", 5, progress=False)
    assert (output(new, X) - y).pow(2).mean() < coarse / 1e3


# -- asking --------------------------------------------------------------------------------------

QUERIES = {
    "edge_scores": lambda m, X: [m.edge_scores(score, X) for score in scores.SCORES],
    "node_scores": lambda m, X: [m.node_scores(score, X) for score in scores.SCORES],
    "feature_scores": lambda m, X: m.feature_scores(X),
    "suggest_symbolic": lambda m, X: m.suggest_symbolic(0, 0, 0, lib=["sin", "x^2"], X=X),
    "graph": lambda m, X: m.graph(X),
    "plot": lambda m, X: m.plot(X),
    "predict": lambda m, X: m.predict(X),
    "trace": lambda m, X: m.trace(X),
    **{name: lambda m, X, verb=verb: verb(m, X=X) for name, verb in VERBS.items()},
    "refine": lambda m, X: m.refine(6),
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_changes_nothing(query, generator):
    X, model = make_inputs(generator), make_model(generator)
    model.fix_symbolic(0, 0, 1, "sin", params=(1, 0, 1, 0))
    model.layers[1].mask[2, 3] = False
    before = copy.deepcopy(model.state_dict())
    attributes = dict(vars(model))
    QUERIES[query](model, X)
    assert_same_state(model.state_dict(), before)
    assert vars(model) == attributes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.sample is None


@pytest.mark.parametrize(
    "query",
    [
        lambda m: m.edge_scores(),
        lambda m: m.node_scores(),
        lambda m: m.feature_scores(),
        lambda m: m.suggest_symbolic(0, 0, 0),
        lambda m: m.graph(),
        lambda m: m.plot(),
    ],
)
def test_queries_about_activations_need_data(query, generator):
    with pytest.raises(NoSampleError, match="call fit or pass X"):
        query(make_model(generator))


def test_scores_have_the_shape_of_what_they_score(generator):
    X, model = make_inputs(generator), make_model(generator)
    for score in scores.SCORES:
        assert [e.shape for e in model.edge_scores(score, X)] == [
            layer.mask.shape for layer in model.kan_layers
        ]
        assert [len(n) for n in model.node_scores(score, X)] == [3, 6, 4, 2]
    assert model.feature_scores(X).shape == (3,)


def test_restrict_takes_masks(generator):
    X, model = make_inputs(generator), make_model(generator, [N_IN, 4, N_OUT])
    masks = [layer.mask.clone() for layer in model.kan_layers]
    masks[0][2] = False
    with torch.no_grad():
        new = restrict(model, model.trace(X), masks)
    assert rows(new) == [(3, 0), (3, 0), (2, 0)]
