"""The algebra of energies, and what every energy must satisfy."""

import gc
import math
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, gradient, normal_pdf, refuses

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import (
    Batch,
    Energy,
    Entropy,
    EntropyFunctional,
    Sum,
    SumFunctional,
)
from meanfield_pde.energies.interaction import ConvolutionFunctional, Interaction
from meanfield_pde.energies.loss import CustomLoss
from meanfield_pde.energies.network import NetworkFunctional
from meanfield_pde.energies.potential import Penalty, Potential
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.unit import Unit
from meanfield_pde.energies.variants import data_augmented, feature_averaged
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group

LINE = Grid.box(-2, 3, 9)
PLANE = Grid.box((-1, -1.5), (2, 1), (5, 4))
CIRCLE = Grid.torus(-np.pi, np.pi, 12)


def double_well(z):
    return (z**4 / 4 - z**2 / 2).sum(-1) + z[..., 0]


def repulsion(dz):
    with np.errstate(divide="ignore"):
        return -np.log(np.abs(dz[..., 0]))


def softplus(prediction, target):
    return np.logaddexp(0.0, -target * prediction).sum(-1) + 0.1 * (prediction**2).sum(-1)


def network(loss="squared", dim=1):
    labels = loss == "logistic"
    target = (lambda x: np.where(x[..., 0] > 0.1, 1.0, -1.0)) if labels else tilted
    return Risk(Unit.ridge("tanh"), Data.gauss_hermite(dim, 3, target), loss)


def tilted(x):
    return np.sin(x[..., 0] + 0.4) + 0.3


V, W = Potential(double_well), Interaction(lambda dz: np.cos(dz[..., 0]))
CUSTOM = CustomLoss(softplus)
POLAR = Risk(Unit.harmonic(2), Data.circle(7, tilted), "huber")
SMOOTH = {
    "potential": (V, LINE),
    "potential in the plane": (V, PLANE),
    "penalty": (Penalty(), PLANE),
    "interaction": (W, LINE),
    "interaction on the circle": (W, CIRCLE),
    "singular interaction": (Interaction(repulsion), LINE),
    "squared risk": (network(), LINE),
    "half squared risk in the plane": (network("half_squared", 2), PLANE),
    "logistic risk": (network("logistic"), LINE),
    "huber risk": (network("huber"), LINE),
    "risk of the user's own loss": (network(CUSTOM), LINE),
    "harmonic risk": (POLAR, CIRCLE),
    "data augmented": (data_augmented(network("squared", 2), Group.swap()), PLANE),
    "feature averaged": (feature_averaged(network("logistic", 2), Group.cyclic(3)), PLANE),
    "sum": (V + 0.3 * Penalty() + network(), LINE),
    "difference": (V - 2.0 * W, LINE),
    "sum with negative factors": (-0.7 * network("logistic") - 1.5 * W + 2 * V, LINE),
    "sum of sums": (-1.0 * (V - 0.5 * (network(CUSTOM) - W)) - Penalty(), LINE),
}
ALL = SMOOTH | {
    "entropy": (Entropy(), PLANE),
    "sum with entropy": (network() - 0.5 * W + 0.2 * Entropy(), LINE),
    "concave entropy": (V - 0.2 * Entropy(), LINE),
}
EVERY = pytest.mark.parametrize(("energy", "grid"), ALL.values(), ids=ALL)
EVERY_SMOOTH = pytest.mark.parametrize(("energy", "grid"), SMOOTH.values(), ids=SMOOTH)
SEEDS = pytest.mark.parametrize("seed", range(3))


def random_values(grid, seed, mass=None):
    rng = np.random.default_rng(seed)
    values = 0.1 + rng.random(grid.shape)
    mass = 0.5 + rng.random() if mass is None else mass  # a measure, not always a probability
    return values * mass / (values.sum() * grid.volume)


def check_potential(energy, grid, seed):
    """d/de E(rho + e nu) = sum |K| Phi nu, for a random direction nu."""
    rho, nu = random_values(grid, seed), np.random.default_rng(seed + 99).normal(size=grid.shape)
    functional = energy.on(grid)
    slope = gradient(lambda e: functional.value(rho + e[0] * nu), [0.0], step=1e-4)[0]
    exact = float((functional.potential(rho) * nu).sum() * grid.volume)
    # Rounding ulp |E| / 1e-4 = 1e-11; the fourth-order remainder 1e-16 E^(5) is below that.
    assert slope == pytest.approx(exact, rel=1e-9, abs=1e-9)


@EVERY
@SEEDS
def test_potential_is_the_first_variation(energy, grid, seed):
    check_potential(energy, grid, seed)


def check_drift(energy, grid, seed):
    """The drift of z_i is -1/w_i times the derivative of the energy in z_i."""
    rng = np.random.default_rng(seed)
    cloud = Cloud(rng.normal(size=(6, grid.dim)), 0.1 + rng.random(6))

    def value(points):
        return energy.cloud_value(Cloud(points, cloud.weights))

    slope = gradient(value, cloud.points, step=1e-4) / cloud.weights[:, None]
    found = energy.drift(cloud)
    assert found.shape == cloud.points.shape
    # Weights above .1: rounding 1e-10; differences of a user's function to 1e-8.
    np.testing.assert_allclose(found, -slope, rtol=0, atol=1e-8 * (1 + np.abs(slope).max()))


def sharp(z):
    return -np.log(np.sqrt((z**2).sum(-1)))


# The singular kernel with its gradient: points nearer than the differences' step have none else.
TOLD = {
    "singular interaction": (
        Interaction(repulsion, lambda dz: -1 / dz),
        LINE,
    ),
    "singular interaction in the plane": (
        Interaction(sharp, lambda dz: -dz / (dz**2).sum(-1, keepdims=True)),
        PLANE,
    ),
}


@pytest.mark.parametrize(("energy", "grid"), (SMOOTH | TOLD).values(), ids=SMOOTH | TOLD)
@SEEDS
def test_drift_is_the_gradient_of_the_energy_of_a_cloud(energy, grid, seed):
    with np.errstate(divide="ignore"):
        check_drift(energy, grid, seed)


def check_cloud_potential(energy, grid, seed):
    """d/de E((1 - e) mu + e delta_i) = Phi(z_i) - int Phi dmu, for every point of a cloud."""
    rng = np.random.default_rng(seed)
    weights = 0.1 + rng.random(6)
    cloud = Cloud(rng.normal(size=(6, grid.dim)), weights / weights.sum())
    found = energy.potential(cloud)
    assert found.shape == (6,)
    for i in range(6):
        along = (np.arange(6) == i) - cloud.weights

        def value(e, along=along):
            return energy.cloud_value(Cloud(cloud.points, cloud.weights + e[0] * along))

        slope = gradient(value, [0.0], step=1e-4)[0]
        exact = found[i] - cloud.weights @ found
        assert slope == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("energy", "grid"), (SMOOTH | TOLD).values(), ids=SMOOTH | TOLD)
@SEEDS
def test_potential_of_a_cloud_is_the_first_variation(energy, grid, seed):
    with np.errstate(divide="ignore"):
        check_cloud_potential(energy, grid, seed)


@pytest.mark.parametrize("wrong", [2.0, -1.0])
def test_a_wrong_potential_of_a_cloud_is_caught(monkeypatch, wrong):
    """Planted: half the first variation, as some call the potential, and the wrong sign."""
    right = Interaction.cloud_potential
    monkeypatch.setattr(Interaction, "cloud_potential", lambda *given: right(*given) / wrong)
    monkeypatch.setattr(
        Interaction, "cloud_value", lambda self, cloud: 0.5 * cloud.weights @ right(self, cloud)
    )
    with pytest.raises(AssertionError):
        check_cloud_potential(W, LINE, 0)


def test_potential_of_a_cloud_on_a_batch():
    """Of a batch, the potential whose gradient is the drift on the same batch."""
    augmented = data_augmented(network("squared", 2), Group.swap())
    elements = np.array([0, 1, 1])
    for risk, dim, batch in (
        (network("logistic"), 1, Batch(np.array([0, 2, 2]))),
        (augmented, 2, Batch(np.array([0, 4, 8]))),
        (augmented, 2, Batch(np.array([0, 4, 8]), elements)),
    ):
        points = np.random.default_rng(4).normal(size=(5, dim))
        drift = risk.drift(Cloud(points), batch)
        for i, a in np.ndindex(points.shape):
            # A point of no weight that walks feels the potential and does not change it.
            def potential(e, i=i, a=a, points=points, risk=risk, batch=batch):
                there = points[i] + e[0] * np.eye(len(points[i]))[a]
                cloud = Cloud(np.vstack([points, there]), np.array([0.2] * 5 + [0.0]))
                return risk.cloud_potential(cloud, batch)[-1]

            slope = gradient(potential, [0.0], step=1e-4)[0]
            assert slope == pytest.approx(-drift[i, a], rel=1e-8, abs=1e-9)


def check_secant(energy, grid, seed):
    """``s (E(b) - E(a)) <= s sum |K| secant (b - a)`` for both signs s."""
    functional = energy.on(grid)
    start, end = random_values(grid, seed, 1.0), random_values(grid, seed + 50, 1.0)
    if seed % 2:
        end = start + 0.1 * (end - start)
    rise = functional.value(end) - functional.value(start)
    for sign in (1.0, -1.0):
        along = functional.secant(start, end, sign) * (end - start)
        # Sums of 20 terms of size 10.
        assert sign * rise <= sign * float(along.sum() * grid.volume) + 1e-12


@EVERY
@SEEDS
def test_secant_bounds_the_energy_of_a_step(energy, grid, seed):
    check_secant(energy, grid, seed)


QUADRATIC = {
    name: SMOOTH[name]
    for name in (
        "potential",
        "penalty",
        "interaction",
        "interaction on the circle",
        "singular interaction",
        "squared risk",
        "half squared risk in the plane",
        "data augmented",
        "sum",
        "difference",
    )
}


def check_quadratic(energy, grid, seed):
    functional = energy.on(grid)
    start, end = random_values(grid, seed), random_values(grid, seed + 50)
    rise = functional.value(end) - functional.value(start)
    along = functional.secant(start, end) * (end - start)
    assert rise == pytest.approx(float(along.sum() * grid.volume), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(("energy", "grid"), QUADRATIC.values(), ids=QUADRATIC)
@SEEDS
def test_secant_of_a_quadratic_energy_is_exact(energy, grid, seed):
    check_quadratic(energy, grid, seed)


@pytest.mark.parametrize("name", ["logistic risk", "entropy", "feature averaged"])
def test_secant_of_others_is_not(name):
    """So that the check above can fail, and the one-sided one is no equality."""
    with pytest.raises(AssertionError):
        check_quadratic(*ALL[name], 0)


def sign_lost(self, start, end, sign=1.0):
    return self._fixed + sum(f * part.secant(start, end, sign) for f, part in self._moving)


def factor_lost(self, rho):
    return self._fixed + sum(part.potential(rho) for f, part in self._moving)


def fixed_lost(self, rho):
    return sum(f * part.potential(rho) for f, part in self._moving)


BUGS = {
    "sign of a factor in the secant": (
        (SumFunctional, "secant", sign_lost),
        (check_secant, "sum with negative factors"),
    ),
    "factor in the potential": (
        (SumFunctional, "potential", factor_lost),
        (check_potential, "difference"),
    ),
    "fixed part of the potential": (
        (SumFunctional, "potential", fixed_lost),
        (check_potential, "sum"),
    ),
    "one in log rho + 1": (
        (EntropyFunctional, "potential", lambda self, rho: np.log(rho)),
        (check_potential, "entropy"),
    ),
    "convex energy at the start": (
        (EntropyFunctional, "secant", lambda self, a, b, sign=1.0: self.potential(a)),
        (check_secant, "entropy"),
    ),
    "half of an interaction": (
        (ConvolutionFunctional, "value", lambda self, rho: 2 * interaction_value(self, rho)),
        (check_potential, "interaction"),
    ),
    "interaction at the end of the step": (
        (ConvolutionFunctional, "secant", lambda self, a, b, sign=1.0: self.potential(b)),
        (check_quadratic, "interaction"),
    ),
    "logistic risk at the mid-point": (
        (NetworkFunctional, "secant", lambda self, a, b, sign=1.0: self.potential((a + b) / 2)),
        (check_secant, "logistic risk"),
    ),
    "penalty without its 2": (
        (Penalty, "drift", lambda self, cloud, batch=None: -cloud.points),
        (check_drift, "penalty"),
    ),
    "drift uphill": (
        (Interaction, "drift", lambda self, cloud, batch=None: -interaction_drift(self, cloud)),
        (check_drift, "interaction"),
    ),
}
interaction_value, interaction_drift = ConvolutionFunctional.value, Interaction.drift


@pytest.mark.parametrize(("bug", "check"), BUGS.values(), ids=BUGS)
def test_planted_bugs_are_caught(monkeypatch, bug, check):
    monkeypatch.setattr(*bug)
    method, name = check
    assert fails(method, *ALL[name])


def fails(check, energy, grid):
    """Whether the check fails for some seed."""
    for seed in range(3):
        try:
            check(energy, grid, seed)
        except AssertionError:
            return True
    return False


# -- algebra


@PROPERTY
@given(st.floats(-5, 5), st.floats(-5, 5), st.integers(0, 2**32))
def test_energies_are_a_vector_space(a, b, seed):
    one, two = network("logistic"), W
    mixed = a * one - two * b + 0 * V
    rho = Density(LINE, random_values(LINE, seed))
    cloud = Cloud(np.random.default_rng(seed).normal(size=(5, 1)))
    size = 1e-13 * (1 + abs(a) + abs(b))
    for mu in (rho, cloud):
        expected = a * one.value(mu) - b * two.value(mu)
        assert mixed.value(mu) == pytest.approx(expected, abs=size)
    expected = a * one.potential(rho) - b * two.potential(rho)
    np.testing.assert_allclose(mixed.potential(rho), expected, rtol=0, atol=size)
    expected = a * one.drift(cloud) - b * two.drift(cloud)
    np.testing.assert_allclose(mixed.drift(cloud), expected, rtol=0, atol=size)


def test_terms_beta_and_smooth():
    energy = V + 2 * (Penalty() + 0.25 * Entropy()) - 0.1 * Entropy()
    assert [factor for factor, _ in energy.terms] == [1.0, 2.0, 0.5, -0.1]
    assert energy.beta == pytest.approx(0.4, rel=1e-15)
    assert [leaf for _, leaf in energy.smooth.terms] == [V, energy.terms[1][1]]
    assert energy.smooth.beta == 0
    assert (V + Entropy()).smooth is V
    assert V.smooth is V
    nothing = Entropy().smooth
    rho, cloud = Density.uniform(LINE), Cloud([1.0])
    assert nothing.value(rho) == nothing.value(cloud) == 0.0
    assert not nothing.potential(rho).any()
    assert not nothing.drift(cloud).any()
    assert nothing.on(LINE).constant
    assert not energy.on(LINE).constant
    assert (V + Penalty()).on(LINE).constant


def test_numbers_that_scale():
    for factor in (2, 2.0, np.float64(2), np.float32(2), np.int64(2)):
        scaled = V * factor
        assert isinstance(scaled, Sum)
        assert scaled.terms == ((2.0, V),)
    assert (np.float64(2) * V).terms == ((2.0, V),)


def test_no_nonsense_in_sums():
    for call in (lambda: V + 1.0, lambda: V - None, lambda: V * "2", lambda: V * V):
        with pytest.raises(TypeError, match="unsupported operand|can't multiply"):
            call()


def test_a_factor_of_zero_leaves_no_trace():
    """0 times log 0 is not a number, and 0 times an infinite energy is 0."""
    rho = Density(LINE, np.r_[0.0, np.ones(8)])
    energy = V + 0.0 * Entropy()
    assert (energy.potential(rho) == V.potential(rho)).all()
    assert (energy.on(LINE).secant(rho.values, rho.values) == V.potential(rho)).all()
    assert energy.value(rho) == V.value(rho)
    assert energy.value(Cloud([1.0])) == V.value(Cloud([1.0]))


def test_potential_is_the_callers_to_change():
    """A field that does not depend on the measure is kept by the functional."""
    for energy in (V, Penalty(), V + Penalty(), Potential(lambda z: z[..., 0])):
        rho = Density.uniform(LINE)
        first = energy.potential(rho)
        kept = first.copy()
        first *= 2
        assert (energy.potential(rho) == kept).all()
        assert LINE.points[0, 0] == LINE.axes[0][0]


def test_functionals_are_kept_for_a_grid(monkeypatch):
    calls = []
    monkeypatch.setattr(Potential, "discretise", lambda self, grid: calls.append(grid) or object())
    energy = Potential(double_well)
    assert energy.on(LINE) is energy.on(Grid.box(-2, 3, 9))
    assert len(calls) == 1
    energy.on(PLANE)
    energy.on(LINE)
    assert calls == [LINE, PLANE, LINE]
    alive = weakref.ref(energy)
    del energy
    gc.collect()
    assert alive() is None


# -- entropy


def test_entropy_of_normal_laws():
    """-log(2 pi e s^2)/2 each dimension; the cell averages are off by h^2/(24 s^2) of a nat."""
    for grid, cov in (
        (Grid.box(-9, 9, 900), 0.7),
        (Grid.box((-5, -5), (5, 5), (200, 200)), [0.4, 0.3]),
    ):
        variances = np.full(grid.dim, cov)
        exact = -0.5 * np.log(2 * math.pi * math.e * variances).sum()
        rho = Density.gaussian(grid, np.zeros(grid.dim), cov)
        error = sum(h * h / (24 * v) for h, v in zip(grid.spacing, variances, strict=True))
        assert Entropy().value(rho) == pytest.approx(exact - error, abs=0.05 * error)


def test_entropy_where_there_is_no_mass():
    rho = Density(LINE, np.r_[0.0, np.full(8, 2.0)])
    assert Entropy().value(rho) == pytest.approx(8 * 2 * math.log(2) * LINE.volume, rel=1e-14)
    phi = Entropy().potential(rho)
    assert phi[0] == -np.inf
    assert phi[1:].tolist() == [pytest.approx(math.log(2) + 1, rel=1e-15)] * 8
    assert Entropy().drift(Cloud([1.0, 2.0])).tolist() == [[0.0], [0.0]]


def test_free_energy_of_a_normal_law():
    """Ornstein-Uhlenbeck: E = int x^2/2 + beta int rho log rho of N(m, v), by quadrature."""
    grid, m, v = Grid.box(-8, 8, 1600), 0.4, 0.5
    rho = Density.gaussian(grid, m, v)
    energy = Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.5 * Entropy()
    x = np.linspace(-8, 8, 200_001)
    pdf = np.array([normal_pdf(m, m, v)]) * np.exp(-((x - m) ** 2) / (2 * v))
    exact = float(((0.5 * x**2 + 0.5 * np.log(pdf)) * pdf).sum() * (x[1] - x[0]))
    # Midpoint sums of cell averages: h^2 (1/24 + 1/(48 v)) = 9e-6.
    assert energy.value(rho) == pytest.approx(exact, abs=1e-5)


# -- refusals


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: np.inf * V, "factor", "got inf", "finite"),
        (lambda: V * float("nan"), "factor", "got nan", "finite"),
        (lambda: V * True, "factor", "got True", "finite"),
        (lambda: V.potential([1.0]), "mu must be a Density or a Cloud", "got list", "make one"),
        (
            lambda: (V + Entropy()).potential(Cloud([1.0])),
            "no first variation at a cloud",
            "got a Cloud",
            "energy.smooth.potential(cloud)",
        ),
        (lambda: Entropy().value(Cloud([1.0])), "entropy of a cloud", "got a Cloud", "smooth"),
        (lambda: (V - Entropy()).value(Cloud([1.0])), "entropy", "infinite", "energy.smooth"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_energy_is_an_interface():
    with pytest.raises(TypeError, match="abstract"):
        Energy()


def test_energies_subtract_divide_and_sum() -> None:
    rho = Density.gaussian(Grid.box(-6, 6, 50), 0.5, 0.3)
    first, second = Potential(lambda z: (z**2).sum(-1)), Penalty()
    value = first.value(rho)
    assert (-first).value(rho) == -value
    assert (first / 2).value(rho) == 0.5 * value
    assert sum([first, second]).value(rho) == (first + second).value(rho)
    with pytest.raises(ValueError, match="divisor|factor"):
        _ = first / float("nan")
