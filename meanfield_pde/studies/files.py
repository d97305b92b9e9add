"""Files written whole or not at all, and the versions that stand in them."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from uuid import uuid4

PACKAGES = ("meanfield-pde", "numpy", "scipy", "numba")
"""Packages whose versions stand in each file."""


class StorageError(OSError):
    """A file cannot be written, cannot be read, or is not one of this package's."""


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside ``path`` that takes its place when all went well.

    Whatever goes wrong in between, an interrupt included, ``path`` is left as it was. Folders are
    made where they are missing.

    Raises
    ------
    StorageError
        If the place cannot be written to.
    """
    path = Path(path)
    partial = path.with_name(f".{uuid4().hex[:12]}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written: {error.strerror or error}; choose another place"
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink()


def versions() -> dict[str, str]:
    """Versions of Python and of what computes; ``unknown`` for a package that is not installed."""
    return dict(_versions())


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return {f"version_{name.replace('-', '_')}": number for name, number in found.items()}
