"""Energies averaged over a group of permutations of the cells, against averages by hand."""

import math

import numpy as np
import pytest
from reference import orbit_mean

import meanfield_pde as mf
from meanfield_pde.energies.energy import Functional
from meanfield_pde.energies.symmetrised import SymmetrisedFunctional, symmetrised

GRID = mf.Grid.box((-2, -2), (2, 2), (6, 6))
SQUARE = mf.Group.dihedral(4)
IMAGES = (
    lambda a: a,
    np.rot90,
    lambda a: np.rot90(a, 2),
    lambda a: np.rot90(a, 3),
    lambda a: a[::-1],
    lambda a: a[:, ::-1],
    lambda a: a.T,
    lambda a: np.rot90(a, 2).T,
)
BACK = (IMAGES[0], IMAGES[3], IMAGES[2], IMAGES[1], *IMAGES[4:])
"""The symmetries of the square and their inverses, by numpy."""


class Lopsided(Functional):
    """``1/2 (sum rho V)^2 |K|`` with a field V without any symmetry; it counts its calls."""

    constant = False

    def __init__(self):
        self.field = np.random.default_rng(5).standard_normal(GRID.shape)
        self.calls = 0

    def value(self, rho):
        self.calls += 1
        return 0.5 * float((self.field * rho).sum()) ** 2 * GRID.volume

    def potential(self, rho):
        self.calls += 1
        return self.field * float((self.field * rho).sum())

    def secant(self, start, end, sign=1.0):
        return self.potential(0.5 * (start + end))


def averaged(functional):
    return SymmetrisedFunctional(GRID, functional, SQUARE.cell_images(GRID))


RHO, LATER = np.random.default_rng(2).random((2, *GRID.shape))


def test_by_hand():
    functional, mean = Lopsided(), averaged(Lopsided())
    pairs = list(zip(IMAGES, BACK, strict=True))
    for there, back in pairs:
        np.testing.assert_array_equal(back(there(RHO)), RHO)
    value = math.fsum(functional.value(there(RHO)) for there, _ in pairs) / 8
    phi = sum(back(functional.potential(there(RHO))) for there, back in pairs) / 8
    secant = sum(back(functional.secant(m(RHO), m(LATER))) for m, back in pairs) / 8
    assert mean.value(RHO) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(mean.potential(RHO), phi, atol=1e-13)
    np.testing.assert_allclose(mean.value_and_potential(RHO)[1], phi, atol=1e-13)
    np.testing.assert_allclose(mean.secant(RHO, LATER), secant, atol=1e-13)
    rise = float((secant * (LATER - RHO)).sum()) * GRID.volume
    assert mean.value(LATER) - mean.value(RHO) == pytest.approx(rise, rel=1e-12)


@pytest.mark.parametrize("there", IMAGES)
def test_equivariant_to_the_last_bit(there):
    mean = averaged(Lopsided())
    moved = np.ascontiguousarray(there(RHO))
    assert mean.value(moved) == mean.value(RHO)
    np.testing.assert_array_equal(mean.potential(moved), there(mean.potential(RHO)))
    later = np.ascontiguousarray(there(LATER))
    np.testing.assert_array_equal(mean.secant(moved, later), there(mean.secant(RHO, LATER)))


def test_an_invariant_density_costs_one_evaluation():
    """And gives the bits that all eight would."""
    invariant = mf.symmetrise(mf.Density(GRID, RHO), SQUARE).values
    functional = Lopsided()
    mean = averaged(functional)
    value, phi = mean.value_and_potential(invariant)
    assert functional.calls == 2
    assert value == functional.value(invariant)
    whole = np.stack([back(functional.potential(invariant)) for back in BACK])
    np.testing.assert_array_equal(phi, np.sort(whole, axis=0).sum(axis=0) / 8)
    functional.calls = 0
    mean.potential(RHO)
    assert functional.calls == 8


def test_fields_are_averaged_once():
    V = mf.Potential(lambda z: z[..., 0] + z[..., 0] ** 2 * z[..., 1]).on(GRID)
    mean = averaged(V)
    assert mean.constant
    phi = mean.potential(RHO)
    assert phi is mean.potential(LATER) is mean.secant(RHO, LATER)
    expected = orbit_mean(GRID, V.potential(RHO), SQUARE.matrices)
    np.testing.assert_allclose(phi, expected, atol=1e-15)
    assert mean.value(RHO) == pytest.approx(float((expected * RHO).sum()) * GRID.volume, rel=1e-13)


def test_a_wrong_inverse_is_caught():
    """Planted: fields moved on instead of back; mirrors do not tell, quarter turns do."""
    functional = Lopsided()
    phi = averaged(functional).potential(RHO)
    wrong = sum(there(functional.potential(there(RHO))) for there in IMAGES) / 8
    assert np.abs(wrong - phi).max() > 1e-3


def test_remarks_are_kept():
    x = np.linspace(-2, 2, 60)[:, None]
    risk = mf.Risk(mf.Unit.bump(), mf.Data.samples(x, x[:, 0] ** 2)).on(mf.Grid.box(-3, 3, 2000))
    mean = symmetrised(risk, mf.Group.reflection(), np.ones(2000), risk.grid)
    assert "rank" in mean.remark
    assert mean.remark == risk.remark
