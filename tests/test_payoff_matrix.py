"""Payoffs on grids: low rank, the exchange of the players, and what is refused."""

import numpy as np
import pytest
from games import circle, payoff_b, payoff_c, swapped
from reference import refuses

import meanfield_pde as mf
from meanfield_pde.energies import payoff_matrix
from meanfield_pde.energies.payoff_matrix import DenseMatrix, LowRankMatrix

PLANE = mf.Grid.torus((-np.pi, -np.pi), (np.pi, np.pi), (20, 16))


def smooth(x, y):
    """A payoff of a point on the circle and one on the torus, of moderate rank."""
    return np.exp(np.cos(x[..., 0] - y[..., 0]) + 0.3 * np.sin(x[..., 0] + 2 * y[..., 1]))


def rough(x, y):
    """A kink along the diagonal: full rank."""
    return np.abs(np.sin((x - y) / 2))[..., 0]


def values(f, first, second):
    """All pairs, one by one."""
    x, y = first.points.reshape(-1, first.dim), second.points.reshape(-1, second.dim)
    return np.array([[float(f(a, b)) for b in y] for a in x])


@pytest.mark.parametrize(
    ("f", "first", "second", "kind"),
    [
        (payoff_b, circle(40), circle(30), LowRankMatrix),
        (payoff_c, circle(40), circle(30), LowRankMatrix),
        (smooth, circle(200), PLANE, LowRankMatrix),
        (rough, circle(40), circle(40), DenseMatrix),
    ],
)
def test_products_are_those_with_all_pairs(f, first, second, kind):
    matrix = mf.KernelPayoff(f).on(first, second)
    assert isinstance(matrix, kind)
    rng = np.random.default_rng(0)
    p, q = rng.random(first.shape), rng.random(second.shape)
    every = values(f, first, second)
    for found, expected in (
        (matrix.first(q), every @ q.ravel() * second.volume),
        (matrix.second(p), p.ravel() @ every * first.volume),
    ):
        assert np.allclose(found.ravel(), expected, rtol=0, atol=1e-11)
    left, right = matrix.factors()
    assert np.abs(left @ right.T - every).max() < 1e-11
    expected = (p.ravel() @ every @ q.ravel()) * first.volume * second.volume
    assert matrix.value(p, q) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("f", [payoff_c, smooth, rough])
def test_exchange_of_the_players_changes_no_bit(f):
    first = circle(60)
    second = PLANE if f is smooth else circle(50)
    there = mf.KernelPayoff(f).on(first, second)
    back = mf.KernelPayoff(swapped(f)).on(second, first)
    rng = np.random.default_rng(1)
    p, q = rng.random(first.shape), rng.random(second.shape)
    assert (there.first(q) == -back.second(q)).all()
    assert (there.second(p) == -back.first(p)).all()
    assert there.value(p, q) == -back.value(q, p)


def test_products_are_kernels():
    terms = [
        (lambda x: np.cos(x[..., 0]), lambda y: np.cos(y[..., 0])),
        (lambda x: np.sin(x[..., 0]), lambda y: np.sin(y[..., 0])),
    ]
    grids = circle(30), circle(24)
    product = mf.ProductPayoff(terms).on(*grids)
    kernel = mf.KernelPayoff(lambda x, y: np.cos(x - y)[..., 0]).on(*grids)
    q = np.random.default_rng(2).random(24)
    assert np.allclose(product.first(q), kernel.first(q), rtol=0, atol=1e-13)
    assert "rank 2" in product.remark
    assert "rank 2" in kernel.remark  # found, where the other was told


def test_large_payoffs_are_never_held(monkeypatch):
    monkeypatch.setattr(payoff_matrix, "MOST_ENTRIES", 1000)
    seen = []

    def counted(x, y):
        found = payoff_c(x, y)
        seen.append(found.size)
        return found

    grids = circle(3000), circle(3000)
    matrix = mf.KernelPayoff(counted).on(*grids)
    assert "rank 4" in matrix.remark
    assert sum(seen) < 0.7 * grids[0].size * grids[1].size
    q = np.exp(np.cos(grids[1].points[:, 0]))
    x = grids[0].points[[5, 1000]]
    expected = payoff_c(x[:, None, :], grids[1].points[None]) @ q * grids[1].volume
    assert np.allclose(matrix.first(q)[[5, 1000]], expected, rtol=0, atol=1e-11)
    few = circle(100), circle(100)
    refuses(lambda: mf.KernelPayoff(rough).on(*few), "payoff", "10000", "ProductPayoff")


def test_charts_are_refused():
    """Their coordinates are none of the parameters that a payoff is a function of."""
    plane, line = mf.Grid.polar(2.0, (8, 8)), mf.Grid.box(0, 1, 8)
    game = mf.ZeroSumGame(lambda x, y: x[..., 0] * y[..., 0], beta=0.1)
    p, q = mf.Density.uniform(plane), mf.Density.uniform(line)
    for use in (
        lambda: mf.nash(game, (plane, line)),
        lambda: mf.game_value(game.payoff, (line, plane)),
        lambda: mf.nikaido_isoda(game, p, q),
    ):
        refuses(use, "grids", "Polar", "Grid.box")


def test_terms_that_are_no_pairs_of_functions_are_refused():
    for terms in (3, [], [np.cos, np.sin], (np.cos, np.sin), [(np.cos,)], [(np.cos, 1.0)], ["ab"]):
        refuses(lambda terms=terms: mf.ProductPayoff(terms), "terms", "pairs", "np.sin")


def test_factors_without_a_value_are_no_matter_of_periods():
    torus = mf.Grid.torus(0, 2 * np.pi, 16)

    def wave(x):
        return np.cos(x[..., 0])

    def root(x):
        return np.where(wave(x) > 0, wave(x), np.nan)

    f = mf.ProductPayoff([(wave, wave), (root, wave)])
    refuses(lambda: f.on(torus, torus), "factor 1", "nan", "singularity")


def test_payoffs_without_the_period_are_refused():
    box, torus = mf.Grid.box(-1, 1, 20), circle(20)
    f = mf.KernelPayoff(lambda x, y: (x * y)[..., 0])
    f.on(box, box)
    for grids, which in (((torus, box), "first"), ((box, torus), "second")):
        refuses(lambda grids=grids: f.on(*grids), which, "apart", "Grid.box")
    line = lambda z: z[..., 0]  # noqa: E731
    wave = lambda z: np.cos(z[..., 0])  # noqa: E731
    refuses(lambda: mf.ProductPayoff([(line, wave)]).on(torus, torus), "first", "apart", "Grid.box")
    refuses(
        lambda: mf.ProductPayoff([(wave, line)]).on(torus, torus), "second", "apart", "Grid.box"
    )
