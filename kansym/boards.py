"""What tasks say while they are at work, where the process that waits for them can read it.

A board holds the last words of each task: as files in a temporary folder for processes of this
machine, as events at dask's scheduler, in an actor of ray's. Words are for whoever looks: a task
whose words are lost goes on, and a board that cannot be reached is an empty one.
"""

from __future__ import annotations

import pickle
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kansym.files import write_atomically

REACH = 5.0  # seconds that a scheduler or an actor may take to tell what it holds


class Board(ABC):
    """Goes along with a task as one of its arguments."""

    @abstractmethod
    def write(self, key: int, words: Any) -> None:
        """In the task `key`: in the place of what it has said before."""

    @abstractmethod
    def read(self) -> dict[int, Any]:
        """The last words of every task that has said something."""


@contextmanager
def board() -> Iterator[Board]:
    """For tasks of the joblib backend that is active; taken down at the end of the block."""
    from joblib.parallel import get_active_backend

    backend: Any = get_active_backend()[0]
    if type(backend).__name__ == "DaskDistributedBackend":
        yield _Events(backend.client)
    elif type(backend).__module__.startswith("ray."):
        yield _Actor()
    else:
        with tempfile.TemporaryDirectory(prefix="kansym-") as folder:
            yield _Folder(Path(folder))


class _Folder(Board):
    def __init__(self, folder: Path):
        self.folder = folder

    def write(self, key: int, words: Any) -> None:
        with suppress(OSError):
            write_atomically(self.folder / f"{key}.words", pickle.dumps(words))

    def read(self) -> dict[int, Any]:
        with suppress(OSError):
            files = list(self.folder.glob("*.words"))
            return {int(file.stem): pickle.loads(file.read_bytes()) for file in files}
        return {}


class _Events(Board):
    """Events of dask may hold no objects, so words go as bytes."""

    def __init__(self, client: Any):
        self.client, self.topic = client, f"kansym-{uuid.uuid4().hex}"

    def __getstate__(self) -> dict[str, Any]:
        return {"client": None, "topic": self.topic}  # a client stays where it is connected

    def write(self, key: int, words: Any) -> None:
        from distributed import get_worker  # pyright: ignore[reportMissingImports]

        get_worker().log_event(self.topic, {"key": key, "words": pickle.dumps(words)})

    def read(self) -> dict[int, Any]:
        def ask() -> dict[int, Any]:
            events = self.client.sync(
                self.client.scheduler.events, topic=self.topic, callback_timeout=REACH
            )
            last = {event["key"]: event["words"] for _, event in events}
            return {key: pickle.loads(words) for key, words in last.items()}

        return _if_reached(ask)


class _Actor(Board):
    def __init__(self) -> None:
        import ray  # pyright: ignore[reportMissingImports]

        self.actor = ray.remote(num_cpus=0)(_Words).remote()

    def write(self, key: int, words: Any) -> None:
        self.actor.write.remote(key, words)

    def read(self) -> dict[int, Any]:
        import ray  # pyright: ignore[reportMissingImports]

        return _if_reached(lambda: ray.get(self.actor.read.remote(), timeout=REACH))


class _Words:
    def __init__(self) -> None:
        self.of: dict[int, Any] = {}

    def write(self, key: int, words: Any) -> None:
        self.of[key] = words

    def read(self) -> dict[int, Any]:
        return self.of


def _if_reached(ask: Callable[[], dict[int, Any]]) -> dict[int, Any]:
    try:
        return ask()
    except Exception:  # dask and ray have many ways to say that nobody is there
        return {}
