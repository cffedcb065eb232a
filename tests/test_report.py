"""The report: what is on the page, and that text from outside stays text. No browser needed."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import torch
from report_cases import HOSTILE_TRIPLES, named, network, search

from kansym import KAN, KANClassifier, find_formula
from kansym.discovery.records import Discovery, Finding, Verdict
from kansym.structure import removals
from kansym.views.report import Fit
from kansym.views.report.charts import MOST_POINTS, fit_charts
from kansym.views.report.gather import THRESHOLDS

VOID = {"meta", "input", "path", "rect", "circle", "use", "br"}


class Page(HTMLParser):
    """Elements with their attributes, and the text inside each kind of element."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements, self.texts, self.open = [], {}, []
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        for tag in set(self.open):
            self.texts[tag] = self.texts.get(tag, "") + data

    @property
    def title(self):
        return re.search("<title>(.*?)</title>", self.source)[1]

    def all(self, tag, **wanted):
        found = [attrs for name, attrs in self.elements if name == tag]
        return [a for a in found if all(a.get(k) == v for k, v in wanted.items())]

    def with_class(self, word):
        return [a for _, a in self.elements if word in (a.get("class") or "").split()]


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def page(model, tmp_path_factory):
    return Page(model.report(tmp_path_factory.mktemp("report") / "report.html"))


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    return Page(search().report(tmp_path_factory.mktemp("search") / "report.html"))


# -- one file that fetches nothing ----------------------------------------------------------------


def test_the_policy_allows_the_one_style_and_the_one_script(page):
    policy = page.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'" in policy
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page.source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
        assert len(page.all(tag)) == 1


def test_nothing_is_inline_or_fetched(page, searched):
    for shown in (page, searched):
        for _, attrs in shown.elements:
            assert not any(name == "style" or name.startswith("on") for name in attrs)
            assert not {"src", "srcset", "data", "action"} & set(attrs)
            assert (attrs.get("href") or "#").startswith("#")
        assert "url(" not in shown.source
        assert "@import" not in shown.source


def test_every_reference_has_its_element(page, searched):
    for shown in (page, searched):
        ids = [a["id"] for _, a in shown.elements if "id" in a]
        assert len(set(ids)) == len(ids)
        wanted = [a[k] for _, a in shown.elements for k in
                  ("for", "aria-describedby", "aria-labelledby", "data-panel", "data-copies")
                  if k in a]  # fmt: skip
        wanted += [a["href"][1:] for _, a in shown.elements if "href" in a]
        wanted += [a["value"] for a in shown.all("input", type="radio")]
        assert set(wanted) <= set(ids)


def test_the_same_model_gives_the_same_page(model, tmp_path):
    one = model.report(tmp_path / "one.html")
    assert one.read_bytes() == model.report(tmp_path / "two.html").read_bytes()
    assert one.stat().st_size < 500_000


def test_a_large_unpruned_network_stays_below_the_limit(tmp_path):
    path = network((10, 10, 1), steps=1).report(tmp_path / "report.html")
    assert len(Page(path).with_class("edge")) == 110
    assert path.stat().st_size < 500_000


def test_a_network_too_large_to_draw_says_so(tmp_path, generator):
    path = KAN([20, 20, 1]).report(
        tmp_path / "report.html", torch.rand(30, 20, generator=generator)
    )
    assert "420 edges are too many to draw" in path.read_text(encoding="utf-8")


def test_a_report_changes_nothing(model, tmp_path):
    before = {k: v.clone() for k, v in model.state_dict().items() if isinstance(v, torch.Tensor)}
    model.report(tmp_path / "report.html")
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in before.items())


@pytest.mark.parametrize(
    ("path", "error", "message"),
    [
        ("", ValueError, "path must name a file"),
        (3, ValueError, "path must name a file, got 3"),
        (".", ValueError, "got the directory"),
        ("no/such/report.html", FileNotFoundError, "there is no directory"),
    ],
)
def test_a_path_that_cannot_be(model, path, error, message):
    with pytest.raises(error, match=message):
        model.report(path)


def test_a_failure_keeps_the_old_page(model, tmp_path, monkeypatch):
    from kansym import files

    path = tmp_path / "report.html"
    path.write_text("old")

    def fail(*_):
        raise OSError("no space left")

    monkeypatch.setattr(files.os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        model.report(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


# -- what is on it --------------------------------------------------------------------------------


def test_every_edge_can_be_asked(model, page):
    edges = page.with_class("edge")
    graph = model.graph()
    scores = {(d["l"], d["i"], d["j"]): d["score"] for _, _, d in graph.edges(data=True)}
    assert len(edges) == len(scores) == model.n_active_edges
    inks = page.with_class("ink")
    for edge, ink in zip(edges, inks, strict=True):
        key = tuple(map(int, re.match(r"Edge \((\d), (\d), (\d)\)", edge["aria-label"]).groups()))
        assert edge["role"] == "option"
        expected = max(np.tanh(3 * scores[key]), 0.05)
        assert float(ink["opacity"]) == pytest.approx(expected, abs=1e-3)
    assert [edge["tabindex"] for edge in edges].count("0") == 1


def test_a_named_edge_tells_its_function_in_units_of_the_data(tmp_path):
    model = named()
    shown = Page(model.report(tmp_path / "report.html"))
    labels = [a["aria-label"] for a in shown.with_class("edge")]
    assert any("sin(3.1*x)" in label for label in labels)
    assert "sin" in shown.texts["math"]
    assert "R² of the name" not in shown.source  # nobody knows it
    assert shown.title == "A formula for f"


def test_the_nearest_name_of_a_spline_comes_with_its_r2(page):
    assert page.source.count("nearest name") >= 15
    assert "R² of the name" in page.source


def test_the_table_has_every_formula_and_each_its_pictures(searched):
    radios = searched.all("input", type="radio")
    assert len(radios) == 11
    assert len(searched.with_class("entry")) == 11
    shown = [a for a in searched.with_class("entry") if "hidden" not in a]
    (chosen,) = [a for a in radios if "checked" in a]
    assert [a["id"] for a in shown] == [chosen["value"]]
    assert searched.source.count("No network carries this formula") == 1  # gamma has no edge
    assert len(searched.with_class("chart")) == 22
    assert "rival" in searched.texts["span"]


def test_verdict_reason_and_ranges_are_said(searched):
    assert "CONSISTENT" in searched.texts["dd"]
    assert "The residual < noise & fine." in searched.texts["p"]
    assert "beyond them it extrapolates" in searched.texts["li"]
    assert "random_state=3" in searched.texts["pre"]
    assert all(package in searched.texts["dd"] for package in ("kansym", "torch", "sympy"))


def test_rows_outside_the_range_are_counted(tmp_path):
    est = search()
    X = np.array([[1.5, 2.0], [9.0, 2.0], [2.0, 0.1]])
    path = est.report(tmp_path / "report.html", pd.DataFrame(X).to_numpy(), -X[:, 0])
    shown = Page(path)
    assert "2 of the 3 rows judged here lie outside" in shown.texts["li"]
    assert "of 3 rows kept aside" in shown.texts["p"]
    assert "is described poorly" in shown.texts["li"]


def test_undetermined_constants_are_doubted(tmp_path):
    model = network((2, 1), steps=1)
    X = model.sample.X
    noise = torch.rand(len(X), 1, generator=torch.Generator().manual_seed(1)).double()
    model.fit((X, X[:, :1] + 1e-3 * noise), steps=5, progress=False)
    model.fix_symbolic(0, 0, 0, "x")
    model.fix_symbolic(0, 1, 0, "sin", (1.0, 0.0, 1e-9, 0.0))
    shown = Page(model.report(tmp_path / "report.html"))
    assert "The rows do not determine" in shown.texts["li"]


def test_training_is_drawn_where_it_is_known(page, searched, tmp_path):
    assert "training loss" in page.texts["figcaption"]
    assert "training loss" not in searched.texts["figcaption"]
    model = network((2, 1), steps=1)
    model.save(tmp_path / "model.kansym", sample=True)
    loaded = KAN.load(tmp_path / "model.kansym")
    assert loaded.history is None
    assert "step</text>" not in loaded.report(tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_constant_column_is_called_one(tmp_path):
    X = np.column_stack([np.linspace(0, 1, 30), np.full(30, 2.5)])
    model = KAN([2, 1], grid=3)
    model.fit((X, X[:, 0]), steps=2, progress=False)
    assert "input, constant" in model.report(tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_picture_of_a_fit_keeps_few_points_and_its_ends():
    predicted = np.linspace(0, 1, 5000)
    observed, residual = fit_charts(Fit("y", predicted + 0.5, predicted))
    assert observed.lines[1].path.count("M") == MOST_POINTS
    assert f"{MOST_POINTS} of 5000 rows" in observed.summary
    assert "from 0.5 to 0.5" in residual.summary
    assert fit_charts(Fit("y", predicted, predicted * np.nan)) is None


def test_results_of_find_formula_show_all_three_models(tmp_path, generator):
    X = 2 * torch.rand(120, 1, generator=generator, dtype=torch.float64) - 1
    frame = (X, 2.5 * X**2, X[:20], 2.5 * X[:20] ** 2)
    result = find_formula(frame, [1, 1], lib=["x", "x^2"], seed=4)
    shown = Page(result.report(tmp_path / "report.html", title="A square"))
    assert shown.title == "A square"
    assert "splines, before naming" in shown.texts["span"]
    assert "seed=4" in shown.texts["pre"]
    assert "20 test rows" in shown.texts["p"]
    labels = [a["aria-label"] for a in shown.with_class("edge")]
    assert any("R² " in label and "x^2" in label for label in labels)


def test_a_classifier_shows_how_often_a_class_came(tmp_path):
    est = KANClassifier()
    base = search()
    v1, _ = base._variables
    finding = Finding(8 * v1 - 16, 4, 0.2, 0.7, 0.0)
    est._found = (Discovery((finding,), finding, Verdict.CONSISTENT, "fine"),)
    est._variables, est._names, est._targets = base._variables, base._names, ("logit(b)",)
    est._rows, est._network, est.n_features_in_ = (base._rows[0], None), None, 2
    est.classes_ = np.array(["a", "b"])
    est._codes = (base._rows[0][:, 0] > 2).astype(int)
    est._frequencies = np.array([0.5, 0.5])
    shown = Page(est.report(tmp_path / "report.html"))
    assert "P(b)" in shown.texts["h2"]
    assert "10 bins of about 12 rows" in shown.texts["figcaption"]
    assert "100.0% of the 120 rows get their class" in shown.texts["p"]
    assert "log-loss" in shown.texts["dt"]


# -- pruning --------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [(2, 5, 1), (2, (2, 2), 1), (3, 3, 2, 2)])
@pytest.mark.parametrize("lamb", [0.0, 1e-2])
def test_the_slider_says_what_prune_does(width, lamb, tmp_path):
    X = 2 * torch.rand(100, width[0], generator=torch.Generator().manual_seed(0)).double() - 1
    model = KAN(list(width), grid=3, seed=1)
    y = torch.stack([X[:, 0] * X[:, 1] + 0.05 * X[:, -1]] * model.n_out, 1)
    model.fit((X, y), steps=6, lamb=lamb, progress=False)
    shown = Page(model.report(tmp_path / "report.html"))
    (slider,) = shown.with_class("threshold")
    thresholds = [float(t) for t in re.findall(r'"([^"]+)"', slider["data-thresholds"])]
    texts = re.findall(r'"([^"]+)"', slider["data-texts"])
    edges = shown.with_class("edge")
    assert thresholds == pytest.approx(THRESHOLDS[: len(thresholds)])
    assert 0.01 in thresholds
    for place, threshold in enumerate(thresholds):
        pruned = model.prune(node_th=threshold, edge_th=threshold)
        going = sum(edge["data-goes"][place] == "1" for edge in edges)
        assert len(edges) - going == pruned.n_active_edges
        hidden = sum(row.total for row in model.width[1:-1])
        left = sum(row.total for row in pruned.width[1:-1])
        assert texts[place] == (
            f"{going} of {len(edges)} edges and {hidden - left} of {hidden} nodes would go"
        )


def test_what_goes_is_exactly_what_prune_takes(model):
    for removal in removals(model, model.sample.X, [0.0, 0.003, 0.03, 0.3], "attribution"):
        pruned = model.prune(removal.threshold, removal.threshold)
        kept = [n for n in range(5) if (1, n) not in removal.nodes]
        assert len(kept) == pruned.width[1].total
        for l, layer in enumerate(model.kan_layers):
            mask = layer.mask.clone()
            for edge in removal.edges:
                if edge[0] == l:
                    mask[edge[2], edge[1]] = False
            mask = mask[kept] if l == 0 else mask[:, kept]
            assert torch.equal(mask, pruned.kan_layers[l].mask)


# -- text from outside ----------------------------------------------------------------------------


@pytest.mark.parametrize("names", HOSTILE_TRIPLES)
def test_names_stay_text(searched, names, tmp_path):
    shown = Page(search(names).report(tmp_path / "report.html", title=names[0]))
    assert [tag for tag, _ in shown.elements if tag in {"script", "style", "img", "b"}] == [
        "style", "script",
    ]  # fmt: skip
    assert {k for _, a in shown.elements for k in a} <= {k for _, a in searched.elements for k in a}
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00\x1b]", shown.source)
    assert "49" not in shown.title


@pytest.mark.parametrize("names", HOSTILE_TRIPLES)
def test_names_stay_text_on_networks(names, tmp_path):
    model = network((2, 1), 1, names)
    shown = Page(model.report(tmp_path / "report.html", code="\n".join(names)))
    assert len(shown.all("script")) == len(shown.all("style")) == 1
    assert not shown.all("img") + shown.all("b")
