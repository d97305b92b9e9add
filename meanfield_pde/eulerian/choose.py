"""The choice of flux and stepper, and the reason for it.

What decides is the cell Peclet number |q| = |dPhi| / beta where the mass is, and cost. Where |q|
is beyond 5, the drift dominates: explicit steps with the ratio-limited flux are the most
accurate, and are taken up to very many. Elsewhere the exponential of a fixed potential, exact in
time, comes first; then explicit steps, where |q| is below 1 and few of them are enough; then
implicit ones. Implicit steps take the compact flux.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np

from meanfield_pde.energies.energy import Functional
from meanfield_pde.eulerian.exponential import Line, cost, lines_of
from meanfield_pde.eulerian.flux import FLUXES, Flux, Generator
from meanfield_pde.eulerian.polar import RadialFlux
from meanfield_pde.eulerian.stepper import STEPPERS, Equation, State, Stepper
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid

EXPLICIT_STEPS = {1: 200, 2: 50}
"""Explicit steps, by dimension, beyond which implicit steps are taken."""
PATIENCE = 1_250
"""How many times more explicit steps are taken where the drift dominates."""
EXPONENTIAL = 0.2
"""Seconds, about, up to which a fixed potential's exponential is taken."""
HOPELESS = 600.0
"""Seconds, about, from which one that was asked for is refused."""
UNRESOLVED, UNEVEN, STEEP = 1.0, 2.0, 5.0
"""Cell Peclet numbers beyond which Scharfetter-Gummel, one lag for a line (b2), and a lag for each
face (mprk22) fall behind."""
SHARE = 0.1
"""Share of the mass that may see larger ones."""

T = TypeVar("T")


def choose(
    flux: str | Flux,
    stepper: str | Stepper,
    problem: tuple[Grid, Functional, float],
    rho: Array,
    span: float,
    dt: float | None,
    frozen: tuple[int, ...] = (),
    fluxes: dict[str, Flux] = FLUXES,
    split: bool = False,
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
    frozen : tuple of int
        Axes without flux.
    fluxes : dict
        Those to choose from, ``sg`` among them.
    split : bool
        Whether steps are split from a reaction: then none is exact, and exponentials of a fixed
        potential, taken anew in each step, are no bargain.

    Raises
    ------
    ValueError
        If a name is unknown, the two do not go together, or dt cannot be stable.
    """
    plain = Equation(*problem, fluxes["sg"], frozen)
    compact = replace(plain, flux=fluxes.get("compact", plain.flux))
    slopes = steepest(plain, rho)
    share = share_above(UNRESOLVED, plain.beta, slopes, rho)
    wanted = fluxes.get("rl" if share > SHARE else "sg", plain.flux)
    equation = replace(plain, flux=pick("flux", flux, fluxes, Flux, wanted))
    bound = STEPPERS["heun"].limit(State(equation, rho))
    count, few = span / bound, EXPLICIT_STEPS[plain.grid.dim]
    remarks = [
        f"{share:.1%} of the mass sees a cell Peclet number above {UNRESOLVED:g}",
        f"explicit steps are bounded by {bound:.2g}, about {count:.0f} in all",
    ]
    shares = [share_above(limit, plain.beta, slopes, rho) for limit in (UNEVEN, STEEP)]
    if (flux != "auto" and not equation.flux.linear) or (dt is not None and dt <= bound):
        name = "heun"
    elif dt is not None:
        name = "mprk22"
    elif shares[1] > SHARE:
        name = "heun" if count <= few * PATIENCE else "mprk22"
    elif shares[0] <= SHARE and not split and _affordable(compact, span):
        name = "b2"
    else:
        name = "heun" if count <= few and (share <= SHARE or flux != "auto") else "mprk22"
    chosen = pick("stepper", stepper, STEPPERS, Stepper, STEPPERS[name])
    exact = chosen.exact(plain) and not split
    if exact and cost(_fixed_generator(plain), span) > HOPELESS:
        raise ValueError(
            f"stepper must not be b2 here: the exponential over the whole time would take more "
            f"than {HOPELESS:g} s; use mprk22, or leave it out"
        )
    if exact:
        remarks.append("the potential is fixed, and its exponential has no error in time")
    if not chosen.explicit and flux == "auto":
        name = "compact" if _lags(chosen, compact) else "sg"
        wanted = fluxes.get(name, plain.flux)
        # What has been computed for a fixed potential is used again in every step.
        equation = compact if wanted == compact.flux else replace(plain, flux=wanted)
    if not chosen.explicit and not equation.flux.linear:
        raise ValueError(
            f"flux must be linear (sg, compact) for the implicit stepper {chosen.name}, got "
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
    if share > SHARE and equation.flux.name == "sg":
        remarks[0] += ", where the flux sg is of first order only"
    if plain.energy.remark:
        remarks.append(plain.energy.remark)
    return equation, chosen, "; ".join(remarks)


def _lags(stepper: Stepper, equation: Equation) -> bool:
    """Whether the stepper makes use of the compact flux's lags in this equation.

    Without diffusion there is no scale to compare differences of the potential with.
    """
    if equation.beta == 0:
        return False
    return stepper.name == "mprk22" or (stepper.name == "b2" and _lines(equation) is not None)


def _lines(equation: Equation) -> list[Line] | None:
    """Lines that stand for all: in 1D, and in 2D where the potential is a fixed sum over axes."""
    if equation.grid.dim == 2 and not equation.energy.constant:
        return None
    return lines_of(_fixed_generator(equation))


def _affordable(equation: Equation, span: float) -> bool:
    """Whether the potential is fixed, and the exponential over the whole time takes no time."""
    if not equation.energy.constant or isinstance(equation.grid.chart, Polar):
        return False
    generator = _fixed_generator(equation)
    return lines_of(generator) is not None and cost(generator, span) <= EXPONENTIAL


def _fixed_generator(equation: Equation) -> Generator:
    """Rates of a linear flux where the potential is fixed; those for no mass where it is not."""
    if not equation.energy.constant:
        return equation.generator(equation.energy.potential(np.zeros(equation.grid.shape)))
    transport = equation.constant_transport
    assert isinstance(transport, Generator), "the compact flux is linear"
    return transport


def pick(name: str, given: Any, known: dict[str, T], kind: Any, automatic: T) -> T:
    """Return what is given, by name or as an object, or what is automatic.

    Raises
    ------
    ValueError
        If it is neither.
    """
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


def steepest(equation: Equation, rho: Array) -> Array:
    """Largest ``|dPhi|`` at a face of each cell, in the direction of axes that move.

    On the radius of the plane without the logarithm, which its fluxes do not see.
    """
    phi, largest = equation.energy.potential(rho), np.zeros(rho.shape)
    if isinstance(equation.flux, RadialFlux):
        phi = phi + equation.beta * equation.flux.metric(equation.grid)[0]
    for axis in equation.moving:
        differences = np.abs(np.roll(phi, -1, axis=axis) - phi)
        if not equation.grid.wraps[axis]:  # no face leads from the last cell to the first
            np.moveaxis(differences, axis, 0)[-1] = 0.0
        for side in (differences, np.roll(differences, 1, axis=axis)):
            np.maximum(largest, side, out=largest)
    return largest


def share_above(limit: float, beta: float, slopes: Array, rho: Array) -> float:
    """Share of the mass in cells at which |q| > limit (any drift at beta = 0)."""
    return float(rho[slopes > limit * beta].sum() / rho.sum())
