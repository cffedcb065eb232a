"""PyTorch source: a `torch.nn.Module` whose decimal constants may be parameters.

`module` holds the same as an object. Bessel functions are refused: torch's are off by 4e-7.
"""

from __future__ import annotations

from typing import ClassVar

from kansym.symbolic.constants import parametrise
from kansym.symbolic.exports.code import header, parts
from kansym.symbolic.exports.numpy import ArrayCode
from kansym.symbolic.exports.python import PYTHON_WORDS, docstring
from kansym.symbolic.formula import Expr, Formula

_ALIKE = ("exp", "log", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asin", "acos", "atan",
          "asinh", "acosh", "atanh", "sqrt", "sign", "erf", "erfc", "floor")  # fmt: skip


class TorchCode(ArrayCode):
    target = "torch"
    module = "torch"
    functions: ClassVar = {
        **{name: f"torch.{name}" for name in _ALIKE},
        "Abs": "torch.abs",
        "ceiling": "torch.ceil",
        "loggamma": "torch.lgamma",
        "Max": "torch.maximum",
        "Min": "torch.minimum",
    }
    constants: ClassVar = {"pi": "math.pi", "E": "math.e"}
    nan = "torch.nan"
    negation = "~"
    reserved = PYTHON_WORDS | {"math", "torch", "self", "X"}

    def case(self, condition: str, value: str, otherwise: str) -> str:
        # torch.where makes two numbers a float32 tensor.
        return super().case(condition, f"X.new_tensor(1.0) * ({value})", otherwise)

    def _function(self, expr: Expr) -> str:
        numbers = [arg for arg in expr.args if arg.is_number]
        if type(expr).__name__ in ("Max", "Min") and numbers:
            side = "min" if type(expr).__name__ == "Max" else "max"
            rest = expr.func(*(arg for arg in expr.args if not arg.is_number))
            return f"torch.clamp({self(rest)}, {side}={self(numbers[0])})"
        return super()._function(expr)


def torch_source(formula: Formula, name: str = "Formula", learnable: bool = False) -> str:
    """A module from X [..., variables] to [..., outputs]; it needs nothing but torch.

    learnable: the decimal constants are parameters, float64 at first.
    """
    exprs, dummies, starts = list(formula.exprs), [], []
    if learnable:
        for o, expr in enumerate(formula.exprs):
            exprs[o], new, values = parametrise(expr)
            dummies += new
            starts += values.tolist()
    slots = {dummy: f"self.constants[{c}]" for c, dummy in enumerate(dummies)}
    p, _ = parts(formula._with(exprs), TorchCode, name, also=slots)
    about = f"X [..., {', '.join(p.variables)}] -> [..., {', '.join(p.targets)}]"
    init = [
        "    def __init__(self):",
        "        super().__init__()",
        f"        values = torch.tensor({starts!r}, dtype=torch.float64)",
        "        self.constants = torch.nn.Parameter(values)",
        "",
    ]
    columns = [f"        {v} = X[..., {i}]" for i, v in enumerate(p.variables)]
    values = [
        f"        {t} = {value}{'' if e.free_symbols else ' + X.new_zeros(X.shape[:-1])'}"
        for t, e, value in zip(p.targets, formula.exprs, p.values, strict=True)
    ]
    return "\n".join(
        [
            *header(p, "#"),
            *["import math", ""] * any("math." in value for value in p.values),
            "import torch",
            "",
            "",
            f"class {p.name}(torch.nn.Module):",
            *docstring([about, *p.legend]),
            "",
            *(init if starts else []),
            "    def forward(self, X):",
            *(f"        {ident} = {value}" for ident, value in p.constants),
            *columns,
            *values,
            f"        return torch.stack([{', '.join(p.targets)}], -1)",
            "",
        ]
    )
