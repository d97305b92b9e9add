"""What students have become: distances to the invariant ones and to each other, against N."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from meanfield_pde.measures import distance
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.group import Group
from meanfield_pde.studies.rates import log_slope
from meanfield_pde.studies.report import Report

COLUMNS = ("teacher", "start", "quantity", "particles", "RMD^2", "spread", "seeds")
KEPT = 1e-24
"""RMD^2 that is rounding."""
ERRORS = 2.0
"""Standard errors of a power within which it fails no statement."""
FALLS, STAYS = -0.5, -0.25
"""Powers of N: what vanishes in the limit falls faster, what does not falls less."""
PAIRS = (("data-augmented", "feature-averaged"), ("vanilla", "data-augmented"))


@dataclass(frozen=True)
class Student:
    """Students of one kind, several seeds: what tells them from others."""

    teacher: str
    start: str
    variant: str
    particles: int
    seeds: int
    seed: int


Trained = Mapping[Student, Array]
"""Their particles, shape (seeds, particles, d)."""
Values = dict[int, list[float]]
"""Values of a quantity at each N, one a seed."""


def off_fixed(points: Array, group: Group) -> float:
    """RMD^2 of a cloud (n, d) to its projection on E^G: ``W2^2 = E |z - P z|^2`` exactly.

    Examples
    --------
    >>> round(off_fixed(np.array([[1.0, 0.0], [0.5, 0.5]]), Group.swap()), 12)
    0.1
    """
    group.on_z(points.shape[1])
    return off_subspace(points, group.projection())


def off_subspace(points: Array, projection: Array) -> float:
    """RMD^2 of a cloud (n, d) to its image under an orthogonal projection (d, d)."""
    image = points @ projection
    scale = 2 * float((points**2).sum() + (image**2).sum())
    return float(((points - image) ** 2).sum()) / scale if scale else 0.0


def between(one: Array, other: Array) -> float:
    """RMD^2 of two clouds, by exact transport."""
    return float(distance.rmd(Cloud(one), Cloud(other))) ** 2


def table_of(trained: Trained, group: Group, invariant: Mapping[str, bool]) -> Report:
    """Measure students of several kinds and sizes.

    Parameters
    ----------
    trained : mapping of Student to array (seeds, particles, d)
    group : Group
    invariant : mapping of str to bool
        Whether the risk of learning each teacher is invariant.
    """
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    for (teacher, start, quantity), found in {**_off(trained, group), **_apart(trained)}.items():
        named = {"teacher": teacher, "start": start, "quantity": quantity}
        if quantity.endswith("E^G") and not quantity.startswith("vanilla"):
            worst = max(max(values) for values in found.values())
            rows.append({**named, "particles": "largest", "RMD^2": worst})
            verdicts.append(worst <= KEPT)
            continue
        rows += [{**named, **_statistics(n, values)} for n, values in found.items()]
        verdicts += [None] * len(found)
        if len(found) > 1:
            power, error = _power(found)
            vanishes = invariant[teacher] or not quantity.startswith("vanilla")
            rows.append({**named, "particles": "power of N", "RMD^2": power, "spread": error})
            short = power - FALLS if vanishes else STAYS - power
            verdicts.append(None if 0.0 < short <= ERRORS * error else short <= 0.0)
    notes = (
        "RMD^2 is the mean over the seeds, spread the standard deviation between them. A start is",
        "strong on E^G, weak all over Z. On E^G all variants but plain training stay: RMD^2 <= "
        f"{KEPT:g}.",
        f"What theory says to vanish with many particles falls faster than N^{FALLS:g}; plain "
        "training with",
        f"data that are not invariant falls slower than N^{STAYS:g}. The spread of a power is its "
        f"standard error; within {ERRORS:g} of them nothing is said.",
    )
    details = {"invariant": dict(invariant)}
    title = "Students and their symmetry"
    return Report(title, COLUMNS, tuple(rows), tuple(verdicts), notes, details)


def _off(trained: Trained, group: Group) -> dict[tuple[str, str, str], Values]:
    """Distances to E^G of students that started there."""
    found: dict[tuple[str, str, str], Values] = {}
    for kind, clouds in trained.items():
        if kind.start == "strong":
            key = kind.teacher, kind.start, f"{kind.variant} to E^G"
            values = [off_fixed(points, group) for points in clouds]
            found.setdefault(key, {})[kind.particles] = values
    return found


def _apart(trained: Trained) -> dict[tuple[str, str, str], Values]:
    """Distances between variants of students that started all over Z."""
    found: dict[tuple[str, str, str], Values] = {}
    for first, second in PAIRS:
        for kind, clouds in trained.items():
            others = trained.get(replace(kind, variant=second))
            if kind.variant == first and kind.start == "weak" and others is not None:
                key = kind.teacher, kind.start, f"{first} to {second}"
                values = [between(a, b) for a, b in zip(clouds, others, strict=True)]
                found.setdefault(key, {})[kind.particles] = values
    return found


def _statistics(n: int, values: Sequence[float]) -> dict[str, Any]:
    mean, spread = float(np.mean(values)), float(np.std(values, ddof=1))
    numbers = {"particles": n, "RMD^2": mean, "spread": spread, "seeds": len(values)}
    return {**numbers, "values": [float(value) for value in values]}


def _power(found: Values) -> tuple[float, float]:
    """Slope of the mean against N on logarithmic axes, and its standard error."""
    means = np.maximum([np.mean(values) for values in found.values()], 1e-300)
    spreads = [np.std(values, ddof=1) / np.sqrt(len(values)) for values in found.values()]
    x = np.log(np.array(list(found), dtype=np.float64))
    x -= x.mean()
    error = np.sqrt((x**2) @ (np.array(spreads) / means) ** 2) / (x @ x)
    return float(log_slope(np.array(list(found)), means)), float(error)
