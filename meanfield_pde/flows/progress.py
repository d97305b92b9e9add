"""A progress bar, on request, for both solvers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress_bar(name: str, total: float, wanted: bool) -> Iterator[Callable[[float], None]]:
    """Give a function that reports how much time has passed; it draws only where ``wanted``."""
    if not wanted:
        yield lambda passed: None
        return
    from rich.progress import Progress  # imported here: most runs show no bar

    with Progress() as bar:
        task = bar.add_task(name, total=total)
        yield lambda passed: bar.advance(task, passed)
