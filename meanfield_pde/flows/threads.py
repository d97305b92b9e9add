"""Linear algebra in one thread while a flow is followed.

The products of a step are small. A second thread of OpenBLAS spins while it waits, and where
another process uses the core that it waits for, a solve takes five to twenty times as long (.30 s
for .048, a network on 128^2 cells); on a machine that is idle it wins a few percent, and up to
half in the dense exponentials of grids of 256^2 and more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@cache
def _libraries() -> Any:
    """Find the libraries of linear algebra that are loaded; some milliseconds, once."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread for linear algebra, and as many as before afterwards; also a decorator.

    Examples
    --------
    >>> import numpy as np
    >>> with one_thread():
    ...     float(np.ones(3) @ np.ones(3))
    3.0
    """
    with _libraries().limit(limits=1, user_api="blas"):
        yield
