r"""Stationary laws: :math:`\mu \propto \exp(-\Phi_\mu / \beta)`, found without stepping in time.

For networks the law depends on the measure through its outputs m at the data alone. Newton's
method solves ``int sigma dmu_m - m = 0`` with the Jacobian ``-I - (1/beta) Cov(sigma, sigma)
diag(w l'')``, which is never singular for a convex loss, and backtracking. For interactions the
potential is iterated to a fixed point.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import block_diag
from scipy.optimize import NoConvergence, newton_krylov
from scipy.special import logsumexp

from meanfield_pde.energies.energy import Energy, Functional, SumFunctional
from meanfield_pde.energies.network import NetworkFunctional
from meanfield_pde.eulerian.fixed_point import anderson
from meanfield_pde.flows.problem import require_gradient_flow
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

Parts = list[tuple[float, Functional]]
DAMPED_STEPS = 1000


class GibbsError(RuntimeError):
    """No stationary law was found from this start."""


def gibbs(
    energy: Energy, grid: Grid, start: Density | None = None, tolerance: float = 1e-12
) -> Density:
    """Stationary density of the gradient flow of an energy with diffusion, on a grid.

    It is the exact stationary state of the discrete flow as well, also with a reaction that takes
    the entropy in; one without balances transport at another law. Where there are several
    (below a phase transition), it is the one that the iteration reaches from ``start``.

    Parameters
    ----------
    energy : Energy
        With a positive factor of the entropy.
    grid : Grid
    start : Density, optional
        Where to start; the Gibbs law of the external potential, of mass 1, where it is left out.
    tolerance : float
        Largest change of the network's outputs (Newton) or of the potential (fixed point,
        relative).

    Returns
    -------
    Density
        Of the mass of ``start``, or of mass 1.

    Raises
    ------
    ValueError
        If there is no diffusion.
    GibbsError
        If the iteration does not converge.

    Examples
    --------
    >>> from meanfield_pde import Entropy, Potential
    >>> V = Potential(lambda z: 0.5 * (z**2).sum(-1))
    >>> rho = gibbs(V + 0.5 * Entropy(), Grid.box(-6, 6, 200))
    >>> round(float(rho.cov()[0, 0]), 6)
    0.5
    """
    require_gradient_flow("gibbs", energy)
    check.instance("energy", energy, Energy, "add energies with + and scale them with *")
    check.instance("grid", grid, Grid, "make one with Grid.box or Grid.torus")
    if start is not None:
        check.instance("start", start, Density, "start from a density on the grid")
    beta = energy.beta
    if beta <= 0:
        raise ValueError(
            f"energy must have a positive factor of the entropy, got {beta:g}; add "
            "0.1 * mf.Entropy(): without diffusion there is no Gibbs law"
        )
    tolerance = check.number("tolerance", tolerance, "1e-12 is a good number", above=0)
    if start is not None and start.grid != grid:
        raise ValueError("start must live on the grid, got another one; build both on one Grid")
    parts = _leaves(energy.smooth_on(grid))
    fixed = np.zeros(grid.shape)
    for factor, part in parts:
        if part.constant:
            fixed = fixed + factor * part.potential(fixed)
    moving = [(factor, part) for factor, part in parts if not part.constant]
    mass = 1.0 if start is None else start.mass
    first = mass * _gibbs_values(grid, fixed, beta) if start is None else start.values
    if not moving:
        return Density(grid, mass * _gibbs_values(grid, fixed, beta))
    networks = [(f, p) for f, p in moving if isinstance(p, NetworkFunctional)]
    if len(networks) == len(moving):
        return Density(grid, _newton(grid, networks, fixed, beta, first, mass, tolerance))
    return Density(grid, _iterate(grid, moving, fixed, beta, first, mass, tolerance))


def _leaves(functional: Functional) -> Parts:
    if not isinstance(functional, SumFunctional):
        return [(1.0, functional)]
    return [(f * g, leaf) for f, part in functional.parts for g, leaf in _leaves(part)]


def _gibbs_values(grid: Grid, potential: Array, beta: float) -> Array:
    log = -potential / beta
    return np.exp(log - logsumexp(log)) / grid.volume


def _newton(
    grid: Grid,
    parts: list[tuple[float, NetworkFunctional]],
    fixed: Array,
    beta: float,
    first: Array,
    mass: float,
    tolerance: float,
) -> Array:
    features = np.concatenate([part.on_cells for _, part in parts])
    ends = np.cumsum([len(part.features) for _, part in parts])[:-1]

    def density(means: Array) -> Array:
        charges = []
        for (f, part), mean in zip(parts, np.split(means, ends), strict=True):
            gradient = part.loss.gradient(part.outputs(mean), part.data.y)
            charges.append(f * part.charges(gradient))
        potential = fixed + (np.concatenate(charges) @ features).reshape(grid.shape)
        return mass * _gibbs_values(grid, potential, beta)

    def means_of(rho: Array) -> Array:
        return np.asarray(features @ rho.ravel() * grid.volume)

    def curvature(means: Array) -> Array:
        split = zip(parts, np.split(means, ends), strict=True)
        return block_diag(*(f * part.curvature(part.outputs(mean)) for (f, part), mean in split))

    means = means_of(first)
    rho = density(means)
    defect = means_of(rho) - means
    for _ in range(200):
        if np.abs(defect).max() <= tolerance:
            return rho
        centred = features - means_of(rho)[:, None] / mass
        covariance = (centred * (rho.ravel() * grid.volume)) @ centred.T
        jacobian = np.eye(len(means)) + covariance @ curvature(means) / beta
        direction = np.linalg.solve(jacobian, defect)
        length = 1.0
        while length > 1e-10:
            trial = means + length * direction
            rho_trial = density(trial)
            defect_trial = means_of(rho_trial) - trial
            if np.linalg.norm(defect_trial) < (1 - 0.1 * length) * np.linalg.norm(defect):
                break
            length *= 0.5
        else:
            break
        means, rho, defect = trial, rho_trial, defect_trial
    if np.abs(defect).max() <= 10 * tolerance:
        return rho
    raise GibbsError(
        f"Newton's method stopped at a residual of {np.abs(defect).max():.1e} (not {tolerance:g});"
        " start from the law at a larger beta (start=), or refine the grid"
    )


def _iterate(
    grid: Grid,
    moving: Parts,
    fixed: Array,
    beta: float,
    first: Array,
    mass: float,
    tolerance: float,
) -> Array:
    """Damped steps, which settle on a stable state, then Anderson's, which settle fast on any.

    Where neither settles (strong repulsion), Newton-Krylov, followed down from a large beta.
    """

    def again(phi: Array, beta: float) -> Array:
        rho = mass * _gibbs_values(grid, fixed + phi, beta)
        return np.asarray(sum(f * part.potential(rho) for f, part in moving))

    phi = np.asarray(sum(f * part.potential(first) for f, part in moving))
    scale = max(1.0, float(np.abs(phi).max()))
    for _ in range(DAMPED_STEPS):
        change = again(phi, beta) - phi
        phi = phi + 0.5 * change
        if np.abs(change).max() <= 1e-6 * scale:
            break
    found = anderson(lambda phi: again(phi, beta), phi, tolerance * scale, limit=500)
    if found.converged:
        return mass * _gibbs_values(grid, fixed + found.point, beta)
    hot = max(beta, float(np.ptp(fixed)), float(np.ptp(phi)))
    phi = again(np.zeros(grid.shape), hot)
    while True:
        last = hot <= beta
        accuracy = (tolerance if last else 1e-6) * scale
        try:
            found_phi = newton_krylov(
                lambda p, b=hot: again(p, b) - p, phi, f_tol=accuracy, maxiter=100
            )
            phi = np.asarray(found_phi, dtype=np.float64)
        except (NoConvergence, ValueError):
            raise GibbsError(
                f"neither fixed-point nor Newton-Krylov iterations settled at beta = {hot:g}, "
                f"on the way to {beta:g}; refine the grid, or follow the flow with mf.solve"
            ) from None
        if last:
            return mass * _gibbs_values(grid, fixed + phi, beta)
        hot = max(beta, 0.6 * hot)
