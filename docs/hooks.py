"""What mkdocs is told beyond mkdocs.yml: pages by pattern, files of the repository, formulas.

A page of docs/ is read in the repository too, so it shows figures/NAME.png as ../figures/NAME.png
and links to a script as ../examples/NAME.py. Both lie outside of docs/, and so beyond mkdocs: what
pages refer to is brought into the site, in its folder `repository`, texts as pages, and links are
led there.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent
PLACE = "repository"  # in the site
LANGUAGES = {".py": "python", ".toml": "toml", ".txt": "text", "": "text"}  # of texts made pages
LINK = re.compile(r"(\]\(|(?:src|href)=\")([^)\s\"#]+)(#[^)\s\"]*)?(?=[)\"])")
MATHS = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_config(config: Any) -> Any:
    """Pages by pattern: "examples/*.md" stands for all that the navigation does not name."""
    named = set(_names(config.nav))
    config.nav = _expanded(config.nav, named)
    return config


def _names(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    else:
        for entry in nav.values() if isinstance(nav, dict) else nav:
            yield from _names(entry)


def _expanded(nav: Any, named: set[str]) -> Any:
    if isinstance(nav, dict):
        return {title: _expanded(entry, named) for title, entry in nav.items()}
    if isinstance(nav, str):
        return nav
    pages: list[Any] = []
    for entry in nav:
        if isinstance(entry, str) and "*" in entry:
            found = sorted(p.relative_to(ROOT / "docs") for p in (ROOT / "docs").glob(entry))
            pages += [name for page in found if (name := page.as_posix()) not in named]
        else:
            pages.append(_expanded(entry, named))
    return pages


def on_files(files: Files, config: Any) -> Files:
    """Adds every file of the repository that a page, or a page so added, refers to."""
    pending = [page for page in files if page.src_uri.endswith(".md")]
    while pending:
        page = pending.pop()
        for path in _targets(page.content_string, _home(page.src_uri)):
            uri = _uri(path)
            if files.get_file_from_path(uri) is not None:
                continue
            file = _generated(config, uri, ROOT / path)
            files.append(file)
            if path.endswith(".md"):
                pending.append(file)
    return files


def _generated(config: Any, uri: str, path: Path) -> File:
    outside = InclusionLevel.NOT_IN_NAV
    if not uri.endswith(".md"):
        return File.generated(config, uri, abs_src_path=str(path), inclusion=outside)
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".md":
        name = path.relative_to(ROOT).as_posix()
        text = f"# {name}\n\n````{LANGUAGES[path.suffix]}\n{text}````\n"
    return File.generated(config, uri, content=text, inclusion=outside)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links out of docs/ led to what was added."""
    home, here = _home(page.file.src_uri), posixpath.dirname(page.file.src_uri)

    def led(link: re.Match[str]) -> str:
        path = _repository_path(link[2], home)
        if path is None:
            return link[0]
        return f"{link[1]}{posixpath.relpath(_uri(path), here or '.')}{link[3] or ''}"

    return LINK.sub(led, markdown)


def on_page_content(html_text: str, page: Any, config: Any, files: Files) -> str:
    """Formulas as MathML, which browsers draw by themselves."""

    def drawn(match: re.Match[str]) -> str:
        display = "inline" if match[1] == "span" else "block"
        return convert(html.unescape(match[2]), display=display)

    return MATHS.sub(drawn, html_text)


def _targets(markdown: str, home: str) -> set[str]:
    """Files of the repository that a page refers to and mkdocs cannot follow."""
    found = (_repository_path(link[2], home) for link in LINK.finditer(markdown))
    return {path for path in found if path is not None}


def _repository_path(link: str, home: str) -> str | None:
    """The file a link of a page in folder `home` leads to, if mkdocs cannot follow it by itself."""
    path = posixpath.normpath(posixpath.join(home, link))
    is_ours = not path.startswith("..") and (ROOT / path).is_file()
    is_near = path.startswith("docs/") and home.startswith("docs")
    return path if is_ours and not is_near else None


def _home(uri: str) -> str:
    """The folder, in the repository, of a page of the site."""
    inside, place = posixpath.dirname(uri), f"{PLACE}/"
    if uri.startswith(place):
        return f"{inside}/".removeprefix(place).rstrip("/")
    return posixpath.join("docs", inside)


def _uri(path: str) -> str:
    """Where a file of the repository is in the site: what has no language stays as it is."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    suffix = posixpath.splitext(path)[1]
    return f"{PLACE}/{path}.md" if suffix in LANGUAGES else f"{PLACE}/{path}"
