"""External potentials on grids and clouds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.energies.energy import Batch, Energy
from meanfield_pde.energies.potential import Penalty, Potential
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

LINE = Grid.box(-2, 2, 8)
PLANE = Grid.box((-2, -2), (2, 2), (6, 4))


def well(z):
    return (z**4).sum(-1) / 4 - z[..., 0]


def slope(z):
    return z**3 - np.eye(z.shape[-1])[0]


@PROPERTY
@given(st.integers(0, 2**32))
def test_value_and_potential_by_loops(seed):
    rng = np.random.default_rng(seed)
    for grid in (LINE, PLANE):
        rho = Density(grid, rng.exponential(size=grid.shape))
        cloud = Cloud(rng.normal(size=(7, grid.dim)), rng.exponential(size=7))
        for energy, v in (
            (Potential(well), lambda z: sum(c**4 for c in z) / 4 - z[0]),
            (Penalty(), lambda z: sum(c * c for c in z)),
        ):
            field = energy.potential(rho)
            for index in np.ndindex(grid.shape):
                assert field[index] == pytest.approx(v(grid.points[index]), abs=1e-14)
            cells = zip(rho.masses.ravel(), grid.points.reshape(-1, grid.dim), strict=True)
            slow = math.fsum(m * v(z) for m, z in cells)
            assert energy.value(rho) == pytest.approx(slow, rel=1e-12, abs=1e-12)
            points = zip(cloud.weights, cloud.points, strict=True)
            slow = math.fsum(w * v(z) for w, z in points)
            assert energy.value(cloud) == pytest.approx(slow, rel=1e-12, abs=1e-12)


def test_closed_forms():
    """N(1, .04) in x^2/2: (1 + .04)/2, and h^2/24 for the cells; penalty: the second moment."""
    grid = Grid.box(-4, 6, 500)
    rho = Density.gaussian(grid, 1.0, 0.04)
    half = Potential(lambda z: 0.5 * (z**2).sum(-1))
    assert half.value(rho) == pytest.approx(0.52 + 0.02**2 / 24, abs=1e-12)
    assert Penalty().value(rho) == pytest.approx(rho.moment(2), rel=1e-14)
    assert half.value(Cloud([[3.0, 4.0]])) == 12.5


@pytest.mark.parametrize("told", [None, slope])
def test_drift_is_minus_the_gradient(told):
    cloud = Cloud(np.random.default_rng(0).normal(size=(20, 3)))
    found = Potential(well, told).drift(cloud, Batch(np.array([0])))
    np.testing.assert_allclose(found, -slope(cloud.points), atol=1e-13)
    assert (Penalty().drift(cloud) == -2 * cloud.points).all()


def test_planted_gradient_uphill_is_refused():
    with pytest.raises(ValueError, match="gradient of potential is wrong"):
        Potential(well, lambda z: -slope(z)).drift(Cloud([1.0, 2.0]))


def test_potential_does_not_depend_on_the_measure():
    functional = Potential(well).on(PLANE)
    assert functional.constant
    one, two = np.zeros(PLANE.shape), np.ones(PLANE.shape)
    for found in (functional.potential(two), functional.secant(one, two, -1.0)):
        assert (found == functional.potential(one)).all()


HUGE = Potential(lambda z: np.where(np.abs(z[..., 0]) > 1.7, np.inf, 0.0))


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Potential(3.0), "function must be callable", "got 3.0", "(z**2).sum(-1)"),
        (lambda: Potential(lambda z: z**2).on(LINE), "potential", "(8, 1)", "last axis"),
        (lambda: Potential(lambda z: 1.0).on(LINE), "potential", "got ()", "last axis"),
        (
            lambda: HUGE.on(LINE),
            "potential must be finite",
            "inf at [-1.75]",
            "change the function",
        ),
        (lambda: HUGE.value(Cloud([0.0, 9.0])), "potential", "inf at [9.]", "change the function"),
        (lambda: Potential(lambda z: z**2).value(Cloud([1.0])), "potential", "(1, 1)", "last axis"),
        (
            lambda: Potential(lambda z: (z**2).sum()).drift(Cloud([1.0, 2.0])),
            "potential must map points",
            "got ()",
            "last axis",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


TORUS = Grid.torus(-3.0, 3.0, 24)


@pytest.mark.parametrize(
    "energy", [Potential(lambda z: z[..., 0]), Penalty()], ids=["V", "penalty"]
)
def test_potentials_on_a_torus_must_be_periodic(energy: Energy) -> None:
    """Else density and particles differ: the jump at the seam drives one of them only."""
    with pytest.raises(ValueError, match=r"period along axis 0.*;"):
        energy.on(TORUS)
    Potential(lambda z: np.cos(np.pi * z[..., 0] / 3)).on(TORUS)
