r"""How a flow with diffusion comes to rest: its late law, and the rate at which it gets there.

Near a stationary law mu the flow is :math:`\partial_t \delta = \nabla \cdot (\mu \nabla (H
\delta))` with the Hessian :math:`H = \beta / \mu + K` of the free energy, K that of the energy
without its entropy. With :math:`\delta = \sqrt{\mu}\, u` it is :math:`\partial_t u = -B (1 +
\sqrt{\mu} K \sqrt{\mu} / \beta)\, u`, a product of two symmetric matrices, B the symmetrised
generator of the process in the potential of mu. The gap is its smallest nonzero eigenvalue: the
density approaches mu as exp(-gap t), the free energy falls to its least value twice as fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csc_array, diags_array
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, cg, eigs, splu

from meanfield_pde.energies.energy import Energy
from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.eulerian.polar import fluxes_on
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1
from meanfield_pde.measures.lazy import LazyMetric

DOUBLINGS = 9
FLAT = 1e-8
"""Curvature of the free energy, relative to that of entropy alone, that counts as none."""
NO_GAP = (
    "the free energy is not strictly convex at the stationary law, which is unstable or one of a "
    "family; there is no gap"
)


class GapError(RuntimeError):
    """No gap was found, as where the stationary law is unstable."""


def relaxed(
    flow: GradientFlow, rho: Density, span: float, options: Mapping[str, Any], within: float
) -> tuple[Density, Density, float]:
    """Follow a flow for ever longer until it is within an L1 distance of a Gibbs law.

    Parameters
    ----------
    flow : GradientFlow
        With diffusion, and dissipative; its rate is left out.
    rho : Density
        Where the flow starts.
    span : float
        Time of the first solve; each later one is twice as long.
    options : mapping
        Arguments for `solve`.
    within : float

    Returns
    -------
    late, stationary : Density
        Last density, and the Gibbs law next to it.
    distance : float
        L1 distance of the two; above ``within`` if ten solves were not enough.
    """
    for k in range(DOUBLINGS):
        problem = Problem(replace(flow, rate=None), rho, span * 2**k)
        rho = solve(problem, **options).densities[-1]
        stationary = gibbs(flow.energy, rho.grid, start=rho)
        distance = float(l1(rho, stationary))
        if distance <= within:
            break
    return rho, stationary, distance


def spectral_gap(
    energy: Energy, stationary: Density, metric: LazyMetric | None = None
) -> tuple[float, Array]:
    """Slowest rate at which transport makes small deviations from a stationary law decay.

    Parameters
    ----------
    energy : Energy
        With diffusion.
    stationary : Density
        A stable stationary law of its flow, such as `gibbs` finds.
    metric : LazyMetric, optional
        That of the flow.

    Returns
    -------
    gap : float
        Smallest nonzero eigenvalue of the linearised flow.
    mode : array of grid shape
        Its eigenfunction, relative to the stationary density and of variance 1.

    Raises
    ------
    GapError
        If the law is not stable, or the eigenvalue was not found.

    Examples
    --------
    >>> from meanfield_pde import Entropy, Grid, Potential
    >>> well = Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.5 * Entropy()
    >>> gap, mode = spectral_gap(well, gibbs(well, Grid.box(-6, 6, 200)))
    >>> round(gap, 2)
    1.0
    """
    grid, beta, functional = stationary.grid, energy.beta, energy.smooth_on(stationary.grid)
    root = np.sqrt(stationary.masses.ravel() / stationary.mass)
    walk = _inverse(symmetrised_generator(energy, stationary, metric), root)

    def without_mass(u: Array) -> Array:
        return np.asarray(u - root * (root @ u))

    def hessian(u: Array) -> Array:
        """``1 + sqrt(mu) K sqrt(mu) / beta`` where no mass is moved, 1 on the rest."""
        inner = without_mass(u)
        step = (root * inner / grid.volume).reshape(grid.shape) * stationary.mass
        ahead, behind = (functional.potential(stationary.values + s * step) for s in (0.5, -0.5))
        return u + without_mass(root * (ahead - behind).ravel() / beta)

    size = (grid.size, grid.size)
    curvature = LinearOperator(size, matvec=hessian, dtype=np.float64)

    def inverse(u: Array) -> Array:
        target = walk(without_mass(u))
        found, trouble = cg(curvature, target, rtol=1e-11, maxiter=500)
        if trouble or not target @ found >= 0:
            raise GapError(NO_GAP)
        return without_mass(found)

    start = np.random.default_rng(0).standard_normal(grid.size)
    try:
        values, vectors = eigs(
            LinearOperator(size, matvec=inverse, dtype=np.float64), k=2, v0=start, tol=1e-9
        )
    except ArpackNoConvergence as error:
        raise GapError(f"the eigenvalues of the linearised flow were not found: {error}") from error
    slowest = int(values.real.argmax())
    mode = vectors[:, slowest].real
    if not mode @ (curvature @ mode) > FLAT * (mode @ mode):
        raise GapError(NO_GAP)
    relative = np.divide(mode, root, out=np.zeros_like(mode), where=root > 0)
    return float(1.0 / values[slowest].real), (relative / np.linalg.norm(mode)).reshape(grid.shape)


def symmetrised_generator(
    energy: Energy, stationary: Density, metric: LazyMetric | None
) -> csc_array:
    """``-mu^(-1/2) A mu^(1/2)``, from rates alone: mu may underflow."""
    grid = stationary.grid
    potential = energy.smooth_on(grid).potential(stationary.values)
    transport = fluxes_on(grid, metric, "sg")["sg"].transport(grid, potential, energy.beta)
    assert isinstance(transport, Generator)
    rates = transport.matrix()
    outflow = diags_array(-rates.diagonal())
    between = rates + outflow
    return csc_array(outflow - between.multiply(between.T).sqrt())


def _inverse(walk: csc_array, root: Array) -> Any:
    """Return the pseudo-inverse of a matrix whose kernel is ``root``, as a function."""
    kept = np.delete(np.arange(len(root)), int(root.argmax()))
    factors = splu(csc_array(walk[kept][:, kept]))

    def apply(u: Array) -> Array:
        found = np.zeros_like(u)
        found[kept] = factors.solve(u[kept])
        return np.asarray(found - root * (root @ found))

    return apply
