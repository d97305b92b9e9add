"""Checks of arguments, one wording for all: what was wrong, what was got, what to do."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from meanfield_pde.measures.group import Group

Array = npt.NDArray[np.float64]
Function = Callable[..., Any]


def array(name: str, value: Any, remedy: str) -> Array:
    """Return ``value`` as a float array of finite numbers.

    Raises
    ------
    ValueError
        If it is not numeric or holds NaN or infinity.
    """
    try:
        result = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, got {value!r}; {remedy}") from None
    if not np.isfinite(result).all():
        bad = int(np.argmin(np.isfinite(result).ravel()))
        raise ValueError(
            f"{name} must be finite, got {result.ravel()[bad]} at flat index {bad}; {remedy}"
        )
    return result


def number(
    name: str,
    value: Any,
    remedy: str,
    *,
    above: float = -np.inf,
    least: float = -np.inf,
    most: float = np.inf,
) -> float:
    """Return ``value`` as a finite float with ``value > above`` and ``least <= value <= most``.

    Raises
    ------
    ValueError
        If it is not a real number or lies outside.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}; {remedy}")
    result = float(value)
    if not np.isfinite(result) or result <= above or result < least or result > most:
        bounds = [f"> {above:g}"] * (above > -np.inf) + [f">= {least:g}"] * (least > -np.inf)
        bounds += [f"<= {most:g}"] * (most < np.inf)
        raise ValueError(
            f"{name} must be finite{' and ' if bounds else ''}{' and '.join(bounds)}, "
            f"got {result:g}; {remedy}"
        )
    return result


def count(name: str, value: Any, remedy: str, *, least: int = 1) -> int:
    """Return ``value`` as an int of at least ``least``.

    Raises
    ------
    ValueError
        If it is not a whole number or is too small.
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise ValueError(f"{name} must be a whole number >= {least}, got {value!r}; {remedy}")
    return int(value)


def instance(name: str, value: Any, kinds: type | tuple[type, ...], remedy: str) -> None:
    """Check the type of an argument.

    Raises
    ------
    ValueError
        If it is of another.
    """
    if not isinstance(value, kinds):
        known = kinds if isinstance(kinds, tuple) else (kinds,)
        wanted = " or ".join(kind.__name__ for kind in known)
        raise ValueError(f"{name} must be a {wanted}, got {type(value).__name__}; {remedy}")


def evaluate(name: str, function: Function, points: Array, *, finite: bool = True) -> Array:
    """Call a user's function of points ``(..., d)`` and check that it returns ``(...)``.

    Raises
    ------
    ValueError
        If the shape is wrong or, where ``finite``, a value is NaN or infinite.
    """
    raw = np.asarray(function(points))
    if not (np.issubdtype(raw.dtype, np.number) or raw.dtype == bool) or np.iscomplexobj(raw):
        raise ValueError(
            f"{name} must return real numbers, got an array of {raw.dtype}; "
            "return floats, and take .real of a complex result"
        )
    result = raw.astype(np.float64)
    expected = points.shape[:-1]
    if result.shape != expected:
        raise ValueError(
            f"{name} must map points of shape (..., {points.shape[-1]}) to (...), got "
            f"{result.shape} for {points.shape}; sum over the last axis, as in (z**2).sum(-1)"
        )
    if finite and not np.isfinite(result).all():
        where = np.argwhere(~np.isfinite(result))[0]
        raise ValueError(
            f"{name} must be finite, got {result[tuple(where)]} at {points[tuple(where)]}; "
            "change the function or the grid so that no point meets the singularity"
        )
    return result


def group(value: Group) -> Group:
    """Return ``value`` if it is a group; for modules that groups import.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if not hasattr(value, "fixed_basis"):
        raise ValueError(
            f"group must be a Group, got {type(value).__name__}; make one with the constructors "
            "of mf.Group"
        )
    return value
