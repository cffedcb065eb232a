"""Work side by side: in processes of this machine, or wherever joblib is told to.

Within `joblib.parallel_config(backend="dask")`, or "ray", tasks run on the cluster that is
connected. A task carries the version it was made by, the functions that were registered, and its
arguments but for their large arrays, which joblib hands over once: as memory maps to processes of
this machine, scattered by dask, in the object store of ray.
"""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import pickle
import platform
import sys
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from cloudpickle import CloudPickler

from kansym.errors import WorkerError
from kansym.functions import (
    SymbolicFunction,
    forget_function,
    own_functions,
    register_function,
)
from kansym.threads import one_thread_if_small

BACKENDS = ("loky", "dask", "ray")
LEAST_BYTES = 10_000  # of an array that is handed over once rather than with every task
WATCH = 1.0  # seconds between two looks whether the parent is there
CONNECTING = 30  # seconds that a scheduler has to answer
# What joblib, dask and ray raise when the process that had a task, or its data, is gone.
LOSSES = (
    "BrokenProcessPool",
    "KilledWorker",
    "FutureCancelledError",
    "WorkerCrashedError",
    "RayActorError",
)

Task = tuple[Any, Sequence[Any]]
"""A key, and the arguments of the function."""

Results = Generator[tuple[Any, Any], None, None]
"""(key, result of the function) of tasks."""

Call = tuple[Any, ...]
"""The arguments of `_run`, arrays as `_Shared`."""


def n_workers(n_jobs: int | None, n_tasks: int | None = None) -> int:
    """Processes for n_tasks tasks (None: for any number), as joblib counts them."""
    from joblib import effective_n_jobs

    if n_jobs == 1:  # dask would answer with the whole cluster
        return 1
    workers = effective_n_jobs(n_jobs)  # pyright: ignore[reportArgumentType]
    return workers if n_tasks is None else max(min(workers, n_tasks), 1)


def side_by_side(function: Callable[..., Any], tasks: Iterable[Task], workers: int) -> Results:
    """(key, result of the function) of every task, as they are finished.

    workers: with 1, everything happens here and in order. Otherwise tasks are taken from the
    iterable when a worker is free for them. Whoever stops listening (`contextlib.closing`) cancels
    what is out. A task whose worker was lost is done again; if it is lost again, once more with
    nothing beside it, for one lost process of this machine takes its neighbours' tasks along; and
    if that is lost too, a `WorkerError` is its result. What the function raises is passed on; so is
    a WorkerError from workers with another version.
    """
    if workers == 1:
        for key, arguments in tasks:
            yield key, function(*arguments)
        return
    queue = _Queue(function, tasks)
    while not queue.is_empty:
        try:
            with closing(_results(queue, workers)) as results:
                for key, result in results:
                    queue.out.pop(key)
                    yield key, result
        except Exception as error:
            if not (_is_loss(error) and queue.out):
                raise
            for key, call in queue.lost():
                yield key, _alone(call)
    queue.check()


@contextmanager
def connected(backend: str | None, scheduler: str | None = None) -> Iterator[None]:
    """Within the block, joblib works with this backend; None: as it did before.

    scheduler: address of the dask scheduler, or of the ray cluster, which otherwise is this machine
    alone. Raises ValueError for what does not go together, ImportError where the library is
    missing, OSError where nobody answers.
    """
    if scheduler is not None and backend not in ("dask", "ray"):
        raise ValueError("--scheduler needs --backend dask or ray")
    if backend is None:
        yield
        return
    from joblib import parallel_config

    join = {"dask": _dask, "ray": _ray}.get(backend)
    if join is None:
        with parallel_config(backend):
            yield
        return
    with join(scheduler), parallel_config(backend):
        yield


@contextmanager
def _dask(scheduler: str | None) -> Iterator[None]:
    if scheduler is None:
        raise ValueError("--backend dask needs --scheduler, for example tcp://10.0.0.1:8786")
    try:
        from distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("--backend dask needs dask: pip install 'kansym[dask]'") from error
    with Client(scheduler, timeout=CONNECTING):
        yield


@contextmanager
def _ray(scheduler: str | None) -> Iterator[None]:
    try:
        import ray  # pyright: ignore[reportMissingImports]
        from ray.util.joblib import register_ray  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("--backend ray needs ray: pip install 'kansym[ray]'") from error
    register_ray()
    ray.init(address=scheduler, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        ray.shutdown()


def is_called_off() -> bool:
    """Whether nobody waits for the task of this thread any more: it then ends early, also by a
    KeyboardInterrupt of its own.

    A process of joblib's or of ray's ends with its task. A worker of dask goes on to the end, and
    what was cancelled, or whose client is gone, holds up what comes next.
    """
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker  # pyright: ignore[reportMissingImports]

    try:
        worker = get_worker()
        task = worker.state.tasks.get(worker.get_current_task())
    except (ValueError, KeyError):  # no thread of a worker's
        return False
    return task is None or task.state == "cancelled"


class _Queue:
    """Tasks as joblib takes them, which it does in threads of its own.

    out: those that were taken and are not finished. is_empty: whether none will come.
    """

    def __init__(self, function: Callable[..., Any], tasks: Iterable[Task]):
        self.out: dict[Any, Call] = {}
        self.is_empty = False
        self._function, self._tasks = function, iter(tasks)
        self._own = [_portable(f) for f in own_functions()]
        self._arrays: WeakValueDictionary[bytes, _Shared] = WeakValueDictionary()
        self._again: dict[Any, Call] = {}
        self._were_lost: set[Any] = set()
        self._lock = threading.Lock()
        self._failed: BaseException | None = None

    def __iter__(self) -> Iterator[tuple[Any, Call]]:
        while (taken := self._next()) is not None:
            yield taken

    def _next(self) -> tuple[Any, Call] | None:
        with self._lock:
            try:
                if self._again:
                    key, call = self._again.popitem()
                else:
                    key, arguments = next(self._tasks)
                    call = _packed(self._function, arguments, self._own, self._arrays)
            except StopIteration:
                self.is_empty = True
                return None
            except BaseException as error:  # would be lost in a thread of joblib's
                self.is_empty, self._failed = True, error
                return None
            self.out[key] = call
            return key, call

    def lost(self) -> list[tuple[Any, Call]]:
        """Those that are out, and were lost before; the others will be taken again."""
        with self._lock:
            first = {key: call for key, call in self.out.items() if key not in self._were_lost}
            second = [(key, call) for key, call in self.out.items() if key in self._were_lost]
            self.out.clear()
            self._were_lost |= set(first)
            self._again |= first
            self.is_empty = self.is_empty and not first
        return second

    def check(self) -> None:
        """Raise what taking a task has raised."""
        if self._failed is not None:
            raise self._failed


def _results(queue: Iterable[tuple[Any, Call]], workers: int) -> Results:
    from joblib import Parallel, delayed
    from joblib.parallel import get_active_backend

    backend: Any = get_active_backend()[0]
    jobs = (
        delayed(_keyed)(key, made_by, packed, *[array.handed(backend) for array in arrays])
        for key, (made_by, packed, *arrays) in queue
    )
    options: dict[str, Any] = {
        "n_jobs": workers,
        "batch_size": 1,
        "pre_dispatch": "n_jobs",
        "max_nbytes": LEAST_BYTES,
    }
    if backend.supports_return_generator:
        results: Any = Parallel(return_as="generator_unordered", **options)(jobs)
        try:
            for pair in results:  # noqa: UP028  # `yield from` would close it, warnings and all
                yield pair
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # that tasks were cancelled, which is what is wanted
                results.close()
                _call_off(backend)
        return
    # Ray hands results back all at once: rounds keep what is finished.
    with Parallel(**options) as parallel:
        found: Any
        while found := parallel(list(itertools.islice(jobs, workers))):
            yield from found


def _call_off(backend: Any) -> None:
    """Cancel what is out on dask: joblib forgets these tasks, and the cluster would do them."""
    for future in list(getattr(backend, "_results", ())):
        future.cancel()


def _alone(call: Call) -> Any:
    """The result of a task with a worker to itself, or the WorkerError that it was lost again."""
    try:
        ((_, result),) = _results([(None, call)], 2)  # with 1, joblib would do it in this process
    except Exception as error:
        if not _is_loss(error):
            raise
        return WorkerError(
            "a task was lost three times, each time with the process that had it; it may need more "
            f"memory than there is, or ends the process: {type(error).__name__}: "
            f"{str(error)[:300]}"
        )
    return result


def _is_loss(error: BaseException) -> bool:
    return any(kind.__name__ in LOSSES for kind in type(error).__mro__)


class _Shared:
    """An array of one task or several. joblib, which looks at identity, hands it over once."""

    def __init__(self, array: np.ndarray):
        self._array, self._in_store = array, None

    def handed(self, backend: Any) -> Any:
        """What stands for it among the arguments of a task."""
        if not type(backend).__module__.startswith("ray."):
            return self._array
        if self._in_store is None:
            import ray  # pyright: ignore[reportMissingImports]

            self._in_store = ray.put(self._array)
        return self._in_store


class _Packer(CloudPickler):
    """Puts large arrays aside. known: arrays of tasks that are out, by content."""

    def __init__(self, file: io.BytesIO, known: WeakValueDictionary[bytes, _Shared]):
        super().__init__(file)
        self.arrays: list[_Shared] = []
        self.known = known

    def persistent_id(self, obj: Any) -> int | None:
        if type(obj) is not np.ndarray or obj.nbytes < LEAST_BYTES or obj.dtype.hasobject:
            return None
        self.arrays.append(self.known.setdefault(_digest(obj), _Shared(obj)))
        return len(self.arrays) - 1


def _packed(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    own: Sequence[tuple[Any, ...]],
    known: WeakValueDictionary[bytes, _Shared],
) -> Call:
    """What `_run` takes."""
    file = io.BytesIO()
    packer = _Packer(file, known)
    packer.dump((function, tuple(arguments), list(own)))
    return version(), file.getvalue(), *packer.arrays


def _digest(array: np.ndarray) -> bytes:
    """Equal for arrays of equal content and layout."""
    about = (array.shape, array.dtype.str, array.flags.c_contiguous, array.flags.f_contiguous)
    return blake2b(repr(about).encode() + array.tobytes()).digest()


class _Unpacker(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, arrays: Sequence[np.ndarray]):
        super().__init__(file)
        self.arrays = arrays

    def persistent_load(self, pid: Any) -> np.ndarray:
        # A memory map cannot be written to; a search gets what it would get in this process.
        return np.array(self.arrays[pid])


def _keyed(key: Any, *call: Any) -> tuple[Any, Any]:
    return key, _run(*call)


def _run(made_by: str, packed: bytes, *arrays: Any) -> Any:
    """A task in the worker's process."""
    from threadpoolctl import threadpool_limits

    _end_with_parent()
    if made_by != version():
        raise WorkerError(
            f"a worker has {version()} where the task was made by {made_by}: install the same "
            "version on every machine, and start the workers anew"
        )
    function, arguments, own = _Unpacker(io.BytesIO(packed), _fetched(arrays)).load()
    _register(own)
    try:
        with one_thread_if_small(0), threadpool_limits(1):
            return function(*arguments)
    except KeyboardInterrupt:
        if is_called_off():
            return None  # nobody waits for it, and passed on it would end the worker
        raise


@cache
def _end_with_parent() -> None:
    """A process of joblib's would search on to the end when the one it works for was killed."""
    if not multiprocessing.current_process().name.startswith("LokyProcess"):
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@cache
def version() -> str:
    """What a worker must have in common with the process that sends it work."""
    from importlib.metadata import version as version_of

    python = ".".join(platform.python_version_tuple()[:2])
    return f"kansym {version_of('kansym')} on Python {python}"


def _fetched(arrays: Sequence[Any]) -> list[np.ndarray]:
    if all(isinstance(array, np.ndarray) for array in arrays):
        return list(arrays)
    import ray  # pyright: ignore[reportMissingImports]

    return ray.get(list(arrays))


def _portable(function: SymbolicFunction) -> tuple[Any, ...]:
    """The arguments of `register_function`: another process does not know what was added here."""
    low, high, pole = function.domain.low, function.domain.high, function.domain.pole
    domain = (low, high) if pole is None else None
    return function.name, function.torch, function.sympy, function.complexity, domain


def _register(own: Sequence[tuple[Any, ...]]) -> None:
    """Exactly these functions besides the built-in ones: a worker may have had others before."""
    for function in own_functions():
        if function.name not in [name for name, *_ in own]:
            forget_function(function.name)
    for arguments in own:
        register_function(*arguments, replace=True)
