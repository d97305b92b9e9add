"""Files written whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4


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
