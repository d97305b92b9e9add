"""Functions of a plane's cells that a few rows and columns stand for."""

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.energies import risk as module
from meanfield_pde.energies.low_rank import TOLERANCE
from meanfield_pde.energies.separable import Places, places_of, remainder

GRID = mf.Grid.box((-4, -3), (4, 5), (128, 112))
RHO = mf.Density.gaussian(GRID, (0.5, 0.7), 0.4).values


@pytest.fixture(autouse=True)
def small_grids_will_do(monkeypatch):
    monkeypatch.setattr(module, "WORTH_SEPARATING", 200_000)


def products(ranks, functions=50, shape=(60, 40)):
    """Random functions (functions, nx, ny) of exact ranks along both axes."""
    rng = np.random.default_rng(0)
    core = rng.standard_normal((functions, *ranks))
    first, second = (rng.standard_normal((n, r)) for n, r in zip(shape, ranks, strict=True))
    return np.einsum("kab,ia,jb->kij", core, first, second)


def find(table, tolerance=1e-12):
    flat = table.reshape(len(table), -1)
    return places_of(lambda f, c: flat[np.ix_(f, c)], len(table), table.shape[1:], tolerance)


@pytest.mark.parametrize("ranks", [(1, 1), (1, 6), (5, 2)])
def test_ranks_are_found_and_values_reproduced(ranks):
    table = products(ranks)
    places = find(table)
    assert (places.first.shape[1], places.second.shape[1]) == ranks
    flat = table.reshape(len(table), -1)
    few = flat[:, places.cells]
    np.testing.assert_allclose(places.spread(few), table, atol=1e-11)
    part = table[:, 20:33].reshape(len(table), -1)
    np.testing.assert_allclose(places.rows(few, slice(20, 33)), part, atol=1e-11)
    sizes, gaps = remainder(lambda f, c: flat[np.ix_(f, c)], len(table), table.shape[1:], places)
    np.testing.assert_allclose(sizes, np.linalg.norm(flat, axis=0), rtol=1e-12)
    assert gaps.max() <= 1e-11


@pytest.mark.parametrize("shape", [(3, 9), (9, 3)])
def test_condensing_is_the_transpose_of_spreading(shape):
    """Then the potential is the derivative of the value, whatever the error."""
    rng = np.random.default_rng(1)
    first, second = rng.standard_normal((12, shape[0])), rng.standard_normal((10, shape[1]))
    places = Places(first, second, np.arange(27))
    few, rho = rng.standard_normal(27), rng.standard_normal((12, 10))
    assert places.condense(rho) @ few == pytest.approx((places.spread(few) * rho).sum(), rel=1e-13)
    kronecker = np.kron(first, second)
    np.testing.assert_allclose(places.condense(rho), kronecker.T @ rho.ravel(), atol=1e-13)
    np.testing.assert_allclose(places.spread(few).ravel(), kronecker @ few, atol=1e-13)


def test_rough_functions_have_no_places():
    assert find(np.random.default_rng(2).standard_normal((50, 60, 40))) is None


def wave(x):
    return np.sin(x[..., 0])


RISKS = {
    "bumps": (mf.Unit.bump(), mf.Data.gauss_hermite(2, 12, wave), "squared"),
    "bumps of few": (mf.Unit.bump(2.0), mf.Data.gauss_hermite(2, 20, wave), "half_squared"),
    "amplitudes": (mf.Unit.scaled_ridge("tanh"), mf.Data.gauss_hermite(1, 64, wave), "squared"),
    "labels": (
        mf.Unit.bump(),
        mf.Data.gauss_hermite(2, 12, lambda x: np.where(x[..., 0] > 0.3, 1.0, -1.0)),
        "logistic",
    ),
    "two outputs": (
        mf.Unit.custom(lambda x, z: np.exp(-((x - z) ** 2)), outputs=2),
        mf.Data.gauss_hermite(2, 12, lambda x: np.sin(x)),
        "squared",
    ),
}


def check(name):
    """Values, potentials and outputs are those of all data at all cells."""
    unit, data, loss = RISKS[name]
    few = mf.Risk(unit, data, loss).discretise(GRID)
    full = mf.Risk(unit, data, loss, rank_tolerance=0).discretise(GRID)
    assert few.places is not None
    assert full.places is None
    assert len(few.places.cells) < GRID.size / 4
    scale = np.abs(full.potential(RHO)).max()
    np.testing.assert_allclose(few.potential(RHO), full.potential(RHO), atol=3e-12 * scale)
    assert few.value(RHO) == pytest.approx(full.value(RHO), rel=3e-12)
    means = few.on_cells @ RHO.ravel() * GRID.volume
    np.testing.assert_allclose(few.means(RHO), means, atol=1e-13 * np.abs(means).max())
    nx, ny = GRID.cells
    assert f"of {nx} x {ny} places (error " in few.remark


@pytest.mark.parametrize("name", RISKS)
def test_networks_do_not_notice(name):
    check(name)


def untransposed(self, values):
    return np.flip(right_spread(self, values), axis=-1)


right_spread = Places.spread


def test_wrong_interpolation_is_caught(monkeypatch):
    monkeypatch.setattr(Places, "spread", untransposed)
    with pytest.raises(AssertionError):
        check("bumps")


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-8])
def test_errors_are_within_the_tolerance_and_told(tolerance):
    """``|r| e M + 2 e M M`` bounds the potential's error, as for skeletons of data alone."""
    x = np.random.default_rng(3).standard_normal((300, 2))
    data = mf.Data.samples(x, wave(x))
    few = mf.Risk(mf.Unit.bump(), data, rank_tolerance=tolerance).discretise(GRID)
    full = mf.Risk(mf.Unit.bump(), data, rank_tolerance=0).discretise(GRID)
    assert few.places is not None
    assert f"for the tolerance {tolerance:g}" in few.remark
    told = float(few.remark.split("(error ")[1].split(")")[0])
    assert told <= tolerance
    a = np.sqrt(data.weights)[:, None] * full.features
    size = np.linalg.norm(a, axis=0).max()
    slope = np.sqrt(data.weights @ (2 * (full.predict(RHO) - data.y)[:, 0]) ** 2)
    off = np.abs(few.potential(RHO) - full.potential(RHO)).max()
    assert off <= 1.1 * told * size * (slope + 4 * size) + 1e-13
    assert off > 1e-3 * tolerance * size


def narrow(x, z):
    """A smooth bump of z about x and, about a place that has nothing to do with x, a narrow one."""
    away = ((z - [1.234, -0.567]) ** 2).sum(-1) / (1.3 * 8 / 256) ** 2
    smooth = np.exp(-0.5 * ((x - z) ** 2).sum(-1))
    return smooth + (1 + x[..., 0]) * np.maximum(0.0, 1.0 - away) ** 2


NARROW = {
    "bumps of three cells": (mf.Unit.bump(0.05), 8, 512, 1e-4),
    "a bump of one cell": (mf.Unit.custom(narrow), 30, 256, TOLERANCE),
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", NARROW)
def test_what_no_sampled_line_has_seen_is_seen_in_the_check(name, seed):
    """Local features are between the lines; every cell is looked at, and places are given up."""
    unit, size, cells, tolerance = NARROW[name]
    x = np.random.default_rng(seed).standard_normal((size, 2))
    grid = mf.Grid.box((-4, -4), (4, 4), (cells, cells))
    data = mf.Data.samples(x, np.sin(x[:, 0]))
    functional = mf.Risk(unit, data, rank_tolerance=tolerance).discretise(grid)
    if functional.places is None:
        assert functional.features.shape[1] == grid.size
        return
    exact = unit.features(x, grid.points.reshape(-1, 2))[..., 0]
    off = np.abs(functional.on_cells - exact).max()
    assert off <= tolerance * np.linalg.norm(exact, axis=0).max()


def test_a_check_of_some_cells_would_not_see_it(monkeypatch):
    """Planted: the remainder at every seventh cell only, elsewhere nothing is left."""

    def sparse(*given):
        sizes, gaps = remainder(*given)
        gaps[np.arange(len(gaps)) % 7 > 0] = 0.0
        return sizes, gaps

    monkeypatch.setattr(module, "remainder", sparse)
    monkeypatch.setitem(NARROW, "planted", NARROW["a bump of one cell"])
    with pytest.raises(AssertionError):
        [test_what_no_sampled_line_has_seen_is_seen_in_the_check("planted", k) for k in range(8)]


def test_small_grids_keep_all_cells():
    unit, data, loss = RISKS["bumps"]
    small = mf.Grid.box((-4, -3), (4, 5), (24, 24))
    assert data.size * small.size < module.WORTH_SEPARATING
    assert mf.Risk(unit, data, loss).discretise(small).places is None


def test_stationary_laws_do_not_notice():
    unit, data, loss = RISKS["amplitudes"]
    laws = []
    for tolerance in (TOLERANCE, 0):
        energy = mf.Risk(unit, data, loss, rank_tolerance=tolerance)
        laws.append(mf.gibbs(energy + 0.02 * mf.Penalty() + 0.05 * mf.Entropy(), GRID).values)
    np.testing.assert_allclose(*laws, atol=1e-11 * laws[0].max())


def test_no_grid_is_too_large_for_a_few_places():
    """64 data on 3000^2 cells would be 4.6 GB of features."""
    unit, data, loss = RISKS["amplitudes"]
    vast = mf.Grid.box((-4, -3), (4, 5), (3000, 3000))
    functional = mf.Risk(unit, data, loss).discretise(vast)
    assert functional.features.size < 1000
