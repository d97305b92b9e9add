"""A claim: a statement of theory as a number, with a control that must not meet it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

STATIC = 1e-13
FLOW = 1e-12
ROUNDING = "rounding of one evaluation"
ROUNDING_FLOW = "rounding, carried along the flow"


@dataclass(frozen=True)
class Finding:
    """A number, the tolerance it is held to and why, and the number after a planted fault.

    ``inconclusive`` says why the number shows nothing either way (time ran out, samples are few).
    ``false_from`` is the number from which on the claim counts as false; a thousand tolerances
    where it is left out.
    """

    number: float
    tolerance: float
    reason: str
    control: float | None
    fault: str
    inconclusive: str = ""
    false_from: float | None = None


NEEDS = {
    "group": "a symmetry group",
    "fixed subspace": "a group whose fixed subspace has positive dimension",
    "periodic projection": "a projection on the fixed subspace that keeps periods; boxes have it",
    "grid of Z": "a grid of the whole space: a chart of invariant laws has no others",
    "orbits of few points": "orbits that few points stand for: on the radius only circles",
    "risk": "a risk in the energy",
    "squared loss": "a risk with the squared loss",
    "few data": "data whose orbits are few enough to be listed",
    "sets": "a unit that takes sets",
    "log kernel": "a logarithmic interaction, beside a quadratic potential at most",
    "quadratic well": "a quadratic potential and any interaction, in a box",
    "quadratic and log kernel": "a quadratic potential, quadratic and logarithmic interactions",
    "known quantiles": "a line without diffusion, where interactions are quadratic or repel by |z|",
    "known rest": "a line, and a law at rest in closed form",
    "convex on a line": "an energy that is displacement convex on a line",
    "kernel on a circle": "a circle without an external potential",
    "plane": "parameters in the plane",
    "diffusion": "diffusion in all directions",
    "frozen": "frozen coordinates",
    "transport": "transport",
    "reaction": "birth and death",
    "no reaction": "neither birth nor death",
    "gradient flow": "a free energy that falls: a reaction that leaves out an entropy has none",
    "lazy metric": "a lazy metric",
    "particles": "to be asked for by name: it takes seconds and may raise a false alarm",
    "asked": "to be asked for by name: it may hold or not, or a coarse grid spoils its number",
}
"""What claims may need of a problem."""


@dataclass(frozen=True)
class Claim:
    """A statement, where it is from, and how it is checked.

    ``needs`` lists what the problem must have, names of `NEEDS`.
    """

    statement: str
    source: str
    needs: tuple[str, ...]
    check: Callable[[Any], Finding]
