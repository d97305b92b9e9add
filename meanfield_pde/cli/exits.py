"""Exit codes: what each failure is called on stderr, and the number it leaves with."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer

import meanfield_pde as mf

FAILED, USAGE, NUMERICS, STORAGE, INTERRUPTED = 1, 2, 3, 4, 130


@contextmanager
def exit_codes(resume: str = "") -> Iterator[None]:
    """Turn errors that a user can mend into a message and an exit code; leave others alone.

    ``resume`` says how to go on after an interrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        _fail(f"interrupted; files that were complete are kept{resume}", INTERRUPTED)
    except BrokenPipeError:  # the reader has had enough, as in `meanfield-pde list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(0) from None
    except OSError as error:
        _fail(str(error), STORAGE)
    except (ValueError, RuntimeError) as error:
        from numpy.linalg import LinAlgError

        if isinstance(error, ValueError) and not isinstance(error, LinAlgError):
            _fail(str(error), USAGE)
        if isinstance(error, typer.Exit):
            raise
        failed = mf.SolveError, mf.GibbsError, mf.SimulationError, mf.SweepError
        if isinstance(error, (LinAlgError, *failed)):
            _fail(str(error), NUMERICS)
        raise
    except MemoryError as error:
        _fail(f"out of memory ({error}); use fewer cells, nodes or particles", NUMERICS)


@contextmanager
def blaming(case: mf.Case) -> Iterator[None]:
    """Name the case in what solvers and studies refuse."""
    from numpy.linalg import LinAlgError

    try:
        yield
    except (mf.CaseError, LinAlgError):
        raise
    except ValueError as error:
        raise mf.CaseError(f"{case.origin}: {error}") from error


def _fail(message: str, code: int) -> NoReturn:
    print(f"meanfield-pde: {message}", file=sys.stderr)
    raise typer.Exit(code) from None
