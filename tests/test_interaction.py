"""Interactions: convolutions, singular kernels, and forces through Chebyshev nodes."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, convolution, integral, refuses
from scipy.integrate import quad

from meanfield_pde.energies import interaction as module
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid


def bump(dz):
    return np.exp(-(dz**2).sum(-1)) + 0.3 * np.cos(dz[..., 0])


def skew(dz):
    """Even under z -> -z, but not under the reflection of one axis."""
    return np.exp(-(dz[..., 0] ** 2) - dz[..., 0] * dz[..., -1] - dz[..., -1] ** 2)


def log(dz):
    return np.log(np.sqrt((dz**2).sum(-1)))


def wave(dz):
    return np.cos(2 * dz[..., 0])


def ripple(dz):
    return np.cos(dz[..., 0] + 2 * dz[..., 1]) + np.sin(dz[..., 0]) ** 2


GRIDS = {
    "line": (Grid.box(-1, 2, 9), bump),
    "one cell": (Grid.box(-1, 2, 1), bump),
    "plane": (Grid.box((-1, 0), (1, 2), (5, 4)), skew),
    "plane with even transforms": (Grid.box((-1, 0), (1, 2), (8, 3)), skew),
    "circle": (Grid.torus(-np.pi, np.pi, 8), wave),
    "odd circle": (Grid.torus(0, 2 * np.pi, 7), wave),
    "torus": (Grid.torus((0, 0), (2 * np.pi, 2 * np.pi), (6, 5)), ripple),
}
ON_GRIDS = pytest.mark.parametrize(("grid", "kernel"), GRIDS.values(), ids=GRIDS)


def check_convolution(grid, kernel, seed):
    values = np.random.default_rng(seed).exponential(size=grid.shape)
    energy, rho = Interaction(kernel), Density(grid, values)
    slow = convolution(grid, kernel, values)
    # The transform rounds by a few ulp of the largest potential.
    np.testing.assert_allclose(energy.potential(rho), slow, rtol=0, atol=1e-14 * np.abs(slow).max())
    half = 0.5 * math.fsum((slow * values).ravel()) * grid.volume
    assert energy.value(rho) == pytest.approx(half, rel=1e-13)


@ON_GRIDS
@pytest.mark.parametrize("seed", range(3))
def test_potential_is_the_discrete_convolution(grid, kernel, seed):
    check_convolution(grid, kernel, seed)


def unpadded(kernel, lengths):
    """As many differences as there are cells: the ends of a line meet."""
    n = (len(kernel) + 1) // 2
    first = n - 1 - n // 2
    return np.fft.ifftshift(kernel[first : first + n])


BUGS = {
    "no padding": ((module, "_wrapped", unpadded), "line"),
    "no volume": (
        (Interaction, "_circular", lambda self, grid: right_circular(self, grid) / grid.volume),
        "circle",
    ),
    "transposed axes": (
        (Interaction, "_differences", lambda self, grid: right_differences(self, grid)[:, ::-1]),
        "plane",
    ),
}
right_circular, right_differences = Interaction._circular, Interaction._differences


@pytest.mark.parametrize(("wrong", "name"), BUGS.values(), ids=BUGS)
def test_planted_kernels_are_caught(monkeypatch, wrong, name):
    monkeypatch.setattr(*wrong)
    with pytest.raises(AssertionError):
        check_convolution(*GRIDS[name], 0)


# -- singular kernels


def average_at_zero(kernel, *spacing):
    return Interaction(kernel)._average_at_zero(np.array(spacing))


@pytest.mark.parametrize("h", [0.1, 1.0, 7.3])
def test_logarithm_averaged_over_the_cell_at_zero(h):
    """Exact averages: ln(h/2) - 1 in 1D; ln h - 1.0611754269 on a square cell in 2D."""
    assert average_at_zero(log, h) == pytest.approx(math.log(h / 2) - 1, abs=1e-13)
    square = (math.log(2) - 3 + math.pi / 2) / 2 - math.log(2)
    assert square == pytest.approx(-1.0611754269, abs=1e-10)
    assert average_at_zero(log, h, h) == pytest.approx(math.log(h) + square, abs=1e-12)


def rectangle_log(a, b):
    """Mean of ln|z| over [0, a] x [0, b]: the primitive in closed form."""
    total = a * b * math.log(a * a + b * b) - 3 * a * b
    total += a * a * math.atan(b / a) + b * b * math.atan(a / b)
    return 0.5 * total / (a * b)


def test_logarithm_averaged_over_a_rectangle():
    assert average_at_zero(log, 0.3, 0.5) == pytest.approx(rectangle_log(0.15, 0.25), abs=1e-12)


@pytest.mark.parametrize("a", [0.1, 0.5, 0.9])
def test_powers_averaged_over_the_cell_at_zero(a):
    """(h/2)^-a / (1 - a) on the line, also where the shells shrink slowly (a = .9)."""

    def power(dz):
        return np.abs(dz[..., 0]) ** -a

    exact = 0.1**-a / (1 - a)
    assert average_at_zero(power, 0.2) == pytest.approx(exact, rel=1e-12)


def test_inverse_distance_averaged_over_a_square():
    """Mean of 1/|z| over a square of side h: 4 asinh(1) / h."""

    def coulomb(dz):
        return 1 / np.sqrt((dz**2).sum(-1))

    found = average_at_zero(coulomb, 0.5, 0.5)
    assert found == pytest.approx(4 * math.asinh(1) / 0.5, rel=1e-12)


def test_kernel_that_is_not_even_in_each_coordinate():
    """ln(x^2 + xy + y^2) over a square: all quadrants count, by polar coordinates."""

    def kernel(dz, sign=1):
        x, y = dz[..., 0], dz[..., 1]
        return np.log(x * x + sign * x * y + y * y)

    # Mean over the square of side 2: r from 0 to R = 1/max(|cos|, |sin|), pieces of pi/4.
    def ray(angle):
        reach = 1 / max(abs(math.cos(angle)), abs(math.sin(angle)))
        across = math.log(1 + math.sin(angle) * math.cos(angle))
        return reach**2 * (math.log(reach) - 0.5 + 0.5 * across)

    pieces = [integral(ray, k * math.pi / 4, (k + 1) * math.pi / 4) for k in range(8)]
    exact = math.fsum(pieces) / 4
    assert average_at_zero(kernel, 2.0, 2.0) == pytest.approx(exact, abs=1e-12)
    mirrored = average_at_zero(lambda dz: kernel(dz, -1), 2.0, 2.0)
    assert mirrored == pytest.approx(exact, abs=1e-12)
    quadrant = math.fsum(pieces[:2])  # the planted alternative: one quadrant for all
    assert abs(quadrant - exact) > 0.1


def test_kernel_that_vanishes_away_from_zero():
    """Outer shells that are exactly 0 must not end the sum."""

    def kernel(dz):
        r = np.abs(dz[..., 0])
        return np.where(r <= 2.0**-9, np.log(r), 0.0)

    exact = 2.0**-9 * (math.log(2.0**-9) - 1) / 1.0
    assert average_at_zero(kernel, 2.0) == pytest.approx(exact, rel=1e-12)


def log_primitive(u):
    """Twice integrated ln|u|."""
    return np.where(u == 0, 0.0, 0.5 * u * u * np.log(np.abs(u) + (u == 0)) - 0.75 * u * u)


def test_averages_of_the_logarithm_at_every_offset():
    grid = Grid.box(0, 3, 12)
    h = grid.spacing[0]
    kernel = Interaction(log)._differences(grid)
    for offset in range(-11, 12):
        a, b = (offset - 0.5) * h, (offset + 0.5) * h
        ends = [0.0 if u == 0 else u * math.log(abs(u)) - u for u in (a, b)]
        # Four Gauss nodes beyond three cells: relative error 16^-8.
        assert kernel[11 + offset] == pytest.approx((ends[1] - ends[0]) / h, rel=1e-9, abs=1e-9)


def log_potential(x):
    """``int ln|x - y| (1 - y^2) 3/4 dy`` over [-1, 1], in closed form."""

    def power(k, y):  # int y^k ln|x - y| dy
        if k == 0:
            return -(x - y) * np.log(np.abs(x - y)) - y
        terms = sum(x**j * y ** (k + 1 - j) / (k + 1 - j) for j in range(k + 1))
        return ((y ** (k + 1) - x ** (k + 1)) * np.log(np.abs(x - y)) - terms) / (k + 1)

    return 0.75 * (power(0, 1.0) - power(0, -1.0) - power(2, 1.0) + power(2, -1.0))


def log_errors(sizes):
    """Largest error of the potential of (1 - y^2) 3/4 at the centres of the inner cells."""
    errors = []
    for n in sizes:
        grid = Grid.box(-2, 2, n)
        primitive = np.clip(grid.faces[0], -1, 1)
        primitive = 0.75 * (primitive - primitive**3 / 3)
        rho = Density(grid, np.diff(primitive) / grid.spacing[0])
        phi = Interaction(log).potential(rho)
        inner = np.abs(grid.axes[0]) < 0.7
        errors.append(np.abs(phi - log_potential(grid.axes[0]))[inner].max())
    return errors


def test_potential_of_the_logarithm_is_of_second_order():
    slow, _ = quad(lambda y: 0.75 * (1 - y * y) * math.log(abs(0.5 - y)), -1, 1, points=[0.5])
    assert log_potential(0.5) == pytest.approx(slow, abs=1e-8)
    sizes = [40, 80, 160, 320]
    assert reference.order(sizes, log_errors(sizes)) == pytest.approx(2, abs=0.2)


def test_planted_average_of_the_cell_at_zero_alone_is_of_first_order(monkeypatch):
    def only_zero(self, offsets, spacing):
        away = offsets + (offsets == 0)
        kernel = self.function(away * spacing)
        kernel[(offsets == 0).all(axis=-1)] = self._average_at_zero(spacing)
        return kernel

    monkeypatch.setattr(Interaction, "_averaged", only_zero)
    sizes = [40, 80, 160, 320]
    assert reference.order(sizes, log_errors(sizes)) == pytest.approx(1, abs=0.2)


def test_singular_kernel_on_the_circle():
    """ln|2 sin(z/2)| has Fourier coefficients -1/(2k) and acts on cos(k z) as -pi/k."""

    def kernel(dz):
        return np.log(np.abs(2 * np.sin(0.5 * dz[..., 0])))

    sizes, errors = [32, 64, 128], []
    for n in sizes:
        grid = Grid.torus(-np.pi, np.pi, n)
        rho = Density.from_function(grid, lambda z: (1 + np.cos(3 * z[..., 0])) / (2 * np.pi))
        exact = -np.pi / 3 * np.cos(3 * grid.axes[0]) / (2 * np.pi)
        errors.append(np.abs(Interaction(kernel).potential(rho) - exact).max())
    assert reference.order(sizes, errors) == pytest.approx(2, abs=0.2)


def test_singular_kernel_in_the_plane():
    """Newton: the log potential of a round law outside it is that of a point; inside, -Laplace."""
    grid = Grid.box((-4, -4), (4, 4), (64, 64))
    rho = Density.gaussian(grid, (0, 0), 0.2)
    phi = Interaction(log).potential(rho)
    far = np.linalg.norm(grid.points, axis=-1) > 3.2
    # exp(-3.2^2/.4) = 1e-11; the average over a cell of a harmonic function is its value at the
    # centre up to h^4, and four nodes give it to 16^-8.
    np.testing.assert_allclose(phi[far], log(grid.points)[far], rtol=0, atol=3e-6)
    h = grid.spacing[0]
    laplace = (
        phi[2:, 1:-1] + phi[:-2, 1:-1] + phi[1:-1, 2:] + phi[1:-1, :-2] - 4 * phi[1:-1, 1:-1]
    ) / h**2
    error = np.abs(laplace - 2 * np.pi * rho.values[1:-1, 1:-1]).max()
    assert error < 0.05 * 2 * np.pi * rho.values.max()


# -- clouds


def gradient_of_bump(dz):
    first = np.zeros_like(dz)
    first[..., 0] = -0.3 * np.sin(dz[..., 0])
    return -2 * dz * np.exp(-(dz**2).sum(-1))[..., None] + first


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (5, 1), (40, 1), (9, 2), (60, 2), (7, 3)])
@pytest.mark.parametrize("told", [None, gradient_of_bump])
def test_force_against_pairs(n, dim, told):
    rng = np.random.default_rng(n)
    cloud = Cloud(rng.normal(size=(n, dim)), rng.exponential(size=n))
    slow = reference.force(cloud.points, cloud.weights, gradient_of_bump)
    # What is gathered on nodes may be off by GATHER_TOLERANCE times 1 + |force|.
    size = 1 + np.abs(slow).max()
    np.testing.assert_allclose(Interaction(bump, told).drift(cloud), slow, rtol=0, atol=2e-9 * size)


def test_value_against_pairs():
    rng = np.random.default_rng(3)
    for n, dim in ((6, 1), (50, 1), (70, 2)):
        cloud = Cloud(rng.normal(size=(n, dim)), rng.exponential(size=n))
        pairs = [
            0.5 * v * w * float(bump(z - y))
            for v, z in zip(cloud.weights, cloud.points, strict=True)
            for w, y in zip(cloud.weights, cloud.points, strict=True)
        ]
        assert Interaction(bump).value(cloud) == pytest.approx(math.fsum(pairs), rel=1e-8)


def test_points_in_one_place_do_not_push_each_other():
    cloud = Cloud([[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]], [0.25, 0.25, 0.5])
    energy = Interaction(log, lambda dz: dz / (dz**2).sum(-1, keepdims=True))
    with np.errstate(divide="ignore"):
        assert energy.drift(cloud).tolist() == [[0.5, 0.0], [0.5, 0.0], [-0.5, 0.0]]
        # ln 1 = 0 between the places; each point with itself, and its twin, is left out.
        assert energy.value(cloud) == 0.0


@PROPERTY
@given(st.integers(0, 2**32), st.sampled_from([12, 200]), st.sampled_from([1, 2]))
def test_forces_of_equal_masses_cancel(seed, n, dim):
    """Newton's third law: the centre of mass stays."""
    cloud = Cloud(np.random.default_rng(seed).normal(size=(n, dim)))
    total = Interaction(bump).drift(cloud).sum(axis=0) / n
    assert np.abs(total).max() < 4e-9


def test_quadratic_interaction_pulls_to_the_mean():
    rng = np.random.default_rng(0)
    cloud = Cloud(rng.normal(size=(500, 2)), rng.exponential(size=500))
    found = Interaction(lambda dz: 0.5 * (dz**2).sum(-1)).drift(cloud)
    exact = -(cloud.points - cloud.mean()) * cloud.mass
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-8 * cloud.mass)


def gathered(energy, cloud):
    return len(energy._sources(cloud)[0]) < cloud.size


def check_gathering(kernel, told, points):
    """Whatever sources are used, the force is that of all pairs."""
    cloud, energy = Cloud(points), Interaction(kernel, told)
    direct = energy._force(cloud.points, cloud.points, cloud.weights)
    size = 1 + np.abs(direct).max()
    np.testing.assert_allclose(energy.drift(cloud), direct, rtol=0, atol=1e-8 * size)
    return gathered(energy, cloud)


def contact(radius):
    """A repulsion of finite range, twice differentiable."""

    def value(dz):
        return np.maximum(0, 1 - (dz[..., 0] / radius) ** 2) ** 3

    def slope(dz):
        return -6 * dz / radius**2 * np.maximum(0, 1 - (dz / radius) ** 2) ** 2

    return value, slope


def huddle():
    """Points far apart, but for a huddle that no probe belongs to."""
    points = np.linspace(0, 1000, 200)
    points[88:110] = 444 + np.linspace(0, 0.01, 22)
    return points


def test_smooth_kernels_are_gathered_and_others_are_not():
    points = np.random.default_rng(0).normal(size=3000)
    assert check_gathering(bump, gradient_of_bump, points)
    assert not check_gathering(*contact(0.3), points[:300])
    assert not check_gathering(*contact(0.01), huddle())
    with np.errstate(divide="ignore", invalid="ignore"):
        assert not check_gathering(log, lambda dz: 1 / dz, points[:300])
    plane = np.random.default_rng(1).normal(size=(3000, 2))
    assert gathered(Interaction(lambda dz: np.exp(-(dz**2).sum(-1) / 8)), Cloud(plane))
    assert not gathered(Interaction(bump), Cloud(plane[:30]))


def test_planted_check_at_the_probes_alone_misses_the_huddle(monkeypatch):
    monkeypatch.setattr(Interaction, "_mean", lambda self, targets, *sources: np.zeros(1))
    with pytest.raises(AssertionError):
        check_gathering(*contact(0.01), huddle())


def test_many_points_are_few_sources():
    """100 000 points would be 10^10 pairs."""
    cloud = Cloud(np.random.default_rng(0).normal(size=100_000))
    energy = Interaction(bump, gradient_of_bump)
    places, charges = energy._sources(cloud)
    assert len(places) <= 64
    assert charges.sum() == pytest.approx(1, rel=1e-12)
    some = cloud.points[::9973]
    exact = energy._force(some, cloud.points, cloud.weights)
    np.testing.assert_allclose(energy.drift(cloud)[::9973], exact, rtol=0, atol=2e-9)


# -- refusals


LINE = Grid.box(-1, 1, 6)


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Interaction("log"), "function must be callable", "'log'", "(dz**2).sum(-1)"),
        (
            lambda: Interaction(lambda dz: dz[..., 0]).on(LINE),
            "interaction must be symmetric",
            "= 3.3 at z = [",
            "even part",
        ),
        (
            lambda: Interaction(lambda dz: log(dz) + dz[..., 0]).on(LINE),
            "interaction must be symmetric",
            "= 3.3 at z = [",
            "even part",
        ),
        (
            lambda: Interaction(lambda dz: (dz**2).sum(-1)).on(Grid.torus(0, 1, 6)),
            "torus's period 1 along axis 0",
            "0.01 and 1.21",
            "sin and cos",
        ),
        (
            lambda: Interaction(lambda dz: np.cos(2 * np.pi * (dz[..., 0] + dz[..., 1] / 2))).on(
                Grid.torus((0, 0), (1, 1), (4, 4))
            ),
            "along axis 1",
            "one period apart",
            "sin and cos",
        ),
        (
            lambda: Interaction(lambda dz: 1 / np.abs(dz[..., 0])).on(LINE),
            "interaction must be integrable",
            "do not settle (",
            "slower than |z|^-1",
        ),
        (
            lambda: Interaction(lambda dz: (dz**2).sum(-1) ** -1.5).on(
                Grid.box((0, 0), (1, 1), (3, 3))
            ),
            "interaction must be integrable",
            "(inf)",
            "slower than |z|^-2",
        ),
        (
            lambda: Interaction(lambda dz: (dz**2).sum(-1) ** -1.0).on(
                Grid.box((0, 0), (1, 1), (3, 3))
            ),
            "interaction must be integrable",
            "do not settle",
            "slower than |z|^-2",
        ),
        (
            lambda: Interaction(lambda dz: np.full(dz.shape[:-1], np.nan)).on(LINE),
            "interaction must be finite",
            "got nan",
            "singularity",
        ),
        (lambda: Interaction(lambda dz: dz**2).on(LINE), "interaction", "(11, 1)", "last axis"),
        (
            lambda: Interaction(lambda dz: (dz**2).sum()).drift(Cloud([1.0, 2.0])),
            "interaction must map points",
            "got ()",
            "last axis",
        ),
        (
            lambda: Interaction(lambda dz: (dz**2).sum(-1), lambda dz: dz).drift(Cloud([1.0, 2.0])),
            "gradient of interaction is wrong",
            "differences of the function give",
            "correct it",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    with np.errstate(divide="ignore"):
        refuses(call, argument, got, remedy)
