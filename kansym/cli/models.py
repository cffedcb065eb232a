"""kansym predict, show and export: what to do with a saved model."""

from __future__ import annotations

from pathlib import Path

import click

from kansym.cli.options import FILE
from kansym.cli.results import save_picture
from kansym.cli.run import clear_errors
from kansym.cli.texts import formula_of, model_text
from kansym.errors import check_choice
from kansym.files import write_atomically

NAMELESS = ("sympy", "latex", "align", "excel")  # exports that write no function


@click.command()
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@click.option("--out", type=FILE, help="CSV file; default: standard output.")
@click.option("--raw-names", is_flag=True, help="Write the header exactly as the model has it.")
def predict(model: Path, data: Path, out: Path | None, raw_names: bool) -> None:
    """Outputs of a saved model for every row of a table, as CSV.

    A name in the header that a spreadsheet would run as a formula (it begins with = + - or @) gets
    an apostrophe in front, and what does not print becomes a space; --raw-names leaves both out.
    """
    with clear_errors():
        import pandas as pd

        from kansym.model import load
        from kansym.symbolic.names import cell_text
        from kansym.tables import read_table

        kan = load(model)
        frame = read_table(data)
        names = list(kan.feature_names or [])
        missing = [name for name in names if name not in frame.columns]
        if missing:
            raise ValueError(f"{data} lacks the columns {missing}; it has {list(frame.columns)}")
        values = kan.predict(frame[names] if names else frame)
        targets = list(kan.target_names or [f"y{o + 1}" for o in range(kan.n_out)])
        header = targets if raw_names else [cell_text(name) for name in targets]
        text = pd.DataFrame(values, columns=header).to_csv(index=False)
        if out is None:
            click.echo(text, nl=False)
        else:
            write_atomically(out, text)


@click.command()
@click.argument("model", type=FILE)
@click.option("--plot", type=FILE, help="Write a diagram: .svg, .png, .pdf.")
def show(model: Path, plot: Path | None) -> None:
    """Formula, structure and edge scores of a saved model."""
    with clear_errors():
        from kansym.model import load

        kan = load(model)
        click.echo(model_text(kan))
        if plot is not None:
            save_picture(kan, plot)


@click.command()
@click.argument("model", type=FILE)
@click.option(
    "--to",
    "target",
    required=True,
    help="sympy, latex, align, python, numpy, torch, jax, c, fortran, julia, matlab, excel; onnx.",
)
@click.option("--name", help="Of the function to write.  [default: formula]")
@click.option("--out", type=FILE, help="File; default: standard output.")
def export(model: Path, target: str, name: str | None, out: Path | None) -> None:
    """The formula of a saved model in another language.

    Constants are exact where the rows in the file bear it out, as in `show`. onnx is the network
    itself, splines or not, and needs --out.
    """
    with clear_errors():
        from kansym.model import load
        from kansym.symbolic.exports import EXPORTS

        check_choice("--to", target, [*EXPORTS, "onnx"])
        kan = load(model)
        if target == "onnx":
            if out is None or name is not None:
                raise ValueError(
                    "--to onnx writes a binary file: it needs --out and takes no --name"
                )
            kan.to_onnx(out)
            return
        if name is not None and target in NAMELESS:
            raise ValueError(f"--name cannot be used with --to {target}, which writes no function")
        text = formula_of(kan).to(target, **({} if name is None else {"name": name})).rstrip("\n")
        if out is None:
            click.echo(text)
        else:
            write_atomically(out, f"{text}\n")
