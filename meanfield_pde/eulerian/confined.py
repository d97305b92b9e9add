"""Laws on a chart, such as those on E^G: whether the flow leaves them there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.risk import Risk
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.chart import FixedSubspace, Mirrors, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

TANGENT = 1e-6
"""Part of a drift that may point away from E^G: gradients by differences are no better."""
PROBES = 200
ROUNDING = 1e-10
"""Difference of a potential from its mirror image, relative to it."""
COARSE = 24
"""Most cells a side of the grid on which potentials are compared with their images."""


def require_confined(problem: Problem) -> None:
    """Raise ValueError where a density on its grid is not all of the law.

    On E^G the equation of a strongly invariant law holds where the noise is projected on E^G
    and the drift is tangent to it (Maass and Fontbona, arXiv 2405.19995, Theorem 5). In the whole
    space projected noise makes the diffusion degenerate.
    """
    assert isinstance(problem.initial, Density)
    grid, group, beta = problem.initial.grid, problem.flow.noise, problem.flow.energy.beta
    projection = np.eye(grid.ambient_dim)
    if isinstance(grid.chart, FixedSubspace):
        projection = grid.chart.matrix @ grid.chart.matrix.T
        _require_tangent(problem.flow.energy.smooth, problem.initial, projection)
    if isinstance(grid.chart, Mirrors):
        _require_even(problem.flow.energy.smooth, grid, grid.chart)
    if isinstance(grid.chart, Radius):
        _require_radial(problem.flow.energy)
    if not beta:
        return
    if group is not None:
        group.on_z(grid.ambient_dim)
    given = np.eye(grid.ambient_dim) if group is None else group.projection()
    if np.abs(given - projection).max() > 1e-8:
        whose = "in all directions" if group is None else f"projected on E^G of {group.name}"
        remedy = "hand mf.GradientFlow(noise=group) the group of the chart"
        if not isinstance(grid.chart, FixedSubspace):
            remedy = "solve on a grid of the fixed subspace (mf.Chart), or use mf.simulate"
        raise ValueError(
            f"noise must act in all directions of the grid and in no other, got noise {whose}; "
            f"{remedy}"
        )


def _require_tangent(energy: Energy, rho: Density, projection: Array) -> None:
    cells = np.argsort(rho.values.ravel())[::-1][: 4 * PROBES : 4]
    points = rho.grid.places.reshape(-1, rho.grid.ambient_dim)[cells]
    drift = energy.drift(Cloud(points))
    normal = float(np.abs(drift - drift @ projection).max())
    if normal > TANGENT * (1 + float(np.abs(drift).max())):
        raise ValueError(
            f"energy must have a drift tangent to the fixed subspace, got a part of {normal:.2g} "
            "that leaves it; take data augmentation, feature averaging, an equivariant "
            "architecture, or data that are invariant"
        )


def _require_even(energy: Energy, grid: Grid, chart: Mirrors) -> None:
    """Compare the potential of invariant laws with its images, on a coarse grid of Z."""
    cells = tuple(min(n, COARSE // 2) for n in grid.cells)
    whole = replace(grid, cells=cells).whole
    assert whole is not None
    rho = np.random.default_rng(0).random(whole.shape)
    for axis in chart.axes:
        rho = rho + np.flip(rho, axis)
    potential = energy.discretise(whole).potential(rho / (rho.sum() * whole.volume))
    gap = max(float(np.abs(potential - np.flip(potential, axis)).max()) for axis in chart.axes)
    if gap > ROUNDING * (1 + float(np.abs(potential).max())):
        raise ValueError(
            f"energy must not change under the reflections of the chart, got potentials of "
            f"invariant laws {gap:.2g} apart; take mf.data_augmented or mf.feature_averaged, data "
            "that are invariant, or a grid of the whole space"
        )


def _require_radial(energy: Energy) -> None:
    """Compare targets at data of one length; whether a rule turns into itself is not asked."""
    for risk in (leaf for _, leaf in energy.terms if isinstance(leaf, Risk)):
        x, y = risk.data.x, risk.data.y
        _, shell = np.unique(np.sqrt((x * x).sum(axis=1)).round(9), return_inverse=True)
        least, most = np.full(y.shape, np.inf), np.full(y.shape, -np.inf)
        np.minimum.at(least, shell, y)
        np.maximum.at(most, shell, y)
        gap = float((most - least).max())  # minus infinity past the last shell
        if gap > ROUNDING * (1 + float(np.abs(y).max())):
            raise ValueError(
                f"targets must depend on |x| alone on the radius, got values {gap:.2g} apart at "
                "one |x|; average them over rotations, or solve in the whole space"
            )
