"""Stationary laws without time stepping: self-consistent, stationary, and the right ones."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import (
    REFLECTION,
    STATIONARY,
    TAU,
    arbitrary_target,
    bump,
    bump_energy,
    bump_start,
    circle,
    desai_zwanzig_energy,
    desai_zwanzig_mean,
    even_target,
    generator,
    half_square,
    kuramoto_energy,
    kuramoto_order,
)
from reference import PROPERTY, refuses
from scipy.special import logsumexp

import meanfield_pde as mf

LINE = mf.Grid.box(-4, 4, 400)
COARSE = mf.Grid.box(-4, 4, 60)


def self_consistency(energy, rho):
    """max |rho - exp(-Phi_rho / beta) / Z| / max rho, by the potential's definition alone."""
    log = -energy.smooth.potential(rho) / energy.beta
    gibbs = np.exp(log - logsumexp(log)) / rho.grid.volume
    return float(np.abs(gibbs - rho.values).max() / rho.values.max())


def data_residual(target, rho, slope):
    """|Phi(x_i) - m_i| where m are the outputs of rho and Phi those of the law that m implies.

    For bumps on the line, from the nodes up: nothing of the package but its grid.
    """
    z, h = rho.grid.axes[0], rho.grid.spacing[0]
    x, w = np.polynomial.legendre.leggauss(40)
    x, w = 3 * x, 0.5 * w
    features = bump(x[:, None, None], z[None, :])
    m = features @ rho.values * h
    log = -((w * slope(m, target(x[:, None]))) @ features + TAU * z * z) / TAU
    law = np.exp(log - logsumexp(log)) / h
    return np.abs(features @ law * h - m).max()


@lru_cache
def even_law():
    return mf.gibbs(bump_energy(even_target), LINE)


# -- the network with an even target


def test_network_law_is_self_consistent():
    assert data_residual(even_target, even_law(), lambda m, y: 2 * (m - y)) <= 1e-12
    # The density divides the potential by beta = 1/50, and the outputs settle to 1e-12.
    assert self_consistency(bump_energy(even_target), even_law()) <= 1e-10
    assert even_law().mass == pytest.approx(1.0, abs=1e-13)
    assert mf.asymmetry(even_law(), REFLECTION) <= 1e-10


def test_network_law_has_the_known_numbers():
    """Risk, free energy and second moment, found beforehand by another program on other grids."""
    energy, rho = bump_energy(even_target), even_law()
    risk = energy.terms[0][1].value(rho)
    assert risk == pytest.approx(0.0084938153, abs=1e-5)
    assert energy.value(rho) == pytest.approx(0.0138879396, abs=1e-5)
    assert rho.moment(2) == pytest.approx(1.79618735, abs=1e-5)


@lru_cache
def by_descent(cells):
    """The same minimiser by another way: Newton's method on the free energy itself.

    In the logarithms u = log rho, at fixed mass; gradient beta u + Phi + a constant = 0.
    """
    z, h = mf.Grid.box(-4, 4, cells).axes[0], 8 / cells
    x, w = np.polynomial.legendre.leggauss(40)
    x, w = 3 * x, 0.5 * w
    features = bump(x[:, None, None], z[None, :])
    y = even_target(x[:, None])
    rho = np.exp(-(z**2) / 4)
    rho /= rho.sum() * h
    for _ in range(200):
        phi = (2 * w * (features @ rho * h - y)) @ features + TAU * z * z
        gradient = phi + TAU * np.log(rho)
        # d gradient / d u = K diag(rho h) + beta, K the quadratic form of the risk; mass is kept
        # by a multiplier.
        curvature = 2 * (features.T * w) @ features * (rho * h) + TAU * np.eye(cells)
        steps = np.linalg.solve(curvature, np.stack([gradient, np.ones(cells)], axis=1))
        change = -steps[:, 0] + steps[:, 1] * (rho @ steps[:, 0]) / (rho @ steps[:, 1])
        change *= min(1.0, 1.0 / np.abs(change).max())
        rho = rho * np.exp(change)
        rho /= rho.sum() * h
        if np.abs(change).max() < 1e-13:
            break
    risk = w @ (features @ rho * h - y) ** 2
    free = risk + TAU * (z * z @ rho + rho @ np.log(rho)) * h
    return risk, free, z * z @ rho * h


def test_network_law_by_another_way():
    energy, rho = bump_energy(even_target), even_law()
    found = energy.terms[0][1].value(rho), energy.value(rho), rho.moment(2)
    np.testing.assert_allclose(found, by_descent(400), rtol=0, atol=1e-9)


@pytest.mark.parametrize("invariant", [True, False])
def test_a_long_flow_reaches_the_law(invariant):
    """From either start, also from the one-sided: the law is unique, the energy being convex."""
    energy, start = bump_energy(even_target), bump_start(400, invariant).normalised()
    late = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 400.0), save=20, stepper="b1")
    assert mf.distance.l1(late.densities[-1], even_law()) <= 1e-6
    # The law is the minimiser: the flow lies above it, but for the rounding of sums.
    assert (late.energy >= energy.value(even_law()) - 1e-14).all()


@pytest.mark.parametrize("hotter", [1.1, 0.9])
def test_another_beta_is_caught(hotter):
    """Planted: a law at another temperature."""
    energy = bump_energy(even_target)
    wrong = mf.gibbs(energy.smooth + hotter * TAU * mf.Entropy(), LINE)
    assert data_residual(even_target, wrong, lambda m, y: 2 * (m - y)) > 1e-6
    assert mf.distance.l1(wrong, even_law()) > 1e-3
    assert energy.value(wrong) > energy.value(even_law()) + 1e-7


def test_a_forgotten_factor_is_caught():
    """Planted: the derivative of the square without its 2."""
    assert data_residual(even_target, even_law(), lambda m, y: m - y) > 1e-3


def test_small_beta():
    """The risk falls to its infimum, which is 0, and Newton's method still settles."""
    risks = []
    for beta in (0.1, 0.01, 0.001, 0.0001):
        energy = bump_energy(even_target).terms[0][1] + beta * (mf.Penalty() + mf.Entropy())
        rho = mf.gibbs(energy, LINE)
        risks.append(energy.terms[0][1].value(rho))
        assert self_consistency(energy, rho) <= 1e-13 / beta * 10
    # Found beforehand by another program, at two or three digits.
    np.testing.assert_allclose(risks, [4.01e-2, 3.33e-3, 2.27e-4, 2.35e-5], rtol=5e-3)


# -- other losses, sums, and fixed energies

LOSSES = {
    "squared": mf.Loss.named("squared"),
    "half_squared": mf.Loss.named("half_squared"),
    "huber": mf.Huber(0.05),
    "custom": mf.CustomLoss(lambda m, y: np.cosh(m - y).sum(-1) - 1.0),
}
SLOPES = {
    "squared": lambda m, y: 2 * (m - y),
    "half_squared": lambda m, y: m - y,
    "huber": lambda m, y: np.clip(m - y, -0.05, 0.05),
    "custom": lambda m, y: np.sinh(m - y),
}


@pytest.mark.parametrize("loss", list(LOSSES))
def test_losses(loss):
    energy = bump_energy(arbitrary_target, loss=LOSSES[loss])
    rho = mf.gibbs(energy, COARSE)
    # A custom loss is differentiated numerically, to 1e-9 or so.
    tolerance = 1e-8 if loss == "custom" else 1e-11
    assert data_residual(arbitrary_target, rho, SLOPES[loss]) <= tolerance
    assert self_consistency(energy, rho) <= tolerance / TAU


def test_logistic_loss():
    data = mf.Data.gauss_legendre(10, -2, 2, lambda x: np.sign(x[..., 0] - 0.3))
    risk = mf.Risk(mf.Unit.scaled_ridge("tanh"), data, "logistic")
    grid = mf.Grid.box((-4, -4), (4, 4), (24, 24))
    energy = risk + 0.1 * mf.Penalty() + 0.1 * mf.Entropy()
    assert self_consistency(energy, mf.gibbs(energy, grid)) <= 1e-10


def test_two_risks_and_vector_outputs():
    unit = mf.Unit.custom(
        lambda x, z: np.stack([np.tanh(x * z)[..., 0], np.cos(x * z)[..., 0]], -1), 2
    )
    data = mf.Data.gauss_hermite(1, 6, lambda x: np.stack([x[..., 0], 0 * x[..., 0]], -1))
    first = mf.Risk(unit, data)
    second = mf.Risk(mf.Unit.bump(), mf.Data.gauss_legendre(7, -1, 1, even_target), "huber")
    energy = 0.5 * first + 2.0 * second + 0.1 * mf.Penalty() + 0.05 * mf.Entropy()
    assert self_consistency(energy, mf.gibbs(energy, COARSE)) <= 1e-10


@pytest.mark.parametrize("variant", ["data-augmented", "feature-averaged"])
def test_variants_have_one_invariant_law(variant):
    energy = bump_energy(arbitrary_target, variant)
    rho = mf.gibbs(energy, COARSE)
    assert self_consistency(energy, rho) <= 1e-10
    assert mf.asymmetry(rho, REFLECTION) <= 1e-10
    other = {"data-augmented": "feature-averaged", "feature-averaged": "data-augmented"}[variant]
    same = mf.gibbs(bump_energy(arbitrary_target, other), COARSE)
    assert mf.distance.l1(rho, same) <= 1e-10
    plain = mf.gibbs(bump_energy(arbitrary_target), COARSE)
    assert mf.asymmetry(plain, REFLECTION) > 0.1


def test_fixed_potentials_in_closed_form():
    """No iteration: exp(-V / beta) at the centres, also where that is no number by itself."""
    square = COARSE.axes[0] ** 2
    for scale in (1.0, 1e6):
        rho = mf.gibbs(scale * mf.Potential(half_square) + 0.5 * mf.Entropy(), COARSE)
        exact = np.exp(-scale * (square - square.min()))
        exact /= exact.sum() * COARSE.volume
        np.testing.assert_allclose(rho.values, exact, rtol=1e-10, atol=1e-300)
    flat = mf.gibbs(mf.Entropy(), COARSE)
    np.testing.assert_allclose(flat.values, 1 / 8, rtol=1e-13)


@given(st.integers(0, 2**32), st.floats(0.05, 2))
@PROPERTY
def test_no_law_has_a_lower_free_energy(seed, beta):
    """Convex energies: the Gibbs law is the minimiser, against random competitors."""
    energy = bump_energy(arbitrary_target).smooth + beta * mf.Entropy()
    rho = mf.gibbs(energy, COARSE)
    rng = np.random.default_rng(seed)
    factor = np.exp(rng.standard_normal() * rng.standard_normal(COARSE.shape))
    other = mf.Density(COARSE, rho.values * factor).normalised()
    assert energy.value(other) >= energy.value(rho) - 1e-12


def test_no_flux_through_any_face():
    """Stationary for the semi-discrete equation, with dense matrices."""
    energy, rho = bump_energy(arbitrary_target), mf.gibbs(bump_energy(arbitrary_target), COARSE)
    change = generator(COARSE, energy.smooth.potential(rho), TAU) @ rho.values
    assert np.abs(change).max() <= 1e-9 * rho.values.max()


# -- interactions: several laws


@pytest.mark.parametrize("name", list(STATIONARY))
def test_each_branch_from_its_side(name):
    law = STATIONARY[name]
    for start, answers in zip(law.starts, law.answers, strict=True):
        late = mf.solve(mf.Problem(mf.GradientFlow(law.energy), start, 20.0)).densities[-1]
        rho = mf.gibbs(law.energy, law.grid, start=late.normalised())
        for quantity, (function, exact) in answers.items():
            # Sums of smooth laws over cells are exact to rounding.
            assert function(rho) == pytest.approx(exact, abs=1e-9), quantity


def test_the_branches_of_the_double_well():
    """Either mean from its side; from the middle the symmetric law, which has more energy."""
    beta = 0.2
    energy, m = desai_zwanzig_energy(beta), desai_zwanzig_mean(beta)
    found = {}
    for mean in (0.5, 0.0, -0.5):
        start = mf.Density.gaussian(LINE, mean, 0.25)
        found[mean] = mf.gibbs(energy, LINE, start=start)
        assert self_consistency(energy, found[mean]) <= 1e-9
        assert found[mean].mean()[0] == pytest.approx(m * np.sign(mean), abs=1e-9)
    assert energy.value(found[0.0]) > energy.value(found[0.5]) + 0.01


def test_without_a_start_the_symmetric_branch():
    energy = desai_zwanzig_energy(0.2)
    assert mf.gibbs(energy, LINE).mean()[0] == pytest.approx(0.0, abs=1e-9)


def test_log_kernel_has_its_second_moment():
    """2 beta - chi - 2 M2 = 0: M2 = 1/2 for both 1; errors go as h^2."""
    beta, chi = 1.0, 1.0
    attraction = mf.Interaction(lambda dz: np.log(np.abs(dz[..., 0])))
    energy = mf.Potential(half_square) + chi * attraction + beta * mf.Entropy()
    errors = [
        mf.gibbs(energy, mf.Grid.box(-6, 6, n)).moment(2) - (beta - 0.5 * chi)
        for n in (100, 200, 400)
    ]
    assert abs(errors[2]) < 1e-4
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.25)
    assert np.log2(errors[1] / errors[2]) == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize("order", [0.05, 0.25, 0.45])
@pytest.mark.parametrize("place", [0.0, 0.3])
@pytest.mark.parametrize("strength", [2.2, 3.0, 10.0])
def test_the_law_has_no_more_energy_than_the_start(strength, place, order):
    """From any order but none, the stable law: not the uniform one, which is stationary too."""
    energy, grid = kuramoto_energy(1.0, strength), circle(64)

    def wave(z):
        return (1 + 2 * order * np.cos(z[..., 0] - place)) / (2 * np.pi)

    start = mf.Density.from_function(grid, wave)
    rho = mf.gibbs(energy, grid, start=start)
    found = np.hypot(*(rho.expect(lambda z, f=f: f(z[..., 0])) for f in (np.cos, np.sin)))
    assert found == pytest.approx(kuramoto_order(strength), abs=1e-9)
    assert energy.value(rho) <= energy.value(start)


def test_a_mixture_of_network_and_interaction():
    energy = bump_energy(even_target) + 0.1 * mf.Interaction(half_square)
    assert self_consistency(energy, mf.gibbs(energy, COARSE)) <= 1e-9


# -- errors


def test_bad_arguments():
    energy = bump_energy(even_target)
    refuses(lambda: mf.gibbs(energy.smooth, COARSE), "energy", "0", "mf.Entropy()")
    refuses(lambda: mf.gibbs(energy.smooth - mf.Entropy(), COARSE), "energy", "-1", "mf.Entropy()")
    refuses(lambda: mf.gibbs(energy, COARSE, tolerance=0), "tolerance", "0", "1e-12")
    refuses(lambda: mf.gibbs(energy, COARSE, start=bump_start(61)), "start", "another", "one Grid")


def test_no_law_is_an_error():
    """Tolerances that rounding forbids: it says where it stopped, and what to do."""
    with pytest.raises(mf.GibbsError, match=r"Newton's method stopped at a residual of .*start="):
        mf.gibbs(bump_energy(even_target), COARSE, tolerance=1e-30)
    pairs = mf.Potential(half_square) + mf.Interaction(lambda z: np.cos(3 * z).sum(-1))
    with pytest.raises(mf.GibbsError, match=r"fixed-point .*; .*follow the flow with mf.solve"):
        mf.gibbs(pairs + 0.1 * mf.Entropy(), COARSE, tolerance=1e-30)
