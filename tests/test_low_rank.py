"""Skeletons of features: exact ranks, measured errors, and networks that do not notice."""

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.energies import low_rank
from meanfield_pde.energies.low_rank import skeleton
from meanfield_pde.energies.risk import NetworkFunctional

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
    assert found.error <= low_rank.ACCURACY


def test_nothing_is_won_at_full_rank():
    a = np.random.default_rng(0).normal(size=(60, 2000))
    assert skeleton(lambda chosen: a[:, chosen], *a.shape) is None


def test_a_column_like_no_other_is_noticed():
    """The error is measured on columns that the decomposition did not see."""
    a = matrix_of_rank(5)
    a[3, 1::2] += 1.0  # half of the columns have a sixth direction
    found = skeleton(lambda chosen: a[:, chosen], *a.shape)
    assert found is None or len(found.rows) == 6


def network(loss="squared", outputs=1):
    unit = mf.Unit.scaled_ridge("tanh") if outputs == 1 else vector_unit()
    data = mf.Data.gauss_hermite(1, 64, target(loss, outputs))
    return mf.Risk(unit, data, loss)


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
def test_networks_do_not_notice(monkeypatch, loss, outputs):
    """Value, potential and curvature agree with those of all data, to rounding."""
    thin = network(loss, outputs).discretise(GRID)
    monkeypatch.setattr("meanfield_pde.energies.risk.WORTH_FACTORING", 10**9)
    full = network(loss, outputs).discretise(GRID)
    assert thin.lift is not None
    assert full.lift is None
    assert len(thin.features) <= len(full.features) // 2
    rho = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4).values
    assert thin.value(rho) == pytest.approx(full.value(rho), rel=1e-12)
    scale = np.abs(full.potential(rho)).max()
    np.testing.assert_allclose(thin.potential(rho), full.potential(rho), atol=1e-12 * scale)
    # Newton's matrix acts on the means of the features: compare it on the grid.
    for one in (thin, full):
        outputs_there = one.outputs(one.means(rho))
        one_matrix = one.features.T @ one.curvature(outputs_there) @ one.features
        if one is thin:
            first = one_matrix
    np.testing.assert_allclose(first, one_matrix, atol=1e-10 * np.abs(one_matrix).max())
    assert "rank" in thin.remark
    assert not full.remark


def test_a_wrong_lift_would_be_noticed(monkeypatch):
    """Planted bug: outputs without the inverse weights."""
    thin = network().discretise(GRID)
    wrong = NetworkFunctional(
        GRID, thin.features, thin.data, thin.loss, thin.lift * np.sqrt(thin.data.weights)[:, None]
    )
    rho = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4).values
    assert abs(wrong.value(rho) - thin.value(rho)) > 1e-3


def test_gibbs_laws_do_not_notice(monkeypatch):
    def law():
        energy = network() + 0.02 * mf.Penalty() + 0.05 * mf.Entropy()
        return mf.gibbs(energy, GRID).values

    thin = law()
    monkeypatch.setattr("meanfield_pde.energies.risk.WORTH_FACTORING", 10**9)
    np.testing.assert_allclose(thin, law(), atol=1e-11 * thin.max())


def test_solutions_say_it():
    energy = network() + 0.05 * mf.Entropy()
    start = mf.Density.gaussian(GRID, (0.5, -0.3), 0.4)
    solution = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 0.1))
    assert "of 64 (error" in solution.result
