"""Diagrams through the verbs of a model: what is drawn is there, and nothing else happens."""

import io
import math
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from kansym import KAN, NoSampleError, NotSymbolicError
from kansym.symbolic.fix import set_edge
from kansym.symbolic.names import latex_name
from kansym.views import edge_alpha

WIDTHS = [[2, 1, 1], [2, 5, 1], [4, 5, 3, 1], [10, 10, 1], [2, [2, 2], 1], [17, 1, 14]]
HOSTILE = [
    "<script>alert(1)</script>", "$x$", "$", "\\input{x}", "a_b^c", "%", "&", "#", "'\"", "=cmd()",
    "line\nbreak", "tab\there", "Größe", "λ", "x" * 300, "{", "}", "\\", "~", "", " ", "k [N/m]",
    "\\frac{1}{0}", "__import__('os')", "𝔘",
]  # fmt: skip


def inputs(generator, n_in, n=40):
    return 2 * torch.rand(n, n_in, generator=generator, dtype=torch.float64) - 1


def named(model):
    for l, layer in enumerate(model.kan_layers):
        for j, i in torch.nonzero(layer.mask).tolist():
            set_edge(model, (l, i, j), "sin", (1.0, 0.1, 0.5, 0.0))
    return model


def rendered(ax, kind):
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format=kind)
    return buffer.getvalue()


def collection(ax, label):
    return next(c for c in ax.collections if c.get_label() == label)


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_active_edge_is_a_box_with_a_curve(width, generator):
    model = KAN(width)
    model.kan_layers[0].mask[0, 0] = False
    ax = model.plot(inputs(generator, width[0]))
    count = model.n_active_edges
    assert len(collection(ax, "_boxes").get_paths()) == count
    assert len(collection(ax, "_curves").get_paths()) == count
    assert rendered(ax, "png").startswith(b"\x89PNG")


@pytest.mark.parametrize("width", WIDTHS)
def test_names_of_nodes_do_not_touch_each_other(width, generator):
    ax = KAN(width).plot(inputs(generator, width[0]))
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) >= width[0] + width[-1]
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])
        assert ax.figure.bbox.padded(1).containsx(box.x0)
        assert ax.figure.bbox.padded(1).containsx(box.x1)


def test_opacity_is_tanh_of_the_score(generator):
    model, X = KAN([2, 3, 1]), inputs(generator, 2)
    ax = model.plot(X, beta=2.0, score="std")
    drawn = collection(ax, "_curves").get_colors()[:, 3]
    edges = sorted(
        ((l, i, j), float(score[j, i]))
        for l, score in enumerate(model.edge_scores("std", X))
        for j in range(score.shape[0])
        for i in range(score.shape[1])
    )
    assert drawn == pytest.approx([edge_alpha(score, 2.0) for _, score in edges])
    assert edge_alpha(0.4, 2.0) == pytest.approx(math.tanh(0.8))


def test_a_named_edge_carries_its_name(generator):
    model, X = KAN([2, 1]), inputs(generator, 2)
    assert "sin" not in texts(model.plot(X))
    set_edge(model, (0, 1, 0), "sin", (1, 0, 1, 0))
    assert texts(model.plot(X)).count("sin") == 1


def test_the_graph_says_what_is_on_an_edge(generator):
    model, X = KAN([2, [1, 1], 1], mult_arity=3), inputs(generator, 2)
    set_edge(model, (0, 1, 0), "exp", (0.5, 0.0, 2.0, 1.0))
    graph = model.graph(X, names=["a", "b"])
    edge = graph.edges[(0, 1), (1, 0)]
    assert (edge["l"], edge["i"], edge["j"]) == (0, 1, 0)
    assert (edge["kind"], edge["function"]) == ("symbolic", "exp")
    assert edge["affine"] == (0.5, 0.0, 2.0, 1.0)
    x, y = edge["curve"]
    assert (x.min(), x.max()) == (float(X[:, 1].min()), float(X[:, 1].max()))
    assert np.allclose(y, 2 * np.exp(0.5 * x) + 1)
    assert graph.nodes[0, 1]["label"] == "b"
    factors = [source for source, _ in graph.in_edges((1, 1))]
    assert factors == [("sub", 0, 1), ("sub", 0, 2), ("sub", 0, 3)]
    assert graph.nodes[1, 1]["kind"] == "product"


def test_drawing_changes_nothing_and_leaves_no_figure_open(generator):
    model, X = named(KAN([2, 2, 1])), inputs(generator, 2)
    before = {k: v.clone() for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    open_figures = plt.get_fignums()
    model.plot(X, formula=True)
    assert plt.get_fignums() == open_figures
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


def test_it_draws_where_it_is_told(generator):
    ax = Figure(figsize=(3, 2)).add_subplot()
    assert KAN([2, 2, 1]).plot(inputs(generator, 2), ax=ax) is ax


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_drawn_as_they_stand(name, generator):
    model = KAN([2, 1])
    ax = model.plot(inputs(generator, 2), names=[name, "b"])
    svg = rendered(ax, "svg")
    rendered(ax, "png")
    assert b"<script" not in svg
    assert all(len(text) < 60 for text in texts(ax))


def test_the_formula_stands_above_and_fits(generator):
    model = named(KAN([3, 4, 1]))
    ax = model.plot(inputs(generator, 3), formula=True)
    ax.figure.canvas.draw()
    bare = set(texts(model.plot(inputs(generator, 3))))
    heading = [text for text in ax.texts if text.get_text() not in bare]
    assert heading
    for text in heading:
        box = text.get_window_extent()
        assert box.x0 >= -1
        assert box.x1 <= ax.figure.bbox.x1 + 1


def test_a_formula_needs_names_on_every_edge(generator):
    with pytest.raises(NotSymbolicError, match="still numeric"):
        KAN([2, 1]).plot(inputs(generator, 2), formula=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["a"]}, "must be 2 texts"),
        ({"beta": -1}, "beta must be a number >= 0"),
        ({"score": "sdt"}, "unknown score 'sdt'; did you mean 'std'"),
    ],
)
def test_refused_options(options, message, generator):
    with pytest.raises(ValueError, match=message):
        KAN([2, 1]).plot(inputs(generator, 2), **options)


def test_without_a_sample_there_is_nothing_to_draw():
    with pytest.raises(NoSampleError, match="call fit or pass X"):
        KAN([2, 1]).plot()


# -- where it is read ------------------------------------------------------------------------------

COLUMN, PAGE = 85 / 25.4, 170 / 25.4  # inches
SHAPES = [[2, 1, 1], [2, 5, 1], [4, 5, 3, 1], [10, 10, 1], [17, 1, 14], [2, [3, 2], 1]]
LONG = ["semi_major_axis_au", "pressure [Pa]", "theta", "T_ref", "temperature at the surface", "λ"]
FUNCTIONS = ["sin", "x^2", "exp", "1/sqrt", "tanh", "gaussian", "x^1.5", "log", "x"]


def on_paper(shape, width, is_named, has_names, generator):
    """A diagram in an Axes of this width, as high as it needs."""
    model, X = KAN(shape, seed=0), inputs(generator, shape[0])
    if is_named:
        edges = [
            (l, i, j)
            for l, layer in enumerate(model.kan_layers)
            for j, i in torch.nonzero(layer.mask).tolist()
        ]
        for n, edge in enumerate(edges):
            set_edge(model, edge, FUNCTIONS[n % len(FUNCTIONS)], (0.5, 1.2, 0.5, 0.0))
    rounds = [divmod(n, len(LONG)) for n in range(shape[0])]
    names = [LONG[n] + "*" * again for again, n in rounds] if has_names else None
    own = model.plot(X, names=names).figure.get_size_inches()
    figure = Figure((width, width * own[1] / own[0]))
    return model.plot(X, ax=figure.add_axes((0, 0, 1, 1)), names=names)


@pytest.mark.parametrize("has_names", [False, True], ids=["default", "long"])
@pytest.mark.parametrize("is_named", [False, True], ids=["splines", "functions"])
@pytest.mark.parametrize("width", [COLUMN, PAGE], ids=["column", "page"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_nothing_overlaps_at_the_size_it_is_read(shape, width, is_named, has_names, generator):
    ax = on_paper(shape, width, is_named, has_names, generator)
    ax.figure.draw_without_rendering()
    # Upright and level texts fill their boxes; aslant ones are kept apart by the layout.
    level = [t for t in ax.texts if t.get_rotation() % 90 == 0]
    boxes = [t.get_window_extent().padded(-0.5) for t in level]
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])
    paper = ax.figure.bbox.padded(1)
    for text in ax.texts:
        box = text.get_window_extent()
        assert paper.x0 <= box.x0 <= box.x1 <= paper.x1, text.get_text()
        assert paper.y0 <= box.y0 <= box.y1 <= paper.y1, text.get_text()
        assert text.get_size() > 4.0


def test_letters_and_lines_follow_rc_params(generator):
    X = inputs(generator, 2)
    plain = KAN([2, 1]).plot(X)
    with plt.rc_context({"font.size": 15, "lines.linewidth": 3.0}):
        large = KAN([2, 1]).plot(X)
    assert large.texts[0].get_size() == pytest.approx(1.5 * plain.texts[0].get_size())
    widths = [collection(ax, "_lines").get_linewidths()[0] for ax in (plain, large)]
    assert widths[1] == pytest.approx(2 * widths[0])


@pytest.mark.parametrize("style", ["default", "dark_background", "grayscale"])
def test_ink_is_seen_on_any_paper(style, generator):
    with plt.style.context(style):
        ax = KAN([2, 1]).plot(inputs(generator, 2))
        picture = np.asarray(Image.open(io.BytesIO(rendered(ax, "png"))).convert("L"), dtype=float)
    paper = picture[0, 0]
    assert abs(picture - paper).max() > 180
    assert (paper < 50) == (style == "dark_background")


def test_named_edges_are_darker_when_printed_in_grey(generator):
    model = KAN([2, 1])
    set_edge(model, (0, 0, 0), "sin", (1.0, 0.1, 0.5, 0.0))
    fill = collection(model.plot(inputs(generator, 2), beta=1e9), "_boxes").get_facecolors()
    grey = fill[:, :3] @ (0.299, 0.587, 0.114)
    assert grey[0] < 0.93 < grey[1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("h_0", "$h_{0}$"),
        ("theta_12", r"$\theta_{12}$"),
        ("λ", r"$\lambda$"),
        ("T_ref", r"$T_{\mathrm{ref}}$"),
        ("k [N/m]", r"$k\ \mathrm{[N/m]}$"),
        ("g [m/s^2]", r"$g\ \mathrm{[m/s^{2}]}$"),
        ("mass", "mass"),
        ("pi", "pi"),
        ("semi_major_axis", "semi_major_axis"),
    ],
)
def test_names_are_set_in_pictures_as_in_latex(name, text, generator):
    model, X = KAN([2, 1]), inputs(generator, 2)
    assert text in texts(model.plot(X, names=[name, "b"]))
    assert text in [
        t.get_text() for t in model.plot_features(X=X, names=[name, "b"]).get_yticklabels()
    ]
    label = model.plot_edge(0, 0, 0, X=X, names=[name, "b"], suggest=False).get_xlabel()
    assert label.removesuffix(", scaled") == text
    if text.startswith("$"):
        assert latex_name(name) == text.strip("$")


def test_the_whole_of_a_long_name_is_in_the_svg(generator):
    name = "a <very> long name & of a column that does not fit"
    ax = KAN([2, 1]).plot(inputs(generator, 2), names=[name, "b"])
    root = ElementTree.fromstring(rendered(ax, "svg"))
    titles = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert titles == {name, "b", "y"}
    assert name not in texts(ax)
