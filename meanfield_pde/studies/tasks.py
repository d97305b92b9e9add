"""Tasks of a study: in this process, in several, or on a Dask cluster; kept in files as they end.

A task is a value that can be pickled, and its result is a mapping of arrays. Nothing depends on
where tasks run or in which order. Threads of linear algebra add up in another order and change the
last bits (of two thirds of the numbers in a product of 200 x 300 by 300 x 100), and clusters give
one to a worker where a process alone takes all cores; so every task has one, wherever it runs.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from meanfield_pde.flows.progress import progress_bar
from meanfield_pde.measures import check
from meanfield_pde.studies.files import StorageError, whole

T = TypeVar("T")
Arrays = dict[str, NDArray[Any]]
"""What a task returns, and what a file of it holds."""

PLACES = ("here", "processes", "dask")
TURN = threading.Lock()
"""Held by the task that a worker does: energies remember what they have checked."""
DEATHS = 3
"""Times in a row that all processes may die without one task done, before the rest is given up."""


@dataclass(frozen=True)
class Lost:
    """A task that gave nothing, and why."""

    reason: str


@dataclass(frozen=True)
class Workplace:
    """Where tasks run.

    Parameters
    ----------
    where : str
        ``here``, one after the other in this process; ``processes`` of this machine; or ``dask``.
    workers : int, optional
        Processes, of a local Dask cluster too; as many as there are cores where it is left out.
    scheduler : str, optional
        Address of the scheduler of a Dask cluster; a local one is started where it is left out.
    """

    where: str = "here"
    workers: int | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        if self.where not in PLACES:
            raise ValueError(
                f"where must be {', '.join(PLACES[:-1])} or {PLACES[-1]}, got {self.where!r}; "
                "processes use the cores of this machine"
            )
        if self.workers is not None:
            check.count("workers", self.workers, "2 on a machine with two cores")
        if self.scheduler is not None and self.where != "dask":
            raise ValueError(
                f"scheduler must be left out unless where is dask, got {self.scheduler!r} with "
                f"{self.where}; pass where='dask'"
            )

    @property
    def processes(self) -> int:
        """Number of workers to start."""
        return self.workers or os.cpu_count() or 1

    @contextmanager
    def opened(self) -> Iterator[Workplace]:
        """Start the Dask cluster that was asked for, where it is not there already.

        Raises
        ------
        ValueError
            If Dask is not installed.
        """
        if self.where != "dask":
            yield self
            return
        try:
            from distributed import LocalCluster
        except ImportError as error:
            raise ValueError(
                "where must be here or processes without the package distributed, got dask; "
                "pip install 'meanfield-pde[distributed]'"
            ) from error
        if self.scheduler is not None:
            yield self
            return
        with _uninterrupted():
            # Workers that end log tracebacks; the death of one is told by its tasks.
            cluster = LocalCluster(
                n_workers=self.processes,
                threads_per_worker=1,
                dashboard_address=None,
                silence_logs=logging.CRITICAL,
            )
        with cluster:
            yield replace(self, scheduler=cluster.scheduler_address)


def carry_out(
    function: Callable[[T], Arrays | Lost],
    tasks: Sequence[T],
    workplace: Workplace,
    file: Callable[[T], Path | None],
    cost: Callable[[T], float],
    name: str = "tasks",
    progress: bool = False,
) -> dict[T, Arrays | Lost]:
    """Do what has no file yet, the longest first, and keep each result in a file as it ends.

    Parameters
    ----------
    function : callable
        From a task to its arrays, or to a `Lost`; what it raises ends everything.
    tasks : sequence
        Hashable, and with processes or Dask picklable, as the function.
    workplace : Workplace
    file : callable
        From a task to its file, or None where nothing is kept.
    cost : callable
        From a task to how long it takes, in any unit.
    name : str
        Of the progress bar.
    progress : bool

    Returns
    -------
    dict
        Results by task, in the order of the tasks.
    """
    done: dict[T, Arrays | Lost] = {}
    for task in tasks:
        path = file(task)
        if path is not None and path.is_file():
            done[task] = _read(path)
    waiting = sorted((task for task in tasks if task not in done), key=lambda task: -cost(task))
    with progress_bar(name, sum(map(cost, waiting)), progress) as report:
        for task, result in _completed(function, waiting, workplace):
            done[task] = result
            path = file(task)
            if path is not None and not isinstance(result, Lost):
                with whole(path) as partial, partial.open("wb") as stream:
                    np.savez(stream, **result)  # type: ignore[arg-type]
            report(cost(task))
    return {task: done[task] for task in tasks}


def _read(path: Path) -> Arrays:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StorageError(f"{path} holds no results ({error}); delete it") from error


def _completed(
    function: Callable[[T], Arrays | Lost], tasks: Sequence[T], workplace: Workplace
) -> Iterator[tuple[T, Arrays | Lost]]:
    """Results as they come, in any order."""
    alone = workplace.where == "processes" and len(tasks) == 1  # not worth the start of another
    if workplace.where == "here" or not tasks or alone:
        yield from ((task, _here(function, task)) for task in tasks)
    elif workplace.where == "processes":
        yield from _in_processes(partial(_there, function), tasks, workplace.processes)
    else:
        yield from _on_dask(partial(_there, function), tasks, workplace)


def _here(function: Callable[[T], Arrays | Lost], task: T) -> Arrays | Lost:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return function(task)


def _there(function: Callable[[T], Arrays | Lost], task: T) -> Arrays | Lost:
    """Leave the limit in force; threads of a worker, which share its cases, take turns."""
    from threadpoolctl import threadpool_limits

    with TURN:
        threadpool_limits(1)
        return function(task)


def _in_processes(
    function: Callable[[T], Arrays | Lost], tasks: Sequence[T], processes: int
) -> Iterator[tuple[T, Arrays | Lost]]:
    """Use processes of this machine; when one is killed, the others end and all start anew."""
    waiting, deaths = dict(enumerate(tasks)), 0
    while waiting and deaths < DEATHS:
        before = len(waiting)
        # Not forked: a copy of a process with threads may hang.
        pool = ProcessPoolExecutor(
            min(processes, before), get_context("spawn"), initializer=_interruptible
        )
        try:
            futures = {pool.submit(function, task): k for k, task in waiting.items()}
            for future in as_completed(futures):
                if not isinstance(future.exception(), BrokenProcessPool):
                    k = futures[future]
                    yield waiting[k], future.result()
                    del waiting[k]
        except BrokenProcessPool:
            pass  # a process died while tasks were handed in
        finally:
            pool.shutdown(cancel_futures=True)
        deaths = 0 if len(waiting) < before else deaths + 1
    for task in waiting.values():
        yield (
            task,
            Lost(
                f"its process died {DEATHS} times: give it more memory, or in a script call this "
                'below if __name__ == "__main__"'
            ),
        )


def _interruptible() -> None:
    """Let a worker end at once, and silently, at the interrupt that its parent handles."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let processes that start here ignore interrupts, which their parent handles, for good."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _on_dask(
    function: Callable[[T], Arrays | Lost], tasks: Sequence[T], workplace: Workplace
) -> Iterator[tuple[T, Arrays | Lost]]:
    """Use a Dask cluster, which gives tasks of a worker that died to another by itself."""
    from distributed import Client, KilledWorker
    from distributed import as_completed as as_completed_on
    from distributed.comm import resolve_address

    try:
        resolve_address(workplace.scheduler)  # a client that refuses its address hangs at exit
        client = Client(workplace.scheduler, set_as_default=False)
    except (OSError, ValueError) as error:
        raise StorageError(
            f"no Dask scheduler answers at {workplace.scheduler} ({error}); start one with "
            "'dask scheduler', or leave the address out"
        ) from error
    with client:
        futures = {client.submit(function, task, pure=False): task for task in tasks}
        for future in as_completed_on(futures, loop=client.loop):
            if future.status == "cancelled":
                raise StorageError(
                    f"the Dask scheduler at {workplace.scheduler} is gone; start it and run "
                    "again: what is in the folder is taken up"
                )
            died = future.status == "error" and isinstance(future.exception(), KilledWorker)
            lost = Lost("its worker died again and again: give it more memory")
            yield futures[future], lost if died else future.result()
            future.release()
