"""Hostile texts (code, towers of powers, deep nesting, look-alikes) wherever text becomes a
formula, function, unit or width: never evaluated, and a clear error in under 1 s.
"""

import tempfile
from functools import cache

import pytest
from sandbox import MARK, MEGABYTES, SECONDS, Case, run

CALL = f"__import__('os').system('touch {MARK}')"
TEXTS = {
    "a call": CALL,
    "a call in an argument": f"sin({CALL})",
    "a call as a default": f"(lambda x={CALL}: x)()",
    "exec": f"exec(\"open('{MARK}', 'w')\")",
    "open": f"open('{MARK}', 'w')",
    "system call": f"system('touch {MARK}')",
    "attribute": "x1.__class__.__base__.__subclasses__()",
    "attribute of a number": "(1).__class__",
    "subscript": "x1[0]",
    "lambda": "lambda x1: x1",
    "list comprehension": f"[{CALL} for x1 in [1]]",
    "generator": f"sum({CALL} for x1 in [1])",
    "f-string": f"f'{{{CALL}}}'",
    "format string": "{0.__class__}",
    "percent format": "%n%s%1000000d",
    "walrus": f"(x1 := {CALL})",
    "conditional": f"x1 if {CALL} else x2",
    "and": f"x1 and {CALL}",
    "comparison": "x1 < x2 == x1",
    "keyword argument": f"sin(x={CALL})",
    "starred": "sin(*[x1])",
    "statement": f"x1; {CALL}",
    "line break": f"x1\n{CALL}",
    "await": "await x1",
    "decorator": "@x1",
    "tower": "9**9**9**9",
    "tower on the left": "((9**999)**999)**999",
    "tower of a fraction": "((2/3)**999)**999",
    "factorial": "factorial(10**9)",
    "gamma": "gamma(10**9)",
    "tower of exp": "exp(exp(exp(exp(9))))",
    "power by a tower of exp": "x1**exp(exp(exp(9)))",
    "sign of a tower": "sign(exp(exp(exp(9))) - exp(exp(exp(8))))",
    "Bessel function of huge order": "besselj(10**9, 10**9)",
    "huge power": "x1**1e9",
    "huge whole power": "x1**10**9",
    "powers of powers": "(((x1**100)**100)**100)**100",
    "hyperbolic tower": "tanh(" * 9 + "x1**x2" + ")" * 9,
    "brackets": "(" * 10**6 + "x1" + ")" * 10**6,
    "functions": "sin(" * 10**5 + "x1" + ")" * 10**5,
    "open brackets": "(" * 10**6,
    "minuses": "-" * 10**5 + "x1",
    "pluses": "+".join(["x1"] * 10**5),
    "powers": "x1" + "**x1" * 10**4,
    "100,000 digits": "9" * 10**5,
    "4,301 digits": "9" * 4301,
    "decimals": "0." + "9" * 10**5 + "e99999",
    "1/0": "1/0",
    "x1/0": "x1/0",
    "1/0.0": "51e3/0.",
    "0/0 as a power": "x1**(0/0)",
    "oo": "oo*x1",
    "zoo": "zoo",
    "nan": "nan*x1",
    "1e999": "1e999*x1",
    "imaginary": "(-1)**0.5",
    "1j": "1j*x1",
    "complex function": "log(-1)*x1",
    "NUL": "x1\0",
    "look-alike": "\u0445\u0445",  # Cyrillic
    "mathematical look-alike": "\U0001d42c\U0001d422\U0001d427(x1)",
    "right to left": "\u202ex1 + x2\u202c",
    "lone surrogate": "x1\udc80",
    "very long name": "x" * 10**6,
    "bytes": "b'x1'",
    "text": "'x1'",
    "ellipsis": "...",
    "None": "None",
    "True": "True + 0.5",
    "backslash": "x1\\",
    "caret": "x1^2",
    "markup": "<script>alert(1)</script>",
    "spreadsheet": "=cmd|' /C calc'!A0",
    "path": "../../../etc/passwd",
    "empty": "",
    "blank": " \t ",
}
UNITS = {
    "huge power": "kg**(10**9)",
    "huge power of a multiple": "km**1000000000",
    "huge powers that cancel": "hour**(10**8)/min**(10**8)",
    "power above 100": "m**101",
    "tower": "m**(9**9**9)",
    "tower in words": "9 squared squared squared squared squared",
    "tower of superscripts": "9⁹⁹⁹⁹⁹⁹⁹⁹",
    "infinite power": "m**1e400",
    "power without value": "m**nan",
    "division by zero": "m/0",
    "offset": "degC",
    "logarithm": "dB",
    "keyword": "lambda: m",
    "format": "{m:d}",
    "dimension": "[mass]",
    "attribute": "kg.__class__",
    "list": "[m for m in m]",
    "factor": "1000 kg",
    "long": "m*" * 10**5 + "m",
}
WIDTHS = {
    "huge": "2,99999999999999999999,1",
    "a million nodes": "1,1000000,1",
    "long": "1," * 10**5 + "1",
    "negative": "-1,1",
    "sum nodes in four": "1+1+1+1,1",
    "exponent": "1e9,1",
    "underscore": "1_0,1",
    "full-width digits": "\uff11,\uff11",
    "nothing": ",",
    "none": "0,1",
}
# Where any text of TEXTS must be refused.
PLACES = ("form", "stored", "unit", "function", "constant", "column", "formula", "sympy form",
          "compiled", "undefined", "width", "units", "lib")  # fmt: skip
# Where it must not be run, though it may be a name like any other.
NAMES = ("symbol", "name")
# These mean something there.
SOUND = {
    ("unit", "empty"), ("unit", "blank"), ("units", "empty"), ("units", "blank"),  # no unit
    ("constant", "look-alike"),  # a word
}  # fmt: skip

CASES = {f"{place}: {name}": (place, text) for place in PLACES for name, text in TEXTS.items()
         if (place, name) not in SOUND}  # fmt: skip
CASES |= {f"{place}: {name}": (place, text) for place in NAMES for name, text in TEXTS.items()}
CASES |= {f"unit: unit {name}": ("unit", text) for name, text in UNITS.items()}
CASES |= {f"units: unit {name}": ("units", text) for name, text in UNITS.items()}
CASES |= {f"width: width {name}": ("width", text) for name, text in WIDTHS.items()}


@cache
def outcomes():
    with tempfile.TemporaryDirectory() as folder:
        found = run([Case(place, text) for place, text in CASES.values()], folder)
    return dict(zip(CASES, found, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_text(name):
    place, _ = CASES[name]
    outcome = outcomes()[name]
    assert not outcome.is_evaluated
    allowed = ("loaded", "refused") if place in NAMES else ("refused",)
    assert outcome.kind in allowed, outcome
    if outcome.kind == "refused":
        assert 10 < len(outcome.text) < 1500
    assert outcome.seconds < SECONDS, outcome
    assert outcome.megabytes < MEGABYTES
