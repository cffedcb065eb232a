"""The command line. Heavy imports happen inside commands, so that --help answers at once.

kansym fit DATA --target COLUMN     a formula for a table, its LaTeX and a diagram
kansym fit-many FOLDER --target COLUMN   a table of formulas for a folder of tables
kansym predict MODEL DATA           outputs of a saved model for a table
kansym show MODEL                   formula, scores and picture of a saved model
kansym export MODEL --to c          its formula in another language, or the network as ONNX
kansym demo                         two laws found again from data
kansym info                         versions, threads and kernels
"""

import click

from kansym.cli.demo import demo
from kansym.cli.fit import fit
from kansym.cli.fit_many import fit_many
from kansym.cli.info import info
from kansym.cli.models import export, predict, show

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kansym")
def main() -> None:
    """Turn data into formulas a scientist can read."""


for command in (fit, fit_many, predict, show, export, demo, info):
    main.add_command(command)
