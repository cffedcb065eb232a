"""What the pages say works: their Python runs, their commands exist, their links lead somewhere.

The ```python blocks of a page run in order in one namespace and in a folder of their own. A comment
just above a block tells what is special about it:

    <!-- slow -->          takes long: run by make test-slow only
    <!-- needs: dask -->   left out where that package is not installed
"""

import importlib.util
import itertools
import re
import shlex
import socket
from pathlib import Path
from typing import NamedTuple

import click
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner

from kansym.cli import main

ROOT = Path(__file__).resolve().parent.parent
BUILT = ("build", "demo-out", "dist", "kansym-out")
FENCE = re.compile(
    r"^(?P<marks>(?:<!--.*?-->\n+)*)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^```$", re.M | re.S
)
LINK = re.compile(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


class Block(NamedTuple):
    language: str
    text: str
    line: int
    is_slow: bool
    needs: tuple[str, ...]


def markdown():
    """Every page of the repository, but for what was built or is hidden."""
    kept = [entry for entry in ROOT.iterdir() if not entry.name.startswith((".", *BUILT))]
    found = [path for entry in kept for path in [entry, *entry.rglob("*.md")]]
    return sorted(path.relative_to(ROOT) for path in found if path.suffix == ".md")


def read(page):
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text):
    """The fenced blocks of a page."""
    return [
        Block(
            match["language"],
            match["text"],
            text.count("\n", 0, match.start("text")) + 1,
            "<!-- slow -->" in match["marks"],
            tuple(re.findall(r"<!-- needs: (\S+) -->", match["marks"])),
        )
        for match in FENCE.finditer(text)
    ]


def python(page):
    return [block for block in blocks(read(page)) if block.language == "python"]


def commands(text):
    """Words of the command lines of a page: in sh blocks, in what is indented by four blanks, and
    in `kansym ...` within a line."""
    fenced = "\n".join(block.text for block in blocks(text) if block.language == "sh")
    prose = FENCE.sub("", text)
    indented = "\n".join(re.findall(r"^    (\S.*)$", prose, re.M))
    lines = re.sub(r"\\\n\s*", " ", f"{fenced}\n{indented}").splitlines()
    lines += re.findall(r"`(kansym [a-z-]+ [^`…]*[^`.…])`", prose)
    asked = [line for line in lines if re.match(r"(kansym|make) ", line)]
    return [shlex.split(line, comments=True) for line in asked]


def of_program(name):
    """(page, words) of every command of that program, on any page."""
    pages = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells, and shows no use
    pairs = ((page, words) for page in pages for words in commands(read(page)))
    return [(page, words[1:]) for page, words in pairs if words[:1] == [name]]


PAGES = markdown()
name_of = {"ids": lambda page: page.with_suffix("").as_posix()}
is_slow = [page for page in PAGES if any(block.is_slow for block in python(page))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where a page may write, with the tables that commands read."""
    monkeypatch.chdir(tmp_path)
    with socket.socket() as found:  # what torchrun sets, for one process
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    place = {"RANK": 0, "WORLD_SIZE": 1, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in place.items():
        monkeypatch.setenv(name, str(value))
    rng = np.random.default_rng(0)
    table = pd.DataFrame(rng.uniform(1, 3, (200, 4)), columns=["a", "b", "m", "v"])
    table["y"], table["E"] = table["a"] * table["b"], table["m"] * table["v"] ** 2 / 2
    table["t"] = rng.uniform(1, 3, 200)
    table["P"] = table["E"] / table["t"]
    table.to_csv("table.csv", index=False)
    table.to_csv("new.csv", index=False)
    (tmp_path / "tables").mkdir()
    for name in ("first", "second"):
        table[["a", "b", "y"]].to_csv(f"tables/{name}.csv", index=False)
    yield tmp_path
    plt.close("all")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run(page, chosen):
    names = {"__name__": "__main__"}
    with torch.random.fork_rng():  # layers of PyTorch draw from it
        torch.manual_seed(0)
        for block in chosen:
            if any(importlib.util.find_spec(package) is None for package in block.needs):
                continue
            lines = "\n" * (block.line - 1) + block.text  # so that a traceback names the line
            exec(compile(lines, str(page), "exec"), names)


@pytest.mark.parametrize("page", [page for page in PAGES if python(page)], **name_of)
def test_python_runs(page, folder):
    run(page, [block for block in python(page) if not block.is_slow])


@pytest.mark.slow
@pytest.mark.parametrize("page", is_slow, **name_of)
def test_all_python_runs(page, folder):
    run(page, python(page))


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_every_block_is_read(page):
    text = read(page)
    assert len(re.findall(r"^ *```python", text, re.M)) == len(python(page)), (
        "indented, or not closed"
    )
    marks = re.findall(r"^<!-- (?:slow|needs).*", text, re.M)
    assert len(marks) == sum(block.is_slow + len(block.needs) for block in python(page)), marks


def named(context, words):
    """The command and the context that click makes of words, without running it."""
    name, command, rest = main.resolve_command(context, words)
    return name, command.make_context(name, list(rest), parent=context)


@pytest.mark.parametrize(("page", "words"), of_program("kansym"), ids=str)
def test_commands_exist(page, words):
    if words[0].startswith("-"):
        return
    try:
        named(click.Context(main), words)
    except (click.exceptions.Exit, click.exceptions.NoArgsIsHelpError):
        pass  # --help
    except click.ClickException as error:
        pytest.fail(f"{page}: kansym {shlex.join(words)}: {error.format_message()}")


def test_targets_of_make_exist():
    makefile = read("Makefile").replace("\\\n", " ")
    known = set(" ".join(re.findall(r"^(?:\.PHONY: )?([\w -]+)(?::|$)", makefile, re.M)).split())
    known |= set(re.findall(r"bench-\w+", makefile))
    asked = {words[0] for _, words in of_program("make")}
    asked |= {name for page in PAGES for name in re.findall(r"`make ([\w-]+)", read(page))}
    assert asked
    assert not asked - known


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({page for page, _ in of_program("kansym")}), **name_of)
def test_commands_run(page, folder):
    """In the order of the page; searches get little time, for the tables are simple."""
    for asked in [words for where, words in of_program("kansym") if where == page]:
        if {"--backend", "--scheduler"} & set(asked):
            continue  # needs a cluster
        limit = ["--max-time", "5"] if asked[0] in ("fit", "fit-many") else []
        done = CliRunner().invoke(main, [*asked, *limit, *resumed(asked)])
        assert done.exit_code == 0, f"{asked}: {done.output}"


def resumed(words):
    """A page that searches into the same folder twice means another day."""
    if words[0] not in ("fit", "fit-many") or "--out" not in words or "--resume" in words:
        return []
    return ["--resume"] if Path(words[words.index("--out") + 1]).exists() else []


@pytest.mark.parametrize("page", PAGES, **name_of)
def test_links_lead_somewhere(page):
    text = FENCE.sub("", read(page))
    links = list(itertools.chain(*LINK.findall(text)))
    here = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:", link)]
    missing = [link for link in here if link and not ((ROOT / page).parent / link).exists()]
    assert not missing


def test_the_readme_is_two_screens():
    lines = read("README.md").splitlines()
    assert len(lines) <= 120
    long = [line for line in lines if len(line) > 100 and not line.startswith(("<", "|"))]
    assert not long


def test_every_verb_of_pykan_is_told_of():
    """The methods and properties of MultKAN in pykan 0.2.8, and the functions beside it, as
    introspection lists them."""
    text = read("docs/how-to/from-pykan.md")
    told = set(re.findall(r"`(\w+)", "".join(re.findall(r"^\|[^|]*\|", text, re.M))))
    assert not [verb for verb in PYKAN.split() if verb not in told]


PYKAN = """
to width_in width_out n_sum n_mult feature_score initialize_from_another_model log_history refine
saveckpt loadckpt copy rewind checkout update_grid_from_samples update_grid
initialize_grid_from_another_model forward set_mode fix_symbolic unfix_symbolic unfix_symbolic_all
get_range plot reg get_reg disable_symbolic_in_fit get_params fit prune_node prune_edge prune
prune_input remove_edge remove_node attribute node_attribute feature_interaction suggest_symbolic
auto_symbolic symbolic_formula expand_depth expand_width perturb module tree speed get_act get_fun
history n_edge evaluate swap connection_cost auto_swap_l auto_swap
create_dataset fit_params sparse_mask add_symbolic ex_round augment_input batch_jacobian
batch_hessian create_dataset_from_data get_derivative model2param expr2kan kanpiler
detect_separability batch_grad_normgrad get_dependence test_symmetry test_separability
test_general_separability get_molecule get_tree_node plot_tree test_symmetry_var
get_feynman_dataset runner1 pareto_frontier
"""


@pytest.mark.slow
def test_the_site_asks_the_network_for_nothing(tmp_path):
    """Built without a warning, and no page loads anything from elsewhere."""
    commands = pytest.importorskip("mkdocs.commands.build")
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), strict=True, site_dir=str(tmp_path / "site"))
    commands.build(config)
    site = tmp_path / "site"
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    assert "<math" in (site / "explanation" / "edge.html").read_text()
    assert "<strong>width</strong>" in (site / "reference" / "networks.html").read_text()
    assert "kansym fit-many" in (site / "reference" / "command-line.html").read_text()
    assert (site / "repository" / "figures" / "hello_1_trained.png").exists()
    assert (site / "repository" / "examples" / "hello_world.py.html").exists()
    tag = re.compile(r"<(?:script|img|iframe|source|link)\b[^>]*>")
    elsewhere = re.compile(r"(?:src|href)=\"?(?:https?:)?//")
    for page in pages:
        assert not [found for found in tag.findall(page.read_text()) if elsewhere.search(found)]
