"""Games as densities: known gaps, the exchange of the players, orders, averages and a cycle."""

import numpy as np
import pytest
from games import (
    circle,
    l1,
    payoff_a,
    payoff_b,
    payoff_c,
    peak,
    solved,
    spectral_gap_of_a,
    swapped,
    wells,
)
from reference import order, refuses

import meanfield_pde as mf
from meanfield_pde.eulerian import game_march, game_step
from meanfield_pde.eulerian.game_step import Match
from meanfield_pde.eulerian.stepper import MPRK22, STEPPERS, Step

WAYS = {
    "langevin": {"beta": 0.3},
    "reaction": {"beta": 0.3, "reaction": 0.7},
    "entropic": {"beta": 0.3, "reaction": 0.7, "entropic": True},
    "fisher-rao": {"reaction": 0.7, "transport": False},
    "noiseless": {},
}


def rotating(cells=128):
    """Start of the game cos(x - y) from two waves a quarter apart."""
    grid = circle(cells)
    waves = (lambda x: 1 + 0.5 * np.cos(x[..., 0])), (lambda x: 1 + 0.5 * np.sin(x[..., 0]))
    laws = (mf.Density.from_function(grid, lambda x, f=f: f(x) / (2 * np.pi)) for f in waves)
    return tuple(laws)


def apart(grid=None, other=None):
    """Start of game B."""
    grid = circle(64) if grid is None else grid
    return peak(grid, 1), peak(grid if other is None else other, 3)


# -- known answers


@pytest.mark.parametrize("stepper", ["auto", "b2", "mprk22"])
def test_gap_of_a_rotating_game(stepper):
    """Known values, and an independent spectral solution."""
    exact = spectral_gap_of_a(0.05, [1.0, 5.0])
    assert exact == pytest.approx([0.4695178478, 0.3741379594], abs=1e-8)
    game = mf.ZeroSumGame(payoff_a, beta=0.05)
    solution = solved(game, rotating(), 5.0, save=[1, 5], stepper=stepper)
    assert solution.gap == pytest.approx(exact, abs=1e-4)
    assert np.abs(solution.payoff).max() < 1e-15


def test_the_wrong_sign_for_one_player_is_seen(monkeypatch):
    def wrong(match, p, q):
        return match.payoff.first(q), match.payoff.second(p)

    monkeypatch.setattr(Match, "potentials", wrong)
    game = mf.ZeroSumGame(payoff_a, beta=0.05)
    solution = solved(game, rotating(64), 5.0)
    assert abs(solution.gap[-1] - 0.3741379594) > 0.1


def test_langevin_reaches_the_entropic_equilibrium():
    start = apart()
    game = mf.ZeroSumGame(payoff_b, beta=0.3)
    nash = mf.nash(game, (start[0].grid, start[1].grid))
    solution = solved(game, start, 200.0, save=[100, 200])
    assert l1(solution.densities[-1], nash) <= 1e-10
    assert solution.gap[-1] == pytest.approx(0.299962, abs=1e-6)
    assert abs(solution.entropic_gap[-1]) < 1e-13
    assert "reached t = 200" in solution.result


def test_long_steps_alone_would_stay_away(monkeypatch):
    """Why the turn of a step is limited: averaged steps hardly damp a rotation in long steps."""
    monkeypatch.setattr(game_march, "TURN", np.inf)
    game, start = mf.ZeroSumGame(payoff_b, beta=0.3), apart()
    nash = mf.nash(game, (start[0].grid, start[1].grid))
    assert l1(solved(game, start, 200.0).densities[-1], nash) > 1e-8


def test_without_noise_or_reaction_the_gap_stays():
    solution = solved(mf.ZeroSumGame(payoff_b), apart(), 20.0, save=[10, 20])
    assert solution.gap == pytest.approx(1.515, abs=2e-3)


@pytest.mark.parametrize("transport", [True, False])
def test_entropic_birth_and_death_reach_equilibrium_too(transport):
    start = apart(circle(40), mf.Grid.torus(0, 2 * np.pi, 32))
    game = mf.ZeroSumGame(payoff_b, 0.5, reaction=1.0, entropic=True, transport=transport)
    nash = mf.nash(game, (start[0].grid, start[1].grid))
    assert l1(solved(game, start, 80.0).densities[-1], nash) < 1e-11


# -- the exchange of the players


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("way", WAYS)
def test_exchange_of_the_players_changes_no_bit(way, stepper):
    first, second = circle(32), mf.Grid.torus(0, 2 * np.pi, 24)
    p, q = apart(first, second)
    options = {"save": [0.2, 0.5], "stepper": stepper, "tolerance": 1e-2}
    there = solved(mf.ZeroSumGame(payoff_c, **WAYS[way]), (p, q), 0.5, **options)
    back = solved(mf.ZeroSumGame(swapped(payoff_c), **WAYS[way]), (q, p), 0.5, **options)
    assert there.statistics == back.statistics
    for own, other in ((there.densities, back.densities), (there.averages, back.averages)):
        for pair, exchanged in zip(own, other, strict=True):
            assert (pair[0].values == exchanged[1].values).all()
            assert (pair[1].values == exchanged[0].values).all()
    assert (there.payoff == -back.payoff).all()
    for name in ("gap", "average_gap", "entropic_gap"):
        assert (getattr(there, name) == getattr(back, name)).all()


def test_answering_in_turn_is_seen(monkeypatch):
    """Gauss-Seidel: the second player answers the end of the first one's step."""

    def in_turn(match, before, after):
        q = 0.5 * (before[1] + after[1])
        return match.payoff.first(q), -match.payoff.second(after[0])

    monkeypatch.setattr(Match, "between", in_turn)
    p, q = apart(circle(32))
    there = solved(mf.ZeroSumGame(payoff_c, beta=0.3), (p, q), 0.5)
    back = solved(mf.ZeroSumGame(swapped(payoff_c), beta=0.3), (q, p), 0.5)
    assert l1(there.densities[-1], back.densities[-1][::-1]) > 1e-4


# -- orders


@pytest.mark.parametrize(
    ("stepper", "way", "expected"),
    [
        ("b1", "langevin", 1),
        ("b2", "langevin", 2),
        ("mprk22", "langevin", 2),
        ("heun", "langevin", 2),
        ("b2", "reaction", 2),
        ("mprk22", "entropic", 2),
        ("b2", "fisher-rao", 2),
        ("heun", "fisher-rao", 2),
    ],
)
def test_order_in_time(stepper, way, expected):
    game, start = mf.ZeroSumGame(payoff_b, **WAYS[way]), apart(circle(24))
    options = {"flux": "sg" if game.transport else "auto", "stepper": stepper}
    steps = np.array([16, 32, 64]) * (2 if stepper == "heun" else 1)
    ends = [
        solved(game, start, 1.0, dt=1 / n, **options).densities[-1]
        for n in (*steps, (8 if expected == 1 else 4) * steps[-1])
    ]
    assert abs(order(steps, [l1(end, ends[-1]) for end in ends[:-1]]) - expected) < 0.2


def divergence(p, q):
    """KL(uniform, p) + KL(uniform, q): a constant of birth and death in the game cos(x - y)."""
    return -sum(float(np.log(rho.values).mean()) for rho in (p, q))


def test_rotation_is_neither_fed_nor_damped(monkeypatch):
    """Birth and death about an interior equilibrium go round on level sets of a divergence."""
    game = mf.ZeroSumGame(payoff_a, reaction=1.0, transport=False)

    def drift(n):
        solution = solved(game, rotating(32), 20.0, dt=20 / n)
        return divergence(*solution.densities[-1]) - divergence(*solution.densities[0])

    drifts = [abs(drift(n)) for n in (100, 200, 400)]
    assert drifts[-1] < 1e-4
    assert order([100, 200, 400], drifts) > 1.8
    monkeypatch.setattr(Match, "between", lambda match, before, after: match.potentials(*before))
    assert drift(400) > 20 * drifts[-1]  # explicit Euler steps spiral outwards


# -- averages


def test_averages_of_birth_and_death_win_where_the_law_cycles():
    """Regret: the gap of the averages on n and m cells is at most log(n m) / (alpha t)."""
    grid, alpha, times = circle(32), 1.0, np.array([20.0, 40.0, 80.0])
    game = mf.ZeroSumGame(payoff_c, reaction=alpha, transport=False)
    start = mf.Density.uniform(grid), mf.Density.uniform(grid)
    solution = solved(game, start, 80.0, save=times)
    matrix = game.payoff.on(grid, grid)
    on_cells = [
        matrix.second(p.values).max() - matrix.first(q.values).min() for p, q in solution.averages
    ]
    bound = 2 * np.log(32) / (alpha * times)
    assert (np.array(on_cells) <= bound).all()
    assert solution.average_gap[-1] < 0.35 * solution.average_gap[0]
    assert solution.gap[-1] > 4 * solution.average_gap[-1]
    # Twice the reaction in half the time, so that the bound is of the right variables.
    fast = mf.ZeroSumGame(payoff_c, reaction=2 * alpha, transport=False)
    again = solved(fast, start, 40.0, save=times / 2)
    assert again.average_gap == pytest.approx(solution.average_gap, rel=1e-6)


def test_averages_are_integrals():
    game, start = mf.ZeroSumGame(payoff_b, beta=0.3), apart(circle(32))
    times = np.linspace(0, 1, 101)
    solution = solved(game, start, 1.0, save=times, tolerance=1e-4)
    for k in (0, 1):
        path = np.stack([pair[k].values for pair in solution.densities])
        expected = np.trapezoid(path, times, axis=0)
        assert np.abs(solution.averages[-1][k].values - expected).max() < 2e-5
        assert (solution.averages[0][k].values == start[k].values).all()
        assert abs(solution.averages[-1][k].mass - 1) < 1e-13


def test_rates_are_a_clock():
    start = apart(circle(32))
    plain = solved(mf.ZeroSumGame(payoff_b, 0.3), start, np.log(2), dt=np.log(2) / 50)
    game = mf.ZeroSumGame(payoff_b, 0.3, rate=lambda t: 1 / (1 + t))
    slowed = solved(game, start, 1.0, dt=np.log(2) / 50)
    assert l1(plain.densities[-1], slowed.densities[-1]) < 1e-12
    assert l1(plain.averages[-1], slowed.averages[-1]) < 1e-12


# -- dimensions


@pytest.mark.parametrize("way", ["langevin", "reaction"])
def test_sums_of_games_are_played_apart(way):
    """The densities of a sum of two games are products of those of each."""
    line, plane = circle(12), mf.Grid.torus((-np.pi,) * 2, (np.pi,) * 2, (12, 12))
    parts = [peak(line, c, 0.5) for c in (1, 3, 0, 2)]

    def both(x, y):
        return payoff_b(x[..., :1], y[..., :1]) + payoff_a(x[..., 1:], y[..., 1:])

    def product(first, second):
        return mf.Density(plane, np.outer(first.values, second.values))

    options = {"stepper": "b2", "dt": 0.05}
    start = product(parts[0], parts[1]), product(parts[2], parts[3])
    whole = solved(mf.ZeroSumGame(both, **WAYS[way]), start, 0.2, **options)
    alone = [
        solved(mf.ZeroSumGame(f, **WAYS[way]), (parts[k], parts[k + 2]), 0.2, **options)
        for k, f in enumerate((payoff_b, payoff_a))
    ]
    for player in (0, 1):
        expected = product(*(solution.densities[-1][player] for solution in alone))
        assert np.abs(whole.densities[-1][player].values - expected.values).max() < 1e-13
    assert whole.payoff[-1] == pytest.approx(sum(s.payoff[-1] for s in alone), abs=1e-13)


@pytest.mark.parametrize("stepper", ["heun", "b1", "b2"])  # in planes mprk22 halves its steps
def test_players_of_different_dimension(stepper):
    """A coordinate that the payoff does not know only diffuses, and harms nobody."""
    first = mf.Grid.box(-2, 2, 24)
    second, plane = mf.Grid.box(-1, 1, 10), mf.Grid.box((-1, -1), (1, 1), (10, 8))
    f = lambda x, y: x[..., 0] ** 2 - x[..., 0] * y[..., 0] - y[..., 0] ** 2  # noqa: E731
    game = mf.ZeroSumGame(f, beta=0.2)
    p, q = mf.Density.gaussian(first, 0.3, 0.1), mf.Density.gaussian(second, 0.1, 0.02)
    spread = mf.Density(plane, np.repeat(q.values[:, None], 8, axis=1) / 2)
    options = {"stepper": stepper, "flux": "sg", "dt": 0.005}
    short = solved(game, (p, q), 0.05, **options)
    wide = solved(game, (p, spread), 0.05, **options)
    assert np.abs(short.densities[-1][0].values - wide.densities[-1][0].values).max() < 1e-12
    marginal = wide.densities[-1][1].values.sum(axis=1) * plane.spacing[1]
    assert np.abs(marginal - short.densities[-1][1].values).max() < 1e-12


# -- no convergence


@pytest.mark.parametrize(("beta", "cycles"), [(0.03, True), (0.1, False)])
def test_a_limit_cycle(beta, cycles):
    """Descent-ascent in two coupled double wells: a cycle of period 4.55 where noise is small.

    Refined in space and time (128 to 512 cells, dt = .0125 and .00625) the period is 4.551 and the
    largest mean of the first player 1.029; at beta = .1 the same start dies out.
    """
    grid, period = mf.Grid.box(-2.5, 2.5, 80), 4.59  # on these cells with these steps
    start = mf.Density.gaussian(grid, 1.0, 0.05), mf.Density.gaussian(grid, 0.0, 0.05)
    times = 18 + period * np.array([0, 0.25, 1])
    game = mf.ZeroSumGame(wells, beta)
    solution = solved(game, start, 24.0, save=times, stepper="mprk22", dt=0.05)
    means = np.array([[rho.mean()[0] for rho in pair] for pair in solution.densities])
    sizes = np.hypot(*means.T)
    if not cycles:
        assert (sizes < 0.1).all()
        return
    assert (sizes > 0.7).all()
    assert np.abs(means[2] - means[0]).max() < 0.1
    assert np.abs(means[1] - means[0]).max() > 0.7
    assert (solution.gap > 1).all()


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "argument", "got", "remedy"),
    [
        ({"tolerance": 0}, "tolerance", "0", "1e-3"),
        ({"dt": -1.0}, "dt", "-1", "leave it out"),
        ({"dt": 2.0, "stepper": "b2"}, "dt", "2", "smaller"),
        ({"dt": 0.5, "stepper": "heun"}, "dt", "0.5", "mprk22"),
        ({"flux": "upwind"}, "flux", "'upwind'", "auto"),
        ({"stepper": "rk4"}, "stepper", "'rk4'", "auto"),
        ({"flux": "rl", "stepper": "b2"}, "flux", "'rl'", "heun"),
        ({"symmetry": mf.Group.reflection()}, "symmetry", "group", "rounding"),
        ({"reduce": mf.Group.reflection()}, "reduce", "group", "rounding"),
        ({"save": [0.2, 0.1]}, "save", "[0.2, 0.1]", "sort"),
    ],
)
def test_bad_arguments(arguments, argument, got, remedy):
    problem = mf.Problem(mf.ZeroSumGame(payoff_b, 0.3), apart(), 1.0)
    refuses(lambda: mf.solve(problem, **arguments), argument, got, remedy)


def test_bad_problems():
    p, q = apart()
    game = mf.ZeroSumGame(payoff_b, 0.3)
    refuses(
        lambda: mf.solve(mf.Problem(game, (p, mf.Cloud([[0.0]])), 1.0)),
        "initial[1]",
        "Cloud",
        "simulate",
    )
    heavy = mf.Density(p.grid, 2 * p.values)
    refuses(lambda: mf.solve(mf.Problem(game, (heavy, q), 1.0)), "initial[0]", "2", "normalised")
    still = mf.ZeroSumGame(payoff_b, reaction=1.0, transport=False)
    refuses(lambda: mf.solve(mf.Problem(still, (p, q), 1.0), flux="sg"), "flux", "'sg'", "flows")


def test_failure_is_a_sentence(monkeypatch):
    monkeypatch.setattr(game_step, "ITERATIONS", 0)
    problem = mf.Problem(mf.ZeroSumGame(payoff_b, 0.3), apart(circle(16)), 1.0)
    with pytest.raises(mf.SolveError, match="did not settle") as caught:
        mf.solve(problem, stepper="b2")
    assert isinstance(caught.value.solution, mf.GameSolution)
    solution = mf.solve(problem, stepper="b2", throw=False)
    assert not solution.ok
    assert len(solution.densities) == 1  # the start
    assert "stopped at clock time 0" in solution.result


def test_a_leak_is_refused(monkeypatch):
    """Rounding is put back, and nothing more."""
    kept = game_step.Player._kept
    leaking = lambda player, rho: kept(player, rho * (1 - 1e-11))  # noqa: E731
    monkeypatch.setattr(game_step.Player, "_kept", leaking)
    problem = mf.Problem(mf.ZeroSumGame(payoff_b, 0.3), apart(circle(16)), 1.0)
    with pytest.raises(mf.SolveError, match="lost 1.0e-11 of the mass"):
        mf.solve(problem, dt=0.1)


def test_a_small_planted_leak_is_told(monkeypatch):
    """One below what is refused is put back, and stands in the statistics that claims read."""
    right = MPRK22.step

    def leaking(self, state, dt, estimate):
        found = right(self, state, dt, estimate)
        return Step(found.rho * (1 - 5e-13), found.error)

    problem = mf.Problem(mf.ZeroSumGame(payoff_b, 0.3), apart(circle(16)), 1.0)
    sound = mf.solve(problem, dt=0.1, stepper="mprk22")
    monkeypatch.setattr(MPRK22, "step", leaking)
    leaky = mf.solve(problem, dt=0.1, stepper="mprk22")
    assert sound.statistics.mass_drift <= 1e-14
    assert leaky.statistics.mass_drift == pytest.approx(5e-13, rel=0.01)


def test_saved_states():
    p, q = apart(circle(16))
    solution = solved(mf.ZeroSumGame(payoff_b, 0.3), (p, q), 1.0, save=[0, 0.5], progress=True)
    assert (solution.at(0)[0].values == p.values).all()
    assert "last time to save" in solution.result
    refuses(lambda: solution.at(0.3), "t", "0.3", "save")
