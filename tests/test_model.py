"""What the model as a whole promises: frames by name, honest predictions, a readable text."""

import numpy as np
import pandas as pd
import pytest
import torch

from kansym import KAN, ExtrapolationWarning
from kansym.symbolic.fix import set_edge


@pytest.fixture
def fitted(generator):
    X = 2 * torch.rand(80, 2, generator=generator, dtype=torch.float64) - 1
    frame = pd.DataFrame(X.numpy(), columns=["a", "b"])
    model = KAN([2, 1], grid=3)
    model.fit((frame, frame["a"] ** 2 + 3 * frame["b"]), "LM", 10, progress=False)
    return model, frame


def test_columns_of_a_frame_are_taken_by_name(fitted):
    model, frame = fitted
    wanted = model.predict(frame)
    assert np.array_equal(model.predict(frame[["b", "a"]]), wanted)
    assert np.array_equal(model.predict(frame.assign(other="text")), wanted)


def test_a_frame_without_a_column_is_refused(fitted):
    model, frame = fitted
    with pytest.raises(ValueError, match=r"X lacks the columns \['b'\]; it has \['a', 'c'\]"):
        model.predict(frame.rename(columns={"b": "c"}))


def test_predictions_that_are_not_finite_are_announced():
    model = KAN([1, 1])
    set_edge(model, (0, 0, 0), "sqrt", (1, 0, 1, 0))
    with pytest.warns(ExtrapolationWarning, match="1 of 2 predictions are not finite"):
        values = model.predict(np.array([[0.25], [-0.5]]))
    assert values[0, 0] == 0.5


def test_a_loaded_model_keeps_its_units(fitted, tmp_path, generator):
    model, frame = fitted
    model.save(tmp_path / "m.kansym")
    loaded = KAN.load(tmp_path / "m.kansym")
    assert loaded.feature_names == ("a", "b")
    before = loaded.predict(frame)
    wider = pd.DataFrame({"a": [-3.0, 3.0], "b": [-3.0, 3.0]})
    loaded.fit((wider, [0.0, 1.0]), "Adam", 1, lr=1e-12, update_grid=False, progress=False)
    assert np.allclose(loaded.predict(frame), before, atol=1e-6)


def test_the_text_of_a_model_says_what_it_is(fitted):
    assert "width=[2, 1], 2 active edges, 0 of them named" in repr(fitted[0])


def test_free_parameters_are_those_of_active_edges():
    model = KAN([2, 3, 1], grid=5, k=3, seed=0)
    assert model.n_parameters == 9 * (5 + 3 + 1)  # coefficients and a base weight on each edge
    model.fix_symbolic(0, 1, 2, "sin", (1.0, 0.0, 1.0, 0.0))
    assert model.n_parameters == 8 * 9 + 4
    model.kan_layers[0].mask[0, 0] = False
    assert model.n_parameters == 7 * 9 + 4
    assert KAN([2, 3, 1], base="zero").n_parameters == 9 * 8
