"""Assumption 1 of Maass and Fontbona (arXiv 2405.19995), checked on a user's own risk and group.

Each part is a number, where it is largest, and what it is held to; then what follows from the parts
that hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from meanfield_pde.energies.risk import Risk
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.group import Group
from meanfield_pde.studies.report import Report

COLUMNS = ("assumption", "defect", "tolerance", "where")
ROUNDING = 1e-12
"""Tolerance of what is one evaluation, relative to the largest value."""
POINTS, SEGMENTS = 64, 200
FOLLOWS = (
    (
        "averaging the network is averaging its law (Proposition 1), augmented data are augmented "
        "parameters, and the flows with augmentation and averaging keep weakly invariant laws "
        "(Theorem 3) and agree on them (Theorem 4)",
        ("actions", "unit", "loss"),
    ),
    (
        "R is invariant (Proposition 2): plain training keeps weakly invariant laws and agrees "
        "with augmentation (Theorems 3 and 4), and keeps strongly invariant ones with projected "
        "noise (Theorem 5)",
        ("actions", "unit", "loss", "data"),
    ),
    (
        "R is convex: R(mu^G) <= R^DA(mu) (Proposition 2), and invariant laws do as well as any "
        "under augmentation (Theorem 2)",
        ("actions", "unit", "loss", "convex"),
    ),
)
"""What follows, and from which parts."""


class Part(NamedTuple):
    """A part of the assumption: its defect, what that is held to and why, and where it fails."""

    defect: float
    tolerance: float
    reason: str
    where: str


def assumptions(risk: Risk, group: Group, points: Array | None = None) -> Report:
    """Check what theory assumes of a unit, a loss, data and a group.

    Parameters
    ----------
    risk : Risk
        Vanilla: the unit is tested as it is.
    group : Group
        With its actions on x, y and z.
    points : array (m, d), optional
        Parameters to test the unit at; 64 normal ones of variance 4 where left out.

    Returns
    -------
    Report
        A row each for the actions (orthogonal, and homomorphic), the unit, the loss, the data, the
        convexity of the loss and the risk. Notes say which theorems apply.

    Raises
    ------
    ValueError
        If the risk is none, or the group acts in other dimensions.

    Examples
    --------
    >>> from meanfield_pde import Data, Unit
    >>> data = Data.gauss_legendre(20, -1, 1, target=lambda x: np.sin(x[..., 0]))
    >>> report = assumptions(Risk(Unit.bump(), data), Group.reflection())
    >>> [row["assumption"] for row, holds in zip(report.rows, report.verdicts) if not holds]
    ['data invariant', 'risk invariant']
    """
    check.instance("risk", risk, Risk, "take the plain risk, without penalty and entropy")
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    z = _points(group) if points is None else Cloud(points).points
    risk.unit.check_dimensions(risk.data.dim, z.shape[1])
    parts = {
        "actions": ("actions orthogonal", _orthogonal(risk, group, z.shape[1])),
        "homomorphic": ("actions homomorphic", _homomorphic(risk, group, z.shape[1])),
        "unit": ("unit equivariant", _unit(risk, group, z)),
        "loss": ("loss invariant", _loss(risk, group)),
        "data": ("data invariant", _data(risk, group)),
        "convex": ("loss convex", _convex(risk)),
        "risk": ("risk invariant", _risk(risk, group, z)),
    }
    rows: list[dict[str, Any]] = []
    for name, part in parts.values():
        row = {"assumption": name, "statement": STATEMENTS[name], **part._asdict()}
        rows.append({**row, "defect": float(part.defect)})
    holds = {key: part.defect <= part.tolerance for key, (_, part) in parts.items()}
    return Report(
        f"Assumption 1 for the group {group.name} with {group.order} elements",
        COLUMNS,
        tuple(rows),
        tuple(holds.values()),
        _notes({**holds, "actions": holds["actions"] and holds["homomorphic"]}),
        {"order": group.order, "data": risk.data.size, "parameters": len(z)},
    )


STATEMENTS = {
    "actions orthogonal": "rho_g, rhohat_g and M_g are orthogonal",
    "actions homomorphic": "the matrices of g and h multiply to those of gh, on x, y and z",
    "unit equivariant": "sigma(rho_g x; M_g z) = rhohat_g sigma(x; z)",
    "loss invariant": "l(rhohat_g yhat, rhohat_g y) = l(yhat, y)",
    "data invariant": "(rho_g X, rhohat_g Y) has the law of (X, Y)",
    "loss convex": "l((a + b)/2, y) <= (l(a, y) + l(b, y))/2",
    "risk invariant": "R(M_g # mu) = R(mu), which follows from unit, loss and data",
}


def _points(group: Group) -> Array:
    dim = (group.matrices if group.z is None else group.z).shape[1]
    return np.asarray(2 * np.random.default_rng(0).standard_normal((POINTS, dim)))


def _actions(risk: Risk, group: Group, dim: int) -> dict[str, Array]:
    return {
        "x": group.on_x(risk.data.dim),
        "y": group.on_y(risk.unit.outputs),
        "z": group.on_z(dim),
    }


def _orthogonal(risk: Risk, group: Group, dim: int) -> Part:
    def defects(matrices: Array) -> Array:
        products = matrices @ np.swapaxes(matrices, 1, 2)
        return np.asarray(np.abs(products - np.eye(matrices.shape[1])).max(axis=(1, 2)))

    return _worst_action(risk, group, dim, defects)


def _homomorphic(risk: Risk, group: Group, dim: int) -> Part:
    def defects(matrices: Array) -> Array:
        pairs = zip(matrices, group.table, strict=True)
        return np.array([np.abs(m @ matrices - matrices[row]).max() for m, row in pairs])

    return _worst_action(risk, group, dim, defects)


def _worst_action(risk: Risk, group: Group, dim: int, defects: Callable[[Array], Array]) -> Part:
    found = {space: defects(m) for space, m in _actions(risk, group, dim).items()}
    space = max(found, key=lambda name: found[name].max())
    g = int(found[space].argmax())
    worst = float(found[space][g])
    where = f"on {space}, {_at(g)}"
    return _part((worst, where), np.zeros(1), "rounding of a product of matrices")


def _unit(risk: Risk, group: Group, z: Array) -> Part:
    x, unit = risk.data.x, risk.unit
    here = unit.features(x, z)
    worst = (0.0, "")
    for g, (on_x, on_y, on_z) in enumerate(_elements(risk, group, z.shape[1])):
        gap = np.abs(unit.features(x @ on_x.T, z @ on_z.T) - here @ on_y.T).max(-1)
        i, k = np.unravel_index(gap.argmax(), gap.shape)
        place = f"{_at(g)}, x = {_text(x[i])}, z = {_text(z[k])}"
        worst = max(worst, (float(gap[i, k]), place), key=_first)
    return _part(worst, here, "rounding of one unit")


def _loss(risk: Risk, group: Group) -> Part:
    y, prediction = risk.data.y, _predictions(risk)
    here = risk.loss.value(prediction, y)
    worst = (0.0, "")
    for g, on_y in enumerate(group.on_y(risk.unit.outputs)):
        gap = np.abs(risk.loss.value(prediction @ on_y.T, y @ on_y.T) - here)
        i = int(gap.argmax())
        place = f"{_at(g)}, yhat = {_text(prediction[i])}, y = {_text(y[i])}"
        worst = max(worst, (float(gap[i]), place), key=_first)
    return _part(worst, here, "rounding of one loss")


def _data(risk: Risk, group: Group) -> Part:
    x, places, values = risk.data.orbit_defects(group)
    gap = np.maximum(places, values)
    g, i = np.unravel_index(gap.argmax(), gap.shape)
    what = "place or weight" if places[g, i] >= values[g, i] else "y"
    where = f"{_at(int(g))}, x = {_text(x[i])}: {what}"
    size = np.abs(risk.data.x).max() + np.abs(risk.data.y).max()
    return _part((float(gap[g, i]), where), size, "rounding of nodes and targets")


def _convex(risk: Risk) -> Part:
    rng = np.random.default_rng(1)
    y = risk.data.y[rng.integers(risk.data.size, size=SEGMENTS)]
    a, b = (y + 3 * rng.standard_normal(y.shape) for _ in range(2))
    ends = 0.5 * (risk.loss.value(a, y) + risk.loss.value(b, y))
    excess = np.maximum(risk.loss.value(0.5 * (a + b), y) - ends, 0.0)
    i = int(excess.argmax())
    where = f"between {_text(a[i])} and {_text(b[i])}, y = {_text(y[i])}"
    return _part((float(excess[i]), where), ends, "rounding of one loss")


def _risk(risk: Risk, group: Group, z: Array) -> Part:
    worst, values = (0.0, ""), []
    for part in np.array_split(z, min(8, len(z))):
        values.append(risk.value(Cloud(part)))
        for g, on_z in enumerate(group.on_z(z.shape[1])):
            gap = abs(risk.value(Cloud(part @ on_z.T)) - values[-1])
            where = f"{_at(g)}, {len(part)} neurons, the first z = {_text(part[0])}"
            worst = max(worst, (gap, where), key=_first)
    return _part(worst, np.array(values), "rounding of one risk; of the data, of their nodes")


def _predictions(risk: Risk) -> Array:
    y = risk.data.y
    return y + 2 * np.random.default_rng(0).standard_normal(y.shape)


def _elements(risk: Risk, group: Group, dim: int) -> Any:
    return zip(*_actions(risk, group, dim).values(), strict=True)


def _part(worst: tuple[float, str], values: Array, reason: str) -> Part:
    defect, where = worst
    tolerance = ROUNDING * (1 + float(np.abs(values).max()))
    return Part(defect, tolerance, reason, where if defect > tolerance else "")


def _first(pair: tuple[float, str]) -> float:
    return pair[0]


def _at(g: int) -> str:
    return f"element {g}"


def _text(vector: Array) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in np.atleast_1d(vector)) + ")"


def _notes(holds: dict[str, bool]) -> tuple[str, ...]:
    notes = []
    for text, needed in FOLLOWS:
        lacking = [key for key in needed if not holds[key]]
        if lacking:
            notes.append(f"Not known, for want of {' and '.join(lacking)}: {text}.")
        else:
            notes.append(f"Applies: {text}.")
    return tuple(notes)
