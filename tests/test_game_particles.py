"""Particles of games: their law, the players' exchange, their walls, and what is refused."""

import numpy as np
import pytest
from games import circle, payoff_a, payoff_b, payoff_c, peak, swapped
from reference import refuses
from scipy import stats
from scipy.integrate import solve_ivp
from scipy.special import i0, i1

import meanfield_pde as mf
from meanfield_pde.energies.payoff import ProductPayoff
from meanfield_pde.lagrangian.dynamics import Langevin
from meanfield_pde.lagrangian.game import play
from meanfield_pde.studies.game_setting import exchanged

LEVEL = 1e-4
"""Probability of a false alarm of one check; seeds are fixed, so none alarms twice."""
A = ProductPayoff(
    [
        (lambda x: np.cos(x[..., 0]), lambda y: np.cos(y[..., 0])),
        (lambda x: np.sin(x[..., 0]), lambda y: np.sin(y[..., 0])),
    ]
)
"""cos(x - y), of rank 2."""


def game(payoff=A, beta=0.3, laws=None, t1=1.0, **options):
    grid = circle(64)
    laws = (peak(grid, 1.0), peak(grid, 3.0)) if laws is None else laws
    return mf.Problem(mf.ZeroSumGame(payoff, beta, **options), laws, t1)


def within(values, expected):
    """Mean over replicas (first axis) within Student's bound of an exact one."""
    values = np.asarray(values)
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    bound = stats.t.isf(LEVEL / (2 * np.size(expected)), len(values) - 1)
    assert (np.abs(values.mean(axis=0) - expected) <= bound * error).all()


def first_modes(run):
    """E exp(i x) and E exp(i y) of each replica at the last time, as four numbers."""
    modes = [np.exp(1j * z[-1, :, :, 0]).mean(axis=1) for z in run.points]
    return np.stack([part for mode in modes for part in (mode.real, mode.imag)], axis=1)


# -- the law


def fourier(beta, t, modes=24):
    """First modes at time t for f = cos(x - y), from peaks at 1 and 3.

    a_k = E exp(i k x), b_k = E exp(i k y) solve a_k' = k (a_(k+1) conj(b) - a_(k-1) b) / 2 -
    beta k^2 a_k, and the same for b_k with -a in place of b: exact but for the cut at 24 modes.
    """
    k = np.arange(1, modes + 1)

    def rates(z, first):
        around = np.concatenate([[1.0], z, [0.0]])
        return 0.5 * k * (around[2:] * np.conj(first) - around[:-2] * first) - beta * k**2 * z

    def both(_, state):
        a, b = state.reshape(2, modes)
        return np.concatenate([rates(a, b[0]), rates(b, -a[0])])

    angle = 2 * np.pi * np.arange(512) / 512
    bump = np.exp(1.5 * np.cos(angle))
    flat = np.array([(bump * np.cos(m * angle)).sum() / bump.sum() for m in k])
    start = np.concatenate([flat * np.exp(1j * k), flat * np.exp(3j * k)])
    end = solve_ivp(both, (0, t), start, rtol=1e-10, atol=1e-12).y[:, -1].reshape(2, modes)[:, 0]
    return np.array([end[0].real, end[0].imag, end[1].real, end[1].imag])


def test_langevin_law_by_fourier_modes():
    """A diffusion that is off by a third would be seen."""
    run = mf.simulate(game(t1=1.5), particles=1000, seeds=24, dt=0.02, seed=5)
    within(first_modes(run), fourier(0.3, 1.5))
    with pytest.raises(AssertionError):
        within(first_modes(run), fourier(0.4, 1.5))


def test_density_and_fourier_modes_agree():
    """The reference of the particles, against a solver that shares nothing with it."""
    p, q = mf.solve(game(t1=1.5), tolerance=1e-4).densities[-1]
    modes = [rho.expect(lambda z: np.exp(1j * z[..., 0]).real) for rho in (p, q)]
    assert modes == pytest.approx(fourier(0.3, 1.5)[[0, 2]], abs=2e-3)


def concentrations(alpha, t):
    """First modes under birth and death alone: both laws stay exp(Re(conj(c) exp(i x))).

    c' = -alpha b for the first and d' = alpha a for the second, with a = I1(|c|)/I0(|c|) c/|c|.
    """

    def mode(c):
        return i1(abs(c)) / i0(abs(c)) * c / abs(c)

    def rates(_, state):
        c, d = state
        return np.array([-alpha * mode(d), alpha * mode(c)])

    start = 1.5 * np.exp(1j * np.array([1.0, 3.0]))
    c, d = solve_ivp(rates, (0, t), start, rtol=1e-10, atol=1e-12).y[:, -1]
    return np.array([mode(c).real, mode(c).imag, mode(d).real, mode(d).imag])


def test_birth_and_death_by_concentrations():
    problem = game(beta=0.0, reaction=2.0, transport=False, t1=1.0)
    run = mf.simulate(problem, particles=2000, seeds=10, dt=0.01, seed=2)
    assert run.dynamics.name == "birth-death"
    within(first_modes(run), concentrations(2.0, 1.0))
    with pytest.raises(AssertionError):
        within(first_modes(run), concentrations(2.3, 1.0))
    for start, end in (z[[0, -1], 0, :, 0] for z in run.points):
        assert set(end) <= set(start)  # nothing is transported
    p, q = mf.solve(problem, tolerance=1e-4).densities[-1]
    exact = concentrations(2.0, 1.0)
    assert p.expect(lambda z: np.cos(z[..., 0])) == pytest.approx(exact[0], abs=1e-3)
    assert q.expect(lambda z: np.sin(z[..., 0])) == pytest.approx(exact[3], abs=1e-3)


def test_descent_and_ascent_without_noise_are_exact():
    """One particle each and f = x y: Euler's rotation (x, y) <- (x - h y, y + h x)."""
    product = ProductPayoff([(lambda x: x[..., 0], lambda y: y[..., 0])])
    start = mf.Cloud([[1.0]]), mf.Cloud([[0.5]])
    run = mf.simulate(game(product, 0.0, start, t1=1.0), particles=1, dt=0.1)
    z = np.array([1.0, 0.5])
    for _ in range(10):
        z = z + 0.1 * np.array([-z[1], z[0]])
    assert [float(points[-1, 0, 0, 0]) for points in run.points] == pytest.approx(z, abs=1e-14)
    # Had the second player answered the first one's move, it would be elsewhere.
    turned = np.array([1.0, 0.5])
    for _ in range(10):
        turned[0] -= 0.1 * turned[1]
        turned[1] += 0.1 * turned[0]
    assert np.abs(turned - z).max() > 0.02


def test_the_two_kinds_of_payoff_agree():
    runs = [mf.simulate(game(payoff), particles=60, dt=0.05, seed=3) for payoff in (A, payoff_a)]
    for one, other in zip(*(run.points for run in runs), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


# -- the players' exchange


@pytest.mark.parametrize("payoff", [payoff_b, payoff_c, A], ids=["b", "c", "product"])
@pytest.mark.parametrize("options", [{}, {"reaction": 1.5}, {"reaction": 1.5, "transport": False}])
def test_exchange_of_the_players_bit_for_bit(payoff, options):
    laws = peak(circle(48), 1.0), peak(circle(30), 2.0)
    problem = game(payoff, laws=laws, t1=0.25, **options)
    other = exchanged(payoff) if payoff is A else swapped(payoff)
    back = game(other, laws=laws[::-1], t1=0.25, **options)

    def run(one, streams):
        return play(one, 20, 7, Langevin(0.05), None, 2, False, streams).points

    given = run(problem, (0, 1))
    for one, two in zip(given, run(back, (1, 0))[::-1], strict=True):
        assert np.array_equal(one, two)
    # The same streams for other players are another run, and so is a payoff whose sign is kept.
    assert not np.array_equal(given[0], run(back, (0, 1))[1])
    kept = game(exchanged(problem.flow.payoff, sign=1.0), laws=laws[::-1], t1=0.25, **options)
    assert not np.array_equal(given[0], run(kept, (1, 0))[1])


def test_players_and_replicas_are_independent():
    still = ProductPayoff([(lambda x: 0 * x[..., 0], lambda y: 0 * y[..., 0])])
    same = game(still, laws=(peak(circle(32), 1.0),) * 2)
    run = mf.simulate(same, particles=400, seeds=3, dt=0.5, seed=1)
    moved = np.stack([z[-1, :, :, 0] - z[0, :, :, 0] for z in run.points]).reshape(6, -1)
    correlation = np.corrcoef(moved) - np.eye(6)
    assert np.abs(correlation).max() < stats.norm.isf(LEVEL) / 20
    again = mf.simulate(same, particles=400, seeds=2, dt=0.5, seed=1)
    assert np.array_equal(again.points[1], run.points[1][:, :2])
    assert not np.array_equal(mf.simulate(same, 400, 2, dt=0.5).points[0], again.points[0])


# -- walls


def test_each_player_has_walls_of_its_own():
    box, torus = mf.Grid.box(-1, 2, 30), circle(32)
    laws = mf.Density.uniform(box), mf.Density.uniform(torus)
    f = ProductPayoff([(lambda x: 3 * x[..., 0], lambda y: 1.5 + np.sin(y[..., 0]))])
    run = mf.simulate(game(f, 0.5, laws, t1=3.0), particles=500, dt=0.02)
    x, y = (points[-1, 0, :, 0] for points in run.points)
    assert x.min() >= -1
    assert x.max() <= 2
    assert np.mean(x < -0.8) > 0.2  # pushed to the wall, and kept
    assert y.min() >= -np.pi
    assert y.max() <= np.pi
    moved = np.abs(run.points[1][-1, 0, :, 0] - run.points[1][0, 0, :, 0])
    assert (moved > np.pi).any()  # across the cut


def test_samplers_move_in_all_of_space_and_in_any_dimension():
    def sampler(n, rng):
        return rng.standard_normal((n, 3))

    f = ProductPayoff([(lambda x: (x**2).sum(-1), lambda y: np.ones(y.shape[:-1]))])
    run = mf.simulate(game(f, 2.0, (sampler, mf.Cloud(np.zeros((5, 1)))), t1=4.0), 50, dt=0.02)
    assert run.points[0].shape == (2, 1, 50, 3)
    assert run.points[1].shape == (2, 1, 50, 1)
    assert np.abs(run.points[1][-1]).max() > 4


# -- what is refused


@pytest.mark.parametrize(
    ("options", "argument", "got", "remedy"),
    [
        ({"dynamics": "sgd"}, "dynamics", "sgd", "langevin"),
        ({"dynamics": "birth-death", "particles": 10}, "dynamics", "birth-death", "reaction"),
        ({"particles": 6000}, "particles", "6000", "ProductPayoff"),
        ({"particles": 0}, "particles", "0", "10000"),
    ],
)
def test_wrong_arguments(options, argument, got, remedy):
    problem = game(payoff_b)
    refuses(lambda: mf.simulate(problem, **options), argument, got, remedy)


def test_payoffs_of_the_wrong_shape_or_without_numbers():
    """The shape (..., 1) has derivatives, too, and is refused before them."""
    shape = game(lambda x, y: np.cos(x - y))
    refuses(lambda: mf.simulate(shape, 10), "payoff must map", "(64, 8, 1)", "sum over")


def test_entropy_cannot_react():
    problem = game(reaction=1.0, entropic=True)
    refuses(lambda: mf.simulate(problem, 10), "entropic", "True", "mf.solve")


def test_steps_that_are_too_long():
    steep = ProductPayoff([(lambda x: 100 * np.cos(x[..., 0]), lambda y: np.cos(y[..., 0]))])
    with pytest.raises(mf.SimulationError, match="too large for the drift"):
        mf.simulate(game(steep), 50, dt=0.5)
    with pytest.raises(mf.SimulationError, match="too large for the reaction"):
        mf.simulate(game(steep, transport=False, reaction=1.0), 50, dt=0.5)


def test_products_of_many_particles_are_taken():
    run = mf.simulate(game(t1=0.02), particles=20_000, dt=0.01)
    assert run.particles == 20_000
    assert run.at(0.02)[0][0].size == 20_000
    refuses(lambda: run.at(0.5), "t = 0.5", "[0.0, 0.02]", "save=")
