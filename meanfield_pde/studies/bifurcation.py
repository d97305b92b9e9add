r"""Phase transitions: the laws at rest of a family of energies, followed along a parameter.

A law at rest solves :math:`\rho = Z^{-1} \exp(-\Phi_\rho / \beta)`. Newton's method on the
potential finds stable and unstable ones alike: with K the derivative of the potential in the law,
the step solves :math:`(1 + K C / \beta)\, \delta = g - \Phi`, g the potential of the Gibbs law of
Phi, C its covariance; in least squares, since laws that can be moved (as on a circle) leave it
singular. The growth rate of a law is the largest eigenvalue of the linearised flow of the scheme,
:math:`-B^{1/2} (1 + \sqrt{\rho} K \sqrt{\rho} / \beta) B^{1/2}` with B its symmetrised generator,
see `relaxation`; the flow keeps mass, and what changes it does not count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import brentq

from meanfield_pde.energies.energy import Energy
from meanfield_pde.eulerian.gibbs import GibbsError, gibbs
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1
from meanfield_pde.measures.grid import Grid
from meanfield_pde.studies.relaxation import symmetrised_generator
from meanfield_pde.studies.report import Report

if TYPE_CHECKING:
    from xarray import Dataset

Family = Callable[[float], Energy]
Order = Callable[[Density], float]

COLUMNS = ("branch", "parameter", "order", "growth rate", "free energy", "residual")
BRANCHES = ("disordered", "ordered", "opposite")
CELLS = 1024
"""Most cells: eigenvalues of full matrices are computed."""
RESIDUAL = 1e-12
"""Largest change of the potential, in units of the diffusion, of a law that counts as at rest."""
ITERATIONS = 60
NEUTRAL = 1e-7
"""Growth rate, relative to the fastest decay of diffusion alone, that counts as none."""
APART = 1e-3
"""L1 distance of two laws, or difference of their order parameters, that makes them two."""
TIED = 1e-12
"""Difference of free energies, relative to max(1, |F|), that counts as none."""
VANISHED = 1e-3
"""Growth rate, relative to those on either side, that counts as none at a critical value."""
SINGULAR = 1e-9
LEAN = 0.9


@dataclass(frozen=True, eq=False)
class Rest:
    """A law at rest with its growth rate and leading mode (relative to the law, variance 1)."""

    value: float
    law: Density
    growth: float
    mode: Array
    residual: float
    free_energy: float
    neutral: float

    @property
    def stable(self) -> bool:
        """Whether no perturbation grows; those that only move the law count as none."""
        return self.growth <= self.neutral


def bifurcation(
    family: Family,
    values: Sequence[float],
    grid: Grid,
    order: Order | None = None,
    name: str = "parameter",
) -> Report:
    """Follow the laws at rest of a family of energies, stable and unstable ones.

    The disordered branch starts from the Gibbs law of the external potential, at each value. Where
    it is most unstable the flow's own way out of it, either way along its leading mode, leads to
    ordered laws, which are followed to both ends of the values or until they are gone or
    merge. A branch that turns back is followed up to where it turns.

    Parameters
    ----------
    family : callable
        Parameter to energy, with diffusion.
    values : sequence of float
        In increasing order; branches are followed from each to the next.
    grid : Grid
        Of at most 1024 cells.
    order : callable, optional
        Density to number; the mean of the first coordinate on a box, ``|E exp(2 pi i z / L)|`` on
        a torus where it is left out.
    name : str
        What the parameter is called.

    Returns
    -------
    Report
        A row for each value and branch; its check, that the law of least free energy is stable.
        ``details`` has columns by branch, the ``name`` and the ``critical`` values at which the
        disordered law changes stability.

    Raises
    ------
    ValueError
        If the values do not increase, there is no diffusion, or the grid is too fine.
    GibbsError
        If no disordered law is found.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> pull = mf.Interaction(lambda dz: -np.cos(dz[..., 0]))
    >>> circle = mf.Grid.torus(-np.pi, np.pi, 64)
    >>> report = bifurcation(lambda K: K * pull + 1.0 * mf.Entropy(), [1.0, 2.5, 3.0], circle)
    >>> [round(r, 4) for r in report.details["ordered"]["order"]]
    [0.5897, 0.7242]
    """
    check.instance("grid", grid, Grid, "make one with Grid.box or Grid.torus")
    places = _values(values)
    order = _order(grid) if order is None else order
    flat = [_disordered(family, value, grid) for value in places]
    worst = int(np.argmax([rest.growth / rest.neutral for rest in flat]))
    ways = [_ordered(family, flat, worst, sign) for sign in (1.0, -1.0)]
    seeds = [next(rest for rest in way if rest.value == places[worst]) for way in ways if way]
    if len(seeds) == 2:
        heights = [order(seed.law) for seed in seeds]
        ways = ways if heights[0] >= heights[1] else ways[::-1]
        ways = ways if np.ptp(heights) > APART else ways[:1]
    branches = dict(zip(BRANCHES, [flat, *(way for way in ways if way)], strict=False))
    changes = [
        (low, high, _change(family, low, high, grid))
        for low, high in zip(flat, flat[1:], strict=False)
        if (low.growth > 0) != (high.growth > 0)
    ]
    return _report(branches, order, name, changes)


def critical_value(
    family: Family, bracket: tuple[float, float], grid: Grid, tolerance: float = 1e-8
) -> float:
    """Find where the disordered law of a family gains or loses stability, by bisection.

    Parameters
    ----------
    family : callable
        Parameter to energy, with diffusion.
    bracket : (float, float)
        Values with growth rates of opposite sign.
    grid : Grid
    tolerance : float

    Returns
    -------
    float
        Value at which the growth rate of the disordered law vanishes, on this grid.

    Raises
    ------
    ValueError
        If the growth rate does not change sign.
    GibbsError
        If it changes sign where the law jumps, and vanishes nowhere.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> pull = mf.Interaction(lambda dz: -np.cos(dz[..., 0]))
    >>> circle = mf.Grid.torus(-np.pi, np.pi, 64)
    >>> round(critical_value(lambda K: K * pull + 1.0 * mf.Entropy(), (1.0, 4.0), circle), 2)
    2.0
    """
    tolerance = check.number("tolerance", tolerance, "1e-8 is usual", above=0)
    ends = [_disordered(family, value, grid) for value in _values(bracket)]
    low, high = ends[0], ends[-1]
    if low.growth * high.growth > 0:
        raise ValueError(
            f"bracket must enclose a change of stability, got growth rates {low.growth:.3g} and "
            f"{high.growth:.3g} at {low.value:g} and {high.value:g}; widen it"
        )
    found = _change(family, low, high, grid, tolerance)
    if found is None:
        raise GibbsError(
            f"the disordered law jumps between {low.value:g} and {high.value:g}, and its growth "
            "rate vanishes nowhere; draw the diagram with mf.bifurcation"
        )
    return found


def bifurcation_dataset(report: Report) -> Dataset:
    """Return a diagram as an xarray Dataset with dimension ``law``; branches are numbered."""
    from xarray import Dataset

    labels = [label for label in BRANCHES if label in report.details]
    columns: dict[str, Any] = {}
    for key in ("parameter", "order", "growth_rate", "free_energy", "stable"):
        columns[key] = "law", np.concatenate([report.details[label][key] for label in labels])
    sizes = [len(report.details[label]["order"]) for label in labels]
    columns["branch"] = "law", np.repeat(np.arange(len(labels)), sizes)
    name = report.details["name"]
    attributes = {"kind": "bifurcation", "parameter": name, "branches": ", ".join(labels)}
    return Dataset(columns, attrs=attributes)


def _values(values: Sequence[float]) -> list[float]:
    places = [check.number("values", value, "give finite numbers") for value in values]
    if len(places) < 2 or (np.diff(places) <= 0).any():
        raise ValueError(
            f"values must be two numbers or more in increasing order, got {list(values)}; sort them"
        )
    return places


def _order(grid: Grid) -> Order:
    """Mean of the first coordinate, or size of the first Fourier coefficient along it."""
    if not grid.periodic:
        return lambda rho: float(rho.mean()[0])
    length = grid.upper[0] - grid.lower[0]
    turn = 2 * np.pi / length

    def order(rho: Density) -> float:
        parts = [rho.expect(lambda z, f=f: f(turn * z[..., 0])) for f in (np.cos, np.sin)]
        return float(np.hypot(*parts)) / rho.mass

    return order


# -- one law


def _disordered(family: Family, value: float, grid: Grid) -> Rest:
    energy = _energy(family, value, grid)
    fixed = energy.smooth_on(grid).potential(np.zeros(grid.shape))
    start = Density(grid, _gibbs(fixed, energy.beta, grid))
    found = _rest(energy, value, start) or _settled(energy, value, start)
    if found is None:
        raise GibbsError(
            f"no law at rest was found from the Gibbs law of the external potential at {value:g}; "
            "refine the grid, or start the values where interactions are weak"
        )
    return found


def _change(
    family: Family, low: Rest, high: Rest, grid: Grid, tolerance: float = 1e-8
) -> float | None:
    """Value between two at which the growth rate of the disordered law vanishes, if it does."""

    def growth(value: float) -> float:
        return _disordered(family, value, grid).growth

    try:
        found = float(brentq(growth, low.value, high.value, xtol=tolerance))
        left = abs(growth(found))
    except GibbsError:
        return None
    return found if left <= VANISHED * max(abs(low.growth), abs(high.growth)) else None


def _energy(family: Family, value: float, grid: Grid) -> Energy:
    energy = family(value)
    if not isinstance(energy, Energy) or energy.beta <= 0:
        raise ValueError(
            f"family must give energies with diffusion, got {energy!r} at {value:g}; add "
            "0.1 * mf.Entropy()"
        )
    if grid.size > CELLS:
        raise ValueError(
            f"grid must have at most {CELLS} cells, got {grid.size}: eigenvalues of full matrices "
            "are computed; take fewer"
        )
    return energy


def _gibbs(potential: Array, beta: float, grid: Grid) -> Array:
    weights = np.exp((potential.min() - potential) / beta)
    return np.asarray(weights / (weights.sum() * grid.volume))


def _rest(energy: Energy, value: float, start: Density) -> Rest | None:
    """Newton's method from a law nearby; None where it does not settle."""
    grid, beta = start.grid, energy.beta
    functional = energy.smooth_on(grid)
    phi = functional.potential(start.values).ravel()
    kernel = _kernel(functional, start)
    for _ in range(ITERATIONS):
        rho = _gibbs(phi, beta, grid)
        defect = functional.potential(rho.reshape(grid.shape)).ravel() - phi
        defect -= defect @ rho * grid.volume  # potentials are fixed up to a constant
        residual = float(np.abs(defect * rho).max() / (rho.max() * max(beta, 1e-3 * np.ptp(phi))))
        if residual <= RESIDUAL:
            law = Density(grid, rho.reshape(grid.shape))
            growth, mode, neutral = _growth(energy, law, kernel)
            free = energy.value(law)
            return Rest(value, law, growth, mode, residual, free, neutral)
        masses = rho * grid.volume
        covariance = np.diag(masses) - np.outer(masses, masses)
        jacobian = np.eye(grid.size) + kernel @ covariance / beta
        step, *_ = np.linalg.lstsq(jacobian, defect, rcond=SINGULAR)
        phi = phi + step * min(1.0, 5 * beta / max(float(np.abs(step).max()), 1e-300))
    return None


def _settled(energy: Energy, value: float, start: Density) -> Rest | None:
    """Law to which the flow leads; None where it is not found."""
    try:
        return _rest(energy, value, gibbs(energy, start.grid, start=start))
    except GibbsError:
        return None


def _kernel(functional: Any, law: Density) -> Array:
    """Differentiate the potential in the masses of cells: exact for quadratic energies."""
    grid = law.grid
    size = law.mass / (grid.size * grid.volume)
    columns = []
    for k in range(grid.size):
        nudge = np.zeros(grid.shape)
        nudge.flat[k] = 0.5 * size
        ahead, behind = (functional.potential(law.values + s * nudge) for s in (1, -1))
        columns.append((ahead - behind).ravel() / (size * grid.volume))
    matrix = np.stack(columns, axis=1)
    return np.asarray(0.5 * (matrix + matrix.T))


def _growth(energy: Energy, law: Density, kernel: Array) -> tuple[float, Array, float]:
    """Largest eigenvalue of the linearised flow, its mode, and what is too small to be one."""
    root = np.sqrt(law.masses.ravel())
    rates, vectors = np.linalg.eigh(symmetrised_generator(energy, law, None).toarray())
    half = vectors[:, 1:] * np.sqrt(np.maximum(rates[1:], 0.0))  # 0 belongs to the mass
    hessian = np.eye(len(root)) + root[:, None] * kernel * root / energy.beta
    growth, modes = np.linalg.eigh(-half.T @ hessian @ half)
    lead = half @ modes[:, -1]
    lead = lead / np.linalg.norm(lead)
    slow = np.divide(lead, root, out=np.zeros_like(root), where=root > 0)
    neutral = NEUTRAL * float(rates[1])
    return float(growth[-1]), slow.reshape(law.grid.shape), neutral


# -- branches


def _ordered(family: Family, flat: list[Rest], worst: int, sign: float) -> list[Rest]:
    """Laws at rest from where the disordered one is least stable, to both ends of the values."""
    seed = _left(family, flat[worst], sign)
    if seed is None or l1(seed.law, flat[worst].law) <= APART:
        return []
    ways = []
    for others in (flat[worst + 1 :], flat[:worst][::-1]):
        way, last = [], seed
        for other in others:
            near = _rest(_energy(family, other.value, seed.law.grid), other.value, last.law)
            if near is None or l1(near.law, other.law) <= APART:
                break
            way.append(near)
            last = near
        ways.append(way)
    return [*ways[1][::-1], seed, *ways[0]]


def _left(family: Family, rest: Rest, sign: float) -> Rest | None:
    """Law to which the disordered one falls when it is pushed along its leading mode."""
    grid, energy = rest.law.grid, family(rest.value)
    values = rest.law.values * (1 + sign * LEAN * np.tanh(rest.mode))
    start = Density(grid, values / (values.sum() * grid.volume))
    return _settled(energy, rest.value, start)


def _report(
    branches: dict[str, list[Rest]],
    order: Order,
    name: str,
    changes: list[tuple[Rest, Rest, float | None]],
) -> Report:
    rows: list[dict[str, Any]] = []
    verdicts: list[bool | None] = []
    critical = [value for *_, value in changes if value is not None]
    details: dict[str, Any] = {"name": name, "critical": critical}
    least: dict[float, float] = {}
    for rest in (rest for branch in branches.values() for rest in branch):
        least[rest.value] = min(rest.free_energy, least.get(rest.value, np.inf))
    for label, branch in branches.items():
        for rest in branch:
            rows.append({"branch": label, **_entries(rest, order)})
            tied = rest.free_energy - least[rest.value] <= TIED * max(1.0, abs(rest.free_energy))
            verdicts.append(rest.stable if tied else None)
        found = rows[-len(branch) :]
        details[label] = {
            key.replace(" ", "_"): [row[key] for row in found]
            for key in ("parameter", "order", "growth rate", "free energy", "stable")
        }
    notes = (
        f"parameter: {name}. A growth rate above 0 is that of the fastest perturbation of an "
        "unstable law; below, the slowest decay; 0 where the law can be moved.",
        "The disordered law changes stability at " + ", ".join(f"{c:.8g}" for c in critical) + "."
        if critical
        else "The disordered law does not change stability here.",
        *(
            f"It jumps between {low.value:g} and {high.value:g}: laws on either side are others."
            for low, high, value in changes
            if value is None
        ),
        "The check: of the laws found, the one of least free energy is stable. Others inform.",
    )
    title = f"Laws at rest against {name}"
    return Report(title, COLUMNS, tuple(rows), tuple(verdicts), notes, details)


def _entries(rest: Rest, order: Order) -> dict[str, Any]:
    return {
        "parameter": rest.value,
        "order": order(rest.law),
        "growth rate": rest.growth,
        "free energy": rest.free_energy,
        "residual": rest.residual,
        "stable": rest.stable,
    }
