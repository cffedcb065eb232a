"""Runs exported source: one function per language, from (formula, X) to values [n, outputs]."""

import ctypes
import math
import re
import shutil
import string
import subprocess

import numpy as np
import pytest
import torch

from kansym import Formula


def skip_without(program):
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not on this machine")


def execute(source):
    namespace = {}
    exec(compile(source, "export", "exec"), namespace)
    return namespace


def stack(values, n):
    values = values if isinstance(values, tuple) else (values,)
    return np.stack([np.broadcast_to(np.asarray(v, dtype=float), (n,)) for v in values], 1)


def run_python(formula, X, folder=None):
    function, rows = execute(formula.to("python"))["formula"], []
    for row in X:
        values = function(*row.tolist())
        rows.append(values if isinstance(values, tuple) else (values,))
    return np.array(rows)


def run_numpy(formula, X, folder=None):
    with np.errstate(all="ignore"):
        return stack(execute(formula.to("numpy"))["formula"](*X.T), len(X))


def run_jax(formula, X, folder=None):
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        return stack(execute(formula.to("jax"))["formula"](*X.T), len(X))


def run_torch(formula, X, folder=None):
    return execute(formula.to("torch"))["Formula"]()(torch.as_tensor(X)).numpy()


def run_learnable_torch(formula, X, folder=None):
    module = execute(formula.to("torch", learnable=True))["Formula"]()
    return module(torch.as_tensor(X)).detach().numpy()


def run_module(formula, X, folder=None):
    return formula.module()(torch.as_tensor(X)).numpy()


def run_sympy(formula, X, folder=None):
    found = execute(formula.to("sympy"))
    return Formula(found["exprs"], found["variables"]).evaluate(X)


def run_c(formula, X, folder):
    skip_without("gcc")
    source = formula.to("c")
    (folder / "formula.c").write_text(source)
    flags = ["-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter"]
    command = ["gcc", *flags, "-shared", "-fPIC", "formula.c", "-o", "formula.so", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "formula.so"))
    columns = []
    for name in re.findall(r"^double (\w+)\(", source, re.M):
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_double, [ctypes.c_double] * X.shape[1]
        columns.append([function(*row) for row in X])
    return np.array(columns).T


def run_fortran(formula, X, folder):
    skip_without("gfortran")
    source = formula.to("fortran")
    assert max(map(len, source.splitlines())) <= 132
    (folder / "formula.f90").write_text(source)
    command = ["gfortran", "-std=f2008", "-Wall", "-Werror", "-Wno-unused-dummy-argument", "-O2"]
    command += ["-shared", "-fPIC", "formula.f90", "-o", "formula_f.so"]
    subprocess.run(command, cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "formula_f.so"))
    public = re.search(r"public :: ((?:.*&\n)*.*)", source)[1].replace("&", "")
    columns = []
    for name in re.findall(r"\w+", public):
        function = getattr(library, f"__formula_module_MOD_{name.lower()}")
        function.restype = ctypes.c_double
        columns.append([function(*(ctypes.byref(ctypes.c_double(v)) for v in row)) for row in X])
    return np.array(columns).T


def run_matlab(formula, X, folder):
    skip_without("octave-cli")
    (folder / "formula.m").write_text(formula.to("matlab"))
    np.savetxt(folder / "X.txt", X, fmt="%.17g")
    outputs = ", ".join(f"y{o}" for o in range(len(formula.exprs)))
    columns = ", ".join(f"X(:, {i + 1})" for i in range(X.shape[1]))
    script = (
        f"X = load('X.txt'); [{outputs}] = formula({columns}); Y = [{outputs}];"
        "f = fopen('Y.txt', 'w'); fprintf(f, '%.17g\\n', Y'); fclose(f);"
    )
    command = ["octave-cli", "--norc", "--eval", script]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return np.loadtxt(folder / "Y.txt").reshape(len(X), -1)


def run_julia(formula, X, folder):
    skip_without("julia")
    if "SpecialFunctions" in formula.to("julia"):
        pytest.skip("needs a package of Julia's")
    (folder / "formula.jl").write_text(formula.to("julia"))
    rows = "; ".join(" ".join(repr(float(v)) for v in row) for row in X)
    script = (
        f'include("formula.jl"); for r in eachrow([{rows}]); println(join(formula(r...), " ")); end'
    )
    command = ["julia", "--startup-file=no", "-e", script]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    return np.loadtxt(done.stdout.splitlines(), ndmin=2)


LETTERS = string.ascii_uppercase
COLUMNS = [*LETTERS, *(first + second for first in LETTERS for second in LETTERS)]  # A ... ZZ


def run_excel(formula, X, folder=None):
    lines = formula.to("excel").splitlines()
    rows = []
    for row in X:
        cells = {f"{column}2": float(v) for column, v in zip(COLUMNS, row, strict=False)}
        rows.append([Excel(line, cells).value for line in lines])
    return np.array(rows)


RUNNERS = {
    "python": run_python,
    "numpy": run_numpy,
    "jax": run_jax,
    "torch": run_torch,
    "torch, learnable": run_learnable_torch,
    "module": run_module,
    "sympy": run_sympy,
    "c": run_c,
    "fortran": run_fortran,
    "matlab": run_matlab,
    "julia": run_julia,
    "excel": run_excel,
}


class Excel:
    """The value of a formula as Excel reads it: a sign binds tighter than any operator, numbers are
    floats, an argument outside a domain is an error (NaN)."""

    TOKEN = re.compile(
        r"\s*(?:(\d+\.?\d*(?:E[+-]?\d+)?)|([A-Z]+\d+)(?![\w(])|([A-Z]+\d*)(?=\()|(<=|>=|<>|.))"
    )
    FUNCTIONS = {  # noqa: RUF012
        "LN": math.log, "EXP": math.exp, "SQRT": math.sqrt, "ABS": abs, "POWER": math.pow,
        "SIGN": lambda x: math.copysign(1.0, x) if x else 0.0, "PI": lambda: math.pi,
        "SIN": math.sin, "COS": math.cos, "TAN": math.tan, "SINH": math.sinh, "COSH": math.cosh,
        "TANH": math.tanh, "ASIN": math.asin, "ACOS": math.acos, "ATAN": math.atan,
        "INT": math.floor, "ASINH": math.asinh, "ACOSH": math.acosh, "ATANH": math.atanh,
        "ATAN2": lambda x, y: math.atan2(y, x), "ERF": math.erf, "ERFC": math.erfc,
        "GAMMA": math.gamma, "GAMMALN": math.lgamma, "MAX": max, "MIN": min, "NA": lambda: math.nan,
        "IF": lambda c, a, b: a if c else b, "AND": lambda *c: all(c), "OR": lambda *c: any(c),
        "NOT": lambda c: not c,
    }  # fmt: skip

    def __init__(self, text, cells):
        import scipy.special

        assert text.startswith("=")
        self.functions = {**self.FUNCTIONS, "BESSELJ": lambda x, n: scipy.special.jv(n, x)}
        self.cells, self.tokens = cells, list(self.TOKEN.finditer(text[1:]))
        try:
            self.value = float(self.comparison())
        except (ValueError, ZeroDivisionError, OverflowError):
            self.value = math.nan
        else:
            assert not self.tokens

    def peek(self):
        return self.tokens[0][4] if self.tokens else None

    def comparison(self):
        left = self.total()
        if self.peek() in ("<", ">", "<=", ">=", "=", "<>"):
            sign, right = self.tokens.pop(0)[4], self.total()
            return {"<": left < right, ">": left > right, "<=": left <= right,
                    ">=": left >= right, "=": left == right, "<>": left != right}[sign]  # fmt: skip
        return left

    def total(self):
        value = self.product()
        while self.peek() in ("+", "-"):
            sign = self.tokens.pop(0)[4]
            value = value + self.product() if sign == "+" else value - self.product()
        return value

    def product(self):
        value = self.signed()
        while self.peek() in ("*", "/"):
            sign = self.tokens.pop(0)[4]
            value = value * self.signed() if sign == "*" else value / self.signed()
        return value

    def signed(self):
        if self.peek() == "-":
            self.tokens.pop(0)
            return -self.signed()
        token = self.tokens.pop(0)
        if token[1]:
            return float(token[1])
        if token[2]:
            return self.cells[token[2]]
        arguments = []
        if token[3]:
            self.expect("(")
        else:
            assert token[4] == "(", f"unexpected {token[0]!r}"
        while self.peek() != ")":
            arguments.append(self.comparison())
            if self.peek() == ",":
                self.tokens.pop(0)
        self.expect(")")
        return self.functions[token[3]](*arguments) if token[3] else arguments[0]

    def expect(self, sign):
        assert self.tokens.pop(0)[4] == sign
