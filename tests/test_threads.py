"""Small problems use one thread and give the process its own number back."""

import pytest
import torch

from kansym import KAN, create_dataset
from kansym.threads import LARGE, one_thread_if_small


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_a_small_block_runs_on_one_thread(two_threads):
    with one_thread_if_small(100):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


def test_a_large_block_keeps_its_threads(two_threads):
    with one_thread_if_small(LARGE):
        assert torch.get_num_threads() == 2


def test_an_error_gives_the_threads_back(two_threads):
    with pytest.raises(RuntimeError, match="mine"), one_thread_if_small(100):
        raise RuntimeError("mine")
    assert torch.get_num_threads() == 2


def test_fit_and_suggest_use_one_and_give_back(two_threads):
    seen = []
    data = create_dataset(lambda x: x[:, 0] ** 2, 1, train_num=20, test_num=0)
    model = KAN([1, 1], grid=2)
    watch = [lambda *_: seen.append(torch.get_num_threads())]
    model.fit(data, "LM", 2, callbacks=watch, progress=False)
    model.suggest_symbolic(0, 0, 0, ["x", "x^2"])
    assert seen == [1, 1]
    assert torch.get_num_threads() == 2
