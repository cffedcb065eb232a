"""Relations among columns: each is found once, whatever it is solved for, and none is invented."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sympy
from test_nn_examples import example

from kansym import find_relations
from kansym.discovery.records import Verdict
from kansym.relations import _followed, _independent, _Solved

SYMBOLS = sympy.symbols("a b c d e", positive=True)
a, b, c, d, e = SYMBOLS


def laboratory(n=80):
    """c = a b and d = c + e, in columns a, b, c, d, e."""
    A, B, E = np.random.default_rng(0).uniform(1, 3, (3, n))
    return np.column_stack([A, B, A * B, A * B + E, E])


def solved(target, expr):
    return _Solved(SYMBOLS.index(target), expr, sympy.count_ops(expr), 1.0, Verdict.EXACT)


def test_a_relation_solved_for_another_column_is_the_same():
    relations = [solved(c, a * b), solved(a, c / b), solved(b, c / a)]
    assert _independent(relations, laboratory(), SYMBOLS) == relations[:1]


def test_a_consequence_of_two_relations_is_dropped():
    relations = [solved(c, a * b), solved(d, c + e), solved(d, a * b + e), solved(a, (d - e) / b)]
    assert _independent(relations, laboratory(), SYMBOLS) == relations[:2]


def test_what_columns_follow_from_is_seen_and_what_is_free_is_not():
    X = np.column_stack([laboratory(), np.random.default_rng(1).normal(size=80)])
    X[:, 3] = 7.0  # a constant column is in no relation
    followed = _followed(X, 0.9)
    assert followed[2] == [0, 1]
    assert set(followed) == {0, 1, 2}


def test_a_relation_is_found_once_and_reads_as_one():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 3, (2, 60))
    frame = pd.DataFrame({"x": x, "the sum": x + y, "y": y})
    found = find_relations(frame, max_time=None, max_candidates=20)
    assert list(found["columns"]) == [("x", "the sum", "y")]
    assert found["verdict"][0] == Verdict.EXACT
    assert found["R2"][0] == pytest.approx(1)
    law = found["law"][0]
    target = law.target_names[0]
    np.testing.assert_allclose(law.evaluate(frame)[:, 0], frame[target], rtol=1e-9)
    assert found["relation"][0].endswith(" = 0")
    assert target in found["formula"][0]


def test_ctrl_c_keeps_the_relations_so_far(monkeypatch):
    from kansym.estimator import KANRegressor

    rng = np.random.default_rng(0)
    x, y = rng.uniform(1, 3, (2, 60))
    frame = pd.DataFrame({"x": x, "double": 2 * x, "y": y, "square": y**2})
    whole, asked = KANRegressor.fit, []

    def interrupted_at_the_second(est, X, y):
        asked.append(len(asked))
        found = whole(est, X, y)
        if len(asked) == 2:
            found._found = (replace(found._found[0], stopped="interrupted"),)
        return found

    monkeypatch.setattr(KANRegressor, "fit", interrupted_at_the_second)
    found = find_relations(frame, max_time=None, max_candidates=10)
    assert len(asked) == 2
    assert len(found) == 1


def test_columns_without_relations_give_an_empty_table():
    X = np.random.default_rng(0).normal(size=(60, 4))
    found = find_relations(X, max_time=None, max_candidates=20)
    assert len(found) == 0
    assert list(found) == ["relation", "columns", "formula", "R2", "verdict", "law"]


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (np.zeros((50, 1)), {}, "frame must have at least 2 columns and 12 rows"),
        (np.zeros((5, 3)), {}, r"got shape \(5, 3\)"),
        (np.full((50, 2), np.nan), {}, "frame"),
        (np.zeros((50, 2)), {"least_r2": 1.0}, "least_r2 must be a number between 0 and 1"),
        (np.zeros((50, 2)), {"max_time": 0}, "max_time"),
        (np.zeros((50, 2)), {"max_candidates": 0}, "max_candidates"),
        (np.zeros((50, 2)), {"random_state": -1}, "random_state"),
    ],
)
def test_bad_arguments_are_refused(frame, options, message):
    with pytest.raises(ValueError, match=message):
        find_relations(frame, **options)


@pytest.mark.slow
def test_three_laws_among_eight_columns(tmp_path, capsys):
    found = example("relations").main(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["relations.png"]
    assert len(found) == 3
    assert (found["truth"] != "none").all()
    assert (found["R2"] > 0.999).all()
    constants = {columns[-1]: law.exprs[0] for columns, law in found[["columns", "law"]].values}
    one = {"length": 1, "temperature": 1, "volume": 1}
    at_one = {name: float(expr.subs({s: one[s.name] for s in expr.free_symbols}))
              for name, expr in constants.items()}  # fmt: skip
    wanted = {"period": 2 * np.pi / np.sqrt(9.81), "sound": 20.05, "pressure": 8.314}
    assert at_one == pytest.approx(wanted, rel=1e-3)
    assert "temperature" in capsys.readouterr().out
