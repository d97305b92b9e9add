"""Learning-rate schedules s(t), and the clock ``int s dt`` that they drive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from meanfield_pde.measures import check

SAMPLES = 2000

Rate = float | Callable[[float], float] | None


def require_rate(rate: Rate) -> None:
    """Raise ValueError unless a rate is None, positive or a function."""
    if rate is not None and not callable(rate):
        check.number("rate", rate, "give a positive number or a function of t", above=0)


def speed(rate: Rate, t: float) -> float:
    """Rate s(t).

    Raises
    ------
    ValueError
        If the schedule is negative or not finite at t.
    """
    if rate is None:
        return 1.0
    try:
        value = rate(t) if callable(rate) else rate
    except ArithmeticError as error:
        raise ValueError(
            f"rate must be finite at t = {t:g}, got {type(error).__name__}: {error}; "
            "a schedule is needed on the whole of [0, t1]"
        ) from None
    return check.number(f"rate at t = {t:g}", value, "a schedule is never negative", least=0)


def clock(rate: Rate, t0: float, t1: float) -> float:
    """Time of the flow of rate 1 that passes from t0 to t1: ``int s dt``.

    Raises
    ------
    ValueError
        If the schedule is negative, not integrable, or jumps between the two.
    """
    if not callable(rate):
        return speed(rate, t0) * (t1 - t0)
    if t1 == t0:
        return 0.0
    from scipy.integrate import quad

    for t in np.linspace(t0, t1, 9):
        speed(rate, float(t))
    value, error, *_ = quad(
        lambda t: speed(rate, t), t0, t1, epsabs=1e-13, epsrel=1e-12, limit=500, full_output=1
    )
    rough = _rough_clock(rate, t0, t1)
    if abs(rough - value) > 0.01 * (1e-3 * (t1 - t0) + abs(rough)):
        raise ValueError(
            f"rate must be smooth between save times on [{t0:g}, {t1:g}], got {value:g} "
            f"by adaptive quadrature and {rough:g} by {SAMPLES} samples; save where it jumps"
        )
    if error > 1e-8 * (1 + abs(value)):
        raise ValueError(
            f"rate must be integrable on [{t0:g}, {t1:g}], got an integral {value:g} with "
            f"error {error:.1g}; give a smoother schedule or more save times"
        )
    return float(value)


def _rough_clock(rate: Rate, t0: float, t1: float) -> float:
    """Mid-point rule: blunt, but no pulse longer than a sample slips through."""
    middles = t0 + (np.arange(SAMPLES) + 0.5) * ((t1 - t0) / SAMPLES)
    return float(np.mean([speed(rate, float(t)) for t in middles]) * (t1 - t0))
