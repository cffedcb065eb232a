"""What a fuzzer has found stays mended: every input it kept is answered or refused, and so is every
seed.

`make fuzz` looks for more; an input that fails there goes to corpus/, by the target it is for.
"""

from pathlib import Path

import pytest
import targets

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 200_000  # of all together
FILES = {f"{path.parent.name}/{path.name}": path for path in sorted(CORPUS.glob("*/*"))}


@pytest.mark.parametrize("name", FILES)
def test_an_input_that_was_found(name):
    targets.check(FILES[name].parent.name, FILES[name].read_bytes())


@pytest.mark.parametrize("target", targets.TARGETS)
def test_a_seed(target):
    for seed in targets.seeds(target):
        targets.check(target, seed)


def test_the_corpus_is_small_and_of_targets():
    assert sum(path.stat().st_size for path in FILES.values()) < MAX_BYTES
    assert {path.parent.name for path in FILES.values()} == set(targets.TARGETS)
