"""Statistical claims: the power of N by which errors fall, with the odds of being wrong.

The slope of log errors in log N is fitted over replicas. The errors at each N have the same
relative scatter, pooled, which gives the slope's standard error, and with the tolerance the
probability of a false alarm. Where that is above `ALARM` the replicas are too few to tell. A claim
is false where its slope is beyond the tolerance by `SURE` standard errors.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.stats import norm

from meanfield_pde.measures.check import Array
from meanfield_pde.studies.claims.claim import Finding
from meanfield_pde.studies.rates import log_slope

SLOPE = 0.15
ALARM = 0.01
SURE = 3.0
NOTHING = 1e-25
"""Squared errors below which there is nothing but rounding to fit."""


def fitted_slope(errors: Mapping[int, Array]) -> tuple[float, float]:
    """Slope of the log of the mean errors in log N, and its standard error.

    Weights are the numbers of replicas; the relative scatter of one error is pooled over N.
    """
    sizes = np.array(list(errors), dtype=np.float64)
    counts = np.array([len(values) for values in errors.values()])
    means = np.array([values.mean() for values in errors.values()])
    relative = [values.var(ddof=1) / values.mean() ** 2 for values in errors.values()]
    scatter = float(np.average(relative, weights=counts - 1))
    centred = np.log(sizes) - np.average(np.log(sizes), weights=counts)
    spread = float(counts @ centred**2)
    return float(log_slope(sizes, means, counts)), float(np.sqrt(scatter / spread))


def falls_as(
    errors: Mapping[int, Array],
    wrong: Mapping[int, Array],
    until: float,
    fault: str,
    power: float = 1.0,
    tolerance: float = SLOPE,
) -> Finding:
    """Judge that errors fall as N^-power, of squares where the power is 1, else of their roots."""
    if min(values.mean() for values in (*errors.values(), *wrong.values())) <= NOTHING:
        return Finding(1.0, tolerance, "not fitted", None, fault, "the errors are rounding")
    slope, scatter = (power * number for number in fitted_slope(errors))
    number, control = abs(slope + power), abs(power * fitted_slope(wrong)[0] + power)
    alarm = float(2 * norm.sf(tolerance / scatter))
    reason = (
        f"slope {slope:.3f} +- {1.96 * scatter:.3f} (95 %), N = {min(errors)} to {max(errors)}, "
        f"t = {until:g}; false alarm with probability {alarm:.0e}"
    )
    least = tolerance + SURE * scatter
    return Finding(number, tolerance, reason, control, fault, undecided(alarm), least)


def undecided(alarm: float) -> str:
    """Return why a check that is wrong with this probability decides nothing; empty if it does."""
    return f"too few replicas: wrong with probability {alarm:.2g}" if alarm > ALARM else ""
