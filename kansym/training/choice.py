"""Which solver suits a fit: what opt="auto" stands for."""

from __future__ import annotations

from kansym.jacobian import FreeParameters
from kansym.network import Network
from kansym.training.objective import Objective

# A step of Levenberg-Marquardt costs n P^2 + P^3 / 3 operations and P^2 memory: at 2,000 parameters
# and 1,000 rows about a quarter of a second on one core.
MAX_LM_PARAMETERS = 2000


def choose_opt(
    network: Network, objective: Objective, lr: float | None, batch: int | None
) -> tuple[str, str]:
    """The name of a solver and the reason in plain words."""
    count = FreeParameters(network).count
    if batch is not None:
        return "Adam", f"batches of {batch} rows give gradients with noise"
    if not objective.has_residuals:
        return "LBFGS", "the loss is not a sum of squared residuals"
    if lr is not None:
        return "LBFGS", "lr was given, which LM has no use for"
    if count > MAX_LM_PARAMETERS:
        return "LBFGS", f"{count} free parameters are more than the {MAX_LM_PARAMETERS} LM is for"
    return "LM", f"a squared error of {count} free parameters"
