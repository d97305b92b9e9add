r"""The Nikaido-Isoda gap: what the players could win, each by the best answer to the other.

.. math:: NI(\mu, \nu) = \sup_{\nu'} L(\mu, \nu') - \inf_{\mu'} L(\mu', \nu) \ge 0

vanishes at equilibria and nowhere else. For the payoff alone, :math:`L = \iint f\, d\mu\, d\nu`, it
is :math:`\max_y \int f d\mu - \min_x \int f d\nu`, here over the centres of cells. With the
entropies of the game, :math:`L = \iint f\, d\mu\, d\nu + \beta H(\mu) - \beta H(\nu)` with
:math:`H(\rho) = \int \rho \log \rho`, the best answers are Gibbs laws and

.. math:: NI = \beta \log \int e^{\int f d\mu / \beta} dy + \beta \log \int e^{-\int f d\nu / \beta}
   dx + \beta H(\mu) + \beta H(\nu),

which vanishes at the entropic equilibrium, where the gap of the payoff alone does not.
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from meanfield_pde.energies.payoff_matrix import PayoffMatrix
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum, order_free_sum


def nikaido_isoda(game: ZeroSumGame, p: Density, q: Density, entropic: bool = False) -> float:
    """Nikaido-Isoda gap of two densities in a game.

    Parameters
    ----------
    game : ZeroSumGame
    p, q : Density
        Of the player who lowers the payoff, and of the one who raises it.
    entropic : bool
        Whether the game's entropies count: the gap is then 0 at the entropic equilibrium
        (`nash`), and without them at that of the payoff.

    Raises
    ------
    ValueError
        If an argument is no game or no density, or the payoff cannot be put on the grids.

    Examples
    --------
    >>> import numpy as np
    >>> from meanfield_pde import Density, Grid
    >>> game = ZeroSumGame(lambda x, y: np.cos(x - y)[..., 0], beta=0.3)
    >>> circle = Grid.torus(-np.pi, np.pi, 64)
    >>> p = Density.from_function(circle, lambda x: (1 + np.cos(x[..., 0])) / (2 * np.pi))
    >>> round(nikaido_isoda(game, p, Density.uniform(circle)), 3)
    0.5
    """
    check.instance("game", game, ZeroSumGame, "write mf.ZeroSumGame(lambda x, y: ..., beta=0.3)")
    for name, rho in (("p", p), ("q", q)):
        check.instance(name, rho, Density, "the gap is that of two densities on grids")
    matrix = game.payoff.on(p.grid, q.grid)
    return gap_of(matrix, p.values, q.values, game.beta if entropic else 0.0)


def gap_of(matrix: PayoffMatrix, p: Array, q: Array, beta: float) -> float:
    """Gap of arrays of cell averages, with entropies where beta > 0."""
    for_second = _best(matrix.second(p), q, matrix.other, beta)
    for_first = _best(-matrix.first(q), p, matrix.grid, beta)
    return for_second + for_first


def _best(potential: Array, own: Array, grid: Grid, beta: float) -> float:
    """``sup int potential d rho - beta H(rho)`` over laws of the own mass, plus its ``beta H``.

    Both players' are added, so that the payoff of the two as they are, which each would improve on,
    cancels.
    """
    mass = folded_sum(own) * grid.volume
    if not beta > 0:
        return mass * float(potential.max())
    there = own[own > 0]
    entropy = order_free_sum(there * np.log(there)) * grid.volume
    volumes = logsumexp(potential / beta) + np.log(grid.volume / mass)
    return float(beta * (mass * volumes + entropy))
