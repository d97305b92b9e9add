"""Exponentials of generators: against dense ones, without a negative number, of the same mass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import compact_faces, generator
from reference import PROPERTY, ULP
from reference import exponential as slow
from scipy.linalg import expm

import meanfield_pde as mf
from meanfield_pde.eulerian import exponential as module
from meanfield_pde.eulerian.exponential import Line, cost, exponential, lines_of, poisson
from meanfield_pde.eulerian.flux import FLUXES, Generator

GRIDS = {
    "one cell": mf.Grid.box(0, 1, 1),
    "line": mf.Grid.box(-2, 2, 23),
    "ring of one": mf.Grid.torus(0, 1, 1),
    "ring of two": mf.Grid.torus(-2, 2, 2),
    "ring": mf.Grid.torus(-2, 2, 12),
    "plane": mf.Grid.box((-1, -2), (1, 2), (5, 6)),
    "strip": mf.Grid.box((-1, -2), (1, 2), (1, 6)),
    "torus": mf.Grid.torus((-1, -2), (1, 2), (5, 6)),
    "thin torus": mf.Grid.torus((-1, -2), (1, 2), (2, 1)),
}
BETA = 0.3
TIMES = [1e-3, 0.3, 9.7, 9999.5]
"""Times, in units of the inverse of the largest outflow."""


def separable(grid, seed=0):
    """A function of x plus one of y."""
    rng = np.random.default_rng(seed)
    parts = [rng.standard_normal(n) for n in grid.shape]
    return parts[0] if grid.dim == 1 else parts[0][:, None] + parts[1]


def mixed(grid, seed=0):
    return np.random.default_rng(seed).standard_normal(grid.shape)


POTENTIALS = {"separable": separable, "mixed": mixed}


def start(grid, seed=1):
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=grid.shape) * (rng.random(grid.shape) < 0.7)
    values.flat[0] += 1.0
    return values / (values.sum() * grid.volume)


def gibbs_state(grid, phi, beta):
    rho = np.exp(-(phi - phi.min()) / beta)
    return rho / (rho.sum() * grid.volume)


def time_of(built, mean):
    return mean / built.outflow if built.outflow > 0 else mean


@pytest.fixture(params=list(GRIDS))
def grid(request):
    return GRIDS[request.param]


@pytest.fixture(params=["steps", "squares"])
def way(request, monkeypatch):
    """One way or the other, whichever is cheaper."""
    if request.param == "steps":
        monkeypatch.setattr(module, "PRODUCT_COST", np.inf)
    else:
        monkeypatch.setattr(module, "STEP_COST", np.inf)
    return request.param


# -- against dense matrices


@pytest.mark.parametrize("mean", TIMES)
@pytest.mark.parametrize("kind", list(POTENTIALS))
@pytest.mark.parametrize("beta", [0.0, BETA])
def test_against_dense(grid, kind, beta, mean, way):
    phi = POTENTIALS[kind](grid)
    built, rho = FLUXES["sg"].transport(grid, phi, beta), start(grid)
    t, matrix = time_of(built, mean), generator(grid, phi, beta)
    found = exponential(built, rho, t)
    assert found.shape == grid.shape
    exact = (slow(matrix, t) @ rho.ravel()).reshape(grid.shape)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * rho.max())
    # Scipy squares in doubles: its mass drifts by some ulps of t |A|.
    exact = (expm(t * matrix) @ rho.ravel()).reshape(grid.shape)
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * max(1, mean / 100) * rho.max())


@pytest.mark.parametrize("mean", TIMES)
@pytest.mark.parametrize("name", ["line", "ring", "ring of two", "plane", "torus"])
def test_compact_against_powers(name, mean):
    """Along lines Euler steps of about twice the lag, not shorter than the outflow allows."""
    grid = GRIDS[name]
    phi = separable(grid)
    built, rho = FLUXES["compact"].transport(grid, phi, BETA), start(grid)
    t = time_of(built, mean)
    lag = compact_faces(grid, phi, BETA)[1]
    whole = built.matrix().toarray()
    index = np.indices(grid.shape).reshape(grid.dim, -1)
    exact = rho.ravel().astype(np.longdouble)
    for axis in range(grid.dim):
        others = np.delete(index, axis, axis=0)
        same = (others[:, :, None] == others[:, None, :]).all(axis=0)
        part = np.where(same, whole, 0.0).astype(np.longdouble)
        np.fill_diagonal(part, 0.0)
        part -= np.diag(part.sum(axis=0))
        outflow = -np.diag(part).min()
        n = max(1, round(t / (2 * lag[axis].max())), int(np.ceil(t * outflow)))
        power = np.eye(grid.size, dtype=np.longdouble) + t / n * part
        exact = np.linalg.matrix_power(power, n) @ exact
    found = exponential(built, rho, t)
    np.testing.assert_allclose(found.ravel(), exact, rtol=0, atol=1e-12 * rho.max())


def test_both_ways_agree(monkeypatch):
    """Also where scipy is not asked: on a finer line, with either flux."""
    line = mf.Grid.box(-3, 3, 120)
    phi = 0.25 * line.axes[0] ** 4 - 0.5 * line.axes[0] ** 2
    rho = start(line)
    for flux in ("sg", "compact"):
        built = FLUXES[flux].transport(line, phi, BETA)
        for mean in (0.5, 50.0, 1e4):
            results = []
            for name in ("PRODUCT_COST", "STEP_COST"):
                with monkeypatch.context() as patch:
                    patch.setattr(module, name, np.inf)
                    results.append(exponential(built, rho, mean / built.outflow))
            np.testing.assert_allclose(*results, rtol=0, atol=1e-12 * rho.max())


def test_long_times_are_cut_into_pieces(monkeypatch):
    """In a potential that is no sum, whose weights would be as many as jumps."""
    grid = GRIDS["plane"]
    phi, rho = mixed(grid), start(grid)
    built, matrix = FLUXES["sg"].transport(grid, phi, BETA), generator(grid, phi, BETA)
    monkeypatch.setattr(module, "MOST_WEIGHTS", 50)
    for mean in (49.0, 51.0, 1234.5):
        exact = (slow(matrix, time_of(built, mean)) @ rho.ravel()).reshape(grid.shape)
        found = exponential(built, rho, time_of(built, mean))
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12 * rho.max())


def test_nothing_happens_in_no_time(grid):
    built, rho = FLUXES["sg"].transport(grid, separable(grid), BETA), start(grid)
    np.testing.assert_array_equal(exponential(built, rho, 0.0), rho)


@pytest.mark.parametrize("flux", ["sg", "compact"])
def test_nothing_happens_without_outflow(grid, flux):
    built = FLUXES[flux].transport(grid, np.zeros(grid.shape), 0.0)
    assert built.outflow == 0
    np.testing.assert_array_equal(exponential(built, start(grid), 1e6), start(grid))


# -- mass, sign and stationary states


@pytest.mark.parametrize("mean", TIMES)
@pytest.mark.parametrize("flux", ["sg", "compact"])
@pytest.mark.parametrize("kind", list(POTENTIALS))
def test_mass_and_sign(grid, kind, flux, mean, way):
    for beta in (0.0, 1e-3, BETA):
        built, rho = FLUXES[flux].transport(grid, POTENTIALS[kind](grid), beta), start(grid)
        found = exponential(built, rho, time_of(built, mean))
        assert found.min() >= 0
        assert found.sum() == pytest.approx(rho.sum(), rel=1e-13)


@given(st.integers(0, 2**32), st.floats(-3, 4), st.floats(-3, 1), st.sampled_from(list(GRIDS)))
@PROPERTY
def test_mass_and_sign_of_any_potential(seed, magnitude, size, name):
    grid = GRIDS[name]
    for flux in ("sg", "compact"):
        for make in POTENTIALS.values():
            built = FLUXES[flux].transport(grid, make(grid, seed), 10.0**size)
            found = exponential(built, start(grid, seed), time_of(built, 10.0**magnitude))
            assert found.min() >= 0
            assert found.sum() == pytest.approx(start(grid, seed).sum(), rel=1e-13)


@pytest.mark.parametrize("mean", TIMES)
@pytest.mark.parametrize("flux", ["sg", "compact"])
@pytest.mark.parametrize("kind", list(POTENTIALS))
def test_gibbs_states_stay(grid, kind, flux, mean, way):
    phi = POTENTIALS[kind](grid)
    built, rho = FLUXES[flux].transport(grid, phi, BETA), gibbs_state(grid, phi, BETA)
    moved = exponential(built, rho, time_of(built, mean)) - rho
    assert np.abs(moved).sum() * grid.volume <= 1e-13 * max(1.0, grid.size / 100)


def test_every_law_ends_in_the_gibbs_state():
    for name in ("line", "ring", "plane", "torus"):
        grid = GRIDS[name]
        phi = separable(grid)
        for flux in ("sg", "compact"):
            built = FLUXES[flux].transport(grid, phi, 1.0)
            late = exponential(built, start(grid), 1e3)
            np.testing.assert_allclose(late, gibbs_state(grid, phi, 1.0), rtol=1e-10)


def test_free_energy_falls():
    """Relative entropy to the Gibbs state falls under any matrix that keeps mass and that state."""
    grid = mf.Grid.box(-2, 2, 40)
    phi, rho = separable(grid), start(grid) + 1e-3
    rest = gibbs_state(grid, phi, BETA)
    for flux in ("sg", "compact"):
        built = FLUXES[flux].transport(grid, phi, BETA)
        laws = [rho] + [exponential(built, rho, t) for t in np.geomspace(1e-6, 10, 30)]
        entropies = [float((r * np.log(r / rest)).sum()) for r in laws]
        assert (np.diff(entropies) < 1e-14).all()
        assert entropies[0] > entropies[5] > entropies[-1] - 1e-12


# -- the pieces


def test_lines_are_seen_where_they_are():
    for name, grid in GRIDS.items():
        found = lines_of(FLUXES["compact"].transport(grid, separable(grid), BETA))
        assert found is not None, name
        assert [len(line.down) for line in found] == list(grid.shape)
    for name in ("plane", "torus"):
        grid = GRIDS[name]
        assert lines_of(FLUXES["sg"].transport(grid, mixed(grid), BETA)) is None
        nearly = separable(grid) + 1e-9 * mixed(grid)
        assert lines_of(FLUXES["sg"].transport(grid, nearly, BETA)) is None
        # A sum that was rounded in another order is still a sum.
        rounded = (separable(grid) + 0.1) - 0.1
        assert lines_of(FLUXES["sg"].transport(grid, rounded, BETA)) is not None


@pytest.mark.parametrize("mean", [0.0, 1e-8, 0.3, 5.0, 300.0, 1e4])
def test_poisson_weights(mean):
    """Their sum, mean and variance, all of them the mean's but for the tail."""
    step, weights = poisson(mean / 7.0, 7.0)
    k = np.arange(len(weights))
    assert step == pytest.approx(1 / 7, rel=1e-13)
    assert step * 7 < 1
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1, rel=4 * ULP)
    # gammaln and k log(mean) are numbers up to 1e5, rounded.
    near = 1e-12 * max(1.0, mean)
    assert weights @ k == pytest.approx(mean, abs=near)
    assert weights @ (k - mean) ** 2 == pytest.approx(mean, abs=near * max(1.0, mean**0.5))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_matrices_of_rings(n):
    grid = mf.Grid.torus(0, 1, n)
    phi = separable(grid)
    [line] = lines_of(FLUXES["sg"].transport(grid, phi, BETA))
    exact = np.eye(n) + 0.01 * generator(grid, phi, BETA)
    np.testing.assert_allclose(line.matrix(0.01), exact, atol=1e-13)
    assert line.outflow == pytest.approx(-np.diag(generator(grid, phi, BETA)).min(), abs=1e-13)


def test_costs_grow_with_time_and_cells():
    """In a mixed potential with the time, along lines with its logarithm."""
    plane = GRIDS["plane"]
    built = FLUXES["sg"].transport(plane, mixed(plane), BETA)
    assert cost(built, 1e4) > 50 * cost(built, 1e2) > 0
    line = mf.Grid.box(-2, 2, 100)
    built = FLUXES["sg"].transport(line, separable(line), BETA)
    assert cost(built, 1.0) <= cost(built, 1e6) < 20 * cost(built, 1.0)
    assert cost(built, 1e25) < 100 * cost(built, 1.0)  # nothing is made that long
    assert np.isfinite(cost(FLUXES["compact"].transport(line, separable(line), BETA), 1e25))
    fine = FLUXES["sg"].transport(mf.Grid.box(-2, 2, 400), np.zeros(400), BETA)
    assert cost(fine, 1e6) > 10 * cost(built, 1e6)
    assert cost(FLUXES["sg"].transport(line, np.zeros(100), 0.0), 1e9) < 1e-3


# -- planted bugs


def naive_act(line, rho, t):
    """Planted: squaring without restoring the sums of the columns."""
    count = 2 ** int(np.ceil(np.log2(t * line.outflow * 16)))
    power = line.matrix(t / count)
    for _ in range(int(np.log2(count))):
        power = power @ power
    return power @ rho


def drift(act, t=1e6):
    grid = mf.Grid.box(-2, 2, 60)
    [line] = lines_of(FLUXES["sg"].transport(grid, separable(grid), BETA))
    rho = start(grid)[:, None]
    return abs(act(line, rho, t).sum() / rho.sum() - 1)


def test_squares_that_drift_are_caught():
    assert drift(Line.act) <= 1e-13
    assert drift(naive_act) > 1e-11


def test_a_short_tail_is_caught():
    """Planted: Poisson weights cut off at two standard deviations."""
    mean = 100.0
    _, weights = poisson(mean, 1.0)
    whole, cut = weights.sum(), weights[: int(mean + 2 * np.sqrt(mean))].sum()
    assert abs(whole - 1) <= 4 * ULP
    assert abs(cut - 1) > 1e-3  # mass that would be lost


def test_a_short_tail_in_the_exponential_is_caught(monkeypatch):
    """Restored to a sum of 1, its mass is right, and the law is not."""
    grid = GRIDS["line"]
    phi, rho = separable(grid), start(grid)
    built = FLUXES["sg"].transport(grid, phi, BETA)
    t = 30.0 / built.outflow
    exact = expm(t * generator(grid, phi, BETA)) @ rho
    monkeypatch.setattr(module, "PRODUCT_COST", np.inf)
    assert np.abs(exponential(built, rho, t) - exact).max() <= 1e-12 * rho.max()
    whole = module.poisson

    def short(t, outflow):
        step, weights = whole(t, outflow)
        weights = weights[: int(t * outflow + 2 * np.sqrt(t * outflow))]
        return step, weights / weights.sum()

    monkeypatch.setattr(module, "poisson", short)
    assert np.abs(exponential(built, rho, t) - exact).max() > 1e-4 * rho.max()


def test_lines_that_differ_are_not_taken_for_one(monkeypatch):
    """Planted: a looser comparison takes a mixed potential for a sum."""
    grid = GRIDS["plane"]
    phi, rho = mixed(grid), start(grid)
    built = FLUXES["sg"].transport(grid, phi, BETA)
    exact = (expm(0.1 * generator(grid, phi, BETA)) @ rho.ravel()).reshape(grid.shape)
    assert np.abs(exponential(built, rho, 0.1) - exact).max() <= 1e-12 * rho.max()
    monkeypatch.setattr(module, "SAME", 10.0)
    assert np.abs(exponential(built, rho, 0.1) - exact).max() > 1e-2 * rho.max()


def test_a_step_without_room_is_caught(monkeypatch):
    """Planted: the largest step that is positive but for rounding, in a ring that empties."""
    grid, found = mf.Grid.torus(0, 1, 2), []
    monkeypatch.setattr(module, "PRODUCT_COST", np.inf)
    for room in (module.ROOM, 0.0):
        monkeypatch.setattr(module, "ROOM", room)
        lowest = 0.0
        for seed in range(200):
            built = FLUXES["compact"].transport(grid, separable(grid, seed), 0.0)
            lowest = min(lowest, exponential(built, start(grid), 1.0 / built.outflow).min())
        found.append(lowest)
    assert found[0] >= 0 > found[1] > -1e-15


def test_steps_beyond_the_outflow_are_caught():
    """Planted: Euler steps of twice the lag where the outflow allows less go below zero."""
    grid = mf.Grid.box(-2, 2, 40)
    phi = 20 * grid.axes[0] ** 2
    built = FLUXES["compact"].transport(grid, phi, BETA)
    alone = np.zeros(grid.shape)
    alone[0] = 1.0
    [line] = lines_of(built)
    assert 2 * line.lag * line.outflow > 1
    assert exponential(built, alone, 1.0).min() >= 0
    assert (line.matrix(2 * line.lag) @ alone).min() < 0
    assert isinstance(built, Generator)


def test_saving_more_often_changes_nothing():
    """Every saved law comes from the start: intervals shorter than the lag would lose an order."""
    grid = mf.Grid.torus(-np.pi, np.pi, 64)
    start = mf.Density.from_function(grid, lambda z: (1 + 0.5 * np.cos(4 * z[..., 0])) / 2 / np.pi)
    problem = mf.Problem(mf.GradientFlow(0.3 * mf.Entropy()), start, 1.0)
    few, many = (mf.solve(problem, save=n).densities[-1].values for n in (2, 200))
    np.testing.assert_array_equal(few, many)


def test_differences_that_underflow():
    """Without diffusion there is no scale: a slope of 1e-310 is none, and nothing overflows."""
    grid = mf.Grid.box(-30, 30, 300)
    well = mf.Potential(lambda z: -np.exp(-(z[..., 0] ** 2)))
    problem = mf.Problem(mf.GradientFlow(well), mf.Density.gaussian(grid, 0.5, 4.0), 1.0)
    for how in ({"dt": 0.2}, {"flux": "compact", "stepper": "b2"}):
        solution = mf.solve(problem, **how)
        assert np.isfinite(solution.densities[-1].values).all()
        assert solution.statistics.smallest >= 0


@pytest.mark.parametrize("n", [5, 127, 128, 300])
@pytest.mark.parametrize("reach", [0, 1, 7, 31, 32, 200])
def test_squares_near_the_diagonal(n, reach):
    matrix = np.random.default_rng(n).random((n, n))
    matrix[np.abs(np.subtract.outer(np.arange(n), np.arange(n))) > reach] = 0.0
    np.testing.assert_allclose(module.squared(matrix, reach), matrix @ matrix, rtol=1e-13)


def test_too_short_a_reach_is_caught():
    matrix = np.random.default_rng(0).random((300, 300))
    matrix[np.abs(np.subtract.outer(np.arange(300), np.arange(300))) > 8] = 0.0
    assert np.abs(module.squared(matrix, 7) - matrix @ matrix).max() > 1e-3
