r"""Density and particles of one problem, side by side.

A finite cloud never lies at distance 0 from its limit, so a distance is judged against what it
would be for independent samples of the density itself (the floor), and against what the grid
resolves. Interacting particles may fluctuate more than independent ones: by how much is
measured from the runs alone, as the ratio of the distances between replicas to those between
sets of independent samples (the spread). The check of a distance is

    mean over replicas - max(1, spread) * floor <= t * standard error + grid floor,

with Student's t at the level 1 % over all checks of the report together (Bonferroni). A density
that is not the limit of the particles adds to the left side and not to the right. Where
replicas spread more than `MAX_SPREAD` times independent samples, the law of the particles is
not settled and the check fails. Moments are held to the density's own, with the standard error of
samples times the replicas' scatter over that of samples, pooled over the times after the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import DataAugmented
from meanfield_pde.eulerian.game_solution import GameSolution
from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.lagrangian.simulate import Run
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.studies.report import Report
from meanfield_pde.studies.rulers import (
    Moment,
    Ruler,
    distances_of,
    flat,
    moment_values,
    moments_of,
    reduced,
    risk_of,
    rulers,
)

LEVEL = 0.01
"""Probability that a report of sound runs has a check that fails."""
WIDE_SPREAD = 3.0
"""Spread from which a failure may be that of a few particles that decide."""
MAX_SPREAD = 10.0
"""Spread beyond which replicas are held not to share a limit (as when each picks its own
branch)."""
FEW = 4
"""Replicas below which their own scatter says too little, and that of samples is used."""
REPLICAS = 8
"""Least number of sets of independent samples for the floor."""

COLUMNS = ("time", "quantity", "density", "particles", "+-", "floor", "spread", "grid")


def compare(
    solution: Solution | GameSolution,
    run: Run | GameRun | Sequence[Run],
    distances: Sequence[str] | None = None,
    seed: int = 0,
) -> Report:
    """Compare a density solve with a particle run of the same problem, or with several sizes.

    Parameters
    ----------
    solution : Solution or GameSolution
    run : Run, GameRun or sequence of Run
        Runs of three sizes or more give rates in N, as `rates` does for a sweep. For one run, eight
        replicas or more (``seeds``) give confidence intervals; fewer than four are judged by
        the scatter of independent samples alone.
    distances : sequence of str, optional
        Among w1, w2, rmd, mmd, model, sliced_w2; all that make sense where it is left out. Exact
        transport (w1, w2, rmd) uses the first points of every cloud alike, 20,000 in 1D and 300 in
        2D, where the density becomes at most 5000 atoms. On a chart all but the model distance and
        the energy are those of the coordinates, on a polar grid of the plane.
    seed : int
        Seed of the independent samples.

    Returns
    -------
    Report
        One row for each common time and quantity: moments, energy without entropy, distances. In a
        game one for each player, too, and the payoff in place of the energy.

    Raises
    ------
    ValueError
        If no saved time is common, or a distance is unknown or makes no sense for the problem.
    """
    seed = check.count("seed", seed, "any whole number from 0 will do", least=0)
    if isinstance(solution, GameSolution) or isinstance(run, GameRun):
        from meanfield_pde.studies.compare_games import compare_games  # it uses what is below

        return compare_games(solution, run, distances, seed)
    if isinstance(run, Sequence):
        from meanfield_pde.studies.sizes import compare_sizes

        return compare_sizes(solution, run, distances, seed)
    times = common_times(solution, run)
    risk = risk_of(_energy(solution))
    densities = [solution.at(t) for t in times]
    side = side_of(times, densities, [run.at(t) for t in times], [seed])
    names = distances_of(distances, densities[0], risk)
    checks = len(times) * (side.checks(names) + 1)
    energy = _energy(solution).smooth
    rows: list[dict[str, Any]] = []
    for index, t in enumerate(times):
        rho, clouds, samples = densities[index], side.clouds[index], side.samples[index]
        values, floor = (np.array([energy.value(c) for c in cs]) for cs in (clouds, samples))
        rows += moment_rows(side, index, checks)
        row = value_row(t, "energy", energy.value(rho), values, floor, rho, checks)
        rows.append(
            {**row, "holds": None} if _repels_singularly(energy, rho.grid.ambient_dim) else row
        )
        rows += distance_rows(side, index, names, checks, risk)
    return report_of(rows, run, times, f"{densities[0].grid.size} cells")


def report_of(
    rows: list[dict[str, Any]],
    run: Run | GameRun,
    times: list[float],
    cells: str,
    columns: tuple[str, ...] = COLUMNS,
) -> Report:
    """Report of rows, each a check, and how they are to be read."""
    sets = max(run.seeds, REPLICAS)
    notes: tuple[str, ...] = (
        f"{run.seeds} replicas of {run.particles} particles ({run.dynamics.name}, "
        f"dt = {run.dynamics.dt:g}); +- is the 95 % confidence interval of the mean over replicas.",
        f"floor: {sets} sets of {run.particles} independent samples of the density. spread: "
        "distances between replicas over those between sets. grid: what the cells resolve.",
        "A check holds when particles - max(1, spread) floor <= t standard errors + grid, "
        f"with t at {LEVEL:.0%} over all {len(rows)} checks together.",
    )
    title = f"Density against particles: {len(times)} times, {cells}"
    verdicts = tuple(row.pop("holds") for row in rows)
    if None in verdicts:
        notes += ("Energies with a singular kernel inform and are not judged.",)
    failed = [row for row, holds in zip(rows, verdicts, strict=True) if holds is False]
    if any((row["spread"] or 0.0) > WIDE_SPREAD for row in failed):
        notes += (
            "Where replicas spread, a few particles may decide when or where all of them go: take "
            "more particles, or compare earlier.",
        )
    return Report(title, columns, tuple(rows), verdicts, notes)


@dataclass(frozen=True, eq=False)
class Side:
    """A law at some times: densities, clouds of its particles, and samples of the densities."""

    times: list[float]
    densities: list[Density]
    clouds: list[list[Cloud]]
    samples: list[list[Cloud]]

    @property
    def particles(self) -> int:
        """Number of particles in a cloud."""
        return self.clouds[0][0].size

    @property
    def seeds(self) -> int:
        """Number of replicas."""
        return len(self.clouds[0])

    @cached_property
    def moments(self) -> list[list[Moment]]:
        """Moments at each time."""
        pairs = zip(self.densities, self.clouds, strict=True)
        return [moment_values(rho, cs) for rho, cs in pairs]

    @cached_property
    def scatter(self) -> dict[str, float]:
        """Scatter of replicas over that of samples, pooled over the times after the start."""
        later = [found for t, found in zip(self.times, self.moments, strict=True) if t > 0]
        return _pooled_scatter(later or self.moments)

    def checks(self, names: Sequence[str]) -> int:
        """Count the moments and distances at one time."""
        grid = self.densities[0].grid
        return len(names) + len(moments_of(grid.periodic, grid.dim))


def side_of(
    times: list[float],
    densities: list[Density],
    clouds: list[list[Cloud]],
    seed: list[int],
) -> Side:
    """Draw as many samples as there are particles, in as many sets as replicas or more."""
    sets, size = max(len(clouds[0]), REPLICAS), clouds[0][0].size
    samples = []
    for index, rho in enumerate(densities):
        rngs = [np.random.default_rng([*seed, index, k]) for k in range(sets)]
        samples.append([Cloud(rho.sample(size, rng)) for rng in rngs])
    return Side(times, densities, clouds, samples)


def moment_rows(side: Side, index: int, checks: int) -> list[dict[str, Any]]:
    """Moments of the density against those of the particles."""
    own = side.seeds if side.seeds >= FEW else REPLICAS
    degrees = (own - 1) * max(1, sum(t > 0 for t in side.times))
    level = _quantile(degrees + 1, checks, sides=2)
    floor = side.densities[index].grid.floor ** 2
    rows = []
    for found in side.moments[index]:
        error = level * side.scatter[found.name] * found.independent / np.sqrt(side.seeds)
        holds = abs(found.values.mean() - found.expected) <= error + floor
        row = (found.name, found.expected, found.values, None, None, floor)
        rows.append(_row(side.times[index], *row, holds))
    return rows


def distance_rows(
    side: Side,
    index: int,
    names: Sequence[str],
    checks: int,
    risk: Risk | DataAugmented | None = None,
) -> list[dict[str, Any]]:
    """Distances of the particles from the density against those of samples."""
    rho, clouds, samples = side.densities[index], side.clouds[index], side.samples[index]
    inner = flat(rho), [reduced(rho, c) for c in clouds], [reduced(rho, c) for c in samples]
    rows = []
    for ruler in rulers(names, inner[0], risk):
        chosen = (rho, clouds, samples) if ruler.name == "model" else inner
        rows.append(_distance_row(side.times[index], ruler, *chosen, checks))
    return rows


def common_times(solution: Solution, run: Run) -> list[float]:
    """Find the times that both saved, after checking that the two can be compared at all."""
    check.instance("solution", solution, Solution, "pass what mf.solve returned")
    check.instance("run", run, Run, "pass what mf.simulate returned")
    if not solution.densities:
        raise ValueError(f"solution must hold a density, got none: it {solution.result}; save at 0")
    dim = solution.densities[0].grid.ambient_dim
    if run.points.shape[-1] != dim:
        raise ValueError(
            f"run must have particles of dimension {dim} as the density, got "
            f"{run.points.shape[-1]}; simulate the problem that was solved"
        )
    return shared_times(solution.times, run.times)


def shared_times(solved: Array, simulated: Array) -> list[float]:
    """Find the times that both saved."""
    times = [t for t in solved if np.isclose(simulated, t, atol=1e-12, rtol=1e-12).any()]
    if not times:
        raise ValueError(
            f"solution and run must share saved times, got {solved.tolist()} and "
            f"{simulated.tolist()}; pass the same save= to both"
        )
    return times


def _energy(solution: Solution) -> Energy:
    if solution.problem is None:
        raise ValueError(
            "solution must know its problem, got one read from a file; "
            "pass load_solution(path, problem=...)"
        )
    return solution.problem.flow.energy


def _pooled_scatter(moments: Sequence[Sequence[Moment]]) -> dict[str, float]:
    """Scatter of replicas over that of samples, for each moment, over all times; at least 1.

    One time alone has too few replicas for a sharp test, and they may agree by chance.
    """
    squares: dict[str, list[float]] = {}
    for at_one_time in moments:
        for one in at_one_time:
            several = len(one.values) >= FEW and one.independent > 0
            ratio = one.values.var(ddof=1) / one.independent**2 if several else 1.0
            squares.setdefault(one.name, []).append(float(ratio))
    return {name: max(1.0, float(np.sqrt(np.mean(s)))) for name, s in squares.items()}


def value_row(
    t: float,
    name: str,
    expected: float,
    values: Array,
    floor: Array,
    rho: Density,
    checks: int,
) -> dict[str, Any]:
    """Return a value of the clouds, such as their energy, against that of samples.

    Clouds carry a bias of order 1/N that samples show as well.
    """
    wider = values.var(ddof=1) / floor.var(ddof=1) - 1 if len(values) > 1 else 0.0
    bias = abs(floor.mean() - expected) * max(0.0, float(wider))  # it grows with the fluctuations
    error = np.hypot(_standard_error(values, floor), _standard_error(floor, floor))
    grid_floor = rho.grid.floor**2
    bound = _quantile(len(values), checks, sides=2) * error + bias + grid_floor
    holds = bool(abs(values.mean() - floor.mean()) <= bound)
    return _row(t, name, expected, values, floor, None, grid_floor, holds)


def _repels_singularly(energy: Energy, dim: int) -> bool:
    """Whether a kernel is singular at 0.

    Particles that repel keep apart more than samples do, and their energy is off by another term,
    log N / N for the logarithm: it then informs and is not judged.
    """
    leaves = [leaf for _, leaf in energy.terms]
    return any(isinstance(leaf, Interaction) and leaf.singular(dim) for leaf in leaves)


def _distance_row(
    t: float,
    ruler: Ruler,
    rho: Density,
    clouds: list[Cloud],
    samples: list[Cloud],
    checks: int,
) -> dict[str, Any]:
    values = np.array([ruler.between(rho, cloud) for cloud in clouds])
    floor = np.array([ruler.between(rho, sample) for sample in samples])
    apart = np.array([ruler.between(a, b) for a, b in pairwise([*samples, samples[0]])])
    between = apart
    if len(clouds) > 1:
        ring = [*clouds, clouds[0]] if len(clouds) > 2 else clouds
        between = np.array([ruler.between(a, b) for a, b in pairwise(ring)])
    spread = float(between.mean() / apart.mean())
    factor = max(1.0, spread)
    relative = (
        [_standard_error(v, apart) / v.mean() for v in (between, apart)] if factor > 1 else []
    )
    relative.append(_standard_error(floor, floor) / floor.mean())
    error = np.hypot(
        _standard_error(values, floor), factor * floor.mean() * float(np.linalg.norm(relative))
    )
    bound = factor * floor.mean() + _quantile(len(values), checks, sides=1) * error
    largest = float(bound + ruler.grid_floor)
    holds = bool(values.mean() <= largest) and spread <= MAX_SPREAD
    row = _row(t, ruler.name, None, values, floor, spread, ruler.grid_floor, holds)
    return {**row, "largest": largest}


def _row(
    t: float,
    name: str,
    density: float | None,
    values: Array,
    floor: Array | None,
    spread: float | None,
    grid_floor: float,
    holds: Any,
) -> dict[str, Any]:
    width = float(_half_width(values)) if len(values) > 1 else None
    floor_mean = None if floor is None else float(floor.mean())
    return {
        "time": float(t),
        "quantity": name,
        "density": "" if density is None else density,
        "particles": float(values.mean()),
        "half_width": width,
        "+-": "" if width is None else width,
        "floor": "" if floor_mean is None else floor_mean,
        "floor_half_width": None if floor is None else float(_half_width(floor)),
        "spread": "" if spread is None else spread,
        "grid": float(grid_floor),
        "grid_floor": float(grid_floor),
        "replicas": values.tolist(),
        "holds": None if holds is None else bool(holds),
    }


def _half_width(values: Array) -> float:
    quantile = stats.t.ppf(0.975, len(values) - 1)
    return float(quantile * values.std(ddof=1) / np.sqrt(len(values)))


def _standard_error(values: Array, otherwise: Array) -> float:
    """Find the standard error of the mean; for one value, from the scatter of others."""
    source = values if len(values) >= FEW else otherwise
    return float(source.std(ddof=1) / np.sqrt(len(values)))


def _quantile(replicas: int, checks: int, sides: int) -> float:
    """Student's t at the report's level, shared among its checks."""
    degrees = (replicas if replicas >= FEW else REPLICAS) - 1
    return float(stats.t.ppf(1 - LEVEL / (checks * sides), degrees))
