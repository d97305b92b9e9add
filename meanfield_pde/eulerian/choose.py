"""The choice of flux and stepper, and the reason for it.

A flux is chosen by the cell Peclet number |q| = |dPhi| / beta where the mass is. The exponential
of a fixed potential, exact in time, comes first; then explicit steps, unless their positivity bound
asks for so many that implicit ones are cheaper, or |q| is above 1, where Scharfetter-Gummel loses
its order. Implicit steps take the compact flux, which is good up to |q| of about 2. Beyond that
the drift dominates: explicit steps with limited slopes are the more accurate, and are taken far
longer. They are also what explicit steps asked for by name take above 1.
"""

from __future__ import annotations

from typing import Any, TypeVar, cast

import numpy as np

from meanfield_pde.energies.energy import Functional
from meanfield_pde.eulerian.exponential import cost
from meanfield_pde.eulerian.flux import FLUXES, Flux
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, State, Stepper
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

EXPLICIT_STEPS = {1: 5_000, 2: 1_000}
"""Explicit steps, by dimension, beyond which implicit steps are taken."""
EXPONENTIAL = 0.2
"""Seconds, about, up to which a fixed potential's exponential is taken."""
STEEP = 2.0
"""Cell Peclet number beyond which the limited flux is more accurate than the compact one."""
PECLET_SHARE = 0.1
"""Share of the mass that may see a larger cell Peclet number than a flux is good for."""
PATIENCE = 50
"""How many times more explicit steps are taken where implicit ones would lose an order in space."""

T = TypeVar("T")


def choose(
    flux: str | Flux,
    stepper: str | Stepper,
    problem: tuple[Grid, Functional, float],
    rho: Array,
    span: float,
    dt: float | None,
) -> tuple[Equation, Stepper, str]:
    """Return the equation with its flux, the stepper, and why these.

    Parameters
    ----------
    flux, stepper
        As given to `solve`.
    problem : tuple
        Grid, energy without entropy, and diffusion.
    rho : array of grid shape
        Initial density.
    span : float
        Whole time, in the flow's own clock.
    dt : float or None
        Fixed step.

    Raises
    ------
    ValueError
        If a name is unknown, the two do not go together, or dt cannot be stable.
    """
    grid, energy, _ = problem
    plain = Equation(*problem, FLUXES["sg"])
    share, steep = (_share_above(q, plain, rho) for q in (1.0, STEEP))
    wanted = FLUXES["rl" if share > PECLET_SHARE else "sg"]
    equation = Equation(*problem, _pick("flux", flux, FLUXES, Flux, wanted))
    bound = STEPPERS["heun"].limit(State(equation, rho))
    limit = EXPLICIT_STEPS[grid.dim] * (PATIENCE if steep > PECLET_SHARE else 1)
    if flux == "auto" and steep <= PECLET_SHARE < share:
        limit = 0
    explicit = span / bound <= limit if dt is None else dt <= bound
    remarks = [
        f"{share:.1%} of the mass sees a cell Peclet number above 1, {steep:.1%} above {STEEP:g}",
        f"explicit steps are bounded by {bound:.2g}, about {span / bound:.0f} in all",
    ]
    name = "heun" if explicit or flux == "rl" else "mprk22"
    if steep <= PECLET_SHARE and flux != "rl" and dt is None and _affordable(problem, span):
        name = "b2"
        remarks.append("the potential is fixed, and its exponential has no error in time")
    chosen = _pick("stepper", stepper, STEPPERS, Stepper, STEPPERS[name])
    if not chosen.explicit and flux == "auto":
        equation = Equation(*problem, FLUXES["compact"])
    if not chosen.explicit and equation.flux.name == "rl":
        raise ValueError(
            f"flux must be sg or compact for the implicit stepper {chosen.name}, got "
            f"{equation.flux.name!r}; use stepper='heun', or leave one of the two out"
        )
    if dt is not None and chosen.explicit and dt > bound:
        raise ValueError(
            f"dt must be at most {bound:.3g} for explicit steps to stay positive, got {dt:g}; "
            "leave dt out, or use stepper='mprk22'"
        )
    if dt is not None and dt > span * (1 + 1e-12):
        raise ValueError(
            f"dt must be at most the flow's whole time {span:g}, got {dt:g}; make it smaller"
        )
    if share > PECLET_SHARE and equation.flux.name == "sg":
        remarks[0] += "; above 1 the flux sg is of first order only"
    if energy.remark:
        remarks.append(energy.remark)
    return equation, chosen, "; ".join(remarks)


def _affordable(problem: tuple[Grid, Functional, float], span: float) -> bool:
    """Whether the potential is fixed, and the exponential over the whole time takes no time."""
    grid, energy, beta = problem
    if not energy.constant:
        return False
    generator = FLUXES["compact"].generator(grid, energy.potential(np.zeros(grid.shape)), beta)
    return cost(generator, span) <= EXPONENTIAL


def _pick(name: str, given: Any, known: dict[str, T], kind: Any, automatic: T) -> T:
    if isinstance(given, kind):
        return cast(T, given)
    if given == "auto":
        return automatic
    if not isinstance(given, str) or given not in known:
        raise ValueError(
            f"{name} must be auto, {', '.join(known)} or a {kind.__name__}, got {given!r}; "
            "auto is a good choice"
        )
    return known[given]


def _share_above(peclet: float, equation: Equation, rho: Array) -> float:
    """Share of the mass in cells with a face at which |q| is larger (all of it at beta = 0)."""
    phi = equation.energy.potential(rho)
    if equation.beta == 0:
        return float(np.ptp(phi) > 0)
    above = np.zeros(rho.shape, dtype=bool)
    for axis in range(rho.ndim):
        steep = np.abs(np.diff(phi, axis=axis)) > peclet * equation.beta
        for side in ((0, 1), (1, 0)):
            width = [(0, 0)] * rho.ndim
            width[axis] = side
            above |= np.pad(steep, width)
    return float(rho[above].sum() / rho.sum())
