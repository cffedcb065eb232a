"""What a function says about its structure: every property that it has is found, and no other."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kansym import KAN, NoSampleError
from kansym.structure import Group, hypotheses
from kansym.structure.groups import strong_groups
from kansym.views import plot_tree


def rows(n_in, low=-1.0, high=1.0, n=300):
    generator = torch.Generator().manual_seed(n_in)
    return low + (high - low) * torch.rand(n, n_in, generator=generator, dtype=torch.float64)


def held(found):
    return {h.statement for h in found.found}


def shape(group):
    """The tree as nested tuples (form, parts...)."""
    if not group.parts:
        return group.variables[0]
    return (group.form, *map(shape, group.parts))


CASES = {
    "a sum": (
        lambda x: torch.sin(x[:, 0]) + x[:, 1] ** 3 + torch.exp(x[:, 2]), (-1, 1),
        {"f = A(x1) + B(x2) + C(x3)"},
        ("+", "x1", "x2", "x3"),
    ),
    "a product and a constant": (
        lambda x: torch.exp(x[:, 0]) * (2 + torch.sin(3 * x[:, 1])) - 4, (-1, 1),
        {"f = A(x1) * B(x2) - 4"},
        ("*", "x1", "x2"),
    ),
    "blocks": (
        lambda x: torch.sin(x[:, 0] + x[:, 1] ** 2 * x[:, 0]) + torch.cos(x[:, 2] * x[:, 3] ** 2),
        (0.5, 2),
        {"f = A(x1, x2) + B(x3, x4)", "x3 and x4 only as x4^2 * x3"},
        ("+", ("h", "x1", "x2"), ("x4^2 * x3", "x3", "x4")),
    ),
    "a sum within, velocities": (
        lambda x: (x[:, 0] + x[:, 1]) / (1 + x[:, 0] * x[:, 1]), (-0.8, 0.8),
        {"f = F(A(x1) + B(x2))"},
        ("F(+)", "x1", "x2"),
    ),
    "a group": (
        lambda x: torch.sin(torch.exp(x[:, 0]) * x[:, 1] + x[:, 0]) + x[:, 2] * torch.exp(
            torch.sin(torch.exp(x[:, 0]) * x[:, 1] + x[:, 0])), (-0.9, 0.9),
        {"f = F(h(x1, x2), x3)"},
        ("h", ("h", "x1", "x2"), "x3"),
    ),
    "differences and ratios": (
        lambda x: torch.sin(x[:, 0] - x[:, 1]) * torch.log(1 + x[:, 2] / x[:, 3]), (0.5, 1.5),
        {"f = A(x1, x2) * B(x3, x4)", "x1 and x2 only as x1 - x2", "x3 and x4 only as x3 / x4"},
        ("*", ("x1 - x2", "x1", "x2"), ("x3 / x4", "x3", "x4")),
    ),
    "a radius and an odd variable": (
        lambda x: torch.sin(x[:, 0] ** 2 + x[:, 1] ** 2) * torch.sin(2 * x[:, 2]), (-1, 1),
        {"f = A(x1, x2) * B(x3)", "x1 and x2 only as x1^2 + x2^2", "f is even in x1",
         "f is even in x2", "f is odd in x3"},
        ("*", ("x1^2 + x2^2", "x1", "x2"), "x3"),
    ),
    "a multiple and an unused variable": (
        lambda x: torch.sin(x[:, 0] * x[:, 2] ** 2) + torch.exp(2 * x[:, 2]) / (x[:, 0] + x[:, 2]),
        (0.2, 1), {"f does not need x2"}, ("h", "x1", "x3"),
    ),
    "pairs that only look like a sum within": (
        lambda x: x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2] + x[:, 0] * x[:, 2], (0.2, 1),
        {"f is homogeneous of degree 2 in x1, x2, x3"},
        ("h", "x1", "x2", "x3"),
    ),
    "such pairs in a sum within": (
        lambda x: torch.log(4 + x[:, 0] * x[:, 1] + x[:, 1] * x[:, 2] + x[:, 0] * x[:, 2]
                            + torch.sin(2 * x[:, 3])), (0.1, 1.5),
        {"f = F(A(x1, x2, x3) + B(x4))"},
        ("F(+)", ("h", "x1", "x2", "x3"), "x4"),
    ),
    "homogeneous": (
        lambda x: torch.exp(x[:, 0] / (x[:, 0] + x[:, 1]) + torch.sin(x[:, 2] / x[:, 1])),
        (0.5, 2),
        {"f is homogeneous of degree 0 in x1, x2, x3", "f = A(x1, x2) * B(x2, x3)"},
        ("h", "x1", "x2", "x3"),
    ),
    "one variable": (lambda x: torch.cos(3 * x[:, 0]), (-1, 1), {"f is even in x1"}, "x1"),
    "a line": (
        lambda x: 2 * x[:, 0] - x[:, 1] + 1, (1, 2),
        {"f = A(x1) + B(x2)", "x1 and x2 only as x2 - 2 x1"},
        ("x2 - 2 x1", "x1", "x2"),
    ),
}  # fmt: skip
N_IN = {
    "such pairs in a sum within": 4, "blocks": 4, "differences and ratios": 4,
    "a sum within, velocities": 2, "one variable": 1, "a line": 2, "a product and a constant": 2,
}  # fmt: skip
SHARED = {"f = A(x1, x2) * B(x2, x3)"}  # blocks share no variable: this is no such hypothesis


@pytest.mark.parametrize("name", CASES)
def test_what_holds_is_found_and_nothing_else(name):
    function, ends, wanted, tree = CASES[name]
    found = hypotheses(function, rows(N_IN.get(name, 3), *ends))
    assert held(found) == wanted - SHARED
    assert shape(found.tree) == tree
    for h in found.tried:
        assert h.holds == (h.score < (0.01 if h.kind == "unused" else 0.05))
        assert h.score < 1e-10 if h.holds else h.score > 0.05


LAW = "G*m1*m2/((x2-x1)**2+(y2-y1)**2+(z2-z1)**2)"


def gravity(**options):
    near, far = (1, 2), (3, 4)
    ends = {name: far if name in ("x1", "y1", "z1") else near for name in ["G", "m1", "m2"]}
    ends |= {f"{axis}{n}": (far, near)[n - 1] for axis in "xyz" for n in (1, 2)}
    return KAN.from_formula({"force": LAW}, ranges=ends, **options)


def test_the_tree_of_gravity():
    model = gravity()
    found = model.hypotheses()
    pairs = [(f"{axis}1 - {axis}2", f"{axis}1", f"{axis}2") for axis in "xyz"]
    assert shape(found.tree) == ("*", "G", "m1", "m2", ("F(+)", *pairs))
    assert "force = A(G) * B(m1) * C(m2) * D(x1, x2, y1, y2, z1, z2)" in held(found)
    assert "force is homogeneous of degree 1" in str(found)
    assert list(found.reach) == list(model.feature_names)
    words = {text.get_text() for text in model.plot_tree().texts}
    assert {"force", "×", "F(+)", "$G$", "$m_{1}$", "$x_{1} - x_{2}$"} <= words


@pytest.mark.parametrize(
    ("function", "n_in", "width", "wanted", "tree"),
    [
        (
            lambda x: torch.exp(torch.sin(torch.pi * x[:, 0]) + x[:, 1] ** 2), 2, [2, 1, 1],
            {"y = A(x1) * B(x2)", "y is even in x2"}, ("*", "x1", "x2"),
        ),
        (
            lambda x: torch.sin(x[:, 0] - x[:, 1]) + x[:, 2] ** 3, 3, [3, 2, 1],
            {"y = A(x1, x2) + B(x3)", "x1 and x2 only as x1 - x2", "y is odd in x3"},
            ("+", ("x1 - x2", "x1", "x2"), "x3"),
        ),
    ],
)  # fmt: skip
def test_a_trained_network_says_the_same(function, n_in, width, wanted, tree):
    X = rows(n_in)
    model = KAN(width, seed=0)
    model.fit((X, function(X)), grids=(3, 6, 12), progress=False)
    found = model.hypotheses()
    assert held(found) >= wanted - {"y is odd in x3"}
    assert held(found) <= wanted
    assert shape(found.tree) == tree


# -- the tree alone --------------------------------------------------------------------------------


def random_tree(draw, variables):
    """Nested tuples of variables: ("sum", ...) may be grouped at will, ("prime", ...) may not."""
    if len(variables) == 1:
        return variables[0]
    n_parts = draw(st.integers(2, min(4, len(variables))))
    cuts = sorted(draw(st.permutations(range(1, len(variables))))[: n_parts - 1])
    blocks = np.split(np.array(variables), cuts)
    return (
        draw(st.sampled_from(["sum", "prime"])),
        *(random_tree(draw, block.tolist()) for block in blocks),
    )


def members(node):
    if isinstance(node, int):
        return frozenset([node])
    return frozenset().union(*map(members, node[1:]))


def together(node, i, j, k):
    """Whether i and j enter by a value that k has no part in."""
    if isinstance(node, int):
        return True
    part = {v: child for child in node[1:] for v in members(child)}
    if part[i] is part[j] is part[k]:
        return together(part[i], i, j, k)
    if part[i] is part[j]:
        return True
    if part[k] is part[i] or part[k] is part[j]:
        return False
    return node[0] == "sum"


def groups_of(node, parent=None):
    if isinstance(node, int):
        return set()
    return {members(node)}.union(*(groups_of(child) for child in node[1:]))


def normal(node):
    """A sum in a sum is one sum."""
    if isinstance(node, int):
        return node
    parts = []
    for child in map(normal, node[1:]):
        is_same = node[0] == "sum" and not isinstance(child, int) and child[0] == "sum"
        parts += child[1:] if is_same else [child]
    return (node[0], *parts)


@settings(max_examples=60)
@given(st.data())
def test_any_tree_is_found_from_its_triples(data):
    count = data.draw(st.integers(2, 8))
    tree = normal(random_tree(data.draw, data.draw(st.permutations(range(count)))))
    misfit = {
        (i, j, k): 0.0 if together(tree, i, j, k) else 1.0
        for i in range(count)
        for j in range(i + 1, count)
        for k in set(range(count)) - {i, j}
    }
    assert set(strong_groups(count, misfit, 0.5)) == groups_of(tree)


# -- printing, pictures, bad arguments -------------------------------------------------------------


def test_it_prints_and_is_a_table():
    found = hypotheses(lambda x: x[:, 0] * x[:, 1], rows(2, 1, 2), names=["a", "b"], target="area")
    text = str(found)
    assert "holds:" in text
    assert "area = A(a) * B(b)" in text
    assert "does not hold:" in text
    assert "300 rows" in text
    assert list(found.table.columns) == ["kind", "statement", "score", "holds"]
    assert len(found.table) == len(found.tried)
    with pytest.raises(AttributeError):
        found.threshold = 1.0


def test_several_outputs_and_float32():
    model = KAN.from_formula(["x1 + x2**2", "x1*x2"], ranges=(1, 2), dtype=torch.float32)
    assert "y1 = A(x1) + B(x2)" in held(model.hypotheses())
    assert "y2 = A(x1) * B(x2)" in held(model.hypotheses(output=1))
    assert model.dtype == torch.float32


def test_a_query_changes_nothing():
    model = KAN.from_formula("x1*sin(x2)")
    model.unfix_symbolic(0, 0, 0)
    before = {k: v.clone() for k, v in model.state_dict().items() if torch.is_tensor(v)}
    model.hypotheses()
    model.plot_tree()
    for name, value in before.items():
        assert torch.equal(value, model.state_dict()[name])
    assert all(p.grad is None for p in model.parameters())


def test_pictures_of_trees():
    long = "a long name of many words"
    words = Group((long, "x_2"), (Group((long,)), Group(("x_2",))), f"x_2^2 * {long}")
    ax = plot_tree(words, target="y")
    texts = [text.get_text() for text in ax.texts]
    assert any("×" in text and "…" in text for text in texts)
    assert plot_tree(Group(("x1",))).texts
    same = ax.figure.add_subplot()
    assert plot_tree(words, same) is same
    with pytest.raises(ValueError, match="tree must be a Group"):
        plot_tree("x1")


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (3, {}, ValueError, "function must be a model or a function of a tensor"),
        (lambda x: x[:, 0], {"X": None}, NoSampleError, "need rows to be tried at"),
        (lambda x: x[:, 0].detach().numpy(), {}, ValueError, "must return a tensor"),
        (lambda x: x.sum(), {}, ValueError, "must return a tensor"),
        (lambda x: torch.ones(len(x)), {}, ValueError, "operations of torch"),
        (lambda x: x[:, 0], {"output": 1.5}, ValueError, "output must be an integer"),
        (lambda x: x, {"output": 2}, ValueError, r"output must be in 0\.\.1"),
        (lambda x: x[:, 0], {"threshold": 0}, ValueError, "threshold must be a number"),
        (lambda x: x[:, 0], {"names": ["a"]}, ValueError, "names must be 2 texts"),
        (lambda x: torch.log(x[:, 0] - 5), {}, ValueError, "at least 20 rows"),
        (lambda x: x[:, 0] * 0, {}, ValueError, "must vary over X"),
        (KAN([2, 2, 1], k=1), {}, ValueError, "degree k = 1"),
        (KAN([2, 1]), {"X": [[1.0]]}, ValueError, "column"),
    ],
)
def test_bad_arguments(function, options, error, message):
    with pytest.raises(error, match=message):
        hypotheses(function, **{"X": rows(2), **options})
