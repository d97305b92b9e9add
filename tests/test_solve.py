"""The density solver's front: arguments, choices and their reasons, saving, and failing well."""

import logging

import numpy as np
import pytest
from problems import FLOWS, half_square
from reference import refuses

import meanfield_pde as mf
from meanfield_pde.eulerian import stepper as stepper_module
from meanfield_pde.eulerian.choose import EXPLICIT_STEPS
from meanfield_pde.eulerian.exponential import cost
from meanfield_pde.eulerian.flux import FLUXES
from meanfield_pde.eulerian.march import ENERGY_RISE, March, StuckError
from meanfield_pde.eulerian.stepper import (
    MPRK22,
    STEPPERS,
    Equation,
    Heun,
    State,
    Step,
    StepFailedError,
)

GRID = mf.Grid.box(-4, 4, 40)
WELL = mf.Potential(half_square) + 0.5 * mf.Entropy()
MOVING = WELL + 0.1 * mf.Interaction(half_square)
"""The same with a potential that depends on the density."""
START = mf.Density.gaussian(GRID, 1.0, 0.1)


def problem(energy=WELL, start=START, t1=0.5, rate=None):
    return mf.Problem(mf.GradientFlow(energy, rate), start, t1)


def bound_of(flow, flux="sg"):
    """Positivity bound of an explicit step, from the rates of its first potential."""
    rho, energy = flow.initial, flow.flow.energy
    phi = energy.smooth.potential(rho)
    return 1 / FLUXES[flux].transport(rho.grid, phi, energy.beta).outflow


def equation():
    return Equation(GRID, WELL.smooth.on(GRID), 0.5, mf.ScharfetterGummel())


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "argument", "got", "remedy"),
    [
        ({"tolerance": 0}, "tolerance", "0", "1e-3"),
        ({"tolerance": "small"}, "tolerance", "'small'", "1e-3"),
        ({"tolerance": np.nan}, "tolerance", "nan", "1e-3"),
        ({"dt": 0.0}, "dt", "0", "leave it out"),
        ({"dt": -1}, "dt", "-1", "leave it out"),
        ({"flux": "upwind"}, "flux", "'upwind'", "auto"),
        ({"flux": None}, "flux", "None", "auto"),
        ({"stepper": "rk4"}, "stepper", "'rk4'", "auto"),
        ({"stepper": mf.B1}, "stepper", "B1", "auto"),
        ({"save": [0.2, 0.1]}, "save", "[0.2, 0.1]", "sort"),
        ({"save": [0, 0.7]}, "save", "0.7", "t1"),
        ({"save": 1}, "save", "1", "2"),
        ({"save": []}, "save", "[]", "sort"),
    ],
)
def test_bad_arguments(arguments, argument, got, remedy):
    refuses(lambda: mf.solve(problem(), **arguments), argument, got, remedy)


def test_bad_problems():
    refuses(lambda: mf.solve(WELL), "problem", "Sum", "mf.Problem")
    cloud = problem(start=mf.Cloud([[0.0]]))
    refuses(lambda: mf.solve(cloud), "initial", "Cloud", "mf.simulate")


def test_a_fixed_step_beyond_the_bound_is_refused():
    bound = bound_of(problem())
    refuses(
        lambda: mf.solve(problem(), stepper="heun", dt=1.01 * bound), "dt", f"{bound:.3g}", "mprk22"
    )
    within = mf.solve(problem(), stepper="heun", dt=0.5 * bound)
    assert within.statistics.dt[1] <= 0.5 * bound * (1 + 1e-12)
    for stepper in ("b1", "b2", "mprk22"):
        beyond = mf.solve(problem(), stepper=stepper, dt=5 * bound)
        assert beyond.statistics.steps == int(np.ceil(0.5 / (5 * bound)))
    refuses(lambda: mf.solve(problem(), stepper="b1", dt=0.6), "dt", "0.6", "smaller")


def test_a_fixed_step_within_the_bound_is_taken():
    bound = bound_of(problem())
    steps = int(np.ceil(0.5 / (0.99 * bound)))
    solution = mf.solve(problem(), stepper="heun", dt=0.5 / steps)
    assert 0.9 * bound < 0.5 / steps <= bound
    assert solution.statistics.steps == steps


# -- choices


def test_auto_is_explicit_where_that_is_cheap():
    moving = problem(MOVING)
    statistics = mf.solve(moving).statistics
    assert (statistics.flux, statistics.stepper) == ("sg", "heun")
    bound = bound_of(moving)
    assert f"{bound:.2g}" in statistics.reason
    assert f"about {0.5 / bound:.0f} in all" in statistics.reason
    assert statistics.reason in mf.solve(moving).result


def test_auto_is_implicit_where_explicit_steps_are_many():
    """The bound does not depend on the time: a long one asks for more steps than pay."""
    bound = bound_of(problem(MOVING))
    for factor, methods in ((0.9, ("sg", "heun")), (1.1, ("compact", "mprk22"))):
        t1 = factor * EXPLICIT_STEPS[1] * bound
        statistics = mf.solve(problem(MOVING, t1=t1), save=[0.0]).statistics
        assert (statistics.flux, statistics.stepper) == methods
    long = mf.solve(problem(MOVING, t1=1e4))
    assert long.statistics.steps < 1000
    assert mf.distance.l1(long.densities[-1], mf.gibbs(MOVING, GRID)) < 1e-4


def test_auto_counts_fewer_steps_in_the_plane():
    grid = mf.Grid.box((-4, -4), (4, 4), (28, 28))
    flat = problem(MOVING, mf.Density.gaussian(grid, (0.0, 0.0), 0.2))
    t1 = 1.1 * EXPLICIT_STEPS[2] * bound_of(flat)
    flow = problem(MOVING, flat.initial, t1=t1)
    assert mf.solve(flow, save=[0.0]).statistics.stepper == "mprk22"
    assert EXPLICIT_STEPS[2] < EXPLICIT_STEPS[1]


@pytest.mark.parametrize("t1", [0.5, 1e4])
def test_auto_takes_the_exponential_of_a_fixed_potential(t1):
    """In one step to every saved time, however long."""
    solution = mf.solve(problem(t1=t1), save=3)
    statistics = solution.statistics
    assert (statistics.flux, statistics.stepper) == ("compact", "b2")
    assert (statistics.steps, statistics.rejected) == (2, 0)
    assert "no error in time" in statistics.reason
    if t1 > 1:
        assert mf.distance.l1(solution.densities[-1], mf.gibbs(WELL, GRID)) < 1e-12


def test_auto_leaves_exponentials_that_have_no_lag():
    """Of a potential that is no sum over the axes: order 4 would be lost, which mprk22 keeps."""
    energy = mf.Potential(lambda z: 0.05 * (z**2).prod(-1) + half_square(z)) + 0.5 * mf.Entropy()
    grid = mf.Grid.box((-4, -4), (4, 4), (20, 20))
    start = mf.Density.gaussian(grid, (0.0, 0.0), 0.2)
    for t1, expected in ((0.1, ("sg", "heun")), (1e5, ("compact", "mprk22"))):
        statistics = mf.solve(problem(energy, start, t1=t1), save=[0.0]).statistics
        assert (statistics.flux, statistics.stepper) == expected
    asked = mf.solve(problem(energy, start), save=[0.0], stepper="b2").statistics
    assert asked.flux == "sg"
    apart = mf.Potential(half_square) + 0.5 * mf.Entropy()
    assert mf.solve(problem(apart, start), save=[0.0]).statistics.stepper == "b2"


def test_auto_follows_a_fixed_step():
    for energy in (WELL, MOVING):
        bound = bound_of(problem(energy))
        for factor, expected in ((0.5, "heun"), (2.0, "mprk22")):
            assert mf.solve(problem(energy), dt=factor * bound).statistics.stepper == expected


def steep(share):
    """A potential that is steep (|q| = 8) on the right, where there is that share of the mass."""
    beta = 0.1
    slope = 8 * beta / GRID.spacing[0]
    energy = mf.Potential(lambda z: slope * np.maximum(z[..., 0] - 1.5, 0)) + beta * mf.Entropy()
    values = np.where(GRID.axes[0] > 1.5, share, 0.0) + np.where(GRID.axes[0] < 0, 1 - share, 0.0)
    left, right = (GRID.axes[0] < 0).sum(), (GRID.axes[0] > 1.5).sum()
    values = values / np.where(GRID.axes[0] > 1.5, right, left) / GRID.volume
    return problem(energy, mf.Density(GRID, values))


@pytest.mark.parametrize(("share", "flux"), [(0.05, "sg"), (0.15, "rl"), (0.5, "rl")])
def test_auto_limits_slopes_where_the_mass_drifts(share, flux):
    statistics = mf.solve(steep(share), stepper="heun").statistics
    assert statistics.flux == flux
    assert f"{share:.1%} of the mass" in statistics.reason
    automatic = mf.solve(steep(share)).statistics
    expected = ("compact", "b2") if flux == "sg" else ("rl", "heun")
    assert (automatic.flux, automatic.stepper) == expected


def test_auto_without_diffusion():
    drifting = mf.Potential(half_square)
    assert mf.solve(problem(drifting)).statistics.flux == "rl"
    still = mf.Potential(lambda z: 0.0 * z[..., 0])
    solution = mf.solve(problem(still))
    assert (solution.statistics.flux, solution.statistics.stepper) == ("sg", "b2")
    np.testing.assert_array_equal(solution.densities[-1].values, START.values)


def test_limited_slopes_go_with_explicit_steps():
    """By name they are refused together; left to the solver, one gives way."""
    for stepper, flux in (("b1", "sg"), ("b2", "compact"), ("mprk22", "compact")):
        refuses(lambda s=stepper: mf.solve(problem(), flux="rl", stepper=s), "flux", "'rl'", "heun")
        assert mf.solve(steep(0.5), stepper=stepper).statistics.flux == flux


def test_limited_slopes_are_kept_as_long_as_they_can_be():
    """Implicit steps come later there; with the plain flux they lose an order, and say so."""
    bound = bound_of(steep(0.5), "rl")
    for factor, expected in ((1.1, ("rl", "heun")), (1e6, ("compact", "mprk22"))):
        t1 = factor * EXPLICIT_STEPS[1] * bound
        long = problem(steep(0.5).flow.energy, steep(0.5).initial, t1)
        statistics = mf.solve(long, save=[0.0]).statistics
        assert (statistics.flux, statistics.stepper) == expected
        assert "first order" not in statistics.reason
        plain = mf.solve(long, save=[0.0], flux="sg", stepper="mprk22").statistics
        assert "first order" in plain.reason
        assert mf.solve(long, save=[0.0], flux="rl").statistics.stepper == "heun"


def test_limited_slopes_have_a_bound_of_their_own():
    flow = steep(0.5)
    plain, limited = bound_of(flow), bound_of(flow, "rl")
    assert limited < plain
    between = 0.5 * (limited + plain)
    refuses(
        lambda: mf.solve(flow, flux="rl", stepper="heun", dt=between), "dt", f"{limited:.3g}", "dt"
    )
    assert mf.solve(flow, flux="sg", stepper="heun", dt=0.85 * plain).ok


@pytest.mark.parametrize("stepper", list(STEPPERS))
def test_objects_and_names_are_the_same(stepper):
    by_name = mf.solve(problem(), flux="sg", stepper=stepper)
    by_object = mf.solve(problem(), flux=mf.ScharfetterGummel(), stepper=STEPPERS[stepper])
    np.testing.assert_array_equal(by_name.densities[-1].values, by_object.densities[-1].values)


def test_the_choice_is_logged(caplog):
    with caplog.at_level(logging.INFO, logger="meanfield_pde"):
        mf.solve(problem())
    assert "flux compact, stepper b2" in caplog.text
    assert "no error in time" in caplog.text


# -- saving


def test_saved_times():
    start_and_end = mf.solve(problem())
    assert start_and_end.times.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(start_and_end.at(0).values, START.values)
    counted = mf.solve(problem(), save=6)
    np.testing.assert_allclose(counted.times, np.linspace(0, 0.5, 6))
    given = mf.solve(problem(), save=[0.1, 0.3])
    assert "last time to save" in given.result
    np.testing.assert_array_equal(given.at(0.1).values, given.densities[0].values)
    with pytest.raises(ValueError, match="0.25 was not saved"):
        given.at(0.25)


def test_saving_does_not_change_the_answer():
    """Steps bend to saved times, by no more than the error of a step allows.

    Exponentials do not bend; with the compact flux their correction in space does, as the time
    between two saved ones is no multiple of twice the lag.
    """

    def apart(energy, **options):
        few, many = (mf.solve(problem(energy), save=n, **options).densities[-1] for n in (2, 40))
        return float(mf.distance.l1(few, many))

    assert apart(MOVING, tolerance=1e-5) < 1e-5
    assert apart(WELL, flux="sg", stepper="b2") < 1e-13
    corrected = apart(WELL, flux="compact", stepper="b2")
    plain = mf.solve(problem(), flux="sg", stepper="b2").densities[-1]
    assert corrected < 0.1 * mf.distance.l1(plain, mf.solve(problem()).densities[-1])


def test_the_record_belongs_to_the_densities():
    solution = mf.solve(problem(), save=5)
    for k, rho in enumerate(solution.densities):
        assert solution.mass[k] == rho.mass
        assert solution.energy[k] == pytest.approx(WELL.value(rho), rel=1e-14)
        phi = WELL.smooth.potential(rho)
        xi = phi + 0.5 * np.log(np.maximum(rho.values, 1e-300))
        transport = FLUXES[solution.statistics.flux].transport(GRID, phi, 0.5)
        assert solution.dissipation[k] == pytest.approx(transport.dissipation(rho.values, xi))


def test_datasets_hold_the_record():
    solution = mf.solve(problem(), save=3)
    data = solution.to_dataset()
    assert data["density"].dims == ("time", "x")
    np.testing.assert_array_equal(data["density"].values[1], solution.densities[1].values)
    np.testing.assert_array_equal(data["x"].values, GRID.axes[0])
    assert data.attrs["steps"] == solution.statistics.steps
    plane = mf.Grid.torus((0, 0), (1, 1), (4, 6))
    flat = mf.solve(mf.Problem(mf.GradientFlow(mf.Entropy()), mf.Density.uniform(plane), 0.1))
    assert flat.to_dataset()["density"].shape == (2, 4, 6)


def test_a_schedule_is_a_clock():
    """s = 1/(1+t) at time t is s = 1 at log(1+t); a rate of 0 stops it."""
    slow = mf.solve(problem(rate=lambda t: 1 / (1 + t), t1=np.e - 1), tolerance=1e-5)
    plain = mf.solve(problem(t1=1.0), tolerance=1e-5)
    assert mf.distance.l1(slow.densities[-1], plain.densities[-1]) < 1e-12
    double = mf.solve(problem(rate=2.0, t1=0.5), tolerance=1e-5)
    assert mf.distance.l1(double.densities[-1], plain.densities[-1]) < 1e-12
    still = mf.solve(problem(rate=lambda t: 0.0))
    np.testing.assert_array_equal(still.densities[-1].values, START.values)
    assert still.statistics.steps == 0


@pytest.mark.parametrize("stepper", [Heun(), MPRK22()])
@pytest.mark.parametrize(("share", "taken"), [(0.999, True), (1.001, False)])
def test_every_step_is_held_to_the_tolerance(stepper, share, taken):
    """Explicit or implicit: an error just below it is taken, one just above is not."""
    tried = []

    class Claiming(type(stepper)):
        def step(self, state, dt, estimate):
            tried.append(dt)
            return Step(super().step(state, dt, estimate).rho, share * 1e-3)

    march = March(equation(), Claiming(), START.values, 0.5, 1e-3)
    if taken:
        march.advance(1e-3, lambda passed: None)
        assert (march.steps, march.rejected) == (1, 0)
    else:
        with pytest.raises(StuckError, match="stayed at 1.0e"):
            march.advance(1e-3, lambda passed: None)
        assert march.steps == 0
        assert len(tried) == march.rejected > 10
        assert tried == sorted(tried, reverse=True)


def test_the_same_twice():
    first, second = (mf.solve(problem()).densities[-1].values for _ in range(2))
    np.testing.assert_array_equal(first, second)


# -- progress


def test_progress_is_shown_on_request(capsys):
    mf.solve(problem(), progress=True)
    shown = capsys.readouterr()
    assert "density" in shown.out + shown.err
    mf.solve(problem())
    silent = capsys.readouterr()
    assert silent.out + silent.err == ""


def test_progress_adds_up_to_the_whole_time():
    steps = []
    march = March(equation(), Heun(), START.values, 0.5, 1e-3)
    march.advance(0.2, steps.append)
    march.advance(0.5, steps.append)
    assert sum(steps) == pytest.approx(0.5, rel=1e-12)
    assert len(steps) == march.steps
    assert march.clock == 0.5


# -- failing


def test_a_fixed_step_that_the_bound_falls_below():
    """Mass that gathers steepens its own potential; a fixed step is not cut without a word."""
    pull = mf.Interaction(lambda z: -5 * np.exp(-20 * (z**2).sum(-1))) + 0.05 * mf.Entropy()
    flow = problem(pull, mf.Density.gaussian(GRID, 0.0, 0.3), t1=5.0)
    solution = mf.solve(flow, stepper="heun", dt=0.99 * bound_of(flow), flux="sg", throw=False)
    assert not solution.ok
    assert "bound" in solution.result or "second stage" in solution.result
    assert mf.solve(flow, stepper="heun", flux="sg").ok


def test_a_tolerance_that_cannot_be_met():
    with pytest.raises(mf.SolveError) as caught:
        mf.solve(problem(MOVING), tolerance=1e-300)
    text = str(caught.value)
    for part in ("stopped at clock time 0", "of 0.5", "error of a step", "refine the grid"):
        assert part in text
    assert not caught.value.solution.ok


def test_failure_without_raising():
    solution = mf.solve(problem(MOVING), save=5, tolerance=1e-300, throw=False)
    assert not solution.ok
    assert solution.times.tolist() == [0.0]
    np.testing.assert_array_equal(solution.densities[0].values, START.values)
    assert "stopped" in solution.result
    assert solution.statistics.steps == 0
    assert solution.statistics.rejected > 5
    assert solution.statistics.dt == (0.0, 0.0)


def test_failure_on_the_way_keeps_what_there_is():
    """A stepper that fails from clock time 0.25 on: two of the four later times were reached."""
    solution = mf.solve(problem(), save=5, stepper=Tiring(0.25), dt=0.0125, throw=False)
    assert solution.times.tolist() == [0.0, 0.125, 0.25]
    assert "stopped at clock time 0.25" in solution.result
    assert "too tired" in solution.result


class Tiring(Heun):
    """Heun's method, until it has gone far enough."""

    def __init__(self, reach):
        object.__setattr__(self, "left", reach)

    def step(self, state, dt, estimate):
        if dt > self.left + 1e-12:
            raise StepFailedError("too tired")
        object.__setattr__(self, "left", self.left - dt)
        return super().step(state, dt, estimate)


class Wrong(Heun):
    """Planted: what a step does wrong is given as a function of the new density."""

    def __init__(self, wrong):
        object.__setattr__(self, "wrong", wrong)

    def step(self, state, dt, estimate):
        return Step(self.wrong(super().step(state, dt, estimate).rho), 0.0)


def negative(rho):
    return rho - 2 * rho.min() - 1e-6


def not_a_number(rho):
    return np.where(rho == rho.max(), np.nan, rho)


def uphill(rho):
    return np.roll(rho, 1)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [(negative, "density -"), (not_a_number, "density nan"), (uphill, "free energy rose")],
)
def test_wrong_steps_are_never_accepted(wrong, reason):
    solution = mf.solve(problem(), stepper=Wrong(wrong), throw=False)
    assert not solution.ok
    assert reason in solution.result
    assert solution.statistics.steps == 0


def risen(rise):
    """The Gibbs state, moved so far that its free energy is higher by the given amount."""
    rest = mf.gibbs(WELL, GRID).values
    free = State(equation(), rest).free_energy
    size = np.sqrt(rise)
    for _ in range(40):  # around its minimum the energy is a square
        moved = rest * (1 + size * np.sin(GRID.axes[0]))
        moved *= rest.sum() / moved.sum()
        size *= np.sqrt(rise / (State(equation(), moved).free_energy - free))
    return rest, moved


@pytest.mark.parametrize(("rise", "accepted"), [(0.5, True), (2.0, False)])
def test_the_energy_may_rise_by_rounding_alone(rise, accepted):
    """The march accepts a rise of 1e-12 of max(1, |F|), and reports it."""
    rest, moved = risen(rise * ENERGY_RISE)
    march = March(equation(), Wrong(lambda rho: moved), rest, 1.0, 1e-3, fixed=1e-3)
    if accepted:
        march.advance(1e-3, lambda passed: None)
        assert march.energy_rise == pytest.approx(rise * ENERGY_RISE, rel=0.1)
    else:
        with pytest.raises(StuckError, match="free energy rose"):
            march.advance(1e-3, lambda passed: None)


def test_a_step_that_takes_too_long_is_shortened(monkeypatch):
    """b2 in a potential that is no sum over the axes: as many steps as fit, and the same law."""
    energy = mf.Potential(lambda z: 0.1 * (z**2).prod(-1)) + 0.5 * mf.Entropy()
    grid = mf.Grid.box((-4, -4), (4, 4), (16, 16))
    flow = problem(energy, mf.Density.gaussian(grid, (0.5, 0.0), 0.2), t1=64.0)
    whole = mf.solve(flow, stepper="b2")
    assert (whole.statistics.steps, whole.statistics.rejected) == (1, 0)
    generator = FLUXES["sg"].transport(grid, energy.smooth.potential(flow.initial), 0.5)
    monkeypatch.setattr(stepper_module, "MOST_SECONDS", 1.1 * cost(generator, 8.0))
    parts = mf.solve(flow, stepper="b2")
    assert cost(generator, parts.statistics.dt[1]) <= 1.1 * cost(generator, 8.0)
    assert 8 <= parts.statistics.steps <= 16
    assert parts.statistics.rejected >= 3  # 64, 32 and 16 take too long
    assert mf.distance.l1(whole.densities[-1], parts.densities[-1]) < 1e-12
    monkeypatch.setattr(stepper_module, "MOST_SECONDS", 0.0)
    with pytest.raises(mf.SolveError, match=r"take more than 0 s.*mprk22"):
        mf.solve(flow, stepper="b2")


def test_statistics_of_steps():
    solution = mf.solve(problem(), dt=0.01, stepper="b1")
    assert solution.statistics.steps == 50
    assert solution.statistics.rejected == 0
    assert solution.statistics.dt == pytest.approx((0.01, 0.01))
    assert solution.statistics.energy_rise == 0.0
    assert 0 <= solution.statistics.smallest <= START.values.min()
    assert solution.result.startswith("reached t = 0.5 in 50 steps of b1 (0 repeated)")


def test_a_looser_tolerance_takes_fewer_steps():
    flow = FLOWS["network-on-circle"].problem(32)
    steps = [mf.solve(flow, tolerance=t).statistics.steps for t in (1e-5, 1e-4, 1e-3)]
    assert steps[0] > 2 * steps[1]  # errors of a step go as dt^2: a factor of 3.2
    assert steps[1] >= steps[2]


def test_a_flow_that_can_only_crawl_says_so():
    """A flux whose rest state is not the Gibbs state: near it the free energy cannot fall."""

    class Biased(mf.ScharfetterGummel):
        name = "biased"

        def transport(self, grid, potential, beta):
            return super().transport(grid, potential + 0.3 * grid.points[..., 0], beta)

    grid = mf.Grid.box(-4, 4, 40)
    energy = mf.Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.5 * mf.Entropy()
    start = mf.Density.gaussian(grid, 1.0, 0.3)
    found = mf.solve(
        mf.Problem(mf.GradientFlow(energy), start, 50.0),
        flux=Biased(),
        stepper="heun",
        throw=False,
        save=[50.0],
    )
    assert not found.ok
    assert "free energy rose" in found.result
    with pytest.raises(ValueError, match="save at 0"):
        found.at(50.0)
    with pytest.raises(ValueError, match="save at 0"):
        found.to_dataset()


def blas_threads():
    from threadpoolctl import threadpool_info

    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("follow", [mf.solve, lambda problem: mf.simulate(problem, particles=10)])
def test_linear_algebra_has_one_thread_in_a_flow_and_all_afterwards(follow):
    """A spinning second one makes solves on a busy machine ten times as long."""
    from threadpoolctl import threadpool_limits

    seen = []

    def watched(t):
        if len(seen) < 20:  # asking takes milliseconds
            seen.extend(blas_threads())
        return 1.0

    grid = mf.Grid.box(-3, 3, 30)
    energy = mf.Potential(lambda z: 0.5 * (z**2).sum(-1), gradient=lambda z: watched(0) * z)
    flow = mf.GradientFlow(energy + 0.5 * mf.Entropy(), rate=watched)
    with threadpool_limits(2):
        before = blas_threads()
        seen.clear()
        follow(mf.Problem(flow, mf.Density.gaussian(grid, 0.3, 0.2), t1=0.1))
        assert blas_threads() == before
    assert 1 in seen
