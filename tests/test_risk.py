"""Risks of shallow networks: values, potentials and drifts by loops; batches; closed forms."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import reference
from reference import refuses

from meanfield_pde.energies import network
from meanfield_pde.energies import risk as module
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Batch
from meanfield_pde.energies.loss import CustomLoss, Huber, Squared
from meanfield_pde.energies.network import NetworkFunctional
from meanfield_pde.energies.risk import Network, Risk
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures.chart import Chart
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group


def tanh_ridge(x, z):
    return math.tanh(sum(p * q for p, q in zip(x, z, strict=True)))


def two_tanhs(x, z):
    return np.array([math.tanh(x[0] * z[0]), math.tanh(x[1] * z[1])])


def gaussian_bump(x, z):
    return math.exp(-0.5 * sum((p - q) ** 2 for p, q in zip(x, z, strict=True)))


def vector_tanh(x, z):
    return np.stack([np.tanh(x[..., a] * z[..., a]) for a in (0, 1)], axis=-1)


def weighted(x):
    """Uneven weights: nothing may take the mean of the samples instead."""
    weights = np.linspace(1, 2, len(x))
    return x, weights / weights.sum()


def data(dim, target, n=5):
    x, weights = weighted(np.random.default_rng(dim).normal(size=(n, dim)))
    return Data(x, target(x), weights)


LINE, PLANE = Grid.box(-2, 2, 7), Grid.box((-1, -2), (1, 2), (4, 3))
# name: risk, unit by hand, loss by hand, slope by hand, grid
RISKS = {
    "squared": (
        Risk(Unit.ridge("tanh"), data(1, lambda x: np.sin(x[:, 0]))),
        tanh_ridge,
        lambda f, y: sum((f - y) ** 2),
        lambda f, y: 2 * (f - y),
        LINE,
    ),
    "half squared in the plane": (
        Risk(Unit.bump(), data(2, lambda x: x[:, 0]), "half_squared"),
        gaussian_bump,
        lambda f, y: 0.5 * sum((f - y) ** 2),
        lambda f, y: f - y,
        PLANE,
    ),
    "logistic": (
        Risk(Unit.ridge("tanh"), data(2, lambda x: np.sign(x[:, 0])), "logistic"),
        tanh_ridge,
        lambda f, y: math.log(1 + math.exp(-y[0] * f[0])),
        lambda f, y: -y / (1 + np.exp(y * f)),
        PLANE,
    ),
    "huber of two outputs": (
        Risk(Unit.custom(vector_tanh, outputs=2), data(2, lambda x: 2 * x), Huber(0.5)),
        two_tanhs,
        lambda f, y: sum(0.5 * r * r if abs(r) < 0.5 else 0.5 * abs(r) - 0.125 for r in f - y),
        lambda f, y: np.clip(f - y, -0.5, 0.5),
        PLANE,
    ),
    "custom loss": (
        Risk(
            Unit.ridge("tanh"),
            data(1, lambda x: x[:, 0]),
            CustomLoss(lambda f, y: ((f - y) ** 4).sum(-1)),
        ),
        tanh_ridge,
        lambda f, y: sum((f - y) ** 4),
        lambda f, y: 4 * (f - y) ** 3,
        LINE,
    ),
}
EVERY = pytest.mark.parametrize(
    ("risk", "unit", "loss", "slope", "grid"), RISKS.values(), ids=RISKS
)


def check_density(risk, unit, loss, slope, grid):
    rho = Density(grid, np.random.default_rng(0).exponential(size=grid.shape))
    places = grid.points.reshape(-1, grid.dim)
    slow = reference.risk(unit, loss, risk.data, places, rho.masses.ravel())
    assert risk.value(rho) == pytest.approx(slow, rel=1e-12)
    outputs = reference.outputs(unit, risk.data, places, rho.masses.ravel())
    np.testing.assert_allclose(risk.predict(rho), outputs, rtol=1e-12, atol=1e-13)
    masses = rho.masses.ravel()
    variation = reference.risk_variation(unit, slope, risk.data, places, masses, places)
    found = risk.potential(rho).ravel()
    np.testing.assert_allclose(found, variation, rtol=1e-11, atol=1e-11)


def check_cloud(risk, unit, loss, slope, grid):
    rng = np.random.default_rng(1)
    cloud = Cloud(rng.normal(size=(4, grid.dim)), 0.1 + rng.random(4))
    slow = reference.risk(unit, loss, risk.data, cloud.points, cloud.weights)
    assert risk.value(cloud) == pytest.approx(slow, rel=1e-12)
    outputs = reference.outputs(unit, risk.data, cloud.points, cloud.weights)
    np.testing.assert_allclose(risk.predict(cloud), outputs, rtol=1e-12, atol=1e-13)
    for i, z in enumerate(cloud.points):

        def potential(place):
            known = (risk.data, cloud.points, cloud.weights)
            return reference.risk_variation(unit, slope, *known, [place])[0]

        # Step 1e-4: remainder 1e-16 f^(5), rounding 1e-11.
        exact = -reference.gradient(potential, z, step=1e-4)
        np.testing.assert_allclose(risk.drift(cloud)[i], exact, rtol=0, atol=1e-8)


@EVERY
def test_densities_by_loops(risk, unit, loss, slope, grid):
    check_density(risk, unit, loss, slope, grid)


@EVERY
def test_clouds_by_loops(risk, unit, loss, slope, grid):
    check_cloud(risk, unit, loss, slope, grid)


@pytest.mark.parametrize("kind", ["plain", "two outputs", "skeleton"])
def test_few_squares_on_a_line_are_those_of_products_with_matrices(monkeypatch, kind):
    grid, unit, x = Grid.box(-2, 2, 60), Unit.ridge("tanh"), data(1, np.sin, 9)
    if kind == "two outputs":
        grid = Grid.box(-2, 2, 60, chart=Chart.fixed_subspace(Group.swap()))
        unit, x = Unit.custom(vector_tanh, outputs=2), data(2, np.sin, 9)
    if kind == "skeleton":
        x = data(1, lambda x: np.sin(x[:, 0]), 4000)
    rho = np.random.default_rng(0).exponential(size=60)
    few = Risk(unit, x, "half_squared").on(grid)
    assert few._squares is not None
    assert (few.lift is not None) == (kind == "skeleton")
    value, potential = few.value_and_potential(rho)
    np.testing.assert_array_equal(few.potential(rho), potential)
    monkeypatch.setattr(network, "FEW", 0)
    slow = Risk(unit, x, "half_squared").on(grid)
    assert slow._squares is None
    exact = slow.value_and_potential(rho)
    assert value == pytest.approx(exact[0], rel=1e-12)
    np.testing.assert_allclose(potential, exact[1], rtol=0, atol=1e-12 * np.abs(exact[1]).max())


def test_batches_are_counted_as_by_sorting(monkeypatch):
    """Each datum once, in order, with its share of the batch: to the last bit."""
    risk = RISKS["half squared in the plane"][0]
    cloud = Cloud(np.random.default_rng(1).normal(size=(4, 2)))
    batch = Batch(np.array([3, 0, 3, 4, 3, 0]))
    rows, weights = risk._picked(batch)
    assert rows.tolist() == [0, 3, 4]
    np.testing.assert_array_equal(weights, np.array([2, 3, 1]) / 6)
    drift = risk.drift(cloud, batch)
    monkeypatch.setattr(module, "FEW_DATA", 0)
    for found, exact in zip(risk._picked(batch), (rows, weights), strict=True):
        np.testing.assert_array_equal(found, exact)
    np.testing.assert_array_equal(risk.drift(cloud, batch), drift)


@dataclass(frozen=True)
class Quartic(Squared):
    """A user's loss, ``(f - y)^4``: what is compiled for squares is none of its business."""

    quadratic = False

    def value(self, prediction, target):
        return ((prediction - target) ** 4).sum(-1)

    def gradient(self, prediction, target):
        return 4 * (prediction - target) ** 3


def test_losses_made_of_squares_are_their_own():
    _, unit, loss, slope, grid = RISKS["custom loss"]
    risk = Risk(Unit.ridge("tanh"), data(1, lambda x: x[:, 0]), Quartic())
    check_density(risk, unit, loss, slope, grid)


network_squares = network._kernels.squares
BUGS = {
    "weights of the data": (
        (NetworkFunctional, "_pull", lambda s, g: (g.ravel() @ s.features).reshape(s.grid.shape)),
        (check_density, "half squared in the plane"),
    ),
    "weights of squares on a line": (
        (
            network._kernels,
            "squares",
            lambda s, y, w, how, rho, out: network_squares(s, y, np.ones_like(w), how, rho, out),
        ),
        (check_density, "squared"),
    ),
    "volume of a cell": (
        (
            NetworkFunctional,
            "predict",
            lambda s, rho: (s.features @ rho.ravel()).reshape(s.data.y.shape),
        ),
        (check_density, "squared"),
    ),
    "outputs mixed up": (
        (
            NetworkFunctional,
            "_pull",
            lambda s, g: ((s.data.weights[:, None] * g[:, ::-1]).ravel() @ s.features).reshape(
                s.grid.shape
            ),
        ),
        (check_density, "huber of two outputs"),
    ),
    "drift times the weight of the point": (
        (Risk, "drift", lambda s, cloud: cloud.weights[:, None] * right_drift(s, cloud)),
        (check_cloud, "squared"),
    ),
    "drift uphill": (
        (Risk, "drift", lambda s, cloud: -right_drift(s, cloud)),
        (check_cloud, "half squared in the plane"),
    ),
}
right_drift = Risk.drift


@pytest.mark.parametrize(("bug", "check"), BUGS.values(), ids=BUGS)
def test_planted_bugs_are_caught(monkeypatch, bug, check):
    risk = RISKS[check[1]][0]
    fresh = Risk(risk.unit, risk.data, risk.loss)  # no functional is kept for it
    monkeypatch.setattr(*bug)
    with pytest.raises(AssertionError):
        check[0](fresh, *RISKS[check[1]][1:])


# -- closed forms


def test_linear_unit():
    """Unit z x, E x^2 = 1, slope 2: R = (m - 2)^2/2, dR/dmu = (m - 2) z."""
    linear = Data.gauss_hermite(1, 4, lambda x: 2 * x[..., 0])
    risk = Risk(Unit.ridge("linear"), linear, "half_squared")
    grid = Grid.box(-4, 4, 80)
    rho = Density.gaussian(grid, 0.3, 0.25)
    assert risk.value(rho) == pytest.approx((0.3 - 2) ** 2 / 2, rel=1e-12)
    np.testing.assert_allclose(risk.potential(rho), -1.7 * grid.axes[0], atol=1e-12)
    cloud = Cloud([0.0, 1.0], [0.25, 0.75])
    assert risk.value(cloud) == pytest.approx((0.75 - 2) ** 2 / 2, rel=1e-12)
    np.testing.assert_allclose(risk.drift(cloud), [[1.25], [1.25]], rtol=1e-12)


def test_network_on_the_circle():
    """Unit cos(theta - x), target .8 cos x: Phi = (c - .8)/2 cos theta."""
    circle = Data.circle(8, lambda x: 0.8 * np.cos(x[..., 0]))
    risk = Risk(Unit.harmonic(), circle, "half_squared")
    grid = Grid.torus(-np.pi, np.pi, 32)
    a = -0.25
    rho = Density(grid, (1 + 2 * a * np.cos(grid.axes[0])) / (2 * np.pi))
    np.testing.assert_allclose(
        risk.potential(rho), 0.5 * (a - 0.8) * np.cos(grid.axes[0]), atol=1e-14
    )
    assert risk.value(rho) == pytest.approx(0.25 * (a - 0.8) ** 2, rel=1e-13)


def test_a_point_at_zero():
    """Bumps with an even target (Maass and Fontbona 2024, Prop. 4): R(delta_0) = .119779622."""

    def even(x):
        return 0.5 * (np.exp(-0.5 * (x - 1.5) ** 2) + np.exp(-0.5 * (x + 1.5) ** 2))[..., 0]

    risk = Risk(Unit.bump(), Data.gauss_legendre(40, -3, 3, even))
    assert risk.value(Cloud([0.0])) == pytest.approx(0.119779622, abs=5e-10)
    assert risk.value(Cloud([1.5, -1.5])) < 1e-30
    assert np.abs(risk.drift(Cloud([1.5, -1.5]))).max() < 1e-15


# -- batches


def test_a_batch_takes_its_samples_alone():
    risk = RISKS["half squared in the plane"][0]
    cloud = Cloud(np.random.default_rng(2).normal(size=(5, 2)))
    indices = np.array([3, 0, 3, 1])
    subset = Data.samples(risk.data.x[indices], risk.data.y[indices])
    exact = Risk(risk.unit, subset, "half_squared").drift(cloud)
    np.testing.assert_allclose(risk.drift(cloud, Batch(indices)), exact, rtol=1e-13)


def test_batches_are_unbiased():
    """The mean over all batches of one sample, weighted as they are drawn, is the full drift."""
    for name in ("squared", "logistic", "huber of two outputs"):
        risk, *_, grid = RISKS[name]
        cloud = Cloud(np.random.default_rng(2).normal(size=(5, grid.dim)))
        mean = sum(
            p * risk.drift(cloud, Batch(np.array([i]))) for i, p in enumerate(risk.data.weights)
        )
        np.testing.assert_allclose(mean, risk.drift(cloud), rtol=0, atol=1e-13)


def test_chunks_change_nothing(monkeypatch):
    risk = RISKS["huber of two outputs"][0]
    cloud = Cloud(np.random.default_rng(3).normal(size=(23, 2)))
    value, drift = risk.value(cloud), risk.drift(cloud)
    monkeypatch.setattr(module, "CHUNK", 50)
    assert risk.value(cloud) == pytest.approx(value, rel=1e-14)
    np.testing.assert_allclose(risk.drift(cloud), drift, rtol=0, atol=1e-15)


# -- networks as functions


def test_network_is_a_teacher():
    """A student with the teacher's law has no risk."""
    teacher = Network(Unit.ridge("tanh"), Cloud([[1.0, 0.5], [-0.3, 2.0]], [0.7, 0.3]))
    found = teacher(np.array([[[0.1, 0.2], [1.0, -1.0]]]))
    assert found.shape == (1, 2)
    exact = 0.7 * math.tanh(0.1 + 0.1) + 0.3 * math.tanh(-0.03 + 0.4)
    assert found[0, 0] == pytest.approx(exact, rel=1e-14)
    risk = Risk(Unit.ridge("tanh"), Data.gauss_hermite(2, 4, teacher))
    assert risk.value(teacher.measure) < 1e-30
    vector = Network(Unit.custom(vector_tanh, outputs=2), Cloud([[1.0, 2.0]]))
    assert vector(np.ones((3, 4, 2))).shape == (3, 4, 2)
    assert vector(np.ones(2)).tolist() == [math.tanh(1), math.tanh(2)]


# -- refusals


GOOD = data(1, lambda x: x[:, 0])
TANH = Unit.ridge("tanh")


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Risk("tanh", GOOD), "unit must be a mf.Unit", "got str", "constructors"),
        (lambda: Risk(TANH, GOOD.x), "data must be a mf.Data", "got ndarray", "constructors"),
        (lambda: Risk(TANH, GOOD, abs), "loss must be a mf.Loss", "got builtin", "constructors"),
        (lambda: Risk(TANH, GOOD, "mse"), "loss must be one of", "'mse'", "CustomLoss"),
        *[
            (lambda t=t: Risk(TANH, GOOD, rank_tolerance=t), "rank_tolerance", f"got {t!r}", "1e-8")
            for t in (-1e-8, 0.5, np.inf, None, "1e-8", True)
        ],
        (
            lambda: Risk(TANH, data(2, lambda x: x)),
            "unit and data must have the same outputs",
            "got 1 and 2",
            "change the target",
        ),
        (lambda: Risk(TANH, GOOD).on(PLANE), "ridge", "z of dimension 2", "change the data"),
        (lambda: Risk(TANH, GOOD).value(Cloud([[1, 2]])), "ridge", "z of dimension 2", "change"),
        (lambda: Risk(TANH, GOOD).drift(Cloud([[1, 2]])), "ridge", "z of dimension 2", "change"),
        (
            lambda: Risk(
                TANH, Data.gauss_hermite(2, 300, lambda x: x[..., 0]), rank_tolerance=0
            ).on(Grid.box((0, 0), (1, 1), (100, 100))),
            "features of 90000 data values on 10000 cells",
            "7.2 GB",
            "fewer nodes or cells, or a larger rank_tolerance",
        ),
        (
            lambda: Network(TANH, Cloud([1.0]))(np.ones((3, 2))),
            "ridge",
            "x of dimension 2",
            "change",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
