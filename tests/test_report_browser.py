"""The report in Chromium: what hover, focus, slider and table show, and that nothing is fetched.

Without Chromium or playwright these tests are skipped; with KANSYM_NEEDS_BROWSER=1 they fail.
"""

import importlib.util
import os
import re
import shutil

import pytest
from report_cases import HOSTILE_TRIPLES, named, network, search

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

MISSING = [
    what
    for what, is_there in (
        ("chromium", CHROMIUM),
        ("playwright", importlib.util.find_spec("playwright")),
        ("axe-playwright-python", importlib.util.find_spec("axe_playwright_python")),
    )
    if not is_there
]

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    if MISSING:
        reason = f"not installed: {', '.join(MISSING)}"
        if os.environ.get("KANSYM_NEEDS_BROWSER"):
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def reports(browser, tmp_path_factory):
    """Paths of one report of each kind."""
    folder = tmp_path_factory.mktemp("reports")
    return {
        "splines": network().report(folder / "splines.html"),
        "named": named().report(folder / "named.html"),
        "search": search().report(folder / "search.html"),
        "wide": network((10, 10, 1), steps=1).report(folder / "wide.html"),
    }


@pytest.fixture
def visit(browser):
    """Opens a page; at the end no request but its own, no message and no violation was seen."""
    contexts, heard = [], []

    def open_page(path, width=1200, scheme="light"):
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme,
            permissions=["clipboard-read", "clipboard-write"],
        )  # fmt: skip
        contexts.append(context)
        context.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', e => violations.push(e.violatedDirective))"
        )
        page = context.new_page()
        own = path.as_uri()
        page.on("request", lambda request: request.url == own or heard.append(request.url))
        page.on("console", lambda message: heard.append(message.text))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: heard.append(dialog.message))
        page.goto(own)
        return page

    yield open_page
    for context in contexts:
        for page in context.pages:
            heard += page.evaluate("window.violations")
        context.close()
    assert heard == []


def panel_of(page, edge):
    return page.locator(f"[id='{edge.get_attribute('data-panel')}']")


def visible_panels(page):
    return page.locator(".panel:visible").count()


@pytest.mark.parametrize("kind", ["splines", "named"])
def test_every_edge_answers_hover(visit, reports, kind):
    page = visit(reports[kind])
    assert page.locator(".hint").is_visible()
    for edge in page.locator(".edge").all():
        edge.locator(".ring").hover()
        panel = panel_of(page, edge)
        assert panel.is_visible()
        assert visible_panels(page) == 1
        label = edge.get_attribute("aria-label")
        text = panel.inner_text()
        assert re.search(r"score (\S+)$", label)[1] in text
        function = panel.locator("dd").first.inner_text()
        assert function.split(";")[0] in label
        assert panel.locator(".big-curve").bounding_box()["height"] > 50
        # The curve itself, and not only its frame.
        assert panel.locator("use").evaluate("u => u.getBBox().width") > 10
    page.mouse.move(5, 5)
    assert page.locator(".hint").is_visible()


@pytest.mark.parametrize("kind", ["splines", "named", "wide"])
def test_every_edge_answers_the_keyboard(visit, reports, kind):
    page = visit(reports[kind])
    edges = page.locator(".edge").all()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.classList.contains('edge')"):
            break
    for n, edge in enumerate(edges):
        assert edge.evaluate("e => e === document.activeElement")
        assert edge.get_attribute("aria-selected") == "true"
        assert panel_of(page, edge).is_visible()
        assert visible_panels(page) == 1
        page.keyboard.press("ArrowRight" if n % 2 else "ArrowDown")
    page.keyboard.press("Home")
    assert edges[0].evaluate("e => e === document.activeElement")
    page.keyboard.press("ArrowLeft")
    assert edges[0].evaluate("e => e === document.activeElement")
    page.keyboard.press("End")
    assert edges[-1].evaluate("e => e === document.activeElement")
    # Focus stays when the pointer comes and goes.
    edges[0].locator(".ring").hover()
    page.mouse.move(5, 5)
    assert panel_of(page, edges[-1]).is_visible()
    # One tab stop, whatever the number of edges.
    page.keyboard.press("Tab")
    assert not page.evaluate("document.activeElement.classList.contains('edge')")


def test_the_slider_shows_what_would_go(visit, reports):
    page = visit(reports["splines"])
    slider = page.locator(".threshold")
    slider.focus()
    last = int(slider.get_attribute("max"))
    seen = set()
    for place in range(last + 1):
        going = page.locator(".edge.going").count()
        nodes = page.locator(".node.going").count()
        text = page.locator(".going-text").inner_text()
        assert text == f"{going} of 15 edges and {nodes} of 5 nodes would go"
        assert page.locator("output").inner_text() == slider.get_attribute("aria-valuetext")
        seen.add(going)
        if place < last:
            page.keyboard.press("ArrowRight")
    assert min(seen) == 0
    assert len(seen) > 3
    faded = page.locator(".edge.going .ink").first
    assert page.evaluate("e => getComputedStyle(e).opacity", faded.element_handle()) != "1"
    line = page.locator(".edge.going .line").first
    assert line.evaluate("e => getComputedStyle(e).strokeDasharray") != "none"
    page.keyboard.press("Home")
    assert page.locator(".going").count() == 0


def test_choosing_a_row_by_click_shows_what_belongs_to_it(visit, reports):
    page = visit(reports["search"])
    rows = page.locator(".choice tbody tr").all()
    assert len(rows) == 11
    for n, row in enumerate(rows):
        row.locator("td").nth(2).click()
        shown = page.locator(".entry:visible")
        assert shown.count() == 1
        assert shown.get_attribute("id") == row.locator("input").get_attribute("value")
        assert row.locator("input").is_checked()
        assert shown.locator(".chart").count() == 2
        drawn = shown.locator(".diagram").count()
        assert drawn == 1 or "No network" in shown.inner_text()
        assert page.locator("#status").inner_text() in ("", f"Shown: formula {n + 1} of 11")
        if not row.locator(".mark", has_text="chosen").count():
            latex = shown.locator(".copyable pre").inner_text()
            assert latex.startswith(r"E\ \mathrm{[J]} = ")


def test_choosing_a_row_by_keyboard(visit, reports):
    page = visit(reports["search"])
    page.locator(".choice input[checked]").focus()
    seen = set()
    for _ in range(11):
        page.keyboard.press("ArrowDown")
        seen.add(page.locator(".entry:visible").get_attribute("id"))
    assert len(seen) == 11


def test_the_latex_can_be_copied(visit, reports):
    page = visit(reports["search"])
    page.locator(".hero .copy").click()
    page.locator("#status", has_text="LaTeX copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#latex-0").inner_text()


def test_where_copying_is_forbidden_the_latex_is_selected(visit, reports):
    page = visit(reports["search"])
    page.evaluate(
        "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }"
    )
    page.locator(".hero .copy").click()
    page.locator("#status", has_text="press Ctrl+C").wait_for()
    selected = page.evaluate("window.getSelection().toString()").strip()
    assert selected == page.locator("#latex-0").inner_text()


@pytest.mark.parametrize("names", HOSTILE_TRIPLES)
def test_hostile_names_are_inert(visit, tmp_path, names):
    path = search(names).report(tmp_path / "report.html", title=names[0])
    page = visit(path)
    for row in page.locator(".choice tbody tr").all():
        row.locator("td").nth(1).click()
    for edge in page.locator(".edge:visible").all():
        edge.focus()
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["splines", "named", "search", "wide"])
def test_axe_finds_nothing(visit, reports, kind, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(reports[kind], scheme=scheme)
    page.locator(".edge:visible").first.focus()
    found = Axe().run(page)
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.parametrize("width", [380, 1200])
@pytest.mark.parametrize("kind", ["splines", "named", "search", "wide"])
def test_nothing_is_wider_than_the_window(visit, reports, kind, width):
    page = visit(reports[kind], width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("kind", ["splines", "named", "search"])
def test_it_prints_on_two_pages(visit, reports, kind, tmp_path):
    page = visit(reports[kind], scheme="dark")
    pdf = page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 2
    page.emulate_media(media="print")
    for control in page.locator("button, input").all():
        assert not control.is_visible()
    for text in ("Network", "Data", "To get it again"):
        assert page.locator("h2:visible", has_text=text).count()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(255, 255, 255)"
