r"""Equilibria of zero-sum games, found without stepping in time.

``nash``: with entropies the equilibrium is the one pair of Gibbs laws in each other's potential,

.. math:: p \propto e^{-\int f\, dq / \beta}, \qquad q \propto e^{\int f\, dp / \beta}.

For a payoff :math:`\sum_k a_k(x) b_k(y)` each depends on the other through the means of the factors
alone. Newton's method solves for these; its Jacobian has the determinant of :math:`I +
\mathrm{Cov}_q(b) \mathrm{Cov}_p(a) / \beta^2`, with a product of nonnegative matrices, and is never
singular. Steps are cut until the residual falls, and beta is lowered to its value from one at which
the laws are flat.

``game_value``: on the cells alone, without entropies, a game is a matrix game, and its value a
linear program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import linprog

from meanfield_pde.energies.payoff import Payoff
from meanfield_pde.energies.payoff_matrix import PayoffMatrix
from meanfield_pde.eulerian.game_solution import Pair
from meanfield_pde.eulerian.gibbs import GibbsError
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

COOLING, SLOWEST = 0.5, 0.99
"""Factor from one beta to the next on the way down, at first and where the way is lost at last."""
STEPS = 50
"""Newton steps at one beta."""
ROUGH = 1e-6
"""Residual at which a larger beta is left."""
SHORTEST = 1e-10
"""Part of a Newton step below which it is given up."""
MOST_PAIRS = 1_000_000
"""Pairs of cells of the largest linear program (some seconds)."""

Grids = tuple[Grid, Grid]


def nash(game: ZeroSumGame, grids: Grids, tolerance: float = 1e-13) -> Pair:
    """Entropic equilibrium of a game on two grids: the one pair at which no player can improve.

    It is the exact stationary state of the discrete flows with transport as well.

    Parameters
    ----------
    game : ZeroSumGame
        With beta > 0.
    grids : pair of Grid
        Of the player who lowers the payoff, and of the one who raises it.
    tolerance : float
        Largest L1 distance of a density from the Gibbs law of the other's potential, relative to
        max(1, oscillation of the payoff / beta), by which rounding grows.

    Returns
    -------
    pair of Density
        Both of mass 1.

    Raises
    ------
    ValueError
        If there is no entropy, or the payoff cannot be put on the grids.
    GibbsError
        If Newton's method does not reach the tolerance.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> import numpy as np
    >>> game = mf.ZeroSumGame(lambda x, y: (np.cos(x - y) + 0.5 * np.cos(2 * x))[..., 0], beta=1.0)
    >>> circle = mf.Grid.torus(-np.pi, np.pi, 64)
    >>> p, q = nash(game, (circle, circle))
    >>> mf.nikaido_isoda(game, p, q, entropic=True) < 1e-13
    True
    """
    check.instance("game", game, ZeroSumGame, "write mf.ZeroSumGame(lambda x, y: ..., beta=0.3)")
    first, second = _pair(grids)
    tolerance = check.number("tolerance", tolerance, "1e-13 is a good number", above=0)
    if not game.beta > 0:
        raise ValueError(
            "game must have a positive beta, got 0; without entropies see mf.game_value, on the "
            "cells of the grids"
        )
    matrix = game.payoff.on(first, second)
    answers = _Answers(matrix, *matrix.factors(), game.beta)
    spread = max(float(np.ptp(answers.left @ b)) for b in answers.right)
    means = _followed(answers, max(game.beta, spread))
    p, q = answers.laws(means)
    residual = _residual(matrix, p, q, game.beta) / max(1.0, spread / game.beta)
    if residual > tolerance:
        raise GibbsError(
            f"Newton's method stopped at a residual of {residual:.1e} (not {tolerance:g}); take a "
            "larger beta, finer grids or a larger tolerance"
        )
    return Density(first, p), Density(second, q)


@dataclass(frozen=True, eq=False)
class GameValue:
    """Value of a game on the cells of two grids, without entropies.

    ``first`` and ``second`` are optimal strategies, and ``gap`` is what is left to win against
    them on the cells, together: the value is between ``value - gap`` and ``value + gap``.
    """

    value: float
    first: Density
    second: Density
    gap: float


def game_value(payoff: Payoff | ZeroSumGame, grids: Grids) -> GameValue:
    """Value of a payoff and optimal strategies among laws on the cells, by linear programming.

    Parameters
    ----------
    payoff : Payoff, or a ZeroSumGame with one
    grids : pair of Grid

    Raises
    ------
    ValueError
        If the payoff cannot be put on the grids, or they have too many pairs of cells.
    GibbsError
        If the linear program is not solved.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> import numpy as np
    >>> circle = mf.Grid.torus(-np.pi, np.pi, 32)
    >>> payoff = mf.KernelPayoff(lambda x, y: np.cos(x - y)[..., 0])
    >>> abs(game_value(payoff, (circle, circle)).value) < 1e-12
    True
    """
    payoff = payoff.payoff if isinstance(payoff, ZeroSumGame) else payoff
    check.instance("payoff", payoff, Payoff, "write mf.KernelPayoff(lambda x, y: ...)")
    first, second = _pair(grids)
    n, m = first.size, second.size
    if n * m > MOST_PAIRS:
        raise ValueError(
            f"grids must have at most {MOST_PAIRS} pairs of cells, got {n * m}; take coarser ones, "
            "or mf.nash with a small beta"
        )
    matrix = payoff.on(first, second)
    left, right = matrix.factors()
    values = right @ left.T
    low, high = float(values.min()), float(values.max())
    # The solver's tolerances are absolute: it gets values in [-1, 1].
    values = (values - 0.5 * (low + high)) / max(0.5 * (high - low), np.finfo(float).tiny)
    # The least v with C^T p <= v, over laws p; the multipliers are the other player's strategy.
    solved = linprog(
        np.concatenate([np.zeros(n), [1.0]]),
        A_ub=np.hstack([values, -np.ones((m, 1))]),
        b_ub=np.zeros(m),
        A_eq=np.concatenate([np.ones(n), [0.0]])[None],
        b_eq=[1.0],
        bounds=[(0, None)] * n + [(None, None)],
        method="highs",
    )
    if not solved.success or solved.x is None:
        raise GibbsError(f"the linear program was not solved: {solved.message}; scale the payoff")
    p = np.maximum(solved.x[:n], 0.0).reshape(first.shape)
    q = np.maximum(-solved.ineqlin.marginals, 0.0).reshape(second.shape)
    p, q = p / (p.sum() * first.volume), q / (q.sum() * second.volume)
    gap = float(matrix.second(p).max() - matrix.first(q).min())
    return GameValue(matrix.value(p, q), Density(first, p), Density(second, q), gap)


@dataclass(frozen=True, eq=False)
class _Answers:
    """Best answers with entropies: Gibbs laws, as functions of the means of the other's factors.

    ``means`` (2 r,): those of a under p, and of b under q.
    """

    matrix: PayoffMatrix
    left: Array
    right: Array
    beta: float

    def weights(self, means: Array) -> tuple[Array, Array]:
        """Masses of the cells of both players, each answering the other's means."""
        of_first, of_second = np.split(means, 2)
        p = _gibbs(self.left @ of_second / -self.beta)
        return p, _gibbs(self.right @ of_first / self.beta)

    def laws(self, means: Array) -> tuple[Array, Array]:
        """Densities of both players."""
        first, second = self.matrix.grid, self.matrix.other
        p, q = self.weights(means)
        return p.reshape(first.shape) / first.volume, q.reshape(second.shape) / second.volume

    def means(self, p: Array, q: Array) -> Array:
        """Means of the factors under masses of the cells."""
        return np.concatenate([p @ self.left, q @ self.right])

    def defect(self, means: Array) -> Array:
        """How far the means are from those of the answers to them."""
        return self.means(*self.weights(means)) - means

    def jacobian(self, means: Array) -> Array:
        """Minus the derivative of the defect."""
        p, q = self.weights(means)
        r = self.left.shape[1]
        jacobian = np.eye(2 * r)
        jacobian[:r, r:] = _covariance(self.left, p) / self.beta
        jacobian[r:, :r] = _covariance(self.right, q) / -self.beta
        return jacobian


def _followed(answers: _Answers, hot: float) -> Array:
    """Means at equilibrium, followed from a large beta down, by shorter ways where one is lost."""
    cells = answers.left.shape[0], answers.right.shape[0]
    means = answers.means(*(np.full(n, 1.0 / n) for n in cells))
    beta, factor = hot, COOLING
    while beta > answers.beta:
        found = _newton(replace(answers, beta=beta), means, ROUGH)
        if found is None:
            beta, factor = beta / factor, np.sqrt(factor)
            if factor > SLOWEST:
                break
        else:
            means = found
        beta = max(answers.beta, factor * beta)
    found = _newton(answers, means, ROUGH)
    if found is None:
        raise GibbsError(
            f"Newton's method did not settle at beta = {beta:g}, on the way to {answers.beta:g}; "
            "take a larger beta, or finer grids"
        )
    polished = _newton(answers, found, 0.0)
    return found if polished is None else polished


def _newton(answers: _Answers, means: Array, tolerance: float) -> Array | None:
    """Zero of the defect, relative to the factors; for tolerance 0, as far as rounding lets."""
    scale = max(float(np.abs(answers.left).max()), float(np.abs(answers.right).max()))
    defect = answers.defect(means)
    for _ in range(STEPS):
        if np.abs(defect).max() <= tolerance * scale:
            return means
        direction = np.linalg.solve(answers.jacobian(means), defect)
        length = 1.0
        while length > SHORTEST:
            trial = means + length * direction
            found = answers.defect(trial)
            if np.linalg.norm(found) < (1 - 0.1 * length) * np.linalg.norm(defect):
                break
            length *= 0.5
        else:
            return None if tolerance else means
        means, defect = trial, found
    return None if tolerance else means


def _residual(matrix: PayoffMatrix, p: Array, q: Array, beta: float) -> float:
    """Larger L1 distance of a density from the Gibbs law of the other's potential."""
    answers = _gibbs(matrix.first(q) / -beta), _gibbs(matrix.second(p) / beta)
    own = p * matrix.grid.volume, q * matrix.other.volume
    return max(float(np.abs(a - b).sum()) for a, b in zip(answers, own, strict=True))


def _gibbs(logarithm: Array) -> Array:
    weights = np.exp(logarithm - logarithm.max())
    return np.asarray(weights / weights.sum())


def _covariance(factors: Array, weights: Array) -> Array:
    centred = factors - weights @ factors
    return np.asarray((centred * weights[:, None]).T @ centred)


def _pair(grids: Grids) -> Grids:
    if not isinstance(grids, tuple | list) or len(grids) != 2:
        raise ValueError(
            f"grids must be a pair of grids, got {type(grids).__name__}; write (grid, grid)"
        )
    for grid in grids:
        check.instance("grids", grid, Grid, "make one with Grid.box or Grid.torus")
    return grids[0], grids[1]
