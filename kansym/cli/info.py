"""kansym info: what it runs on."""

import click

from kansym.cli.run import clear_errors, versions


@click.command()
def info() -> None:
    """Versions, threads, and which kernels are in use and why."""
    with clear_errors():
        import torch

        from kansym.kernels import load as load_kernels

        for package, version in versions(["kansym", "torch", "numpy", "sympy"]).items():
            click.echo(f"{package + ':':9s} {version}")
        click.echo(f"threads:  {torch.get_num_threads()}")
        gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
        click.echo(f"GPU:      {gpu}")
        kernels = load_kernels()
        click.echo(f"kernels:  {kernels.name}: {kernels.reason}")
