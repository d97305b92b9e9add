r"""Outputs of the mean-field law over time, with a measured error: what particles fluctuate about.

By transport alone a law at time t is the image of the first one, so a rule of quadrature for the
one becomes, moved, a rule for the other: a weighted cloud, with Gauss points in every cell of the
initial density. It takes the particles' own Euler steps, whose error both then share. With
diffusion or a reaction the density solver gives the law. Either is refined once, for its error:
more points in a cell, or half the spacing and a quarter of the tolerance. Each starts from the law
that particles are drawn from, constant in every cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from itertools import product
from typing import Any

import numpy as np

from meanfield_pde.energies.risk import CHUNK, Risk
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Problem
from meanfield_pde.lagrangian.transport import transport
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density

REFERENCES = ("auto", "cloud", "density")


@dataclass(frozen=True, eq=False)
class Limit:
    """Outputs of a law at some times.

    Parameters
    ----------
    times : array (n_times,)
    outputs : array (n_times, data, outputs)
    errors : array (n_times,)
        Distance to the outputs of the coarser law, in L2 of the data.
    resampling : array (n_times,)
        What N times the squared distance of N independent samples' outputs is on average.
    law : str
        How it was found, in words.
    last : Cloud or Density
        The law at the last time.
    """

    times: Array
    outputs: Array
    errors: Array
    resampling: Array
    law: str
    last: Measure


def limit_of(
    problem: Problem,
    risk: Risk,
    times: Array,
    dt: float,
    options: Mapping[str, Any],
    reference: str = "auto",
) -> Limit:
    """Find a law's outputs, by a cloud where transport is all there is, else by the density.

    Raises
    ------
    ValueError
        If the reference is unknown, or is to be a cloud and there is diffusion or a reaction.
    """
    if reference not in REFERENCES:
        raise ValueError(
            f"reference must be one of {', '.join(REFERENCES)}, got {reference!r}; auto takes the "
            "cloud wherever there is neither diffusion nor a reaction"
        )
    if reference == "cloud" and not _deterministic(problem):
        raise ValueError(
            "reference must be density for a flow with diffusion or a reaction, or on a polar "
            "grid, got 'cloud'; or use auto"
        )
    if reference == "cloud" or (reference == "auto" and _deterministic(problem)):
        return _by_cloud(problem, risk, times, dt)
    return _by_density(problem, risk, times, options)


def _deterministic(problem: Problem) -> bool:
    assert isinstance(problem.initial, Density)
    flow = problem.flow
    return not (flow.energy.beta or flow.reaction) and problem.initial.grid.chart is None


def _by_cloud(problem: Problem, risk: Risk, times: Array, dt: float) -> Limit:
    assert isinstance(problem.initial, Density)
    coarse, fine = (
        transport(problem, quadrature(problem.initial, nodes), dt, times.tolist())
        for nodes in (1, 2)
    )
    return _limit(risk, times, coarse, fine, f"cloud of {fine[0].size} points")


def _by_density(problem: Problem, risk: Risk, times: Array, options: Mapping[str, Any]) -> Limit:
    assert isinstance(problem.initial, Density)
    finer = {**options, "tolerance": 0.25 * options.get("tolerance", 1e-3)}
    if finer.get("dt"):
        finer["dt"] = 0.5 * finer["dt"]
    halved = replace(problem, initial=split(problem.initial))
    coarse, fine = (
        solve(one, save=times.tolist(), **chosen).densities
        for one, chosen in ((problem, options), (halved, finer))
    )
    cells = " x ".join(str(n) for n in fine[0].grid.cells)
    return _limit(risk, times, coarse, fine, f"density on {cells} cells")


def _limit(
    risk: Risk, times: Array, coarse: Iterable[Measure], fine: Iterable[Measure], law: str
) -> Limit:
    laws = list(fine)
    outputs = np.array([risk.predict(mu) for mu in laws])
    gaps = outputs - np.array([risk.predict(mu) for mu in coarse])
    resampling = np.array([resampled(risk, mu) for mu in laws])
    return Limit(times, outputs, np.sqrt(squared_norm(risk, gaps)), resampling, law, laws[-1])


def quadrature(rho: Density, nodes: int) -> Cloud:
    """Gauss points of every cell with mass, for the density that is constant in each."""
    grid = rho.grid
    x, w = np.polynomial.legendre.leggauss(nodes)
    offsets = 0.5 * np.array(list(product(x, repeat=grid.dim))) * grid.spacing
    shares = reduce(np.multiply.outer, [0.5 * w] * grid.dim).ravel()
    there = rho.masses > 0
    points = grid.points[there][:, None, :] + offsets
    weights = np.multiply.outer(rho.masses[there] / rho.mass, shares)
    return Cloud(points.reshape(-1, grid.dim), weights.ravel())


def split(rho: Density) -> Density:
    """Return the same law on cells of half the size."""
    values = rho.values
    for axis in range(rho.grid.dim):
        values = np.repeat(values, 2, axis=axis)
    return Density(replace(rho.grid, cells=tuple(2 * n for n in rho.grid.cells)), values)


def resampled(risk: Risk, mu: Measure) -> float:
    """``int |sigma_*|^2 dmu - |f|^2``: N times the mean square error of N independent samples."""
    if isinstance(mu, Density):
        mu = Cloud(mu.grid.places.reshape(-1, mu.grid.dim), mu.masses.ravel())
    size = max(1, CHUNK // (risk.data.size * risk.unit.outputs * mu.dim))
    square = np.zeros((risk.data.size, risk.unit.outputs))
    for part in (slice(k, k + size) for k in range(0, mu.size, size)):
        features = risk.unit.features(risk.data.x, mu.points[part])
        square += np.tensordot(features**2, mu.weights[part], axes=(1, 0))
    return float(squared_norm(risk, np.sqrt(square)) - squared_norm(risk, risk.predict(mu)))


def squared_norm(risk: Risk, gap: Array) -> Array:
    """Squared norms in L2 of the data law, of functions at the data (..., data, outputs)."""
    return np.asarray((gap**2).sum(-1) @ risk.data.weights)


def replica_outputs(risk: Risk, points: Array) -> Array:
    """Return outputs of clouds (replicas, n, d), of shape (replicas, data, outputs)."""
    return np.array([risk.predict(Cloud(replica)) for replica in points])
