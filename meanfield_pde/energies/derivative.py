"""Derivatives of functions that a user wrote with numpy, never silently wrong.

A gradient comes from the user, from the complex step ``Im f(z + i h e) / h`` (exact to rounding,
but wrong for functions such as ``abs`` that are not analytic), or from sixth-order central
differences. Whichever it is, it is compared with differences at the first points where it is used
and beside them, again wherever later points leave the box of the earlier ones, and an error is
raised where a given one disagrees.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from meanfield_pde.measures.check import Array, Function

COMPLEX_STEP = 1e-30
STEP = 4e-3
"""Step of the central differences, relative to max(1, |z|): balances h^6 against rounding / h."""
AGREEMENT = 1e-6
PROBES = 256
WIDER = 0.25
"""How far points may leave the checked box, relative to its width, before it is checked anew."""
ASIDE = 0.05
"""How far from the probes others are put, relative to max(1, |z|)."""


class DerivativeError(ValueError):
    """A gradient is missing, wrong, or cannot be found by differences."""


class Derivative:
    """Gradient in z of ``function(z)``, z of shape (..., d), values (...) or (..., q).

    Parameters
    ----------
    name : str
        What to call the function in an error.
    function : callable
    given : callable, optional
        The user's gradient: values (..., d) or (..., q, d).
    fixed : int
        Number of leading coordinates of z that are held fixed; d counts the others.

    Examples
    --------
    >>> Derivative("f", lambda z: np.sin(z).sum(-1))(np.array([[0.0, np.pi]])).round(12).tolist()
    [[1.0, -1.0]]
    """

    def __init__(
        self, name: str, function: Function, given: Function | None = None, fixed: int = 0
    ) -> None:
        self.fixed = fixed
        self.name = name
        self.function = function
        self.given = given
        self._chosen: dict[int, str] = {}
        self._checked: dict[int, tuple[Array, Array]] = {}

    def __call__(self, points: Array) -> Array:
        """Gradient at the points, with a last axis of length d.

        Raises
        ------
        DerivativeError
            If a given gradient is wrong or has the wrong shape, or differences do not settle.
        """
        dim = points.shape[-1]
        if self._leaves_checked(points.reshape(-1, dim)):
            method = self._choose(_probes(points.reshape(-1, dim)))
            if self._chosen.get(dim) != "differences":
                self._chosen[dim] = method
        method = self._chosen[dim]
        if method == "given":
            return self._given(points)
        if method == "complex":
            return self._complex(points)
        gradient, settled = self._differences(points)
        if not settled.all():
            self._fail(points, settled)
        return gradient

    def _leaves_checked(self, points: Array) -> bool:
        """Whether points lie outside the box in which the gradient was checked; widen it."""
        # By columns: numpy is 30 times slower along the first axis of a long thin array.
        low, high = (np.array([f(c) for c in points.T]) for f in (np.min, np.max))
        if points.shape[-1] not in self._checked:
            self._checked[points.shape[-1]] = low, high
            return True
        least, most = self._checked[points.shape[-1]]
        margin = WIDER * (most - least)
        if (low >= least - margin).all() and (high <= most + margin).all():
            return False
        self._checked[points.shape[-1]] = np.minimum(low, least), np.maximum(high, most)
        return True

    def _choose(self, probes: Array) -> str:
        shape, places = np.shape(self.function(probes)), probes.shape[:-1]
        if shape[: len(places)] != places or len(shape) > len(places) + 1:
            raise DerivativeError(
                f"{self.name} must map points of shape {probes.shape} to {places}, got {shape}; "
                "sum over the last axis, as in (z**2).sum(-1)"
            )
        aside = probes.copy()  # where all gradients vanish, zero would pass for any of them
        aside[..., self.fixed :] += ASIDE * np.maximum(1.0, np.abs(aside[..., self.fixed :]))
        points = np.concatenate([probes, aside])
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            reference, settled = self._differences(points)
            if self.given is not None:
                self._compare(self._given(points), reference, settled)
                return "given"
            if settled[: len(probes)].mean() < 0.5:
                self._fail(probes, settled[: len(probes)])
            try:
                candidate = self._complex(points)
            except (TypeError, ValueError, np.exceptions.ComplexWarning):
                return "differences"
        agree = _close(candidate, reference) | ~settled
        return "complex" if agree.all() else "differences"

    def _given(self, points: Array) -> Array:
        assert self.given is not None
        gradient = np.asarray(self.given(points), dtype=np.float64)
        expected = (*np.shape(self.function(points)), points.shape[-1] - self.fixed)
        if gradient.shape != expected:
            raise DerivativeError(
                f"gradient of {self.name} must have shape {expected}, got {gradient.shape}; "
                "the derivatives go along a new last axis"
            )
        return gradient

    def _complex(self, points: Array) -> Array:
        columns = []
        for axis in range(self.fixed, points.shape[-1]):
            moved = points.astype(np.complex128)
            moved[..., axis] += 1j * COMPLEX_STEP
            columns.append(np.asarray(self.function(moved)).imag / COMPLEX_STEP)
        return np.stack(columns, axis=-1)

    def _differences(self, points: Array) -> tuple[Array, Any]:
        """Central differences of order 6, and where steps h and h/2 agree."""
        coarse, fine = (self._central(points, STEP * scale) for scale in (1.0, 0.5))
        return fine, _close(coarse, fine)

    def _central(self, points: Array, relative: float) -> Array:
        columns = []
        for axis in range(self.fixed, points.shape[-1]):
            step = relative * np.maximum(1.0, np.abs(points[..., axis]))
            total: Any = 0.0
            for offset, coefficient in _central_coefficients():
                ahead, behind = points.copy(), points.copy()
                ahead[..., axis] += offset * step
                behind[..., axis] -= offset * step
                high = np.asarray(self.function(ahead), dtype=np.float64)
                low = np.asarray(self.function(behind), dtype=np.float64)
                total = total + coefficient * (high - low)
            columns.append(total / step.reshape(step.shape + (1,) * (np.ndim(total) - step.ndim)))
        return np.stack(columns, axis=-1)

    def _compare(self, gradient: Array, reference: Array, settled: Any) -> None:
        wrong = np.argwhere(settled & ~_close(gradient, reference))
        if len(wrong):
            at = tuple(wrong[0])
            raise DerivativeError(
                f"gradient of {self.name} is wrong: entry {at} is {gradient[at]:.6g}, differences "
                f"of the function give {reference[at]:.6g}; correct it, or leave it out"
            )

    def _fail(self, points: Array, settled: Any) -> None:
        bad = 1.0 - settled.mean()
        raise DerivativeError(
            f"{self.name} has no gradient by differences at {bad:.1%} of {points.shape[:-1]} "
            "points (a kink, a jump or a singularity is near); give it by gradient="
        )


def _probes(points: Array) -> Array:
    """About `PROBES` of the points (n, d), evenly spread, and the extreme ones along each axis."""
    spread = np.linspace(0, len(points) - 1, min(PROBES, len(points))).astype(int)
    extreme = np.concatenate([points.argmin(axis=0), points.argmax(axis=0)])
    return np.asarray(points[np.unique(np.concatenate([spread, extreme]))])


def _close(a: Array, b: Array) -> Any:
    size = np.abs(b[np.isfinite(b)]).max(initial=0.0)
    with np.errstate(invalid="ignore"):
        return np.abs(a - b) <= AGREEMENT * (1.0 + size)


def _central_coefficients() -> list[tuple[int, float]]:
    """Offsets k and weights of f(z + k h) - f(z - k h) in the sixth-order difference (findiff)."""
    global _COEFFICIENTS
    if not _COEFFICIENTS:
        from findiff import coefficients  # imported here: it costs more than the rest of the module

        rule = coefficients(deriv=1, acc=6)["center"]
        pairs = zip(rule["offsets"], rule["coefficients"], strict=True)
        _COEFFICIENTS = [(int(o), float(c)) for o, c in pairs if o > 0]
    return _COEFFICIENTS


_COEFFICIENTS: list[tuple[int, float]] = []
