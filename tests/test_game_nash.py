"""Equilibria of games against known gaps, slow iterations and matrix games."""

import numpy as np
import pytest
from games import circle, l1, payoff_a, payoff_b, payoff_c, peak, swapped
from reference import refuses

import meanfield_pde as mf
from meanfield_pde.eulerian import game_nash


@pytest.mark.parametrize(("beta", "gap"), [(1, 0.687147), (0.3, 0.299962), (0.1, 0.081830)])
def test_known_gaps(beta, gap):
    """Gaps of the payoff alone at the entropic equilibria of game B."""
    game, grid = mf.ZeroSumGame(payoff_b, beta), circle(64)
    p, q = mf.nash(game, (grid, grid))
    assert mf.nikaido_isoda(game, p, q) == pytest.approx(gap, abs=1e-6)


@pytest.mark.parametrize("beta", [2.0, 0.3, 0.03, 0.002])
@pytest.mark.parametrize("payoff", [payoff_b, payoff_c])
def test_each_law_is_the_gibbs_law_of_the_other(payoff, beta):
    first, second = circle(96), mf.Grid.torus(0, 2 * np.pi, 80)
    p, q = mf.nash(mf.ZeroSumGame(payoff, beta), (first, second))
    x, y = first.points[:, None], second.points[None]
    every = payoff(x, y)
    logs = every @ q.masses / -beta, p.masses @ every / beta
    for law, log in zip((p, q), logs, strict=True):
        weights = np.exp(log - log.max())
        assert np.abs(weights / weights.sum() - law.masses).sum() < 1e-13 * max(1, 3 / beta)
        assert law.mass == pytest.approx(1, abs=1e-14)


def test_damped_iteration_goes_there():
    """An independent way: averaged best answers, slow and safe at a large beta."""
    game, grid = mf.ZeroSumGame(payoff_c, beta=0.7), circle(40)
    every = payoff_c(grid.points[:, None], grid.points[None])
    p = q = np.full(40, 1 / 40)
    for _ in range(600):
        answers = [np.exp(every @ q / -0.7), np.exp(p @ every / 0.7)]
        p, q = (0.9 * a + 0.1 * b / b.sum() for a, b in zip((p, q), answers, strict=True))
    laws = mf.Density(grid, p / grid.volume), mf.Density(grid, q / grid.volume)
    assert l1(mf.nash(game, (grid, grid)), laws) < 1e-12


def test_exchange_of_the_players():
    grids = circle(40), circle(31)
    p, q = mf.nash(mf.ZeroSumGame(payoff_c, beta=0.3), grids)
    back = mf.nash(mf.ZeroSumGame(swapped(payoff_c), beta=0.3), grids[::-1])
    assert l1((p, q), back[::-1]) < 1e-13


def test_rough_payoffs_on_planes():
    """A payoff of full rank, and grids of different dimension."""
    line, plane = circle(24), mf.Grid.box((-1, -1), (1, 1), (8, 6))
    f = mf.KernelPayoff(lambda x, y: np.abs(np.sin(x[..., 0]) - y[..., 0]))
    game = mf.ZeroSumGame(f, beta=0.2)
    p, q = mf.nash(game, (line, plane))
    assert abs(mf.nikaido_isoda(game, p, q, entropic=True)) < 1e-13
    assert np.abs(q.values - q.values[:, :1]).max() < 1e-12  # the payoff has no second coordinate


def test_values():
    """A: 0. B: -1/2, on a grid with cells at pi / 2."""
    grid = mf.Grid.torus(0, 2 * np.pi, 42)
    for payoff, value in ((payoff_a, 0.0), (payoff_b, -0.5)):
        found = mf.game_value(mf.KernelPayoff(payoff), (grid, grid))
        assert found.value == pytest.approx(value, abs=1e-12)
        assert abs(found.gap) < 1e-12
        assert found.first.mass == pytest.approx(1)


def test_rock_paper_scissors():
    wins = np.array([[0, 1, -1], [-1, 0, 1], [1, -1, 0]])
    cells = mf.Grid.box(0, 3, 3)
    payoff = mf.KernelPayoff(lambda x, y: wins[x[..., 0].astype(int), y[..., 0].astype(int)] * 1.0)
    found = mf.game_value(payoff, (cells, cells))
    assert abs(found.value) < 1e-15
    assert np.allclose(found.first.values, 1 / 3)
    assert np.allclose(found.second.values, 1 / 3)


@pytest.mark.parametrize(("size", "offset"), [(1.0, 0.0), (1e-10, 0.0), (1e10, 0.0), (1.0, 1e5)])
def test_value_of_a_payoff_of_any_size(size, offset):
    """A diagonal game with entries 1, 2, 3: its value is 1 / (1 + 1/2 + 1/3)."""
    wins, cells = np.diag([1.0, 2.0, 3.0]), mf.Grid.box(0, 3, 3)

    def payoff(x, y):
        return offset + size * wins[x[..., 0].astype(int), y[..., 0].astype(int)]

    found = mf.game_value(mf.KernelPayoff(payoff), (cells, cells))
    assert (found.value - offset) / size == pytest.approx(6 / 11, abs=1e-10)
    assert np.allclose(found.first.values, np.array([6, 3, 2]) / 11, atol=1e-9)
    assert abs(found.gap) <= 1e-10 * size


def test_entropic_equilibria_approach_the_value():
    grid = circle(48)
    value = mf.game_value(mf.KernelPayoff(payoff_c), (grid, grid)).value
    gaps = []
    for beta in (0.1, 0.01, 0.001):
        game = mf.ZeroSumGame(payoff_c, beta)
        p, q = mf.nash(game, (grid, grid))
        gaps.append(abs(game.payoff.on(grid, grid).value(p.values, q.values) - value))
    assert gaps[0] > 3 * gaps[1] > 9 * gaps[2]


def test_refusals(monkeypatch):
    grid = circle(16)
    game, cold = mf.ZeroSumGame(payoff_a, beta=0.1), mf.ZeroSumGame(payoff_a)
    refuses(lambda: mf.nash(cold, (grid, grid)), "beta", "0", "game_value")
    refuses(lambda: mf.nash(payoff_a, (grid, grid)), "game", "function", "ZeroSumGame")
    refuses(lambda: mf.nash(game, grid), "grids", "Grid", "(grid, grid)")
    refuses(lambda: mf.nash(game, (grid, 3)), "grids", "int", "Grid.box")
    refuses(lambda: mf.game_value(payoff_a, (grid, grid)), "payoff", "function", "KernelPayoff")
    monkeypatch.setattr(game_nash, "MOST_PAIRS", 100)
    payoff = mf.KernelPayoff(payoff_a)
    refuses(lambda: mf.game_value(payoff, (grid, grid)), "grids", "256", "nash")
    monkeypatch.setattr(game_nash, "STEPS", 0)
    with pytest.raises(mf.GibbsError, match="did not settle"):
        mf.nash(game, (grid, grid))


def test_a_hopeless_tolerance_is_an_error():
    grid = circle(32)
    with pytest.raises(mf.GibbsError, match="larger tolerance"):
        mf.nash(mf.ZeroSumGame(payoff_c, beta=0.1), (grid, grid), tolerance=1e-18)


def test_start_does_not_matter_to_the_flow():
    """Two starts, one equilibrium, by time steps (see test_game_solve for the rest)."""
    game, grid = mf.ZeroSumGame(payoff_b, beta=1.0), circle(32)
    nash = mf.nash(game, (grid, grid))
    for centres in ((1, 3), (0, -2)):
        start = tuple(peak(grid, c) for c in centres)
        assert l1(mf.solve(mf.Problem(game, start, 50.0)).densities[-1], nash) < 1e-11
