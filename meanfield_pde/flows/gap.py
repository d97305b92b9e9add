r"""The Nikaido-Isoda gap: what the players could win, each by the best answer to the other.

.. math:: NI(\mu, \nu) = \sup_{\nu'} L(\mu, \nu') - \inf_{\mu'} L(\mu', \nu) \ge 0

vanishes at equilibria and nowhere else. For the payoff alone, :math:`L = \iint f\, d\mu\, d\nu`, it
is :math:`\max_y \int f d\mu - \min_x \int f d\nu`, over all points of the grids' boxes: the best
cells are searched for their best points (centres alone would leave out h^2 / 8 times a second
derivative). With the entropies of the game, :math:`L = \iint f\, d\mu\, d\nu + \beta
H(\mu) - \beta H(\nu)` with :math:`H(\rho) = \int \rho \log \rho`, the best answers are Gibbs laws
and

.. math:: NI = \beta \log \int e^{\int f d\mu / \beta} dy + \beta \log \int e^{-\int f d\nu / \beta}
   dx + \beta H(\mu) + \beta H(\nu),

which vanishes at the entropic equilibrium, where the gap of the payoff alone does not.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from meanfield_pde.energies.payoff import Payoff
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum, order_free_sum

PEAKS = 16
"""Most cells whose neighbourhood is searched: payoffs may have many equal maxima."""
ZOOMS = 6
"""Windows, each a quarter as wide: the last has points h / 4096 apart, and a maximum is flat."""


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
    return entropic_gap(game, p, q) if entropic and game.beta > 0 else gap(game.payoff, p, q)


def gap(payoff: Payoff, p: Density, q: Density) -> float:
    """Gap of the payoff alone."""
    matrix = payoff.on(p.grid, q.grid)
    mu, nu = _cloud(p), _cloud(q)

    def for_second(y: Array) -> Array:
        return payoff.variations(mu, Cloud(y))[1]

    def for_first(x: Array) -> Array:
        return -payoff.variations(Cloud(x), nu)[0]

    return q.mass * highest(for_second, q.grid, matrix.second(p.values)) + p.mass * highest(
        for_first, p.grid, -matrix.first(q.values)
    )


def entropic_gap(game: ZeroSumGame, p: Density, q: Density) -> float:
    """Gap with the entropies of a game with beta > 0."""
    matrix = game.payoff.on(p.grid, q.grid)
    for_second = _best(matrix.second(p.values), q.values, q.grid, game.beta)
    return for_second + _best(-matrix.first(q.values), p.values, p.grid, game.beta)


def highest(function: Callable[[Array], Array], grid: Grid, values: Array) -> float:
    """Maximum of a function of points (n, d) over the box of a grid, from its values at centres.

    The cells that are highest among their neighbours, and no further below the best than they are
    above their neighbours, are searched in ever smaller windows: the highest, if there are many.
    """
    best = float(values.max())
    padded = np.pad(values, 1, mode="wrap" if grid.periodic else "edge")
    inside = tuple(slice(1, -1) for _ in range(grid.dim))
    sides = [[np.roll(padded, s, axis=a)[inside] for s in (1, -1)] for a in range(grid.dim)]
    rises = values - np.array(sides)
    reach = values + rises.max(axis=1).sum(axis=0)
    peaks = np.flatnonzero((rises.min(axis=(0, 1)) >= 0) & (reach >= best))
    order = np.argsort(-values.ravel()[peaks], kind="stable")
    middle = grid.points.reshape(-1, grid.dim)[peaks[order[:PEAKS]]]
    lower, upper, width = np.array(grid.lower), np.array(grid.upper), np.array(grid.spacing)
    offsets = np.stack(np.meshgrid(*[np.linspace(-1.0, 1.0, 9)] * grid.dim), axis=-1)
    for _ in range(ZOOMS):
        points = middle[:, None, :] + offsets.reshape(-1, grid.dim) * width
        points = np.clip(points, lower, upper) if not grid.periodic else points
        found = function(points.reshape(-1, grid.dim)).reshape(points.shape[:2])
        middle = np.take_along_axis(points, found.argmax(axis=1)[:, None, None], axis=1)[:, 0]
        best = max(best, float(found.max()))
        width = 0.25 * width
    return best


def _cloud(rho: Density) -> Cloud:
    return Cloud(rho.grid.points.reshape(-1, rho.grid.dim), rho.masses.ravel())


def _best(potential: Array, own: Array, grid: Grid, beta: float) -> float:
    """``sup int potential d rho - beta H(rho)`` over laws of the own mass, plus its ``beta H``.

    Both players' are added, so that the payoff of the two as they are, which each would improve on,
    cancels.
    """
    mass = folded_sum(own) * grid.volume
    there = own[own > 0]
    entropy = order_free_sum(there * np.log(there)) * grid.volume
    volumes = scipy.special.logsumexp(potential / beta) + np.log(grid.volume / mass)
    return float(beta * (mass * volumes + entropy))
