"""Units are read exactly, groups without unit span what they must, and a formula that adds metres
to seconds is told so."""

import sys
from fractions import Fraction

import numpy as np
import pint
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st
from sympy import Symbol, acos, exp, log, pi, sin, sqrt, tanh
from sympy.physics import units as si

from kansym.discovery.dimensions import DIMENSIONLESS, Dimension, has_consistent_units, units_of
from kansym.discovery.groups import dimensionless_groups, monomial, reduced
from kansym.discovery.units import UnitTable, parse_unit, parse_units
from kansym.errors import UnitError

# -- reading -------------------------------------------------------------------------------------

FORCE = Dimension.of({"mass": 1, "length": 1, "time": -2})


@pytest.mark.parametrize(
    "unit",
    ["N", "kg*m/s^2", "kg m s**-2", "dyn", "J/km", pint.Unit("N"), pint.Quantity(3.0, "kN"),
     si.newton, si.kilogram * si.meter / si.second**2, 3 * si.kilo * si.newton, si.joule / si.km],
)  # fmt: skip
def test_a_force_is_a_force_however_it_is_written(unit):
    assert parse_unit(unit) == FORCE
    assert str(FORCE) == "mass*length/time^2"


@pytest.mark.parametrize("unit", ["", " ", "1", "-", "dimensionless", "rad", "deg", "%", "m/km",
                                  pint.Unit("rad"), 1, sympy.Integer(1), si.radian, si.degree,
                                  si.steradian, si.meter / si.km])  # fmt: skip
def test_numbers_and_angles_have_no_unit(unit):
    assert parse_unit(unit) == DIMENSIONLESS
    assert str(DIMENSIONLESS) == "dimensionless"


@pytest.mark.parametrize("name", ["m", "kg", "s", "A", "K", "mol", "cd", "V", "F", "T", "W", "Pa"])
def test_pint_and_sympy_agree(name):
    assert parse_unit(name) == parse_unit(getattr(si, name))


def test_fractions_of_powers_stay_exact():
    third = Dimension.of({"mass": Fraction(1, 3), "time": Fraction(-1, 2)})
    assert parse_unit("kg^(1/3)*s^-0.5") == third
    assert parse_unit(si.kilogram ** sympy.Rational(1, 3) / sqrt(si.second)) == third
    assert str(third) == "mass^(1/3)/time^(1/2)"
    assert third**6 == Dimension.of({"mass": 2, "time": -3})


def test_differences_of_temperatures_are_temperatures():
    assert parse_unit("J/(kg*delta_degC)") == parse_unit("J/kg/K") == parse_unit("J/kg/degC")


def test_names_and_order_say_the_same():
    table = parse_units({"v": "m/s", "F": "N", "m": "kg"}, ["m", "v"], "F")
    assert table == parse_units(["kg", "m/s", "N"], ["m", "v"], "F")
    assert table.target == FORCE
    assert table.bases == ("mass", "length", "time")
    assert table.exponents(table.dimensions[1]) == [0, 1, -1]
    assert table.by_symbol()[table.variables[0]] == Dimension.of({"mass": 1})


def test_units_of_ones_own_registry():
    registry = pint.UnitRegistry()
    registry.define("franc = [currency]")
    assert str(parse_unit(registry.Unit("franc/year"))) == "currency/time"
    assert str(parse_unit(registry.Unit("franc/year") * 2)) == "currency/time"


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ({"m": "kg", "F": "N"}, "got none for column 'v'; write '1'"),
        ({"m": "kg", "v": None, "F": "N"}, "got none for column 'v'"),
        (["kg", "m/s", None], "got none for target 'F'"),
        (["kg", "m/s"], "units must have 3 entries, those of the columns and last the target's"),
        ("kg", "units must be a mapping from names or a list, got 'kg'"),
        ({"m": "kg", "V": "m/s", "F": "N"}, r"unknown name 'V'; did you mean 'v'\?"),
        (["kg", "metre per blink", "N"], "unit of column 'v' must be one that pint reads"),
        (["kg", "m/", "N"], "unit of column 'v' must be one that pint reads"),
        (["1000 kg", "m/s", "N"], "Leave factors out"),
        (
            ["kg", "m/s", "degC"],
            "target 'F' must be one whose zero means none.*temperatures to kelvin",
        ),
        (["dB", "m/s", "N"], "decibels to ratios"),
        ([pint.Unit("degF"), "m/s", "N"], "degree_Fahrenheit"),
        ([Symbol("kg"), "m/s", "N"], "column 'm' must be text .* got kg"),
        ([object(), "m/s", "N"], "column 'm' must be text"),
        ([si.meter + si.second, "m/s", "N"], "column 'm' .* adds different units"),
    ],
)
def test_units_that_cannot_be_read(units, message):
    with pytest.raises(ValueError, match=message):
        parse_units(units, ["m", "v"], "F")


def test_a_name_that_appears_twice_needs_a_list():
    assert parse_units(["m", "s"], ["y"], "y").target == parse_unit("s")
    with pytest.raises(ValueError, match="must be a list where a name appears twice"):
        parse_units({"y": "m"}, ["y"], "y")


@given(st.text("kgmsN /*^()-.é$;\n#'", max_size=12))
def test_any_text_is_read_or_refused(text):
    message = ""
    try:
        found = parse_unit(text)
    except ValueError as error:
        found, message = None, str(error)
    assert isinstance(found, Dimension) or repr(text) in message


def test_without_pint_text_is_refused_and_sympy_read(monkeypatch):
    monkeypatch.setitem(sys.modules, "pint", None)
    with pytest.raises(
        ValueError, match=r"column 'm' is text, 'kg'.*pip install 'kansym\[units\]'"
    ):
        parse_units(["kg", "1"], ["m"], "y")
    assert parse_units([si.kilogram, "1"], ["m"], "y").dimensions == (Dimension.of({"mass": 1}),)


# -- units of expressions ------------------------------------------------------------------------

LAWS = {
    "I.6.2b": ("exp(-((theta-theta1)/sigma)**2/2)/(sqrt(2*pi)*sigma)", "1/m",
               {"theta": "m", "theta1": "m", "sigma": "m"}),
    "I.9.18": ("G*m1*m2/((x2-x1)**2+(y2-y1)**2+(z2-z1)**2)", "N",
               {"G": "m^3/kg/s^2", "m1": "kg", "m2": "g", **dict.fromkeys(
                   ["x1", "x2", "y1", "y2", "z1", "z2"], "m")}),
    "I.12.11": ("q*(Ef+B*v*sin(theta))", "N",
                {"q": "C", "Ef": "V/m", "B": "T", "v": "m/s", "theta": "rad"}),
    "I.15.3x": ("(x-u*t)/sqrt(1-u**2/c**2)", "m", {"x": "m", "u": "m/s", "t": "s", "c": "m/s"}),
    "I.16.6": ("(u+v)/(1+u*v/c**2)", "m/s", {"u": "m/s", "v": "m/s", "c": "m/s"}),
    "I.24.6": ("m*(omega**2+omega_0**2)*x**2/4", "J",
               {"m": "kg", "omega": "rad/s", "omega_0": "Hz", "x": "m"}),
    "I.26.2": ("asin(n*sin(theta2))", "rad", {"n": "1", "theta2": "rad"}),
    "I.29.16": ("sqrt(x1**2+x2**2-2*x1*x2*cos(theta1-theta2))", "m",
                {"x1": "m", "x2": "m", "theta1": "rad", "theta2": "deg"}),
    "I.40.1": ("n_0*exp(-m*g*x/(kb*T))", "1/m^3",
               {"n_0": "1/m^3", "m": "kg", "g": "m/s^2", "x": "m", "kb": "J/K", "T": "K"}),
    "I.44.4": ("n*kb*T*log(V2/V1)", "J",
               {"n": "1", "kb": "J/K", "T": "K", "V1": "m^3", "V2": "m^3"}),
    "I.48.2": ("m*c**2/sqrt(1-v**2/c**2)", "J", {"m": "kg", "c": "m/s", "v": "m/s"}),
    "I.50.26": ("x1*(cos(omega*t)+alpha*cos(omega*t)**2)", "m",
                {"x1": "m", "omega": "rad/s", "t": "s", "alpha": "1"}),
    "II.8.7": ("3/5*q**2/(4*pi*epsilon*d)", "J", {"q": "C", "epsilon": "F/m", "d": "m"}),
    "II.35.18": ("n_0/(exp(mom*B/(kb*T))+exp(-mom*B/(kb*T)))", "1/m^3",
                 {"n_0": "1/m^3", "mom": "J/T", "B": "T", "kb": "J/K", "T": "K"}),
    "III.4.33": ("h/(2*pi)*omega/(exp(h/(2*pi)*omega/(kb*T))-1)", "J",
                 {"h": "J*s", "omega": "1/s", "kb": "J/K", "T": "K"}),
    "III.10.19": ("mom*sqrt(Bx**2+By**2+Bz**2)", "J",
                  {"mom": "A*m^2", "Bx": "T", "By": "T", "Bz": "T"}),
}  # fmt: skip


def law(formula, units):
    """The expression and its {symbol: dimension}; symbols are real, as in a formula of kansym."""
    symbols = {name: Symbol(name, real=True) for name in units}
    dims = {symbols[name]: parse_unit(unit) for name, unit in units.items()}
    return sympy.sympify(formula, locals=symbols), dims


@pytest.mark.parametrize("key", LAWS)
def test_laws_of_physics_have_the_units_of_their_targets(key):
    formula, target, units = LAWS[key]
    expr, dims = law(formula, units)
    assert units_of(expr, dims) == parse_unit(target)
    assert has_consistent_units(expr, dims, parse_unit(target))
    assert has_consistent_units(sympy.N(expr), dims, parse_unit(target))
    assert not has_consistent_units(expr, dims, parse_unit("kg*K*mol"))
    with_unit = next((symbol for symbol, unit in dims.items() if not unit.is_dimensionless), None)
    if with_unit is not None:
        assert not has_consistent_units(expr + exp(with_unit), dims, parse_unit(target))
        assert not has_consistent_units(expr * (1 + with_unit), dims, parse_unit(target))


M, V, C, L, T, A, B = (Symbol(name, real=True) for name in ("m", "v", "c", "l", "t", "a", "b"))
POSITIVE = Symbol("p", positive=True)
DIMS = {
    M: parse_unit("kg"), V: parse_unit("m/s"), C: parse_unit("m/s"), L: parse_unit("m"),
    T: parse_unit("s"), A: DIMENSIONLESS, B: DIMENSIONLESS, POSITIVE: parse_unit("m"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("expr", "message", "part"),
    [
        (M + V, r"m \+ v adds different units: m has mass, v has length/time", M + V),
        (3 * A * (M + V) ** 2, r"m \+ v adds", M + V),
        (L - 0.33333333 * T, r"l - 0.3333\*t adds different units", L - 0.33333333 * T),
        (1 + L, "1 has dimensionless, l has length", 1 + L),
        (sin(L), r"argument in sin\(l\) must have no unit, got l with length", sin(L)),
        (1 + exp(M), r"argument in exp\(m\) must have no unit, got m with mass", exp(M)),
        (log(L), r"argument in log\(l\)", log(L)),
        (2 + log(L) - log(T), r"argument in log\(", None),
        (log(L) - 2 * log(POSITIVE), r"argument in log\(", None),
        (log(L) ** 2, r"argument in log\(l\)", log(L)),
        (tanh(V / C * L), "argument in tanh", None),
        (acos(T), "argument in acos", acos(T)),
        (A**L, r"exponent in a\*\*l must have no unit, got l with length", A**L),
        (L**A, r"power that varies .* got l\*\*a with length", L**A),
        (T * L**A * L ** (-B), "power that varies", None),
        (sympy.Max(L, T), "compares different units", sympy.Max(L, T)),
        (sympy.atan2(L, T), "compares different units", sympy.atan2(L, T)),
        (sympy.Piecewise((L, A > 0), (T, True)), "joins different units", None),
        (sympy.Piecewise((L, L > T), (2 * L, True)), "compares different units", L > T),
        (sympy.Function("f")(L), r"argument in f\(l\)", None),
        (sympy.Derivative(sympy.Function("f")(A), A), "no unit that is known", None),
        (L**sympy.I, "must be real", L**sympy.I),
    ],
)
def test_wrong_units_are_refused_and_the_part_named(expr, message, part):
    with pytest.raises(UnitError, match=message) as caught:
        units_of(expr, DIMS)
    assert part is None or caught.value.part == part
    for unit in (*DIMS.values(), DIMENSIONLESS):
        assert not has_consistent_units(expr, DIMS, unit)


@pytest.mark.parametrize(
    ("expr", "unit"),
    [
        (sqrt(L**2 + V**2 * T**2), "m"),
        (V**0.5 * C**0.5000000001, "m/s"),
        (L**1.3333333333, "m^(4/3)"),
        (log(L) - log(POSITIVE), "1"),
        (M * (2 * A * log(V) - A * log(C) - A * log(C)) + 3 * M, "kg"),
        (1.0 * M * log(V) - 1.00000001 * M * log(C), "kg"),
        (M * log(V) + M * log(T) - M * log(POSITIVE), "kg"),
        (T * L**A * POSITIVE ** (-A), "s"),
        (L ** (A - 1) * POSITIVE ** (1 - A), "1"),
        (L ** (A + 2) * POSITIVE ** (-A), "m^2"),
        ((L / POSITIVE) ** A, "1"),
        (2**A * A**B, "1"),
        (sympy.Abs(L) * sympy.sign(T), "m"),
        (sympy.Max(L, POSITIVE, 0), "m"),
        (sympy.Piecewise((L, T > 0), (0, True)), "m"),
        (sympy.atan2(L, V * T) + sympy.besselj(0, V / C), "1"),
        (T * si.speed_of_light + L, "m"),
        (sympy.Float(0.25) * pi, "1"),
    ],
)
def test_what_units_allow(expr, unit):
    assert units_of(expr, DIMS) == parse_unit(unit)


def test_tiny_constants_do_not_hide_a_logarithm():
    assert not has_consistent_units(1e-23 * log(L) + A, DIMS, DIMENSIONLESS)


def test_zero_has_every_unit_and_other_numbers_none():
    assert has_consistent_units(sympy.S.Zero, DIMS, FORCE)
    assert units_of(0, DIMS) == DIMENSIONLESS
    assert not has_consistent_units(sympy.Float(2.5), DIMS, FORCE)


def test_a_symbol_without_unit_is_a_mistake():
    with pytest.raises(ValueError, match="every symbol must have a unit, got none for q") as caught:
        has_consistent_units(L + Symbol("q"), DIMS, FORCE)
    assert not isinstance(caught.value, UnitError)


# -- groups --------------------------------------------------------------------------------------


def exponent_of(table, powers):
    """The dimension of a product of powers of the columns."""
    total = DIMENSIONLESS
    for dimension, power in zip(table.dimensions, powers, strict=True):
        total = total * dimension**power
    return total


def test_pendulum():
    table = parse_units(
        {"T": "s", "l": "m", "g": "m/s^2", "m": "kg", "theta": "rad"}, ["l", "g", "m", "theta"], "T"
    )
    groups = dimensionless_groups(table)
    assert groups.exponents == ((0, 0, 0, 1),)
    assert groups.scale == (Fraction(1, 2), Fraction(-1, 2), 0, 0)


def test_drag():
    units = {"F": "N", "rho": "kg/m^3", "v": "m/s", "d": "m", "mu": "Pa*s"}
    groups = dimensionless_groups(parse_units(units, ["rho", "v", "d", "mu"], "F"))
    assert groups.exponents == ((1, 1, 1, -1),)  # Reynolds' number
    assert groups.scale == (-1, 0, 0, 2)


def test_few_columns_and_small_powers_first():
    units = {"E": "J", "m": "kg", "v": "m/s", "c": "m/s", "x": "m", "t": "s", "a": "1"}
    groups = dimensionless_groups(parse_units(units, ["m", "v", "c", "x", "t", "a"], "E"))
    assert groups.exponents == ((0, 0, 0, 0, 0, 1), (0, 1, -1, 0, 0, 0), (0, 1, 0, -1, 1, 0))
    assert groups.scale == (1, 2, 0, 0, 0, 0)
    groups = dimensionless_groups(parse_units(["m^3", "m^2", "m", "m"], ["V", "A", "l"], "h"))
    assert groups.exponents == ((0, 1, -2), (1, 0, -3))
    assert groups.scale == (0, 0, 1)  # not the shorter sqrt(A)
    powers = parse_units(["m^2", "m^3", "m^6"], ["A", "V"], "y")
    assert dimensionless_groups(powers).scale == (0, 2)


def test_zeros_stay_out_of_denominators_and_negatives_out_of_roots():
    table = parse_units(["kg", "m/s", "m/s", "J"], ["m", "v", "c"], "E")
    groups = dimensionless_groups(table, zeros=[2])
    assert groups == type(groups)(exponents=((0, -1, 1),), scale=(1, 2, 0))
    assert dimensionless_groups(table, zeros=[1]).scale == (1, 0, 2)
    table = parse_units(["m", "m^2", "m^2", "m"], ["x", "a", "b"], "y")
    assert dimensionless_groups(table, zeros=[0], negatives=[1]).scale == (0, 0, Fraction(1, 2))


def test_a_constant_that_is_missing_is_told():
    with pytest.raises(ValueError, match=r"'T' \(time\) .* no column has time. Add the constant"):
        dimensionless_groups(parse_units(["m", "kg", "s"], ["l", "m"], "T"))
    with pytest.raises(ValueError, match=r"m: mass, v: length/time.* no product of powers has it"):
        dimensionless_groups(parse_units(["kg", "m/s", "N"], ["m", "v"], "F"))
    with pytest.raises(ValueError, match="no column has length"):
        dimensionless_groups(UnitTable((), (), "y", parse_unit("m")))


def test_many_columns_are_reduced_too():
    names = [f"x{i}" for i in range(24)]
    units = ["kg", "m", "s", "A", "K", "N", "J", "W", "V", "C", "F", "T"] * 2
    table = parse_units([*units, "Pa"], names, "p")
    groups = dimensionless_groups(table)
    assert len(groups.exponents) == 24 - 5
    assert all(exponent_of(table, powers).is_dimensionless for powers in groups.exponents)


POWERS = st.sampled_from([-3, -2, -1, 0, 0, 0, 1, 1, 2, Fraction(1, 2), Fraction(-2, 3)])


@st.composite
def tables(draw):
    n, bases = draw(st.integers(1, 6)), ["mass", "length", "time"][: draw(st.integers(1, 3))]
    dimension = st.fixed_dictionaries(dict.fromkeys(bases, POWERS)).map(Dimension.of)
    columns = draw(st.lists(dimension, min_size=n, max_size=n))
    target = exponent_of(
        UnitTable((), tuple(columns), "y", DIMENSIONLESS), draw(st.tuples(*[POWERS] * n))
    )
    return UnitTable(tuple(f"x{i + 1}" for i in range(n)), tuple(columns), "y", target)


@given(tables())
def test_buckingham(table):
    n, groups = len(table.names), dimensionless_groups(table)
    rows = [table.exponents(dimension) for dimension in table.dimensions]
    matrix = sympy.Matrix(n, len(table.bases), lambda i, j: rows[i][j])
    assert len(groups.exponents) == n - matrix.rank()
    assert sympy.Matrix(groups.exponents).rank() == len(groups.exponents)
    for powers in groups.exponents:
        assert exponent_of(table, powers).is_dimensionless
        assert np.gcd.reduce(powers) == 1
        assert next(p for p in powers if p) > 0
        assert units_of(monomial(powers, table.variables), table.by_symbol()) == DIMENSIONLESS
    assert exponent_of(table, groups.scale) == table.target


@given(tables())
def test_no_group_is_simpler_than_the_basis(table):
    groups = dimensionless_groups(table)
    used = [sum(p != 0 for p in powers) for powers in groups.exponents]
    assert used == sorted(used)
    for i, left in enumerate(groups.exponents):
        for right in groups.exponents[:i]:
            for combined in (np.add(left, right), np.subtract(left, right)):
                assert np.count_nonzero(combined) >= used[i]  # or it would stand there instead


# -- reducing ------------------------------------------------------------------------------------


def sample(n_columns, n=40, low=0.5, high=2.0):
    return np.random.default_rng(0).uniform(low, high, (n, n_columns))


def test_reducing_and_substituting_back_gives_the_law():
    table = parse_units({"m": "kg", "c": "m/s", "v": "m/s", "E": "J"}, ["m", "c", "v"], "E")
    X = sample(3) * [1, 3, 1]
    y = X[:, 0] * X[:, 1] ** 2 / np.sqrt(1 - (X[:, 2] / X[:, 1]) ** 2)
    small = reduced(X, y[:, None], table)
    m, c, v = table.variables
    assert (small.monomials, small.scale) == ((c / v,), m * c**2)
    np.testing.assert_allclose(small.X[:, 0], X[:, 1] / X[:, 2])
    np.testing.assert_allclose(small.y, 1 / np.sqrt(1 - small.X[:, 0] ** -2))
    g = Symbol("m", real=True)  # the name of a column, on purpose
    expr = small.restored(1 / sqrt(1 - 1 / g**2), [g])
    assert units_of(expr, table.by_symbol()) == table.target
    np.testing.assert_allclose(sympy.lambdify(table.variables, expr)(*X.T), y)


@given(tables(), st.randoms(use_true_random=False))
def test_reduced_values_are_those_of_the_monomials(table, random):
    n = len(table.names)
    X = np.array([[random.uniform(0.5, 2) for _ in range(n)] for _ in range(7)])
    y = np.array([random.uniform(-1, 1) for _ in range(7)])
    small = reduced(X, y, table)
    assert small.X.shape == (7, len(small.monomials))
    for column, expr in zip(small.X.T, small.monomials, strict=True):
        expected = sympy.lambdify(table.variables, expr)(*X.T)
        np.testing.assert_allclose(column, expected)
    scale = sympy.lambdify(table.variables, small.scale)(*X.T)
    np.testing.assert_allclose(small.y * scale, y, rtol=1e-10, atol=1e-12)


def test_without_groups_a_constant_is_left():
    table = parse_units(["N", "kg", "m/s^2"], ["F", "m"], "a")
    X = sample(2)
    small = reduced(X, X[:, 0] / X[:, 1], table)
    assert small.X.shape == (40, 0)
    np.testing.assert_allclose(small.y, 1)
    F, m = table.variables
    assert small.restored(sympy.S.One, []) == F / m


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp < 2048, reason="long double is double here")
def test_tiny_constants_survive():
    """x**13 alone is 1e-396, which float64 does not know."""
    table = parse_units(["m^12", "m^13", "m^13"], ["x", "z"], "y")
    (x, z), ratio = table.variables, sample(1)
    X = np.hstack([1e-30 * ratio**0, 10**-32.5 * ratio])
    small = reduced(X, X[:, 1], table)
    assert small.monomials == (x**13 / z**12,)
    np.testing.assert_allclose(small.X, ratio**-12, rtol=1e-9)


def test_signs_and_zeros_choose_the_monomials():
    table = parse_units(["m", "m", "m", "m"], ["a", "b", "c"], "y")
    X = sample(3)
    X[3, 0], X[5, 1] = 0, 0
    small = reduced(X, X.sum(1), table)
    a, b, c = table.variables
    assert small.scale == c
    assert set(small.monomials) == {a / c, b / c}


def test_rows_that_cannot_be_reduced_are_named():
    table = parse_units(["m", "m^2"], ["x"], "y")
    X = np.array([[1.0], [0.0], [2.0], [0.0]])
    with pytest.raises(
        ValueError, match=r"x\*\*2, which has the unit of 'y'.* 2 of 4 rows \(1, 3\)"
    ):
        reduced(X, X[:, 0] ** 2, table)
    table = parse_units(["m", "m", "1"], ["x", "z"], "y")
    with pytest.raises(ValueError, match=r"x/z, a group without unit.* 1 of 2 rows \(0\)"):
        reduced([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], table)
    table = parse_units(["m^2", "m"], ["a"], "y")
    with pytest.raises(ValueError, match=r"sqrt\(a\), which has .* not 0 in every row"):
        reduced([[1.0], [-1.0]], [1.0, 2.0], table)


def test_columns_and_rows_are_checked():
    table = parse_units(["m", "m", "m"], ["x", "z"], "y")
    with pytest.raises(ValueError, match=r"X must have 2 columns \(units\)"):
        reduced(sample(3), sample(1), table)
    with pytest.raises(ValueError, match="y must have"):
        reduced(sample(2), np.ones(3), table)
