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


@dataclass(frozen=True)
class Claim:
    """A statement, where it is from, and how it is checked.

    ``needs`` lists what the problem must have: ``group``, ``risk``, ``diffusion``,
    ``squared loss``, ``few data``, ``periodic projection`` (boxes have it), ``fixed subspace`` (of
    positive dimension), ``sets`` (a unit that takes them), ``frozen`` (coordinates; ``diffusion``
    is one in all directions), ``transport alone`` (no reaction), ``lazy metric``, ``grid of Z`` (a
    chart of invariant laws has no others). Two more are met where the claim is asked for by name:
    ``particles``, of claims that take seconds and may raise a false alarm, and ``asked``, of
    claims that may hold or not. Those of games are said by `GameSetting.has`.
    """

    statement: str
    source: str
    needs: tuple[str, ...]
    check: Callable[[Any], Finding]
