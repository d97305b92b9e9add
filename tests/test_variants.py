"""Data augmentation and feature averaging: the identities of Maass and Fontbona, section 3."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.energies import variants as module
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Batch, Entropy, Sum
from meanfield_pde.energies.loss import CustomLoss
from meanfield_pde.energies.moved_unit import MovedUnit
from meanfield_pde.energies.potential import Penalty
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.unit import Unit
from meanfield_pde.energies.variants import (
    VARIANTS,
    data_augmented,
    equivariant_architecture,
    feature_averaged,
    plain_risk,
    with_variant,
)
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import project, symmetrise


def bump_at(x, c):
    return np.exp(-0.5 * (x[..., 0] - c) ** 2)


def even(x):
    return 0.5 * (bump_at(x, 1.5) + bump_at(x, -1.5))


def tilted(x):
    return 0.7 * bump_at(x, 1.5) + 0.3 * bump_at(x, -0.5)


def swappable(x):
    return 0.5 * (np.tanh(2 * x[..., 0]) + np.tanh(2 * x[..., 1]))


def first(x):
    return np.tanh(2 * x[..., 0])


def legendre(target, loss="squared"):
    return Risk(Unit.bump(), Data.gauss_legendre(40, -3, 3, target), loss)


def hermite(target, loss="squared"):
    return Risk(Unit.ridge("tanh"), Data.gauss_hermite(2, 8, target), loss)


def vector(x, z):
    return np.stack([np.tanh(x[..., a] * z[..., a]) for a in (0, 1)], axis=-1)


QUARTIC = CustomLoss(
    lambda f, y: ((f - y) ** 2).sum(-1) ** 2,
    lambda f, y: 4 * ((f - y) ** 2).sum(-1, keepdims=True) * (f - y),
)
SWAP_OUTPUTS = Group.swap().acting(y=lambda p: p)
LINE, PLANE = Grid.box(-4, 4, 16), Grid.box((-2, -2), (2, 2), (6, 6))
# name: risk, group, grid; the unit is equivariant, the law of the data may not be invariant
SYSTEMS = {
    "reflection even": (legendre(even), Group.reflection(), LINE),
    "reflection tilted": (legendre(tilted), Group.reflection(), LINE),
    "reflection tilted, huber": (legendre(tilted, "huber"), Group.reflection(), LINE),
    "swap invariant": (hermite(swappable), Group.swap(), PLANE),
    "swap arbitrary": (hermite(first), Group.swap(), PLANE),
    "swap arbitrary, quartic": (hermite(first, QUARTIC), Group.swap(), PLANE),
    "swap of vectors": (
        Risk(
            Unit.custom(vector, outputs=2),
            Data.gauss_hermite(2, 4, lambda x: np.stack([first(x), x[..., 0] ** 2], -1)),
        ),
        SWAP_OUTPUTS,
        PLANE,
    ),
}
EVERY = pytest.mark.parametrize(("risk", "group", "grid"), SYSTEMS.values(), ids=SYSTEMS)
# Risks are sums of at most 64 terms of size 1.
ROUNDING = 1e-13


def random_measures(grid, seed):
    rng = np.random.default_rng(seed)
    rho = Density(grid, rng.exponential(size=grid.shape)).normalised()
    weights = rng.exponential(size=6)
    return rho, Cloud(rng.normal(size=(6, grid.dim)), weights / weights.sum())


def check_identities(risk, group, grid, seed):
    augmented, averaged = data_augmented(risk, group), feature_averaged(risk, group)
    matrices = group.on_z(grid.dim)
    for mu in random_measures(grid, seed):
        # R^FA(mu) = R(mu^G), and what it sees is the symmetrised model.
        assert averaged.value(mu) == pytest.approx(risk.value(symmetrise(mu, group)), abs=ROUNDING)
        outputs = risk.predict(symmetrise(mu, group))
        np.testing.assert_allclose(averaged.predict(mu), outputs, rtol=0, atol=ROUNDING)
        # Jensen: averaging the network first can only help.
        assert averaged.value(mu) <= augmented.value(mu) + ROUNDING
        np.testing.assert_allclose(augmented.predict(mu), risk.predict(mu), rtol=0, atol=0)
    # R^DA(mu) = (1/|G|) sum_g R(M_g # mu).
    moved = [risk.value(Cloud(mu.points @ m.T, mu.weights)) for m in matrices]
    mean = math.fsum(moved) / group.order
    assert augmented.value(mu) == pytest.approx(mean, abs=ROUNDING)
    rho = random_measures(grid, seed)[0]
    images = group.cell_images(grid)
    moved = [risk.value(Density(grid, rho.values.ravel()[i].reshape(grid.shape))) for i in images]
    assert augmented.value(rho) == pytest.approx(math.fsum(moved) / group.order, abs=ROUNDING)
    # Both are invariant: at M_g # mu as at mu.
    for m in matrices:
        other = Cloud(mu.points @ m.T, mu.weights)
        assert augmented.value(other) == pytest.approx(augmented.value(mu), abs=ROUNDING)
        assert averaged.value(other) == pytest.approx(averaged.value(mu), abs=ROUNDING)
    # The potential of FA is invariant whatever the measure is: Phi(M_g z) = Phi(z).
    phi = averaged.potential(rho).ravel()
    for image in images:
        np.testing.assert_allclose(phi[image], phi, rtol=0, atol=ROUNDING)
    # That of DA is equivariant: Phi_{M_g # mu}(M_g z) = Phi_mu(z).
    phi = augmented.potential(rho).ravel()
    for image in images:
        pulled = Density(grid, rho.values.ravel()[image].reshape(grid.shape))
        found = augmented.potential(pulled).ravel()
        np.testing.assert_allclose(found, phi[image], rtol=0, atol=ROUNDING)


def check_drifts(risk, group, grid, seed):
    """DA: mean of M_g^-1 D R(M_g # mu, M_g z); FA: mean of M_g^-1 D R(mu^G, M_g z)."""
    _, mu = random_measures(grid, seed)
    matrices = group.on_z(grid.dim)
    both = symmetrise(mu, group)
    augmented, averaged = np.zeros_like(mu.points), np.zeros_like(mu.points)
    symmetric = risk.drift(both).reshape(group.order, mu.size, grid.dim)
    for m, drift in zip(matrices, symmetric, strict=True):
        augmented += risk.drift(Cloud(mu.points @ m.T, mu.weights)) @ m / group.order
        averaged += drift @ m / group.order
    for energy, exact in (
        (data_augmented(risk, group), augmented),
        (feature_averaged(risk, group), averaged),
    ):
        np.testing.assert_allclose(energy.drift(mu), exact, rtol=0, atol=ROUNDING)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_identities(risk, group, grid, seed):
    check_identities(risk, group, grid, seed)


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_drifts(risk, group, grid, seed):
    check_drifts(risk, group, grid, seed)


def wrong_sign(unit, matrix):
    return MovedUnit(unit, -matrix)


def not_moved(unit, matrix):
    return MovedUnit(unit, np.eye(len(matrix)))


def transposed_network(self, x, z, weights):
    outputs, pull = self.unit.network(x, z @ self.matrix, weights)
    return outputs, lambda residual: pull(residual) @ self.matrix


def ones(group):
    return np.ones(group.order)


def uneven(group):
    return np.arange(1.0, group.order + 1) * 2 / (group.order * (group.order + 1))


PLANTED = {
    "flipped sign": (module, "MovedUnit", wrong_sign, check_identities),
    "nothing moved": (module, "MovedUnit", not_moved, check_identities),
    "nothing moved, seen in the drift": (module, "MovedUnit", not_moved, check_drifts),
    "missing 1/|G|": (Group, "weights", property(ones), check_identities),
    "missing 1/|G| in the drift": (Group, "weights", property(ones), check_drifts),
    "weights that are not Haar's": (Group, "weights", property(uneven), check_identities),
    "unit not averaged": (module, "AveragedUnit", lambda unit, group: unit, check_identities),
    "unit not averaged, in the drift": (
        module,
        "AveragedUnit",
        lambda unit, group: unit,
        check_drifts,
    ),
}


@pytest.mark.parametrize(("home", "name", "wrong", "check"), PLANTED.values(), ids=PLANTED)
def test_planted_bugs_are_caught(monkeypatch, home, name, wrong, check):
    risk, group, grid = SYSTEMS["swap arbitrary"]
    monkeypatch.setattr(home, name, wrong)
    with pytest.raises(AssertionError):
        check(Risk(risk.unit, risk.data), group, grid, 0)


def test_planted_inverse_is_seen_by_a_group_that_is_not_its_own_inverse(monkeypatch):
    """Sums over a group do not see g replaced by 1/g; a sampled element does."""
    group, risk = Group.cyclic(3), hermite(first)
    _, mu = random_measures(PLANE, 0)
    batch = Batch(np.array([0, 9]), np.array([1, 1]))
    right = data_augmented(risk, group).drift(mu, batch)
    m = group.matrices[1]
    moved = Cloud(mu.points @ m.T, mu.weights)
    exact = risk.drift(moved, Batch(batch.indices)) @ m
    np.testing.assert_allclose(right, exact, rtol=0, atol=ROUNDING)
    monkeypatch.setattr(MovedUnit, "network", transposed_network)
    wrong = data_augmented(risk, group).drift(mu, batch)
    assert np.abs(wrong - exact).max() > 1e-3


@pytest.mark.parametrize("name", ["reflection even", "swap invariant"])
@pytest.mark.parametrize("seed", range(3))
def test_augmentation_does_nothing_to_an_invariant_risk(name, seed):
    risk, group, grid = SYSTEMS[name]
    augmented = data_augmented(risk, group)
    rho, cloud = random_measures(grid, seed)
    for mu in (rho, cloud):
        assert augmented.value(mu) == pytest.approx(risk.value(mu), abs=ROUNDING)
    phi = risk.potential(rho)
    np.testing.assert_allclose(augmented.potential(rho), phi, rtol=0, atol=ROUNDING)
    np.testing.assert_allclose(augmented.drift(cloud), risk.drift(cloud), rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("name", ["reflection tilted", "swap arbitrary"])
def test_augmentation_does_something_to_another(name):
    """The control of the test above, and strict inequality in Jensen's."""
    risk, group, grid = SYSTEMS[name]
    rho, _ = random_measures(grid, 0)
    augmented, averaged = data_augmented(risk, group), feature_averaged(risk, group)
    assert abs(augmented.value(rho) - risk.value(rho)) > 1e-3
    assert averaged.value(rho) < augmented.value(rho) - 1e-3


@EVERY
def test_variants_agree_on_invariant_measures(risk, group, grid):
    """Theorem 4: on weakly invariant laws DA and FA have one value, potential and drift."""
    rho, cloud = (symmetrise(mu, group) for mu in random_measures(grid, 5))
    augmented, averaged = data_augmented(risk, group), feature_averaged(risk, group)
    for mu in (rho, cloud):
        assert augmented.value(mu) == pytest.approx(averaged.value(mu), abs=ROUNDING)
    difference = augmented.potential(rho) - averaged.potential(rho)
    np.testing.assert_allclose(difference, 0, atol=ROUNDING)
    difference = augmented.drift(cloud) - averaged.drift(cloud)
    np.testing.assert_allclose(difference, 0, atol=ROUNDING)


@PROPERTY
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_variants_are_convex(seed, share):
    for name in ("reflection tilted, huber", "swap arbitrary, quartic"):
        risk, group, grid = SYSTEMS[name]
        one, two = (random_measures(grid, s)[0] for s in (seed, seed + 1))
        mixed = Density.mixture([one, two], [share, 1 - share])
        for energy in (data_augmented(risk, group), feature_averaged(risk, group)):
            chord = share * energy.value(one) + (1 - share) * energy.value(two)
            assert energy.value(mixed) <= chord + ROUNDING


@pytest.mark.parametrize(
    ("name", "average", "constant"),
    [
        (
            "reflection tilted",
            lambda x: 0.5 * (tilted(x) + tilted(-x)),
            0.0410749919,
        ),
        ("swap arbitrary", swappable, 0.3605977633),
    ],
)
def test_symmetrised_risk_is_a_distance_and_a_constant(name, average, constant):
    """Maass and Fontbona 2024, Cor. 1: R(mu^G) - |Phi_{mu^G} - Q_G f|^2 is a constant."""
    risk, group, grid = SYSTEMS[name]
    averaged, data = feature_averaged(risk, group), risk.data
    for seed in range(4):
        for mu in random_measures(grid, seed):
            gap = averaged.predict(mu)[:, 0] - average(data.x)
            found = averaged.value(mu) - float(data.weights @ gap**2)
            assert found == pytest.approx(constant, abs=5e-11)


# -- batches


def all_batches(risk, group):
    for i, p in enumerate(risk.data.weights):
        for g in range(group.order):
            yield p / group.order, Batch(np.array([i]), np.array([g]))


@pytest.mark.parametrize("name", ["reflection tilted", "swap arbitrary, quartic"])
def test_sampled_augmentation_is_unbiased(name):
    """The mean over samples and elements is the drift of the augmented risk."""
    risk, group, grid = SYSTEMS[name]
    _, mu = random_measures(grid, 3)
    augmented = data_augmented(risk, group)
    mean = sum(p * augmented.drift(mu, batch) for p, batch in all_batches(risk, group))
    np.testing.assert_allclose(mean, augmented.drift(mu), rtol=0, atol=ROUNDING)


def test_a_batch_of_several_elements():
    """Each sample enters with its own element, 1/n each."""
    group, risk = Group.dihedral(3), hermite(first)
    _, mu = random_measures(PLANE, 1)
    indices, elements = np.array([5, 0, 5, 40]), np.array([2, 2, 0, 5])
    augmented = data_augmented(risk, group)
    single = [
        augmented.drift(mu, Batch(np.array([i]), np.array([g])))
        for i, g in zip(indices, elements, strict=True)
    ]
    found = augmented.drift(mu, Batch(indices, elements))
    np.testing.assert_allclose(found, np.mean(single, axis=0), rtol=0, atol=ROUNDING)


def test_a_batch_with_whole_orbits():
    risk, group, grid = SYSTEMS["swap arbitrary"]
    _, mu = random_measures(grid, 1)
    indices, augmented = np.array([3, 17, 3]), data_augmented(risk, group)
    orbits = [augmented.drift(mu, Batch(indices, np.full(3, g))) for g in range(group.order)]
    found = augmented.drift(mu, Batch(indices))
    np.testing.assert_allclose(found, np.mean(orbits, axis=0), rtol=0, atol=ROUNDING)
    assert np.abs(found - feature_averaged(risk, group).drift(mu, Batch(indices))).max() > 1e-4


# -- equivariant architectures


@pytest.mark.parametrize("name", ["swap arbitrary", "swap invariant"])
def test_equivariant_architecture_by_definition(name):
    """R(P # mu), and the drift -P grad(dR/dmu)(P # mu, P z)."""
    risk, group, grid = SYSTEMS[name]
    confined, (rho, mu) = equivariant_architecture(risk, group), random_measures(grid, 2)
    shadow = project(mu, group)
    assert confined.value(mu) == pytest.approx(risk.value(shadow), abs=ROUNDING)
    expected = risk.drift(shadow) @ group.projection()
    np.testing.assert_allclose(confined.drift(mu), expected, rtol=0, atol=ROUNDING)
    centres = Cloud(grid.points.reshape(-1, 2), rho.masses.ravel())
    there = risk.value(project(centres, group))
    assert confined.value(rho) == pytest.approx(there, abs=ROUNDING)
    assert np.abs(confined.drift(mu) - risk.drift(mu)).max() > 1e-3


# -- every risk of an energy at once


def test_with_variant():
    risk, group, grid = SYSTEMS["reflection tilted"]
    energy = risk + 0.1 * Penalty() + 0.2 * Entropy()
    rho, _ = random_measures(grid, 0)
    for start in (energy, *(with_variant(energy, name, group) for name in VARIANTS)):
        for name, expected in zip(
            VARIANTS,
            (
                risk,
                data_augmented(risk, group),
                feature_averaged(risk, group),
                equivariant_architecture(risk, group),
            ),
            strict=True,
        ):
            found = with_variant(start, name, group)
            assert isinstance(found, Sum)
            assert found.beta == 0.2
            right = expected + 0.1 * Penalty() + 0.2 * Entropy()
            assert found.value(rho) == pytest.approx(right.value(rho), abs=ROUNDING)
    assert plain_risk(Penalty()) is None
    assert plain_risk(risk) is risk


def test_options_are_kept():
    """Planted once: variants rebuilt their risk from unit, data and loss alone."""
    risk, group, _ = SYSTEMS["reflection tilted"]
    loose = replace(risk, rank_tolerance=1e-3)
    assert plain_risk(feature_averaged(loose, group)).rank_tolerance == 1e-3
    assert feature_averaged(loose, group).rank_tolerance == 1e-3
    assert {moved.rank_tolerance for moved in data_augmented(loose, group)._moved} == {1e-3}
    for name in VARIANTS:
        (_, leaf), *_ = with_variant(loose + Penalty(), name, group).terms
        assert plain_risk(leaf).rank_tolerance == 1e-3


# -- refusals


RISK = legendre(even)


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: data_augmented(RISK + Penalty(), Group.reflection()), "risk", "got Sum", "alone"),
        (lambda: feature_averaged(Penalty(), Group.reflection()), "risk", "got Penalty", "alone"),
        (lambda: with_variant(RISK, "augmented", Group.reflection()), "variant", "'aug", "pick"),
        *[
            (call, "acts on z in dimension 2", "has dimension 1", "acting(z")
            for call in (
                lambda: data_augmented(RISK, Group.swap()).on(LINE),
                lambda: data_augmented(RISK, Group.swap()).value(Cloud([1.0])),
                lambda: data_augmented(RISK, Group.swap()).drift(Cloud([1.0])),
                lambda: feature_averaged(RISK, Group.swap()).on(LINE),
                lambda: feature_averaged(RISK, Group.swap()).drift(Cloud([1.0])),
            )
        ],
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
