"""What a clear error is: it comes from where arguments are checked, and says what is wrong."""

import re
import traceback
from contextlib import contextmanager
from pathlib import Path

import pytest

import kansym

OURS = str(Path(kansym.__file__).parent)
CHECKS_OF_SKLEARN = str(Path("sklearn", "utils"))  # its wording is what users of it know
LONGEST = 600  # characters: a message is no dump of the data


@contextmanager
def refused(*words, kinds=(ValueError, kansym.KansymError)):
    """What is done inside raises one of `kinds`, not from within torch, NumPy or SciPy, and each of
    `words` (regular expressions) is in the message."""
    with pytest.raises(kinds) as caught:
        yield
    where = traceback.extract_tb(caught.value.__traceback__)[-1].filename
    is_ours, message = where.startswith(OURS), str(caught.value)
    assert is_ours or CHECKS_OF_SKLEARN in where, f"{caught.value!r} comes from {where}"
    assert 10 < len(message) < (LONGEST if is_ours else 10 * LONGEST), message
    for word in words:
        assert re.search(word, message), f"{word!r} is not in {message!r}"
