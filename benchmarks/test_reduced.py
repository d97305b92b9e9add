"""Solves on fundamental domains beside those of the whole grid: time and difference.

``python -m pytest benchmarks/test_reduced.py --benchmark-only -s``. Both are stated anew in every
round, in turn; the least of each counts.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

import numpy as np
import pytest

import meanfield_pde as mf

SQUARE = mf.Group.dihedral(4)
TAU = 0.02


def radial(x):
    return np.exp(-(x**2).sum(-1))


def well(z):
    return np.cos(z).sum(-1) + 0.1 * (z**2).sum(-1) + 0.01 * (z**2).prod(-1)


ENERGIES = {
    "potential": lambda: mf.Potential(well) + 0.1 * mf.Entropy(),
    "network": lambda: (
        mf.Risk(mf.Unit.bump(), mf.Data.gauss_hermite(2, 12, radial))
        + TAU * mf.Penalty()
        + TAU * mf.Entropy()
    ),
    "interaction": lambda: (
        0.1 * mf.Penalty()
        + mf.Interaction(lambda dz: np.exp(-0.5 * (dz**2).sum(-1)))
        + 0.1 * mf.Entropy()
    ),
}


def least(solves: list[Callable[[], mf.Solution]], rounds: int) -> tuple[list[float], list]:
    """Seconds of each solve, and what it gave."""
    best, found = [np.inf] * len(solves), [None] * len(solves)
    for _ in range(rounds):
        for k, solve in enumerate(solves):
            start = perf_counter()
            found[k] = solve()
            best[k] = min(best[k], perf_counter() - start)
    return best, found


def tell(benchmark, **found):
    benchmark.extra_info.update(found)
    sys.stdout.write("".join(f"\n  {name}: {value}" for name, value in found.items()) + "\n")


@pytest.mark.parametrize("name", ENERGIES)
def test_octant(benchmark, name):
    """The group of the square on 512^2 cells, t = 2."""
    grid = mf.Grid.box((-4, -4), (4, 4), (512, 512))
    start = mf.symmetrise(mf.Density.gaussian(grid, (1, 0.3), 0.15, lost=1), SQUARE)

    def solve(reduce):
        problem = mf.Problem(mf.GradientFlow(ENERGIES[name]()), start, 2.0)
        return mf.solve(problem, stepper="mprk22", reduce=reduce)

    both = [lambda: solve(None), lambda: solve(SQUARE)]
    (whole, octant), (a, b) = benchmark.pedantic(least, args=(both, 3), rounds=1)
    gap = np.abs(a.densities[-1].values - b.densities[-1].values).max()
    tell(
        benchmark,
        whole=f"{whole:.3f} s",
        octant=f"{octant:.3f} s",
        ratio=f"{whole / octant:.1f}",
        gap=f"{gap:.1e}",
    )


def test_radius(benchmark):
    """A rotation-invariant network on 128^2 cells and on 64 radii as wide, t = 5."""
    data = mf.Data.gauss_laguerre(12, 32, ring)

    def solve(grid, density):
        energy = mf.Risk(mf.Unit.bump(), data) + TAU * mf.Penalty() + TAU * mf.Entropy()
        start = mf.Density.from_function(grid, density, nodes=1).normalised()
        return mf.solve(mf.Problem(mf.GradientFlow(energy), start, 5.0), tolerance=1e-4, **plain)

    plain = {"stepper": "mprk22", "flux": "compact"}
    plane = mf.Grid.box((-5, -5), (5, 5), (128, 128))
    line = mf.Grid.box(0, 5, 64, chart=mf.Chart.radius(2))
    both = [
        lambda: solve(plane, normal),
        lambda: solve(line, lambda z: 2 * np.pi * z[..., 0] * normal(z)),
    ]
    (whole, radius), (a, b) = benchmark.pedantic(least, args=(both, 10), rounds=1)
    rho, p = a.densities[-1], b.densities[-1]
    tell(
        benchmark,
        plane=f"{whole:.3f} s",
        radius=f"{radius:.4f} s",
        ratio=f"{whole / radius:.0f}",
        moments=[f"{p.moment(k) / rho.moment(k) - 1:.1e}" for k in (2, 4)],
    )


def normal(z):
    return np.exp(-(z**2).sum(-1)) / np.pi


def ring(x):
    """Mean of bumps on the circle of radius 1.5."""
    return np.exp(-0.5 * ((x**2).sum(-1) + 2.25)) * np.i0(1.5 * np.sqrt((x**2).sum(-1)))
