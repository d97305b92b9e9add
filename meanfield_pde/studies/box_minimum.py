"""Minimum of a first variation over a box, from above and from below.

From above: local minima among the cell centres, polished. From below: branch and bound. Within a
cell with centre c and half widths e the first variation is at least ``Phi(c) - |grad Phi(c)| e``
less a bound of its deviation from linear; cells in which that is lower than the lowest value found
are halved.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import Bounds, minimize

from meanfield_pde.measures.check import Array
from meanfield_pde.studies.deviation import Box, Deviation, has_kinks, measured, proved
from meanfield_pde.studies.objective import Objective

MAX_FEATURES = 6_000_000
"""Features that may be computed on one level of branch and bound, unless the grid asks for more."""
STARTS = 12
"""Lowest local minima among the cell centres that are polished."""


def minima(objective: Objective, charges: list[Array], box: Box) -> tuple[Array, Array]:
    """Local minima of the first variation, polished: points (m, k) and values, lowest first."""
    values = objective.variation(box.centres, charges).reshape(box.shape)
    lowest = np.ones(box.shape, dtype=bool)
    padded = np.pad(values, 1, constant_values=np.inf)
    for shift in product((0, 1, 2), repeat=values.ndim):
        window = tuple(slice(s, s + n) for s, n in zip(shift, box.shape, strict=True))
        lowest &= values <= padded[window]
    index = np.flatnonzero(lowest)
    index = index[np.argsort(values.ravel()[index], kind="stable")][:STARTS]
    points = np.stack([_polish(objective, charges, box, box.centres[i]) for i in index])
    found = objective.variation(points, charges)
    order = np.argsort(found, kind="stable")
    return points[order], found[order]


def _polish(objective: Objective, charges: list[Array], box: Box, start: Array) -> Array:
    """Minimise locally from a cell centre, which is kept where that does not go lower."""
    value, gradient = _both(objective, charges, start)
    scale = 1.0 / (float(np.abs(gradient).max()) or 1.0)

    def scaled(point: Array) -> tuple[float, Array]:
        higher, slope = _both(objective, charges, point)
        return scale * (higher - value), scale * slope

    found = minimize(
        scaled,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(box.lower, box.upper),
        options={"ftol": 0.0, "gtol": 1e-13, "maxiter": 100},
    )
    return np.asarray(found.x) if found.fun < 0 else start


def _both(objective: Objective, charges: list[Array], point: Array) -> tuple[float, Array]:
    at = point[None]
    return float(objective.variation(at, charges)[0]), objective.gradient(at, charges)[0]


@dataclass(frozen=True, eq=False)
class LowerBound:
    """Lower bound of a first variation over a box.

    Parameters
    ----------
    value : float
    lowest : array (k,)
        The lowest point that was looked at.
    proved : bool
        Whether it is proved, up to rounding; else it rests on derivatives that were measured.
    """

    value: float
    lowest: Array
    proved: bool


def lower_bound(
    objective: Objective, charges: list[Array], box: Box, known: Array, slack: float
) -> LowerBound:
    """Lower bound of the first variation over a box.

    Derivatives that were measured are used where none are known, or where the known ones are too
    large to come within the slack.

    Parameters
    ----------
    objective : Objective
    charges : list of array
        Of the measure whose first variation it is.
    box : Box
    known : array (k,)
        A point where it is low.
    slack : float
        How far below the minimum the bound may be, unless that asks for too many cells.
    """
    by_units = proved(objective, charges)
    first = None
    if by_units is not None:
        first = _bisect(objective, charges, box, known, slack, by_units)
        if first.within or has_kinks(objective):
            return LowerBound(first.value, first.lowest, True)
    by_cells = measured(objective, charges, box)
    second = _bisect(objective, charges, box, known, slack, by_cells)
    if first is not None and not second.within:
        return LowerBound(first.value, first.lowest, True)
    return LowerBound(second.value, second.lowest, False)


@dataclass(frozen=True, eq=False)
class _Bisected:
    """Lower bound, lowest point, and whether the bound is within the slack."""

    value: float
    lowest: Array
    within: bool


def _bisect(
    objective: Objective,
    charges: list[Array],
    box: Box,
    known: Array,
    slack: float,
    deviation: Deviation,
) -> _Bisected:
    centres, half = box.centres, box.half
    lowest, best = known, float(objective.variation(known[None], charges)[0])
    rows = sum(charge.size for charge in charges)
    most = max(2 * len(centres), MAX_FEATURES // max(1, rows))
    settled = np.inf
    halves = np.array(list(product((-0.5, 0.5), repeat=len(half))))
    while True:
        values = objective.variation(centres, charges)
        if values.min() < best:
            lowest, best = centres[values.argmin()], float(values.min())
        slopes = np.abs(objective.gradient(centres, charges))
        below = values - slopes @ half - deviation(centres, half)
        rest = below < best - slack
        settled = min(settled, float(below[~rest].min(initial=np.inf)))
        if not rest.any() or rest.sum() * len(halves) > most:
            bound = min(best, settled, float(below[rest].min(initial=np.inf)))
            return _Bisected(bound, lowest, not rest.any())
        centres = (centres[rest][:, None, :] + halves * half).reshape(-1, len(half))
        half = 0.5 * half
