"""Collapse under singular kernels: seen where there is one, at its time, and nowhere else."""

import numpy as np
import pytest
from problems import contraction, desai_zwanzig_energy, log_kernel
from reference import collapse_time, order, refuses

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.eulerian import concentration
from meanfield_pde.eulerian.concentration import densest, watch

BETA, VARIANCE = 0.25, 0.5
SQUARE = mf.Group.dihedral(4)


def log(dz):
    return 0.5 * np.log((dz**2).sum(-1))


def pull(dz):
    return dz / (dz**2).sum(-1)[..., None]


LOG = mf.Interaction(log, pull)
WELL = mf.Potential(lambda z: 0.5 * (z**2).sum(-1), lambda z: z)


def plane(half=4.0, cells=64):
    return mf.Grid.box((-half, -half), (half, half), (cells, cells))


def radius(cells, upper=4.0):
    return mf.Grid.box(0, upper, cells, mf.Chart.radius(2))


def attracted(chi, t1, grid=None, mean=0.0, beta=BETA, well=0.0, variance=VARIANCE):
    grid = plane() if grid is None else grid
    energy = chi * LOG + beta * mf.Entropy() + well * WELL
    centre = mean if np.size(mean) > 1 or grid.dim == 1 else (mean, mean)
    start = mf.Density.gaussian(grid, centre, variance)
    return mf.Problem(mf.GradientFlow(energy), start, t1)


def stopped(problem, **options):
    return mf.solve(problem, collapse="stop", **options)


# -- when


def test_the_reference_agrees_with_closed_forms():
    """Both beta and chi as a clock; a well as one of another kind; without diffusion v / chi."""
    assert collapse_time(3.0, 0.5, 0.5) == pytest.approx(0.5 * collapse_time(1.5, 0.25, 0.5))
    cold = [collapse_time(1.0, beta, 0.5, nodes=1600) for beta in (0.004, 0.002)]
    assert 2 * cold[1] - cold[0] == pytest.approx(0.5, rel=5e-3)  # to beta = 0
    times = [collapse_time(1.5, 0.25, 0.5, nodes=n) for n in (200, 400, 800)]
    assert abs(times[2] - times[1]) < 0.3 * abs(times[1] - times[0]) < 1e-3
    assert collapse_time(0.95, 0.25, 0.5) is None
    # A well is a change of scale: s = e^{-2t} sigma obeys the free law in the time (e^{2t} - 1)/2.
    assert collapse_time(1.5, 0.25, 0.5, kappa=1.0) == pytest.approx(
        0.5 * np.log(1 + 2 * collapse_time(1.5, 0.25, 0.5)), rel=1e-3
    )


@pytest.mark.parametrize("chi", [1.2, 1.5, 2.0, 4.0])
def test_time_and_place_of_a_collapse(chi):
    """Within 5 % of the radial equation, from 20 % above critical to four times that."""
    expected = collapse_time(chi, BETA, VARIANCE)
    solution = stopped(attracted(chi, 1.2 * expected, plane(cells=96)), save=7, reduce=SQUARE)
    assert solution.ok
    assert solution.statistics.concentrated == pytest.approx(expected, rel=0.05)
    assert solution.times[-1] < expected
    assert "around (0, 0)" in solution.result
    assert (
        f"collapses into a point at t = {solution.statistics.concentrated:.4g}" in solution.result
    )


def test_time_of_a_collapse_by_the_radius():
    """On the radius, where Newton's theorem is exact, within 2 %."""
    expected = collapse_time(1.5, BETA, VARIANCE)
    solution = stopped(attracted(1.5, 1.1 * expected, radius(400)))
    assert solution.statistics.concentrated == pytest.approx(expected, rel=0.02)


def test_a_collapse_off_the_centre():
    mean, expected = (0.31, -0.22), collapse_time(2.0, BETA, VARIANCE)
    grid, found = plane(), []
    for axis in (1, -1):  # and its mirror image
        solution = stopped(attracted(2.0, 1.2 * expected, grid, (axis * mean[0], mean[1])))
        found.append(solution.statistics.concentrated)
        assert found[-1] == pytest.approx(expected, rel=0.1)  # a coarse grid
        watched = watch(solution.problem.flow.energy, grid, solution.densities[0].values, True)
        _, place = densest(grid, solution.densities[-1].values)
        np.testing.assert_allclose(place, (axis * mean[0], mean[1]), atol=grid.spacing[0])
        assert watched.critical == pytest.approx(0.5)
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_discs_without_diffusion():
    """A uniform disc stays one: its radius^2 falls by 2 chi a unit of time, to 0 at once."""
    grid = plane(1.5, 96)
    disc = mf.Density.from_function(grid, lambda z: 1.0 * ((z**2).sum(-1) < 1)).normalised()
    problem = mf.Problem(mf.GradientFlow(2.0 * LOG), disc, 0.3)
    found = stopped(problem, reduce=SQUARE).statistics.concentrated
    assert found == pytest.approx(0.25, rel=0.1)


def test_the_line():
    """Critical strength 2 beta; a collapse comes before M2 = v - (chi - 2 beta) t would vanish."""
    grids = [mf.Grid.box(-5, 5, n) for n in (200, 400, 800)]
    above = [stopped(attracted(0.8, 2.0, grid)).statistics.concentrated for grid in grids]
    assert max(above) < VARIANCE / 0.3
    assert abs(above[2] - above[1]) < 0.6 * abs(above[1] - above[0]) < 0.02 * above[2]
    assert stopped(attracted(0.45, 2.0, grids[1])).statistics.concentrated is None


def test_a_schedule_is_a_clock():
    slow = attracted(2.0, 2.0)
    flow = mf.GradientFlow(slow.flow.energy, rate=0.5)
    half = stopped(mf.Problem(flow, slow.initial, 2.0), reduce=SQUARE).statistics.concentrated
    whole = stopped(attracted(2.0, 1.0), reduce=SQUARE).statistics.concentrated
    assert half == pytest.approx(2 * whole, rel=1e-6)


# -- nowhere else


def narrow(grid, cells):
    return mf.Density.gaussian(grid, np.zeros(grid.dim), (cells * grid.spacing[0]) ** 2)


def by(energy, start, t1=0.5):
    return lambda: mf.Problem(mf.GradientFlow(energy), start, t1)


LINE = mf.Grid.box(-4, 4, 100)
TANH = (
    mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(2, 4, lambda x: np.tanh(x[..., 0])))
    + 1e-4 * mf.Entropy()
)
QUIET = {
    "below critical": lambda: attracted(0.95, 3.0),
    "below critical, narrow": by(0.95 * LOG + BETA * mf.Entropy(), narrow(plane(), 1.0)),
    "below critical, in a well": lambda: attracted(0.95, 3.0, well=1.0),
    "log gas": lambda: attracted(-1.0, 1.0, well=1.0, beta=0.01),
    "log gas of the line": lambda: log_kernel().problem(100),
    "to a point for ever": by(contraction().energy, narrow(LINE, 3.0), t1=8.0),
    "two wells": by(desai_zwanzig_energy(0.2), narrow(LINE, 3.0)),
    "a strong smooth pull": by(20 * mf.Interaction(WELL.function), narrow(plane(), 4.0), t1=0.2),
    "a pull with a kink": by(
        mf.Interaction(lambda z: np.sqrt((z**2).sum(-1))) + 0.01 * mf.Entropy(), narrow(LINE, 9.0)
    ),
    "a network": by(TANH, narrow(plane(), 6.0)),
    "heat from a point": by(0.1 * mf.Entropy(), narrow(plane(), 0.5)),
}


@pytest.mark.parametrize("make", QUIET.values(), ids=QUIET)
def test_no_false_alarm(make):
    solution = mf.solve(make(), tolerance=1e-2)
    assert solution.ok
    assert solution.statistics.concentrated is None


def test_narrow_starts_that_spread_are_no_collapse():
    """Two clumps, each below critical, above it together: they spread before they could meet."""
    grid = plane()
    clumps = [mf.Density.gaussian(grid, (x, 0), 0.004) for x in (-2.5, 2.5)]
    start = mf.Density.mixture(clumps, [0.5, 0.5])
    energy = 1.2 * LOG + BETA * mf.Entropy()
    found = watch(energy, grid, start.values, True)
    assert found.start > found.threshold
    solution = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 0.3))
    assert solution.statistics.concentrated is None


# -- faults that these checks catch


def test_a_watch_without_the_critical_mass_cries_wolf(monkeypatch):
    """If a fifth of the mass in a few cells were enough, the narrow law below would be stopped."""
    tight = attracted(0.95, 8.0, plane(3.0, 24), well=1.0, variance=0.2)
    assert mf.solve(tight).statistics.concentrated is None
    monkeypatch.setattr(concentration, "_strength", lambda *given: 100.0)  # any mass is above
    assert stopped(tight).statistics.concentrated is not None


def test_a_threshold_that_is_too_low_misses_the_time(monkeypatch):
    expected = collapse_time(1.5, BETA, VARIANCE)
    monkeypatch.setattr(concentration, "CORE", 0.1)
    monkeypatch.setattr(concentration, "LEAST", 0.0)
    solution = stopped(attracted(1.5, 1.2 * expected, plane(cells=96)), reduce=SQUARE)
    assert abs(solution.statistics.concentrated / expected - 1) > 0.05


# -- what the solver says


def test_what_to_do_with_a_collapse(tmp_path):
    problem = attracted(4.0, 0.3)
    with pytest.raises(mf.SolveError, match="collapse='stop'") as caught:
        mf.solve(problem, reduce=SQUARE)
    failed = caught.value.solution
    assert not failed.ok
    quiet = mf.solve(problem, reduce=SQUARE, throw=False)
    assert quiet.statistics.concentrated == failed.statistics.concentrated
    ended = stopped(problem, reduce=SQUARE)
    assert ended.ok
    assert ended.times.tolist() == [0.0]
    on = mf.solve(problem, reduce=SQUARE, collapse="ignore")
    assert on.ok
    assert on.times[-1] == 0.3
    assert on.statistics.concentrated == pytest.approx(ended.statistics.concentrated, rel=1e-6)
    mf.save_solution(ended, tmp_path / "ended.nc")
    assert mf.load_solution(tmp_path / "ended.nc").statistics == ended.statistics
    mark = plot.energy_figure(on).axes[0].texts[0].get_text()
    assert f"{on.statistics.concentrated:.4g}" in mark
    refuses(lambda: mf.solve(problem, collapse="halt"), "collapse", "'halt'", "stop is for laws")


def test_a_collapse_before_all_times_to_save():
    solution = stopped(attracted(4.0, 0.3), save=[0.3])
    assert solution.densities == ()
    assert solution.statistics.concentrated < 0.3


# -- the densest cells


@pytest.mark.parametrize("where", [(0.5, -1.5), (-2.0, 2.0), (1.0, 0.0)])
def test_densest_cells_of_the_plane(where):
    grid = mf.Grid.box((-2, -2), (2, 2), (8, 8))
    values = np.random.default_rng(0).random(grid.shape)
    distance = np.abs(grid.points - where).max(-1)
    values[distance < 0.5] += 10.0
    mass, place = densest(grid, values)
    windows = [values[i : i + 2, j : j + 2].sum() * grid.volume for i in range(7) for j in range(7)]
    assert mass == pytest.approx(max(windows))
    np.testing.assert_allclose(place, np.clip(where, -1.5, 1.5))


def test_densest_cells_behind_mirrors_and_on_a_torus():
    """The same as on the whole grid, and as after a turn of the torus."""
    quarter = mf.Grid.box((0, 0), (2, 2), (4, 4), mf.Chart.quotient(mf.Group.dihedral(2)))
    for peak in (0.0, 1.0):
        rho = mf.Density.from_function(
            quarter, lambda z, c=peak: np.exp(-8 * ((z - c) ** 2).sum(-1))
        )
        whole = mf.lift(rho)
        mass, _ = densest(whole.grid, whole.values)
        assert densest(quarter, rho.values)[0] == pytest.approx(mass, rel=1e-12)
    ring = mf.Grid.torus(-1, 1, 10)
    values = np.random.default_rng(1).random(10)
    assert densest(ring, values)[0] == pytest.approx(densest(ring, np.roll(values, 3))[0])


@pytest.mark.parametrize(("dim", "power"), [(1, 0.5), (2, 1.0), (2, 0.5)])
def test_critical_mass_of_a_power(dim, power):
    """For W = -r^-a it is 2 d beta r^a / a at the width r of a cell."""
    grid = mf.Grid.box((-1,) * dim, (1,) * dim, (20,) * dim)
    rho = mf.Density.uniform(grid).values
    kernel = -30.0 * mf.Interaction(lambda z: (z**2).sum(-1) ** (-0.5 * power))
    found = watch(kernel + BETA * mf.Entropy(), grid, rho, True)
    expected = 2 * dim * BETA / (30 * power * 0.1**-power)
    assert found.critical == pytest.approx(expected, rel=1e-5)
    assert watch(-1.0 * kernel + BETA * mf.Entropy(), grid, rho, True) is None


def test_second_moments_below_critical():
    """M2' = 4 beta - chi to second order, at 80 % of the critical strength."""
    errors = []
    for cells in (32, 64, 128):
        problem = attracted(0.8, 1.0, plane(5.0, cells))
        options = {"flux": "compact", "stepper": "mprk22", "tolerance": 1e-4, "reduce": SQUARE}
        solution = mf.solve(problem, save=[0, 1], **options)
        before, after = (rho.expect(lambda z: (z**2).sum(-1)) for rho in solution.densities)
        errors.append(abs(after - before - 0.2))
    assert errors[-1] < 1e-3
    assert order((32, 64, 128), errors) > 1.6
