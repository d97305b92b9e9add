"""Nikaido-Isoda gaps: closed forms, best answers, and the exchange of the players."""

import numpy as np
import pytest
from games import circle, payoff_a, payoff_b, payoff_c, peak, swapped
from reference import refuses

import meanfield_pde as mf


def bent(grid, a):
    return mf.Density.from_function(grid, lambda x: (1 + a * np.cos(x[..., 0])) / (2 * np.pi))


def objective(game, p, q):
    """L(p, q) with entropies."""
    terms = [rho.values * np.log(rho.values) for rho in (p, q)]
    entropies = [float(t.sum()) * rho.grid.volume for t, rho in zip(terms, (p, q), strict=True)]
    payoff = game.payoff.on(p.grid, q.grid).value(p.values, q.values)
    return payoff + game.beta * (entropies[0] - entropies[1])


def test_waves():
    """int cos(x - y) (1 + a cos x) / 2 pi dx = (a / 2) cos y, but for cells' averages of cos."""
    game, grid = mf.ZeroSumGame(payoff_a), circle(64)
    h = grid.spacing[0]
    averaged = np.sin(h / 2) / (h / 2)
    gap = mf.nikaido_isoda(game, bent(grid, 0.6), bent(grid, 0.8))
    assert gap == pytest.approx(0.7 * averaged, abs=1e-9)


@pytest.mark.parametrize("grid", [circle(50), mf.Grid.box(0, 1, 40), mf.Grid.box(-1, 0.3, 17)])
def test_best_answers_lie_between_centres(grid):
    """f = d(x) - d(y - c), d >= 0 with d(0) = 0: the best answers are 0, maybe at a wall, and c."""

    def d(z):
        return (1 - np.cos(z) if grid.periodic else z**2)[..., 0]

    game = mf.ZeroSumGame(lambda x, y: d(x) - d(y - 0.2371))
    rho = mf.Density.uniform(grid)
    expected = d(grid.points).mean() + d(grid.points - 0.2371).mean()
    assert mf.nikaido_isoda(game, rho, rho) == pytest.approx(expected, abs=1e-9)


def test_the_higher_wall_may_have_the_lower_cell():
    """f falls from 1 at the left wall, and its centres are highest at the right one."""

    def f(y):
        return (np.exp(-20 * y) + 0.6 * y**4)[..., 0]

    rho = mf.Density.uniform(mf.Grid.box(0, 1, 10))
    centres = f(rho.grid.points)
    assert centres.argmax() == 9
    gap = mf.nikaido_isoda(mf.ZeroSumGame(lambda x, y: f(y) + 0 * x[..., 0]), rho, rho)
    assert gap == pytest.approx(1 - centres.mean(), abs=1e-12)


def test_the_best_of_many_maxima():
    """20 maxima in reach of the best one, which is among the last."""

    def f(y):
        return (np.cos(20 * (y - 5.8)) + 1e-3 * np.cos(y - 5.8))[..., 0]

    rho = mf.Density.uniform(mf.Grid.torus(0, 2 * np.pi, 200))
    gap = mf.nikaido_isoda(mf.ZeroSumGame(lambda x, y: f(y) + 0 * x[..., 0]), rho, rho)
    assert gap == pytest.approx(1.001, abs=1e-6)


def test_entropic_best_answers():
    """No law beats the Gibbs law, and the gap is what both win by theirs."""
    game, grid = mf.ZeroSumGame(payoff_c, beta=0.4), circle(48)
    p, q = peak(grid, 1), peak(grid, 3)
    matrix = game.payoff.on(grid, grid)
    laws = []
    for potential in (-matrix.first(q.values), matrix.second(p.values)):
        weights = np.exp(potential / game.beta)
        laws.append(mf.Density(grid, weights / (weights.sum() * grid.volume)))
    gap = mf.nikaido_isoda(game, p, q, entropic=True)
    expected = objective(game, p, laws[1]) - objective(game, laws[0], q)
    assert gap == pytest.approx(expected, abs=1e-13)
    for other in (peak(grid, 2), mf.Density.uniform(grid)):
        assert objective(game, p, other) - objective(game, other, q) < gap


def test_gaps_are_not_negative_and_vanish_at_equilibrium():
    game, grid = mf.ZeroSumGame(payoff_b, beta=0.3), circle(40)
    rng = np.random.default_rng(0)
    for _ in range(20):
        p, q = (mf.Density(grid, rng.random(40)).normalised() for _ in "pq")
        assert mf.nikaido_isoda(game, p, q) >= 0
        assert mf.nikaido_isoda(game, p, q, entropic=True) > 0
    p, q = mf.nash(game, (grid, grid))
    assert abs(mf.nikaido_isoda(game, p, q, entropic=True)) < 1e-14
    assert mf.nikaido_isoda(game, p, q) > 0.2


def test_without_entropy_both_gaps_are_one():
    game, grid = mf.ZeroSumGame(payoff_b), circle(40)
    p, q = peak(grid, 1), peak(grid, 3)
    gap = mf.nikaido_isoda(game, p, q)
    assert mf.nikaido_isoda(game, p, q, entropic=True) == gap
    cold, matrix = mf.ZeroSumGame(payoff_b, beta=1e-4), game.payoff.on(grid, grid)
    on_cells = matrix.second(p.values).max() - matrix.first(q.values).min()
    assert mf.nikaido_isoda(cold, p, q, entropic=True) == pytest.approx(on_cells, abs=1e-3)
    assert on_cells < gap


@pytest.mark.parametrize("entropic", [False, True])
def test_exchange_of_the_players_changes_no_bit(entropic):
    p, q = peak(circle(40), 1), peak(circle(31), 3)
    there = mf.ZeroSumGame(payoff_c, beta=0.3), p, q
    back = mf.ZeroSumGame(swapped(payoff_c), beta=0.3), q, p
    gaps = [mf.nikaido_isoda(*arguments, entropic=entropic) for arguments in (there, back)]
    assert gaps[0] == gaps[1]


def test_two_dimensions():
    """The gap of a sum of games is the sum of the gaps."""
    line, plane = circle(16), mf.Grid.torus((-np.pi,) * 2, (np.pi,) * 2, (16, 16))
    both = mf.KernelPayoff(
        lambda x, y: payoff_b(x[..., :1], y[..., :1]) + payoff_a(x[..., 1:], y[..., 1:])
    )
    laws = [peak(line, c) for c in (1, 3, 0, 2)]
    p, q = (mf.Density(plane, np.outer(laws[k].values, laws[k + 1].values)) for k in (0, 2))
    parts = [
        mf.nikaido_isoda(mf.ZeroSumGame(f), laws[k], laws[k + 2])
        for k, f in enumerate((payoff_b, payoff_a))
    ]
    assert mf.nikaido_isoda(mf.ZeroSumGame(both), p, q) == pytest.approx(sum(parts), abs=1e-7)


def test_bad_arguments():
    grid = circle(16)
    p = mf.Density.uniform(grid)
    game = mf.ZeroSumGame(payoff_a)
    refuses(lambda: mf.nikaido_isoda(payoff_a, p, p), "game", "function", "ZeroSumGame")
    refuses(lambda: mf.nikaido_isoda(game, mf.Cloud([[0.0]]), p), "p", "Cloud", "grids")
    refuses(lambda: mf.ZeroSumGame(3.0), "payoff", "float", "lambda")
