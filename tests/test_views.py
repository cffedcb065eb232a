"""Pictures beside the diagram: what they show is in the data, and text from outside stays text."""

import io
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest
import sympy
import torch
from matplotlib.figure import Figure
from PIL import Image
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from kansym import KAN, Formula, History, KANClassifier, KANRegressor, NoSampleError
from kansym.discovery.records import Discovery, Finding, Verdict
from kansym.symbolic.fix import set_edge
from kansym.training.history import StepRecord
from kansym.views import Recorder, plot_features, plot_fit, plot_history, plot_pareto
from kansym.views.edge import function_latex, significant, values_of
from kansym.views.history import events
from kansym.views.pareto import raised

HOSTILE = [
    "<script>alert(1)</script>", "$x$ \\input{/etc/passwd}", "a_b^c %#&{}~ \"' onload=",
    "--><b>]]>", "line\nbreak\x00\x1b", "λ θ_1 k [N/m]", "x" * 300, "", "\\frac{1}{0}",
]  # fmt: skip


@pytest.fixture
def model(generator):
    """[2, 2, 1] fitted for two steps, its edge (0, 0, 0) named and (0, 1, 1) switched off."""
    X = 2 * torch.rand(60, 2, generator=generator, dtype=torch.float64) - 1
    model = KAN([2, 2, 1], grid=3, seed=0)
    model.fit((X, X[:, :1] + X[:, 1:] ** 2), steps=2, progress=False)
    set_edge(model, (0, 0, 0), "sin", (1.5, 0.1, 0.5, 0.2))
    model.kan_layers[0].mask[1, 1] = False
    return model


def found(*exprs, losses=None):
    """An answer of the search with these formulas, the last one chosen."""
    losses = losses or [10.0 ** (-2 * n) for n in range(len(exprs))]
    findings = tuple(
        Finding(e, 1 + sum(1 for _ in sympy.preorder_traversal(e)), loss, 1 - loss / 2, 0.0)
        for e, loss in zip(exprs, losses, strict=True)
    )
    return Discovery(findings, findings[-1], Verdict.CONSISTENT, "noise < signal")


def fitted(kind=KANRegressor, names=("a", "b"), n_outputs=1):
    """An estimator as after a fit, without the search."""
    variables = sympy.symbols("v1 v2", real=True)
    a, b = variables
    est = kind()
    front = found(sympy.Float(2.0), 3.5 * a, a**2 + 0.25 * b, losses=[1.0, 0.1, 1e-3])
    est._found = (front,) * n_outputs
    est._variables, est._names, est._targets = variables, tuple(names), None
    X = np.random.default_rng(0).uniform(1, 2, (50, 2))
    y = np.column_stack([X[:, 0] ** 2 + 0.25 * X[:, 1]] * n_outputs)
    est._rows, est._network = (X, y), None
    est._is_flat, est.n_features_in_ = n_outputs == 1, 2
    return est, X, y


def svg(ax):
    """The picture as parsed XML: a name that was not escaped does not parse."""
    buffer = io.BytesIO()
    ax.figure.savefig(buffer, format="svg")
    root = ElementTree.fromstring(buffer.getvalue())
    assert not root.findall(".//{*}script")
    return root


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


# -- the graph ------------------------------------------------------------------------------------


def test_the_graph_holds_what_pictures_need(model):
    graph = model.graph()
    assert graph.graph["masked"] == ((0, 1, 1),)
    edge = graph.edges[(0, 0), (1, 0)]
    x, y = edge["sample"]
    assert np.allclose(y, 0.5 * np.sin(1.5 * x + 0.1) + 0.2)
    low, high = edge["grid"]
    assert low < high
    ends = edge["grid_curve"][0]
    assert (ends[0], ends[-1]) == (min(low, x.min()), max(high, x.max()))
    scores = [graph.nodes[0, n]["score"] for n in range(2)]
    assert scores == pytest.approx(model.feature_scores().tolist())
    node = graph.nodes[0, 1]
    raw = model.sample.X[0, 1].item()
    assert node["scale"] * (raw - node["shift"]) == pytest.approx(
        model.scale_inputs(model.sample.X)[0, 1].item()
    )


# -- pictures -------------------------------------------------------------------------------------


def test_pictures_leave_nothing_behind(model):
    est, X, y = fitted()
    settings, figures = dict(plt.rcParams), plt.get_fignums()
    before = {k: v.clone() for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    for ax in (
        model.plot_edge(0, 0, 0), model.plot_fit(), model.plot_features(),
        est.plot_pareto(), est.plot_features(), est.plot_fit(X, y[:, 0]),
    ):  # fmt: skip
        svg(ax)
    assert plt.get_fignums() == figures
    assert dict(plt.rcParams) == settings
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


@pytest.mark.parametrize("make", ["subplot", "axes"])
def test_pictures_stay_in_the_axes_they_are_given(model, make):
    figure = Figure(figsize=(8, 6))
    ax = figure.add_subplot(2, 2, 1) if make == "subplot" else figure.add_axes((0.1, 0.5, 0.4, 0.4))
    room = ax.get_position()
    assert model.plot_edge(1, 0, 0, ax=ax) is ax
    assert len(figure.axes) == 2
    for part in figure.axes:
        box = part.get_position()
        assert room.x0 - 1e-9 <= box.x0 <= box.x1 <= room.x1 + 1e-9
        assert room.y0 - 1e-9 <= box.y0 <= box.y1 <= room.y1 + 1e-9


def test_an_edge_is_compared_with_the_best_suggestion(model):
    best = model.suggest_symbolic(1, 0, 0, topk=1).iloc[0]
    ax = model.plot_edge(1, 0, 0)
    assert labels(ax) == ["grid", "edge", "data", best["name"]]
    below = ax.figure.axes[1]
    x, y = model.graph().edges[(1, 0), (2, 0)]["sample"]
    left = y - values_of(best["name"], best[["a", "b", "c", "d"]], x)
    drawn = below.lines[-1].get_ydata()
    assert np.allclose(drawn, left, atol=1e-12)
    assert len(model.plot_edge(1, 0, 0, suggest=False).figure.axes) == 1
    assert len(model.plot_edge(0, 0, 0).figure.axes) == 1  # named: nothing to suggest


def test_the_formula_above_an_edge_keeps_what_can_be_seen():
    x = np.linspace(-1, 1, 50)
    assert significant("x^2", (1.0, 1e-9, 2.0, -1e-9), x) == (1.0, 0.0, 2.0, 0.0)
    assert significant("x^2", (1.0, 0.01, 2.0, -0.01), x) == (1.0, 0.01, 2.0, -0.01)
    assert function_latex("sin", (1.23456, 0.0, 2.0, 0.0)) == r"2.0 \sin{\left(1.23 x \right)}"


def record(step, loss, **more):
    return StepRecord(step, loss, None, 0.0, None, float(step), **more)


def test_history_shows_losses_and_events():
    first = History("LM", steps=[record(n, 10.0**-n, grid=3, n_active=9) for n in range(4)])
    first.steps[2] = record(2, 0.01, grid=3, n_active=9, moved_grid=True)
    second = History("LM", steps=[record(n, 1e-4, grid=5, n_active=2) for n in range(4)])
    ax = plot_history([first, second])
    assert ax.get_yscale() == "log"
    assert labels(ax) == ["training loss", "grids moved"]
    assert ax.lines[0].get_xdata().tolist() == list(range(8))
    assert ax.lines[1].get_xdata() == [2]
    assert [text.get_text() for text in ax.texts] == ["9 → 2 edges, grid 3 → 5"]
    negative = History("Adam", steps=[record(0, -1.0), record(1, -2.0)])
    assert plot_history(negative).get_yscale() == "linear"


def test_a_fit_says_when_grids_moved_and_grew(generator):
    X = torch.rand(40, 1, generator=generator, dtype=torch.float64)
    history = KAN([1, 1]).fit(
        (X, X**2), steps=3, grids=(2, 4), grid_update_num=1, stop_grid_update_step=3, progress=False
    )
    assert history.steps[0].moved_grid
    assert not history.steps[1].moved_grid
    assert {record.n_active for record in history.steps} == {1}
    assert history.steps[0].grid == 2
    assert [event.text for event in events(history.steps)] == ["grid 2 → 4"]


def test_labels_of_a_front_do_not_touch():
    x = sympy.Symbol("x")
    exprs = [sum(1.25 * n * x**k for k in range(1, n + 1)) for n in range(1, 9)]
    losses = [1.0, 0.99, 0.98, 0.5, 1e-3, 0.99e-3, 1e-9, 0.0]
    answer = found(*exprs, losses=losses)
    ax = plot_pareto(answer.findings, answer.chosen)
    ax.figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts if text.get_text()]
    assert len(boxes) == len(exprs)
    for n, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[n + 1 :])
        assert box.x1 <= ax.figure.bbox.x1
        assert box.y1 <= ax.figure.bbox.y1
    star = next(line for line in ax.lines if line.get_marker() == "*")
    assert star.get_xdata() == [answer.chosen.complexity]


def test_labels_are_raised_only_as_far_as_needed():
    placed = raised(np.array([3.0, 0.0, 0.5]), [1.0, 1.0, 1.0], 0.0)
    assert placed.tolist() == [3.0, 0.0, 1.0]


def test_fit_counts_rows_it_cannot_show():
    y = np.array([1.0, 2.0, 3.0, np.nan])
    ax = plot_fit(y, np.array([1.0, 2.0, 4.0, 5.0]))
    assert ax.texts[0].get_text().startswith("3 rows, RMSE 0.577")
    assert ax.texts[0].get_text().endswith("1 not finite")
    below = ax.figure.axes[1]
    assert below.collections[0].get_offsets()[:, 1].tolist() == [0.0, 0.0, -1.0]


def test_features_are_sorted_and_named():
    ax = plot_features([0.1, 0.7, 0.2], ["a", "b", "c"])
    assert [bar.get_width() for bar in ax.patches] == [0.7, 0.2, 0.1]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["$b$", "$c$", "$a$"]
    assert ax.yaxis_inverted()
    svg(plot_features(np.ones(len(HOSTILE)), HOSTILE))
    assert plot_features(np.ones(50)).get_xlabel() == "importance: 30 of 50 inputs"


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text_in_every_picture(model, name):
    est, _, _ = fitted(names=(name, name + "2"))
    model.feature_names, model.target_names = (name, "b"), (name,)
    for ax in (model.plot_edge(0, 0, 0), model.plot_fit(), est.plot_pareto()):
        svg(ax)
        ax.figure.draw_without_rendering()
        shown = [text for text in ax.figure.findobj(plt.Text) if text.get_text()]
        assert all(text.get_window_extent().width < ax.figure.bbox.width for text in shown)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.plot_edge(0, 1, 1), "was pruned away"),
        (lambda m: m.plot_edge(0, 2, 0), r"i \(input node\) must be an integer in 0..1, got 2"),
        (lambda m: m.plot_edge(0, 0, 0, ax=Figure()), "ax must be a matplotlib Axes.*got Figure"),
        (lambda m: m.plot_fit(output=1), "output must be an integer in 0..0, got 1"),
        (lambda m: m.plot_features(names=["a"]), "names must be 2 texts"),
        (lambda _: plot_history([]), "history must have at least one step"),
        (lambda _: plot_history([3]), "history must be what fit returned.*got int"),
        (lambda _: plot_pareto([]), "findings must hold a formula with a finite loss"),
        (lambda _: plot_fit([1.0], [1.0, 2.0]), "must be .n. and equally long"),
        (lambda _: plot_fit([np.nan], [1.0]), "a row in which both are finite"),
        (lambda _: plot_features([-1.0]), "none negative"),
        (lambda _: Recorder(every=0), "every must be an integer >= 1, got 0"),
        (lambda _: Recorder().save("x.gif"), "pass the recorder to a fit"),
        (lambda _: Recorder().save("x.mp4"), "unknown ending of path '.mp4'"),
        (lambda _: Recorder().save("x.gif", fps=0), r"fps must be a number in \(0, 50\]"),
        (lambda _: fitted(n_outputs=2)[0].plot_pareto(output=2), "output must be an integer in"),
    ],
)
def test_refused_arguments(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


# -- training as a film ---------------------------------------------------------------------------


def test_a_recorder_keeps_a_bounded_number_of_frames(generator, tmp_path):
    X = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    recorder = Recorder(most_frames=4)
    model = KAN([2, 1], grid=2)
    history = model.fit((X, X[:, :1] ** 2), "Adam", steps=11, callbacks=[recorder], progress=False)
    assert [frame.record.step for frame in recorder.frames] == [0, 4, 8]
    assert recorder.every == 4
    assert len(history.steps) == 11
    path = recorder.save(tmp_path / "training.gif", fps=5, dpi=40)
    with Image.open(path) as film:
        assert film.n_frames == 3
        assert film.info["duration"] == 200
        film.seek(2)
        assert film.info["duration"] == 1000
    names = [path.name for path in recorder.save_frames(tmp_path, dpi=40)]
    assert names[1] == "frame_0001_step_00004.png"


def test_recording_does_not_change_the_fit(generator):
    X = torch.rand(30, 2, generator=generator, dtype=torch.float64)
    data = (X, X[:, :1] ** 2)
    plain, recorded = KAN([2, 2, 1], seed=1), KAN([2, 2, 1], seed=1)
    plain.fit(data, steps=3, progress=False)
    recorded.fit(data, steps=3, callbacks=[Recorder()], progress=False)
    assert torch.equal(plain(X), recorded(X))


# -- notebooks ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags that are opened, and whether each is closed where it should be."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.open = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", HOSTILE)
def test_names_stay_text_in_notebooks(model, name):
    est, _, _ = fitted(names=(name, "b"))
    model.feature_names = (name, "b")
    for shown in (model, est):
        page = Page(html_of(shown))
        assert {"table", "svg"} <= set(page.tags)
        assert not {"script", "b", "input"} & set(page.tags)
        assert not any(attribute.startswith("on") for attribute in page.attributes)


def html_of(shown):
    return shown._repr_html_()


def test_a_named_model_shows_its_formula():
    x = sympy.Symbol("x", real=True)
    model = KAN.from_formula(Formula([sympy.exp(2.5e-7 * x) + x**2], [x], ["m<n"]))
    model.sample = None
    page = html_of(model)
    Page(page)
    assert "<mi>m&lt;n</mi>" in page
    assert re.search(r"<msup><mn>2.5·10</mn><mn>−7</mn></msup>", page)
    assert "<svg" not in page  # no sample to draw by


def test_estimators_keep_the_diagram_of_scikit_learn():
    est, _, _ = fitted()
    bundle = est._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert "CONSISTENT: noise &lt; signal" in bundle["text/html"]
    fresh = KANClassifier()
    assert "sk-container" in html_of(fresh)
    pipeline = make_pipeline(FunctionTransformer(), est)
    assert "KANRegressor" in html_of(pipeline)
    assert "sk-container" in html_of(pipeline)


def test_a_notebook_shows_the_figure_of_any_picture(model):
    for ax in (model.plot(), model.plot_features()):
        picture = Image.open(io.BytesIO(ax.figure._repr_png_()))
        assert picture.size == tuple(int(s) for s in ax.figure.get_size_inches() * ax.figure.dpi)


def test_the_history_of_the_last_fit_is_drawn(model):
    ax = model.plot_history()
    assert ax.lines[0].get_ydata().tolist() == [r.train_loss for r in model.history.steps]
    with pytest.raises(NoSampleError, match=r"plot_history draws what the last fit did.*call fit"):
        KAN([2, 1]).plot_history()


def test_a_formula_is_latex_in_notebooks():
    x, y = sympy.symbols("x y", real=True)
    assert Formula([x**2], [x])._repr_latex_() == r"$\displaystyle y = x^{2}$"
    both = Formula([x, y], [x, y], target_names=["f", "g"])._repr_latex_()
    assert both.startswith(r"$\displaystyle \begin{array}{l}f = x \\")


def test_products_of_words_are_told_apart():
    a, b = sympy.symbols("v1 v2", real=True)
    assert r"m\ \mathrm{[kg]} \cdot x_{1}" in Formula([a * b], [a, b], ["m [kg]", "x_1"]).latex()
    assert Formula([a * b], [a, b], ["a", "b"]).latex() == "y = a b"
