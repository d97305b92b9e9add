"""Skeletons of features: exact ranks, measured errors, and networks that do not notice."""

from dataclasses import replace

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.energies import low_rank
from meanfield_pde.energies.low_rank import skeleton
from meanfield_pde.energies.network import NetworkFunctional

GRID = mf.Grid.box((-4, -4), (4, 4), (40, 40))


def matrix_of_rank(rank, rows=120, columns=2000):
    rng = np.random.default_rng(1)
    return rng.normal(size=(rows, rank)) @ rng.normal(size=(rank, columns))


@pytest.mark.parametrize("rank", [1, 7, 40])
def test_rank_is_found_and_rows_reproduce_the_matrix(rank):
    a = matrix_of_rank(rank)
    found = skeleton(lambda chosen: a[:, chosen], *a.shape)
    assert len(found.rows) == rank
    rest = np.abs(a - found.matrix @ a[found.rows]).max()
    assert rest <= 1e-11 * np.abs(a).max()  # rounding, times entries of the matrix of size ~ 10
    assert found.error <= low_rank.TOLERANCE


def test_nothing_is_won_at_full_rank():
    a = np.random.default_rng(0).normal(size=(60, 2000))
    assert skeleton(lambda chosen: a[:, chosen], *a.shape) is None


def test_a_column_like_no_other_is_noticed():
    """The error is measured on columns that the decomposition did not see."""
    a = matrix_of_rank(5)
    a[3, 1::2] += 1.0  # half of the columns have a sixth direction
    found = skeleton(lambda chosen: a[:, chosen], *a.shape)
    assert found is None or len(found.rows) == 6


def narrow_feature():
    """Rank 5 on all columns but every twentieth, where each row has a bump of its own."""
    a = matrix_of_rank(5)
    a[:, ::20] += 1e-6 * np.random.default_rng(2).normal(size=a[:, ::20].shape)
    return a


def without_narrow(columns, pool, shape, rng):
    """Sketch of a decomposition that has the bad luck to miss what is narrow."""
    return drawn(columns, pool[pool % 20 != 0], shape, rng)


drawn = low_rank._sketch


def test_what_the_sketch_misses_is_noticed(monkeypatch):
    a = narrow_feature()
    monkeypatch.setattr(low_rank, "_sketch", without_narrow)
    assert skeleton(lambda chosen: a[:, chosen], *a.shape, 1e-8) is None
    found = skeleton(lambda chosen: a[:, chosen], *a.shape, 1e-4)
    assert len(found.rows) == 5
    assert found.error == pytest.approx(error_of(a, found), rel=0.5)


def test_errors_on_what_the_sketch_saw_would_not_tell(monkeypatch):
    """Planted bug: columns to test are drawn as those of the sketch are."""
    a = narrow_feature()
    monkeypatch.setattr(low_rank, "_sketch", without_narrow)
    blind = np.delete(a, np.s_[::20], axis=1)
    found = low_rank._interpolate(
        drawn(lambda c: blind[:, c], COLUMNS, (120, 64), RNG), blind, 1e-8
    )
    assert found.error <= 1e-8
    assert error_of(a, found) > 1e-7


COLUMNS, RNG = np.arange(1900), np.random.default_rng(3)


def error_of(a, found):
    rest = np.linalg.norm(a - found.matrix @ a[found.rows], axis=0)
    return rest.max() / np.linalg.norm(a, axis=0).max()


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("size", [300, 900, 20_000])
def test_errors_are_true(tolerance, size):
    """All columns of a kernel matrix whose singular values fall slowly."""
    x, z = np.linspace(-1, 1, 400)[:, None], np.linspace(-1, 1, size)
    a = np.exp(-20 * (x - z) ** 2)
    found = skeleton(lambda chosen: a[:, chosen], *a.shape, tolerance)
    assert found.error <= tolerance
    exact = error_of(a, found)
    if size <= 1024:
        assert found.error == pytest.approx(exact, rel=1e-2, abs=1e-14)
    assert exact <= 2 * found.error + 1e-14
    best = np.linalg.svd(a[:, :: max(1, size // 900)], compute_uv=False)
    least = int((best > tolerance * np.sqrt(min(size, 900)) * best[0]).sum())
    assert least <= len(found.rows) <= 1.3 * (best > tolerance * best[0] / 10).sum() + 2


def test_a_matrix_of_zeros_has_no_skeleton():
    assert skeleton(lambda chosen: np.zeros((60, len(chosen))), 60, 2000) is None


def network(loss="squared", outputs=1, **options):
    unit = mf.Unit.scaled_ridge("tanh") if outputs == 1 else vector_unit()
    data = mf.Data.gauss_hermite(1, 64, target(loss, outputs))
    return mf.Risk(unit, data, loss, **options)


def vector_unit():
    return mf.Unit.custom(lambda x, z: np.tanh(z * x), outputs=2)


def target(loss, outputs):
    if loss == "logistic":
        return lambda x: np.where(x[..., 0] > 0.3, 1.0, -1.0)
    if outputs == 2:
        return lambda x: np.concatenate([np.sin(x), np.cos(x)], axis=-1)
    return lambda x: np.sin(2 * x[..., 0])


CASES = [("squared", 1), ("logistic", 1), ("huber", 1), ("squared", 2)]


@pytest.mark.parametrize(("loss", "outputs"), CASES)
def test_networks_do_not_notice(loss, outputs):
    """Value, potential and curvature agree with those of all data, to rounding."""
    thin = network(loss, outputs).discretise(GRID)
    full = network(loss, outputs, rank_tolerance=0).discretise(GRID)
    assert thin.lift is not None
    assert full.lift is None
    assert len(thin.features) <= len(full.features) // 2
    rho = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4).values
    assert thin.value(rho) == pytest.approx(full.value(rho), rel=1e-12)
    scale = np.abs(full.potential(rho)).max()
    np.testing.assert_allclose(thin.potential(rho), full.potential(rho), atol=1e-12 * scale)
    # Newton's matrix acts on the means of the features: compare it on the grid.
    on_grid = []
    for one in (thin, full):
        curvature = one.curvature(one.outputs(one.means(rho)))
        on_grid.append(one.features.T @ curvature @ one.features)
    np.testing.assert_allclose(*on_grid, atol=1e-10 * np.abs(on_grid[1]).max())
    assert "rank" in thin.remark
    assert not full.remark


def smooth(y, **options):
    x = np.random.default_rng(4).normal(size=(400, 2))
    return mf.Risk(mf.Unit.bump(2.0), mf.Data.samples(x, y), **options)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8, 1e-12])
@pytest.mark.parametrize("cells", [30, 60])
def test_potentials_are_off_by_no_more_than_the_error_allows(tolerance, cells):
    """``|r| e M + 2 e M M`` for a unit mass: errors of the features, then of the outputs.

    The targets are the worst: residuals along the remainder of the cell where it is largest.
    """
    grid = mf.Grid.box((-4, -4), (4, 4), (cells, cells))
    rho = mf.Density.gaussian(grid, (0.5, -0.3), 0.4).values
    plain = smooth(np.zeros(400), rank_tolerance=0).discretise(grid)
    a = plain.features / 20
    found = smooth(np.zeros(400), rank_tolerance=tolerance)._skeleton(grid)
    rest = a - found.matrix @ a[found.rows]
    worst = rest[:, np.linalg.norm(rest, axis=0).argmax()]
    y = plain.predict(rho)[:, 0] - 20 * 5 * worst / np.linalg.norm(worst)  # |r| = 10
    full, thin = (smooth(y, rank_tolerance=t).discretise(grid) for t in (0, tolerance))
    assert f") for the tolerance {tolerance:g}" in thin.remark
    told = float(thin.remark.split("(error ")[1].split(")")[0])
    assert 0.75 * found.error <= told <= tolerance  # told has one digit
    size = np.linalg.norm(a, axis=0).max()
    off = np.abs(thin.potential(rho) - full.potential(rho)).max()
    sampled = 1 if cells == 30 else 2  # errors are known at all of 900 cells, at 512 of 3600
    assert off <= 1.4 * sampled * told * size * (10 + 4 * size) + 1e-13
    assert off >= 0.5 * found.error * size * 10


# -- squared losses: a step that does not see the data


def direct(risk, grid):
    """The same skeleton, with all data."""
    found, weights = risk._skeleton(grid), np.repeat(risk.data.weights, risk.data.outputs)
    features = np.sqrt(weights[found.rows, None]) * risk._rows(
        grid.points.reshape(-1, grid.dim), found.rows
    )
    lift = found.matrix / np.sqrt(weights)[:, None]
    return NetworkFunctional(grid, features, risk.data, risk.loss, lift)


def check_reduction(risk, rho, direct=direct):
    few, all_data = risk.discretise(GRID), direct(risk, GRID)
    assert len(few.data.weights) == len(few.features)
    assert few.value(rho) == pytest.approx(all_data.value(rho), rel=1e-14, abs=1e-27)
    potential = all_data.potential(rho)
    scale = np.abs(potential).max() + np.sqrt((risk.data.weights @ risk.data.y**2).sum())
    np.testing.assert_allclose(few.potential(rho), potential, rtol=0, atol=3e-14 * scale)


@pytest.mark.parametrize("loss", ["squared", "half_squared"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_squared_losses_need_no_data(loss, outputs):
    for mean in (0.5, -0.3), (-0.5, 0.8), (0.0, 0.0):
        rho = mf.Density.gaussian(GRID, mean, 0.4).values
        check_reduction(network(loss, outputs), rho)


def test_a_risk_near_zero_keeps_its_digits():
    """Targets are the outputs of a law: m'Am - 2b'm + c would end at 1e-16 in place of 1e-28."""
    mu = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4)
    known = network()
    data = mf.Data(known.data.x, known.predict(mu), known.data.weights)
    risk = mf.Risk(known.unit, data)
    assert 0 <= risk.value(mu) < 1e-26
    near = mf.Density(GRID, mu.values * (1 + 1e-9 * GRID.points[..., 0]))
    assert risk.value(near) == pytest.approx(direct(risk, GRID).value(near.values), rel=1e-4)
    assert 1e-21 < risk.value(near) < 1e-17


def without_offset(self, grid, features, found):
    return replace(reduced(self, grid, features, found), offset=0.0)


def with_unweighted_targets(self, grid, features, found):
    wrong = replace(self.data, y=self.data.y * np.sqrt(self.data.weights)[:, None])
    return reduced(replace(self, data=wrong), grid, features, found)


reduced = mf.Risk._reduced


@pytest.mark.parametrize("wrong", [without_offset, with_unweighted_targets])
def test_planted_bugs_of_the_reduction_are_caught(monkeypatch, wrong):
    monkeypatch.setattr(mf.Risk, "_reduced", wrong)
    with pytest.raises(AssertionError):
        check_reduction(network(), mf.Density.gaussian(GRID, (0.5, -0.3), 0.4).values)


def test_a_wrong_lift_would_be_noticed():
    """Planted bug: outputs without the inverse weights."""
    thin = network("logistic").discretise(GRID)
    wrong = NetworkFunctional(
        GRID, thin.features, thin.data, thin.loss, thin.lift * np.sqrt(thin.data.weights)[:, None]
    )
    rho = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4).values
    assert abs(wrong.value(rho) - thin.value(rho)) > 1e-3


# -- many data


def test_ten_thousand_data_are_as_few_as_a_hundred():
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, (10_000, 1))
    unit = mf.Unit.scaled_ridge("tanh")
    ranks = [
        len(mf.Risk(unit, mf.Data.samples(x[:n], np.sin(x[:n]))).discretise(GRID).features)
        for n in (100, 10_000)
    ]
    assert ranks[1] <= ranks[0] + 3
    steep = mf.Data.samples(rng.normal(size=(10_000, 2)), np.sin(x))
    risk = mf.Risk(mf.Unit.ridge("tanh"), steep, rank_tolerance=1e-4)
    functional = risk.discretise(GRID)
    assert len(functional.features) == len(functional.data.x) < 400


def test_one_dimensional_grids_are_factored_too():
    x = np.random.default_rng(0).uniform(-3, 3, (500, 1))
    risk = mf.Risk(mf.Unit.bump(), mf.Data.samples(x, np.sin(x)))
    assert len(risk.discretise(mf.Grid.box(-4, 4, 240)).features) < 60
    assert len(risk.discretise(mf.Grid.box(-4, 4, 60)).features) == 500  # few enough as they are


def test_gibbs_laws_do_not_notice():
    def law(**options):
        energy = network(**options) + 0.02 * mf.Penalty() + 0.05 * mf.Entropy()
        return mf.gibbs(energy, GRID).values

    thin = law()
    np.testing.assert_allclose(thin, law(rank_tolerance=0), atol=1e-11 * thin.max())


def test_solutions_say_it():
    energy = network() + 0.05 * mf.Entropy()
    start = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4)
    solution = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 0.1))
    assert "of 64 (error" in solution.result
    assert "tolerance" not in solution.result
    loose = network(rank_tolerance=1e-6) + 0.05 * mf.Entropy()
    solution = mf.solve(mf.Problem(mf.GradientFlow(loose), start, 0.1))
    assert "for the tolerance 1e-06" in solution.result
