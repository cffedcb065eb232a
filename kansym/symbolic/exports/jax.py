"""JAX source: one function that can be jitted, mapped and differentiated."""

from __future__ import annotations

from typing import ClassVar

from kansym.symbolic.exports.code import header, parts
from kansym.symbolic.exports.numpy import ArrayCode, array_body, array_functions
from kansym.symbolic.exports.python import PYTHON_WORDS, definition
from kansym.symbolic.formula import Formula


class JaxCode(ArrayCode):
    target = "jax"
    module = "jnp"
    functions: ClassVar = {
        **array_functions("jnp"),
        "erf": "special.erf",
        "erfc": "special.erfc",
        "loggamma": "special.gammaln",
    }
    constants: ClassVar = {"pi": "jnp.pi", "E": "jnp.e"}
    nan = "jnp.nan"
    negation = "~"
    reserved = PYTHON_WORDS | {"jax", "jnp", "special"}


def jax_source(formula: Formula, name: str = "formula") -> str:
    """A function of arrays that broadcast, one argument per variable; several outputs come as a
    tuple. In JAX's default precision: float64 needs `jax_enable_x64`."""
    p, code = parts(formula, JaxCode, name)
    needs_special = any(code.functions[used].startswith("special.") for used in code.used)
    return "\n".join(
        [
            *header(p, "#", 'float64: jax.config.update("jax_enable_x64", True)'),
            "import jax.numpy as jnp",
            *["from jax.scipy import special"] * needs_special,
            "",
            "",
            *definition(p, "Arrays broadcast; NaN outside the domain."),
            *array_body(formula, p, "jnp"),
            "",
        ]
    )
