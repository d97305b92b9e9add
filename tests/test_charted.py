"""Energies on charts, against the same energies of the laws in Z that densities stand for."""

import numpy as np
import pytest
from problems import even_target, swapped_target
from reference import order, refuses
from scipy.integrate import quad

import meanfield_pde as mf
from meanfield_pde.energies import quotient
from meanfield_pde.energies.charted import (
    OrbitUnit,
    charted,
    gegenbauer,
    merged_by_length,
)
from meanfield_pde.energies.quotient import MirroredFunctional

FLIP, SWAP, QUARTER = mf.Group.reflection(), mf.Group.swap(), mf.Group.dihedral(2)
HALF = mf.Grid.box(0, 4, 40, chart=mf.Chart.quotient(FLIP))
CORNER = mf.Grid.box((0, 0), (3, 3), (12, 10), chart=mf.Chart.quotient(QUARTER))
SIDES = {
    "half line": HALF,
    "half plane, first": mf.Grid.box(
        (0, -2), (3, 3), (8, 11), chart=mf.Chart.quotient(mf.Group.reflection(2))
    ),
    "half plane, second": mf.Grid.box(
        (-2, 0), (3, 2), (9, 8), chart=mf.Chart.quotient(mf.Group.reflection(2, 1))
    ),
    "quarter": CORNER,
}
BEHIND = pytest.mark.parametrize("grid", SIDES.values(), ids=SIDES)


def gauss(dz):
    return np.exp(-0.5 * (dz**2).sum(-1)) + 0.1 * np.cos(dz[..., 0])


def log(dz):
    return 0.5 * np.log((dz**2).sum(-1))


def radial(x):
    return np.exp(-0.3 * (x**2).sum(-1))


def potential_at(energy, rho):
    """Potential of the lifted density, at the places of the chart's cells."""
    whole = mf.lift(rho)
    field = energy.potential(whole)
    for axis in rho.grid.chart.axes:
        field = np.split(field, 2, axis=axis)[1]
    return field


def random_density(grid, seed=0):
    return mf.Density(grid, np.random.default_rng(seed).random(grid.shape)).normalised()


@BEHIND
@pytest.mark.parametrize("kernel", [gauss, log])
def test_interactions_behind_mirrors(grid, kernel):
    """Cosine transforms give the convolution of the even extension, singular kernels included."""
    energy, rho, later = mf.Interaction(kernel), random_density(grid), random_density(grid, 1)
    size = np.abs(energy.potential(rho)).max()
    np.testing.assert_allclose(
        energy.potential(rho), potential_at(energy, rho), rtol=0, atol=1e-14 * (1 + size)
    )
    assert energy.value(rho) == pytest.approx(energy.value(mf.lift(rho)), abs=1e-14)
    functional = energy.on(grid)
    secant = functional.secant(rho.values, later.values)
    rise = float((secant * (later.values - rho.values)).sum()) * grid.volume
    assert energy.value(later) - energy.value(rho) == pytest.approx(rise, abs=1e-14)


def test_a_missing_share_of_the_orbit_is_caught(monkeypatch):
    """Without the orbit's 1/|G| the potential behind mirrors is that of |G| times the mass."""
    right = MirroredFunctional.__post_init__

    def forgetful(self):
        right(self)
        object.__setattr__(self, "_transform", 4 * self._transform)

    energy, rho = mf.Interaction(gauss), random_density(CORNER)
    expected = potential_at(energy, rho)
    monkeypatch.setattr(MirroredFunctional, "__post_init__", forgetful)
    found = mf.Interaction(gauss).potential(rho)
    assert np.abs(found - expected).max() > 0.1


@BEHIND
def test_risks_and_potentials_behind_mirrors(grid):
    """Averaged units give the outputs, the risk and the potential of the invariant law."""
    nodes = mf.Data.gauss_hermite(grid.dim, 5, radial)
    terms = {
        "risk": mf.Risk(mf.Unit.bump(), nodes),
        "logistic": mf.Risk(
            mf.Unit.bump(), mf.Data(nodes.x, np.sign(nodes.y - 0.5), nodes.weights), "logistic"
        ),
        "penalty": mf.Penalty(),
        "potential": mf.Potential(lambda z: np.cos(z).sum(-1)),
    }
    rho = random_density(grid)
    for name, energy in terms.items():
        expected = potential_at(energy, rho)
        np.testing.assert_allclose(energy.potential(rho), expected, atol=2e-13, err_msg=name)
        assert energy.value(rho) == pytest.approx(energy.value(mf.lift(rho)), abs=1e-13), name
    outputs = terms["risk"].predict(mf.lift(rho))
    np.testing.assert_allclose(terms["risk"].predict(rho), outputs, atol=1e-14)


def test_risks_on_fixed_subspaces():
    """On E^G the density is a cloud of its cell centres in Z, whatever the energy."""
    data = mf.Data.gauss_hermite(2, 6, swapped_target)
    risk = mf.Risk(mf.Unit.ridge("tanh"), data)
    grid = mf.Grid.box(-3, 3, 30, chart=mf.Chart.fixed_subspace(SWAP))
    rho = random_density(grid)
    cloud = mf.lift(rho)
    energies = [risk, mf.data_augmented(risk, SWAP), mf.feature_averaged(risk, SWAP)]
    energies += [mf.equivariant_architecture(risk, SWAP), mf.Penalty(), mf.Interaction(gauss)]
    energies += [risk + 0.1 * mf.Potential(lambda z: z[..., 0] * z[..., 1])]
    h = grid.spacing[0]
    for energy in energies:
        assert energy.value(rho) == pytest.approx(energy.cloud_value(cloud), abs=1e-14)
        # The potential's slope along E^G is the drift's component there.
        slope = np.gradient(energy.potential(rho), h, edge_order=2)
        along = -(energy.drift(cloud) @ grid.chart.matrix)[:, 0]
        assert np.abs(slope - along)[1:-1].max() < 0.5 * h**2 * (1 + np.abs(along).max())


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_units_averaged_over_angles(dim):
    """Against samples of the sphere, and the derivative against differences."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(5, dim))
    radii = np.array([[0.3], [1.1], [2.0]])
    turns = rng.standard_normal((200_000, dim))
    turns /= np.sqrt((turns**2).sum(1, keepdims=True))
    for unit in (mf.Unit.bump(), mf.Unit.ridge("softplus")):
        mean = charted(unit, mf.Chart.radius(dim), x, 2.0)
        found = mean.features(x, radii)[..., 0]
        for k, r in enumerate(radii[:, 0]):
            values = unit.features(x, r * turns)[..., 0]
            error = values.std(axis=1) / np.sqrt(len(turns))
            assert (np.abs(values.mean(axis=1) - found[:, k]) < 5 * error).all()
        residual = rng.normal(size=(5, 1))
        step = 1e-5
        up, down = (mean.features(x, radii + s)[..., 0] for s in (step, -step))
        slope = residual[:, 0] @ (up - down) / (2 * step)
        np.testing.assert_allclose(mean.pullback(x, radii, residual)[:, 0], slope, atol=1e-9)


def test_data_of_one_length_are_one_node_on_the_radius():
    """Merged where the targets agree, kept apart where they do not: the risk is the same."""
    turns = 2 * np.pi * np.arange(12) / 12
    x = np.concatenate([r * np.stack([np.cos(turns), np.sin(turns)], 1) for r in (0.7, 1.9)])
    y = np.repeat([0.2, 0.5, -1.0, 0.4], 6)
    data = mf.Data.samples(x, y)
    few = merged_by_length(data)
    assert few.size == 4
    np.testing.assert_allclose(few.weights, 0.25)
    grid = mf.Grid.box(0, 3, 30, chart=mf.Chart.radius(2))
    rho = random_density(grid)
    for loss in ("squared", "huber"):
        risk = mf.Risk(mf.Unit.bump(), data, loss)
        outputs = risk.predict(rho)
        by_hand = float(data.weights @ risk.loss.value(outputs, data.y))
        assert risk.value(rho) == pytest.approx(by_hand, rel=1e-13)


def test_angles_have_the_weights_of_the_sphere():
    """Even moments of one coordinate of the sphere: 1/D, 3/(D(D+2))."""
    for dim in (2, 3, 40):
        t, w = gegenbauer(dim, 8)
        assert w @ t**2 == pytest.approx(1 / dim, rel=1e-13)
        assert w @ t**4 == pytest.approx(3 / (dim * (dim + 2)), rel=1e-12)


def test_pullback_of_orbits():
    """Derivative in the coordinates of a mean over an orbit."""
    x = np.random.default_rng(0).normal(size=(7, 2))
    s = np.random.default_rng(1).random((4, 2))
    residual, step = np.ones((7, 1)), 1e-6
    for chart, points in [
        (CORNER.chart, s),
        (mf.Chart.fixed_subspace(SWAP), s[:, :1]),
    ]:
        unit = OrbitUnit(mf.Unit.ridge("tanh"), chart)
        found = unit.pullback(x, points, residual)
        for a in range(points.shape[1]):
            shift = step * np.eye(points.shape[1])[a]
            difference = unit.features(x, points + shift) - unit.features(x, points - shift)
            slope = difference.sum(axis=(0, 2)) / (2 * step)
            np.testing.assert_allclose(found[:, a], slope, atol=1e-8)


@pytest.mark.parametrize("dim", [2, 3])
def test_interactions_on_the_radius(dim):
    """Potential of a Gaussian cloud under a Gaussian kernel, in closed form, to second order."""
    v, errors = 0.4, []
    kernel = mf.Interaction(lambda dz: np.exp(-0.5 * (dz**2).sum(-1)))
    for n in (50, 100, 200):
        grid = mf.Grid.box(0, 6, n, chart=mf.Chart.radius(dim))
        rho = mf.Density.gaussian(grid, 0.0, v)
        r = grid.axes[0]
        exact = (1 + v) ** (-dim / 2) * np.exp(-0.5 * r**2 / (1 + v))
        errors.append(np.abs(kernel.potential(rho) - exact).max())
        assert kernel.value(rho) == pytest.approx(0.5 * (1 + 2 * v) ** (-dim / 2), abs=errors[-1])
    assert errors[-1] < 2e-4
    assert order([50, 100, 200], errors) == pytest.approx(2.0, abs=0.2)


@pytest.mark.parametrize(
    ("dim", "kernel", "between"),
    [
        (2, log, lambda r, s: np.log(np.maximum(r, s))),
        (3, lambda dz: (dz**2).sum(-1) ** -0.5, lambda r, s: 1 / np.maximum(r, s)),
        (3, lambda dz: (dz**2).sum(-1) ** 0.5, lambda r, s: np.maximum(r, s) * (1 + q(r, s) / 3)),
    ],
    ids=["log, plane", "Coulomb, space", "distance, space"],
)
def test_means_of_rough_kernels_over_angles(dim, kernel, between):
    """Newton's theorem: a sphere acts as its centre does; and Gauss's mean of the distance."""
    grid = mf.Grid.box(0, 3, 60, chart=mf.Chart.radius(dim))
    r = grid.nodes[:, 0]
    found = quotient.radial_matrix(kernel, grid)
    np.testing.assert_allclose(found, between(r[:, None], r), rtol=0, atol=1e-10)


def q(r, s):
    return (np.minimum(r, s) / np.maximum(r, s)) ** 2


def test_the_potential_of_a_log_gas_on_the_radius_and_in_the_plane():
    """To second order the same, from two kernels that share nothing but W."""
    errors = []
    for n in (32, 64, 128):
        plane = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), (n, n)), (0, 0), 0.5)
        line = mf.Density.gaussian(mf.Grid.box(0, 6, 4 * n, mf.Chart.radius(2)), 0.0, 0.5)
        energy = mf.Interaction(log)
        lengths = np.sqrt((plane.grid.points**2).sum(-1))
        radial = np.interp(lengths, line.grid.axes[0], energy.potential(line))
        errors.append(np.abs(energy.potential(plane) - radial).max())
    assert errors[-1] < 1e-3
    assert order([32, 64, 128], errors) == pytest.approx(2.0, abs=0.3)


def test_a_network_on_the_sphere_in_closed_form():
    """Outputs of bumps at a uniform point of a sphere in R^3: a hyperbolic sine."""
    grid = mf.Grid.box(0, 2, 2, chart=mf.Chart.radius(3))
    rho = mf.Density(grid, [1.0, 0.0])  # all at r = 1/2
    x = np.random.default_rng(0).normal(size=(6, 3))
    risk = mf.Risk(mf.Unit.bump(), mf.Data.samples(x, np.zeros(6)))
    product = 0.5 * np.sqrt((x**2).sum(1))
    exact = np.exp(-0.5 * ((x**2).sum(1) + 0.25)) * np.sinh(product) / product
    np.testing.assert_allclose(risk.predict(rho)[:, 0], exact, rtol=1e-13)
    mean, _ = quad(lambda t: 0.5 * np.exp(product[0] * t), -1, 1)
    assert mean == pytest.approx(np.sinh(product[0]) / product[0])  # Archimedes


# -- invariant laws that do not stay invariant


def bumps_behind(grid, target, variant=lambda risk: risk):
    nodes = mf.Data.gauss_legendre(20, -3, 3, target)
    energy = variant(mf.Risk(mf.Unit.bump(), nodes)) + 0.02 * mf.Entropy()
    return mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, 1.0, 0.1), 0.2)


def shifted(x):
    return np.exp(-0.5 * (x[..., 0] - 1.0) ** 2)


def test_data_that_lack_the_symmetry_are_refused_behind_mirrors():
    """On the whole line the law leaves the invariant ones, which the half line cannot say."""
    problem = bumps_behind(HALF, shifted)
    whole = mf.solve(mf.Problem(problem.flow, mf.lift(problem.initial), 0.2)).densities[-1]
    assert mf.asymmetry(whole, FLIP) > 1e-3
    refuses(lambda: mf.solve(problem), "energy", "apart", "mf.data_augmented")


def test_targets_that_turn_are_refused_on_the_radius():
    start = mf.Density.gaussian(RADIUS, 0.0, 0.1)
    for factor in (0.0, 0.1):
        data = mf.Data.gauss_hermite(2, 4, lambda x, f=factor: radial(x) + f * x[..., 0])
        energy = mf.Risk(mf.Unit.bump(), data) + 0.02 * mf.Entropy()
        problem = mf.Problem(mf.GradientFlow(energy), start, 0.01)
        if factor:
            refuses(lambda p=problem: mf.solve(p), "targets", "apart at one |x|", "average them")
        else:
            assert mf.solve(problem).ok


def test_augmented_data_are_solved_behind_mirrors():
    problem = bumps_behind(HALF, shifted, lambda risk: mf.data_augmented(risk, FLIP))
    whole = mf.solve(mf.Problem(problem.flow, mf.lift(problem.initial), 0.2)).densities[-1]
    half = mf.lift(mf.solve(problem).densities[-1])
    np.testing.assert_allclose(half.values, whole.values, rtol=0, atol=1e-12)


# -- refusals

RADIUS = mf.Grid.box(0, 2, 10, chart=mf.Chart.radius(2))
DATA = mf.Data.gauss_hermite(2, 4, radial)
REFUSALS = {
    "potential": (
        lambda: mf.Potential(lambda z: z[..., 0]).on(HALF),
        *("potential", "apart", "average it"),
    ),
    "kernel": (
        lambda: mf.Interaction(lambda z: np.cos(z[..., 0] - z[..., 1])).on(CORNER),
        *("interaction must be even", "apart", "whole space"),
    ),
    "kernel and angle": (
        lambda: mf.Interaction(lambda z: np.cos(z[..., 0])).on(RADIUS),
        *("interaction must depend on |z - z'|", "apart", "whole space"),
    ),
    "rough kernel": (
        lambda: mf.Interaction(lambda dz: (dz**2).sum(-1) ** -0.5).on(RADIUS),
        *("interaction must be integrable", "settle", "whole space"),
    ),
    "unit and angle": (
        lambda: mf.Risk(mf.Unit.custom(lambda x, z: np.sin(x[..., 0] * z[..., 1])), DATA).on(
            RADIUS
        ),
        *("unit must not change", "turned together", "z . x"),
    ),
    "rough unit": (
        lambda: mf.Risk(mf.Unit.ridge("relu"), DATA).on(RADIUS),
        *("unit must be smooth", "angles", "smooth its kinks"),
    ),
    "dimension": (
        lambda: mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(1, 4, even_target)).on(RADIUS),
        *("ridge", "dimension 1", "unit"),
    ),
}


@pytest.mark.parametrize(("call", "argument", "got", "remedy"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_rough_kernels_settle_slowly_not_wrongly(monkeypatch):
    """The check of the angles is what refuses them: without it the matrix is off."""
    monkeypatch.setattr(quotient, "ACCURACY", 1.0)
    matrix = quotient.radial_matrix(lambda dz: np.sqrt((dz**2).sum(-1)), RADIUS)
    exact = quad(lambda a: 2 * 1.1 * np.sin(a / 2) / np.pi, 0, np.pi)[0]  # r = r' = 1.1
    assert abs(matrix[5, 5] - exact) > 1e-4
