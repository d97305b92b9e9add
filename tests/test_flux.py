"""Fluxes against dense matrices and their definitions, and what their formulas promise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import Upwind, generator
from reference import PROPERTY, ULP

import meanfield_pde as mf
from meanfield_pde.eulerian.flux import FLUXES, Compact, Generator, RatioLimited

GRIDS = {
    "line": mf.Grid.box(-2, 2, 12),
    "ring": mf.Grid.torus(-2, 2, 12),
    "ring of two": mf.Grid.torus(-2, 2, 2),
    "plane": mf.Grid.box((-1, -2), (1, 2), (5, 6)),
    "torus": mf.Grid.torus((-1, -2), (1, 2), (5, 6)),
}


@pytest.fixture(params=list(GRIDS))
def grid(request):
    return GRIDS[request.param]


def random_potential(grid, seed=0):
    return np.random.default_rng(seed).standard_normal(grid.shape)


def random_values(grid, seed=1):
    return np.random.default_rng(seed).exponential(size=grid.shape)


def generator_of(grid, potential, beta):
    return mf.ScharfetterGummel().transport(grid, potential, beta)


def limited_of(grid, potential, beta):
    return RatioLimited().transport(grid, potential, beta)


def test_registered():
    kinds = {"sg": mf.ScharfetterGummel, "rl": RatioLimited, "compact": Compact}
    assert set(FLUXES) == set(kinds)
    for name, kind in kinds.items():
        assert isinstance(FLUXES[name], kind)
        assert FLUXES[name].name == name


@pytest.mark.parametrize("beta", [0.0, 0.01, 1.0])
def test_matrix_against_dense(grid, beta):
    phi = random_potential(grid)
    dense = generator(grid, phi, beta)
    found = generator_of(grid, phi, beta)
    size = np.abs(dense).max()
    np.testing.assert_allclose(found.matrix().toarray(), dense, rtol=1e-13, atol=1e-13 * size)
    assert found.outflow == pytest.approx(-np.diag(dense).min(), rel=1e-13)
    rho, source = random_values(grid), random_values(grid, 2)
    exact = rho.ravel() + 0.01 * dense @ source.ravel()
    np.testing.assert_allclose(
        found.advance(rho, source, 0.01).ravel(), exact, rtol=0, atol=1e-14 * size
    )


def test_matrix_is_a_generator(grid):
    """Off the diagonal nonnegative, columns that sum to 0."""
    matrix = generator_of(grid, random_potential(grid), 0.1).matrix().toarray()
    assert (matrix - np.diag(np.diag(matrix)) >= 0).all()
    np.testing.assert_allclose(matrix.sum(axis=0), 0, atol=8 * ULP * np.abs(matrix).max())


def test_walls_close_boxes_alone():
    """A drift to the right carries mass over the upper end of a ring, not of a box."""
    for name, beyond in (("line", 0.0), ("ring", 1.0)):
        grid = GRIDS[name]
        phi = np.zeros(grid.shape)
        phi[0], phi[-1] = -1.0, 1.0
        matrix = generator_of(grid, phi, 0.1).matrix().toarray()
        assert (matrix[0, -1] > 0) == bool(beyond)


def gibbs_state(grid, phi, beta):
    rho = np.exp(-(phi - phi.min()) / beta)
    return rho / (rho.sum() * grid.volume)


@pytest.mark.parametrize("flux", list(FLUXES))
@pytest.mark.parametrize("beta", [0.05, 1.0])
def test_gibbs_states_have_no_flux(grid, beta, flux):
    phi = random_potential(grid)
    found, rho = FLUXES[flux].transport(grid, phi, beta), gibbs_state(grid, phi, beta)
    change = found.advance(rho, rho, 1.0 / found.outflow) - rho
    # Each flux is a difference of products that agree to the rounding of exp(-dPhi / beta).
    assert np.abs(change).max() <= 50 * ULP * rho.max() * (1 + np.ptp(phi) / beta)


def test_a_flux_without_gibbs_states_is_caught(grid):
    phi = random_potential(grid)
    added = Upwind().transport(grid, phi, 1.0)
    rho = gibbs_state(grid, phi, 1.0)
    assert np.abs(added.advance(rho, rho, 1.0 / added.outflow) - rho).max() > 1e-3


# -- dissipation


def dense_dissipation(grid, phi, beta, rho):
    """``-sum |K| xi (A rho)``, without a word about faces."""
    xi = (phi + beta * np.log(rho)).ravel()
    return -float(xi @ (generator(grid, phi, beta) @ rho.ravel())) * grid.volume


@pytest.mark.parametrize("beta", [0.05, 1.0])
def test_dissipation_against_dense(grid, beta):
    phi, rho = random_potential(grid), random_values(grid)
    xi = phi + beta * np.log(rho)
    exact = dense_dissipation(grid, phi, beta, rho)
    assert generator_of(grid, phi, beta).dissipation(rho, xi) == pytest.approx(exact, rel=1e-12)
    # Each flux is within a factor 2 of Scharfetter and Gummel's, and so is what it dissipates.
    limited = limited_of(grid, phi, beta).dissipation(rho, xi)
    assert 0.5 * exact * (1 - 1e-12) <= limited <= 2 * exact * (1 + 1e-12)


def test_limited_dissipation_is_the_rate_of_the_energy(grid):
    """Half an Euler step forward and back: the free energy changes by that rate."""
    beta, phi, rho = 0.1, random_potential(grid), random_values(grid) + 0.1
    found = limited_of(grid, phi, beta)
    change = found.advance(rho, rho, 1.0) - rho
    dt = 1e-7 / found.outflow

    def free(values):
        return float((phi * values + beta * values * np.log(values)).sum()) * grid.volume

    fall = (free(rho - dt * change) - free(rho + dt * change)) / (2 * dt)
    xi = phi + beta * np.log(rho)
    assert fall == pytest.approx(found.dissipation(rho, xi), rel=1e-6)


@given(st.integers(0, 2**32), st.floats(-4, 2), st.sampled_from(list(GRIDS)))
@PROPERTY
def test_flux_has_the_sign_of_the_force(seed, magnitude, name):
    """sign F = sign(xi_K - xi_L) on each face: then no state dissipates less than nothing."""
    grid, beta = GRIDS[name], 10.0**magnitude
    phi, rho = random_potential(grid, seed), random_values(grid, seed)
    found = generator_of(grid, phi, beta)
    shape = found.forward.shape[1:]
    x = (phi + beta * np.log(rho)).reshape(shape)
    r = rho.reshape(shape)
    for axis in (0, 1):
        down, up = found.forward[axis], found.backward[axis]
        flux = down * r - up * np.roll(r, -1, axis=axis)
        force = x - np.roll(x, -1, axis=axis)
        rounding = 1e-12 * (down * r + up * np.roll(r, -1, axis=axis)) * np.abs(force)
        assert (flux * force >= -rounding).all()
    assert found.dissipation(rho, x.reshape(grid.shape)) >= 0


def test_a_reversed_flux_is_caught():
    """Planted: forward and backward exchanged, as by a drift of the wrong sign."""
    grid = GRIDS["line"]
    phi, rho = random_potential(grid), random_values(grid)
    right = generator_of(grid, phi, 0.1)
    wrong = Generator(grid, right.backward, right.forward)
    assert wrong.dissipation(rho, phi + 0.1 * np.log(rho)) < 0


# -- symmetry, to the last bit


def test_reflected_potentials_give_reflected_rates():
    grid = GRIDS["line"]
    phi = random_potential(grid)
    there, back = (generator_of(grid, p, 0.1) for p in (phi, phi[::-1]))
    np.testing.assert_array_equal(there.forward[0, :-1, 0], back.backward[0, :-1, 0][::-1])
    assert there.outflow == back.outflow


@pytest.mark.parametrize("flux", list(FLUXES))
@pytest.mark.parametrize("name", ["line", "ring"])
def test_reflected_steps_are_equal(name, flux):
    grid = GRIDS[name]
    phi, rho = random_potential(grid), random_values(grid)
    there, back = (FLUXES[flux].transport(grid, p, 0.1) for p in (phi, phi[::-1]))
    assert there.outflow == back.outflow
    np.testing.assert_array_equal(
        there.advance(rho, rho, 0.01), back.advance(rho[::-1], rho[::-1], 0.01)[::-1]
    )


@pytest.mark.parametrize("flux", list(FLUXES))
@pytest.mark.parametrize("beta", [0.1, 0.0])
@pytest.mark.parametrize("periodic", [False, True])
def test_images_under_the_square_are_equal(periodic, beta, flux):
    make = mf.Grid.torus if periodic else mf.Grid.box
    grid = make((-1, -1), (1, 1), (6, 6))
    phi, rho = random_potential(grid), random_values(grid)

    def advanced(p, r):
        return FLUXES[flux].transport(grid, p, beta).advance(r, r, 0.01)

    here = advanced(phi, rho)
    for image in (np.transpose, np.flipud, np.fliplr, np.rot90):
        np.testing.assert_array_equal(advanced(image(phi), image(rho)), image(here))


@pytest.mark.parametrize("flux", list(FLUXES))
def test_potentials_in_any_memory_order(flux):
    grid = GRIDS["plane"]
    phi, rho = random_potential(grid), random_values(grid)
    results = [
        FLUXES[flux].transport(grid, p, 0.1).advance(r, r, 0.01)
        for p, r in ((phi, rho), (np.asfortranarray(phi), np.asfortranarray(rho)))
    ]
    np.testing.assert_array_equal(*results)


# -- the ratio-limited flux


def test_limited_flux_where_it_is_not_needed():
    """At small cell Peclet numbers, and for flat densities, it is Scharfetter and Gummel's."""
    grid = GRIDS["line"]
    phi, rho = 1e-9 * random_potential(grid), random_values(grid)
    plain, limited = generator_of(grid, phi, 1.0), limited_of(grid, phi, 1.0)
    np.testing.assert_allclose(
        limited.advance(rho, rho, 0.01), plain.advance(rho, rho, 0.01), rtol=1e-12
    )
    steep, flat = random_potential(grid), np.ones(grid.shape)
    plain, limited = generator_of(grid, steep, 0.01), limited_of(grid, steep, 0.01)
    np.testing.assert_allclose(
        limited.advance(flat, flat, 1e-3), plain.advance(flat, flat, 1e-3), rtol=1e-12
    )


def test_limited_flux_of_a_straight_density():
    """Where nothing is cut, the flux is central: beta drho/dz + rho dPhi/dz at the face."""
    grid = mf.Grid.box(0, 1, 50)
    z = grid.axes[0]
    for beta in (0.0, 0.01, 0.1):
        phi, rho = 2.0 * z, 1.0 + 0.5 * z
        change = limited_of(grid, phi, beta).advance(rho, rho, 1.0) - rho
        inner = slice(2, -2)
        # d/dz (2 rho + beta drho/dz) = 2 * 0.5, exactly, away from the walls.
        np.testing.assert_allclose(change[inner], 1.0, atol=1e-9)


@given(st.integers(0, 2**32), st.floats(-4, 2), st.sampled_from(list(GRIDS)))
@PROPERTY
def test_limited_flux_is_positive_up_to_its_bound(seed, magnitude, name):
    grid, beta = GRIDS[name], 10.0**magnitude
    phi = 3 * random_potential(grid, seed)
    rho = random_values(grid, seed) * (np.random.default_rng(seed).random(grid.shape) < 0.6)
    for b in (beta, 0.0):
        found = limited_of(grid, phi, b)
        new = found.advance(rho, rho, 1.0 / found.outflow)
        assert new.min() >= -8 * ULP * rho.max()
        assert new.sum() == pytest.approx(rho.sum(), rel=1e-13)


def test_an_unlimited_flux_is_caught():
    """Planted: three times the upwind flux, as if slopes were not limited to twice a value."""
    grid = mf.Grid.box(0, 1, 6)
    phi = -np.arange(6.0)
    rho = np.array([0.0, 1.0, 1e-3, 0.0, 0.0, 0.0])
    matrix = generator_of(grid, phi, 0.0)
    downwind = Generator(grid, matrix.forward * 3, matrix.backward)
    bound = 1 / limited_of(grid, phi, 0.0).outflow
    assert limited_of(grid, phi, 0.0).advance(rho, rho, bound).min() >= 0
    assert downwind.advance(rho, rho, bound).min() < 0
