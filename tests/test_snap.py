"""Constants become exact numbers where the data bear it out, and otherwise stay decimals."""

import math

import numpy as np
import pytest
import sympy
from sympy import E, Float, Integer, Rational, Symbol, cos, exp, log, pi, sin, sqrt

from kansym import KAN, Formula, NoSampleError
from kansym.symbolic import snap
from kansym.symbolic.constants import ConstantProblem, parametrise
from kansym.symbolic.snap import candidates, snap_formula

X1, X2 = Symbol("x1", real=True), Symbol("x2", real=True)


def number(value):
    return Float(float(value), 17)


def data(expr, n=150, noise=0.0, seed=0, low=-2.0, high=2.0):
    """Rows of (x1, x2) and the values of expr, with noise relative to their spread."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(low, high, (n, 2))
    y = sympy.lambdify([X1, X2], expr, "numpy")(*X.T) * np.ones(n)
    return X, (y + noise * y.std() * rng.standard_normal(n))[:, None]


def snapped(expr, exact=None, jitter=1e-7, **options):
    """The formula `expr` with all its decimals a little off, snapped on data of `exact`."""
    rng = np.random.default_rng(1)
    swap = {f: number(float(f) * (1 + jitter * rng.standard_normal())) for f in expr.atoms(Float)}
    formula = Formula([expr.xreplace(swap)], [X1, X2])
    return snap_formula(formula, *data(expr if exact is None else exact, **options))


def decimals(expr):
    """An exact expression with its numbers (but exponents) as decimals."""
    if expr.is_Number or expr.is_NumberSymbol:
        return number(expr)
    if expr.is_Pow and expr.exp.is_Number:
        if expr.base.is_number:
            return number(expr)
        return decimals(expr.base) ** expr.exp
    if expr.is_number:
        return number(expr)
    return expr.func(*map(decimals, expr.args)) if expr.args else expr


def r2(formula, X, y):
    error = formula.evaluate(X) - y
    return 1 - float((error**2).mean() / y.var())


# -- exact data ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "law",
    [
        3 * X1 + Rational(1, 2),
        sin(pi * X1) + X2**2 * Rational(3, 2),
        E * X1**2 - 7 * X2,
        exp(-X1 / 2) * cos(2 * X2),
        sqrt(2) * X1 + X2 / sqrt(3),
        exp(-(X1**2) / 2) / sqrt(2 * pi),
        Rational(2, 3) * X1**3 + Rational(7, 5) * X2,
        pi**2 * X1 - 12 * X2,
        log(X1 + 3) * 10 + X2 / 100,
        sin(2 * pi * X1 + pi / 4) * 5,
        -X1 * X2 * Rational(1, 4) - 20,
    ],
    ids=str,
)
def test_exact_data_give_the_law_back(law):
    result = snapped(decimals(law))
    assert sympy.simplify(result.exprs[0] - law) == 0
    assert not result.exprs[0].atoms(Float)


def test_what_was_replaced_is_listed():
    result = snapped(number(1.5) * X1 + number(math.pi) * X2 + number(0.123456789))
    assert {form for _, form in result.snapped} == {Rational(3, 2), pi}
    for value, form in result.snapped:
        assert value == pytest.approx(float(form), abs=1e-6)
    assert [float(f) for f in result.exprs[0].atoms(Float)] == pytest.approx([0.123456789])


def test_a_term_that_is_not_there_vanishes():
    expr = number(2.0) * X1 + number(1e-9) * X2**2 + number(3e-10)
    assert snapped(expr, 2 * X1).exprs[0] == 2 * X1


def test_a_vanished_term_takes_its_inner_constants_along():
    expr = number(2.0) * X1 + number(1e-10) * sin(number(1.7) * X2 + number(0.3))
    assert snapped(expr, 2 * X1).exprs[0] == 2 * X1


def test_the_other_constants_are_refitted():
    """0.7 is two per cent off; it must move when 2.001 becomes 2."""
    law = 2 * X1 + number(0.71237) * sin(X2)
    start = Formula([number(2.001) * X1 + number(0.70) * sin(number(1.002) * X2)], [X1, X2])
    X, y = data(law)
    result = snap_formula(start, X, y)
    assert r2(result, X, y) == pytest.approx(1, abs=1e-14)
    assert [float(f) for f in result.exprs[0].atoms(Float)] == pytest.approx([0.71237], rel=1e-9)


def test_every_output_on_its_own():
    formula = Formula([number(1.9999999) * X1, number(2.3456789) * X2], [X1, X2], snapped=())
    X, _ = data(X1)
    y = np.stack([2 * X[:, 0], 2.3456789 * X[:, 1]], 1)
    result = snap_formula(formula, X, y)
    assert result.exprs[0] == 2 * X1
    assert float(result.exprs[1].as_coeff_Mul()[0]) == pytest.approx(2.3456789, rel=1e-12)
    assert result.variables == formula.variables
    assert len(result.snapped) == 1


def test_a_formula_without_decimals_stays():
    formula = Formula([sin(2 * X1)], [X1, X2])
    assert snap_formula(formula, *data(sin(2 * X1))).exprs == formula.exprs
    assert snap_formula(formula, *data(X1)).exprs == formula.exprs


# -- what the data do not bear out ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "near", "noise"),
    [
        *((3.2, pi, noise) for noise in (0.0, 1e-3, 1e-2)),
        *((2.7, E, noise) for noise in (0.0, 1e-3)),
        *((1.4, sqrt(2), noise) for noise in (0.0, 1e-3)),
        *((0.49, Rational(1, 2), noise) for noise in (0.0, 1e-3)),
        (3.141, pi, 0.0),
        (1.003, Integer(1), 0.0),
    ],
)
def test_a_number_that_is_only_near_is_refused(value, near, noise):
    result = snapped(number(value) * sin(number(1.3) * X1) + number(0.7) * X2, noise=noise)
    assert near not in [form for _, form in result.snapped]
    amplitude = result.exprs[0].as_independent(X2)[0].as_coeff_Mul()[0]
    assert float(amplitude) == pytest.approx(value, rel=5e-3)


def wave(c, a, b):
    return c * sin(a * X1 + b)


def false_snaps(noise, count):
    """How many formulas of random constants had any of them replaced."""
    wrong = 0
    for seed in range(count):
        constants = np.random.default_rng(1000 + seed).uniform([0.5, 0.5, 0.1], [5.0, 4.0, 1.4])
        expr = wave(*map(number, constants))
        result = snap_formula(Formula([expr], [X1, X2]), *data(expr, 100, noise, seed))
        wrong += bool(result.snapped)
    return wrong


@pytest.mark.parametrize(("noise", "allowed"), [(0.0, 0), (1e-3, 3), (1e-2, 3)])
def test_random_constants_are_not_replaced(noise, allowed):
    """Of 60 formulas with 3 constants each; a long list of exact numbers hits a third of them."""
    assert false_snaps(noise, 60) <= allowed


@pytest.mark.parametrize(
    ("noise", "constants", "least"),
    [
        (1e-3, (2, Rational(3, 2)), 19),
        (1e-3, (pi, E), 18),
        (1e-3, (pi / 2, sqrt(2)), 17),
        (1e-3, (Rational(2, 3), Rational(5, 4)), 17),
        (1e-2, (3, Rational(5, 2)), 19),
    ],
    ids=str,
)
def test_true_constants_are_found_under_noise(noise, constants, least):
    found = 0
    for seed in range(10):
        expr = wave(*map(number, constants), number(0.4321 + 0.01 * seed))
        result = snap_formula(Formula([expr], [X1, X2]), *data(expr, 200, noise, seed))
        forms = [form for _, form in result.snapped]
        found += sum(constant in forms for constant in constants)
    assert found >= least


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.03, 0.3])
def test_the_fit_does_not_get_worse(noise):
    expr = number(3.0) * sin(number(math.pi) * X1) + number(0.31) * X2 + number(1.234)
    X, y = data(expr, noise=noise)
    before = Formula([expr], [X1, X2])
    after = snap_formula(before, X, y)
    loss = r2(before, X, y) - r2(after, X, y)
    assert loss <= 0.1 * noise**2 + 1e-14


def test_the_test_of_significance_refuses(monkeypatch):
    """Without it 3.2 would be taken for anything within the window."""
    expr = number(3.2) * X1
    X, y = data(expr, noise=1e-3)
    monkeypatch.setattr(snap, "WINDOW", 1e6)
    monkeypatch.setattr(snap, "CHANCE", 1e9)
    monkeypatch.setattr(snap, "CHANCE_OF_WHOLE", 1e9)
    result = snap_formula(Formula([expr], [X1, X2]), X, y)
    assert float(result.exprs[0].subs(X1, 1)) == pytest.approx(3.2, abs=2e-3)
    monkeypatch.setattr(ConstantProblem, "bears_out", lambda *fits: True)
    result = snap_formula(Formula([expr], [X1, X2]), X, y)
    assert float(result.exprs[0].subs(X1, 1)) != pytest.approx(3.2, abs=0.1)


# -- hard cases ----------------------------------------------------------------------------------


def test_constants_that_data_cannot_tell_apart():
    a, b = number(2.0), number(1.5)
    expr = sympy.Mul(a, sympy.Add(X1, sympy.Mul(b, X1, evaluate=False), evaluate=False))
    X, y = data(5 * X1)
    result = snap_formula(Formula([expr], [X1, X2]), X, y)
    assert r2(result, X, y) == pytest.approx(1, abs=1e-12)


def test_two_amplitudes_of_one_term():
    expr = number(1.7) * sin(X1) + number(1.3) * cos(X1 - number(math.pi / 2))
    X, y = data(3 * sin(X1))
    result = snap_formula(Formula([expr], [X1, X2]), X, y)
    assert r2(result, X, y) == pytest.approx(1, abs=1e-12)


def test_more_constants_than_rows():
    expr = sum((number(0.3 + k) * X1**k for k in range(6)), Integer(0))
    X, y = data(expr, n=4)
    result = snap_formula(Formula([expr], [X1, X2]), X, y)
    assert np.isfinite(result.evaluate(X)).all()
    assert r2(result, X, y) > 1 - 1e-9


@pytest.mark.parametrize(
    "expr", [log(X1 + number(0.5)), sqrt(X1), number(2.0) / (X1 * 0), X1 ** number(0.5)], ids=str
)
def test_a_formula_that_is_not_real_on_the_data_stays(expr):
    X, y = data(X1)
    formula = Formula([expr], [X1, X2])
    result = snap_formula(formula, X, y)
    assert result.exprs == formula.exprs
    assert result.snapped == ()


def test_data_on_the_edge_of_the_domain():
    X, y = data(sqrt(X1), low=0.0, high=2.0)
    X[0] = 0.0
    y[0] = 0.0
    expr = number(1.0000001) * sqrt(X1 + number(1e-12))
    result = snap_formula(Formula([expr], [X1, X2]), X, y)
    assert result.exprs[0] == sqrt(X1)


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_units_of_the_target_do_not_matter(scale):
    expr = number(scale) * sin(number(math.pi) * X1) + number(0.4321 * scale)
    result = snapped(expr)
    assert pi in [form for _, form in result.snapped]
    assert 0 not in [form for _, form in result.snapped]


def test_a_constant_target():
    X, _ = data(X1)
    formula = Formula([number(1e-12) * X1 + number(3.0)], [X1, X2])
    assert snap_formula(formula, X, np.full((150, 1), 3.0)).exprs[0] == 3
    formula = Formula([number(1e-15) * X1], [X1, X2])
    assert snap_formula(formula, X, np.zeros((150, 1))).exprs[0] == 0


# -- parts ---------------------------------------------------------------------------------------


def test_every_occurrence_is_a_parameter_of_its_own():
    half = number(0.5)
    template, parameters, values = parametrise(half * sin(half * X1) + 3 * X2 + X1 ** number(2.5))
    assert len(parameters) == 3
    assert sorted(values) == [0.5, 0.5, 2.5]
    assert not template.atoms(Float)
    back = template.xreplace({p: number(v) for p, v in zip(parameters, values, strict=True)})
    assert back == half * sin(half * X1) + 3 * X2 + X1 ** number(2.5)


@pytest.mark.parametrize("value", [1.0, -3.0, 0.5, 1 / 3, math.pi, -math.e, math.sqrt(2), 0.07])
@pytest.mark.parametrize("window", [1e-9, 1e-5, 1e-3, 0.1])
def test_candidates_lie_within_the_window_simplest_first(value, window):
    found = list(candidates(value, window))
    assert all(abs(exact.value - value) <= window for exact in found)
    assert all(float(exact.form) == pytest.approx(exact.value) for exact in found)
    levels = [exact.level for exact in found]
    assert levels == sorted(levels)
    assert len({exact.form for exact in found}) == len(found)


def test_the_less_is_known_the_fewer_are_tried():
    def deepest(window):
        values = [e.value for level in snap._levels() for e in level if 0.5 <= e.value <= 1]
        return max((e.level for v in values for e in candidates(v, window)), default=0)

    assert deepest(0.3) == 0
    assert deepest(0.005) == 1
    assert 2 <= deepest(2e-4) <= 3
    assert deepest(1e-6) >= 4


@pytest.mark.parametrize(
    ("window", "most"), [(1e-2, 0.1), (1e-3, 0.03), (1e-4, 0.03), (1e-6, 0.01)]
)
def test_random_numbers_seldom_lie_so_close(window, most):
    values = np.random.default_rng(0).uniform(0.3, 9, 2000)
    hits = np.mean([any(True for _ in candidates(v, window)) for v in values])
    assert hits <= most


def test_zero_is_tried_whenever_it_is_within_reach():
    assert next(candidates(1e-3, 2e-3)).form == 0
    assert next(candidates(-5.0, 6.0)).form == 0
    assert all(exact.form != 0 for exact in candidates(1e-3, 5e-4))


def test_negative_numbers_mirror_positive_ones():
    for value in (math.pi, 1.5, 1 / 3):
        positive = [(-e.value, -e.form) for e in candidates(value, 1e-6)]
        assert positive == [(e.value, e.form) for e in candidates(-value, 1e-6)]


# -- through the model ---------------------------------------------------------------------------


def test_a_model_snaps_on_the_sample_of_its_fit():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (80, 2))
    y = np.sin(np.pi * X[:, 0]) + X[:, 1] ** 2
    model = KAN([2, 1])
    model.fix_symbolic(0, 0, 0, "sin", (3.14, 0.0, 1.0, 0.0))
    model.fix_symbolic(0, 1, 0, "x^2", (1.0, 0.0, 1.0, 0.0))
    with pytest.raises(NoSampleError, match="call fit or pass X"):
        model.symbolic_formula(snap=True)
    with pytest.raises(NoSampleError, match="snap=True refits constants and needs numeric targets"):
        model.symbolic_formula(snap=True, X=X)
    (expr,), (x, z) = model.symbolic_formula(snap=True, X=X, y=y)
    assert expr == sin(pi * x) + z**2
    model.fit((X, y), opt="LM", steps=5, progress=False)
    before = [p.clone() for p in model.parameters()]
    formula = model.symbolic_formula(snap=True)
    assert formula.exprs[0] == sin(pi * x) + z**2
    assert all((p == q).all() for p, q in zip(model.parameters(), before, strict=True))


def test_a_product_is_snapped_as_one_constant():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (80, 2))
    y = 3 * X[:, 0] * (X[:, 1] + 0.5)
    model = KAN([2, [0, 1], 1])
    model.kan_layers[0].mask[0, 1] = model.kan_layers[0].mask[1, 0] = False
    model.fix_symbolic(0, 0, 0, "x", (1.234, 1e-11, 1.0, 0.0))
    model.fix_symbolic(0, 1, 1, "x", (0.87, 0.435, 1.0, 0.0))
    model.fix_symbolic(1, 0, 0, "x", (3 / 1.234 / 0.87, 0.0, 1.0, 0.0))
    (expr,), (x, z) = model.symbolic_formula(snap=True, X=X, y=y)
    assert sympy.expand(expr - 3 * x * (z + Rational(1, 2))) == 0
