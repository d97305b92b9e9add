r"""Risks of Gibbs laws as regularisation goes to 0 (Maass and Fontbona 2024; entropic limits).

A law mu is never worse than the best by more than :math:`\int \Phi\, d\mu - \min \Phi`, with the
potential of the risk alone: the risk is convex and lies above its tangent at mu. So how far a Gibbs
law is from the infimum is known without knowing the infimum.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meanfield_pde.energies.energy import Energy, Sum
from meanfield_pde.energies.variants import plain_risk
from meanfield_pde.eulerian.gibbs import gibbs
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid


def cooling(energy: Energy, grid: Grid, betas: Sequence[float]) -> tuple[Array, Array]:
    """Risks of the Gibbs laws of an energy at several diffusions, all that is no risk scaled along.

    Parameters
    ----------
    energy : Energy
        Risks and a positive factor of the entropy; penalties keep their ratio to it.
    grid : Grid
    betas : sequence of float
        Factors of the entropy.

    Returns
    -------
    risks : array (n,)
        Risk of each law.
    excess : array (n,)
        Bound on how far it is above the least risk of all laws on the grid.

    Raises
    ------
    ValueError
        If the energy has no diffusion.
    GibbsError
        If no stationary law is found.

    Examples
    --------
    >>> from meanfield_pde import Data, Entropy, Penalty, Risk, Unit
    >>> even = lambda x: 0.5 * sum(np.exp(-0.5 * (x[..., 0] - c) ** 2) for c in (-1.5, 1.5))
    >>> risk = Risk(Unit.bump(), Data.gauss_legendre(40, -3, 3, even))
    >>> energy = risk + Penalty() + Entropy()
    >>> cooling(energy, Grid.box(-4, 4, 200), [0.1, 0.01])[0].round(5).tolist()
    [0.0401, 0.00333]
    """
    check.instance("energy", energy, Energy, "add energies with + and scale them with *")
    if energy.beta <= 0:
        raise ValueError(
            f"energy must have a positive factor of the entropy, got {energy.beta:g}; add "
            "0.1 * mf.Entropy(): without diffusion there is nothing to cool"
        )
    risks = tuple((f, leaf) for f, leaf in energy.terms if plain_risk(leaf) is not None)
    rest = tuple((f, leaf) for f, leaf in energy.terms if plain_risk(leaf) is None)
    alone, rows = Sum(risks), []
    for beta in betas:
        scale = check.number("betas", beta, "diffusions are positive", above=0) / energy.beta
        law = gibbs(Sum((*risks, *((scale * f, leaf) for f, leaf in rest))), grid)
        phi = alone.potential(law)
        rows.append((alone.value(law), float((phi * law.masses).sum() - phi.min())))
    return np.array([r for r, _ in rows]), np.array([e for _, e in rows])
