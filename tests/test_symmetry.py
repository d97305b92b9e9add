"""Orbit averages: exact to the last bit, or remapped; distance from invariance; projection."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, orbit_mean, signed_permutations

from meanfield_pde.measures import symmetry as module
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density, LostMassError
from meanfield_pde.measures.distance import w2
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import asymmetry, project, symmetrise

SQUARE = Grid.box((-1, -1), (1, 1), (6, 6))
EXACT = {
    "reflection": (Grid.box(-2, 2, 7), Group.reflection()),
    "circle": (Grid.torus(0, 3, 10), Group.reflection()),
    "swap": (SQUARE, Group.swap()),
    "quarter turns": (SQUARE, Group.cyclic(4)),
    "dihedral": (SQUARE, Group.dihedral(4)),
    "square torus": (Grid.torus((0, 0), (1, 1), (5, 5)), Group.dihedral(4)),
    "six elements that act by a sign": (
        Grid.box(-1, 1, 6),
        Group.permutation(3).acting(z=lambda m: [[np.linalg.det(m)]]),
    ),
}
ON_CELLS = pytest.mark.parametrize(("grid", "group"), EXACT.values(), ids=EXACT)


def random_density(grid, seed):
    """Values of very different size, so that the order of a sum matters."""
    rng = np.random.default_rng(seed)
    return Density(grid, rng.random(grid.shape) * 10.0 ** rng.integers(-9, 3, grid.shape))


def images_of(rho, group):
    """The density read at M_g z, for each element, by looking cells up."""
    return [orbit_mean(rho.grid, rho.values, [m]) for m in group.on_z(rho.grid.dim)]


def check_exact(grid, group, seed):
    rho = random_density(grid, seed)
    found = symmetrise(rho, group)
    slow = orbit_mean(grid, rho.values, list(group.on_z(grid.dim)))
    # Positive terms: no cancellation, a rounding for each of at most eight of them.
    np.testing.assert_allclose(found.values, slow, rtol=1e-15 * group.order)
    for image in images_of(found, group):
        assert (image == found.values).all()
    assert (symmetrise(found, group).values == found.values).all()
    assert asymmetry(found, group) == 0.0
    assert found.mass == pytest.approx(rho.mass, rel=1e-14)
    assert found.remap_error == 0.0


@ON_CELLS
@pytest.mark.parametrize("seed", range(4))
def test_average_over_cells_is_exact(grid, group, seed):
    check_exact(grid, group, seed)


def in_order(values, images):
    return np.mean(values.ravel()[images], axis=0).reshape(values.shape)


def never_kept(values, images):
    orbit = np.sort(values.ravel()[images], axis=0)
    return (orbit.sum(axis=0) / len(images)).reshape(values.shape)


def not_divided(values, images):
    return np.sort(values.ravel()[images], axis=0).sum(axis=0).reshape(values.shape)


@pytest.mark.parametrize(
    ("bug", "grid", "group"),
    [
        (in_order, *EXACT["dihedral"]),
        (never_kept, *EXACT["dihedral"]),
        (not_divided, *EXACT["reflection"]),
    ],
)
def test_planted_averages_are_caught(monkeypatch, bug, grid, group):
    """Added in the group's order, an orbit is equal to roundoff only; an equal one must be kept."""
    monkeypatch.setattr(module, "orbit_average", bug)
    with pytest.raises(AssertionError):
        check_exact(grid, group, 0)


@PROPERTY
@given(st.integers(0, 2**32))
def test_invariant_under_flips_and_transposes(seed):
    values = symmetrise(random_density(SQUARE, seed), Group.dihedral(4)).values
    assert (values == values[::-1]).all()
    assert (values == values[:, ::-1]).all()
    assert (values == values.T).all()


@PROPERTY
@given(st.integers(0, 2**32), st.floats(0, 1))
def test_symmetrise_is_linear(seed, share):
    group = Group.dihedral(4)
    one, two = random_density(SQUARE, seed), random_density(SQUARE, seed + 1)
    mixed = symmetrise(Density.mixture([one, two], [share, 1 - share]), group).values
    parts = [share * symmetrise(one, group).values, (1 - share) * symmetrise(two, group).values]
    np.testing.assert_allclose(mixed, parts[0] + parts[1], rtol=1e-14)


# -- clouds


def random_cloud(seed, dim=2, n=7):
    rng = np.random.default_rng(seed)
    return Cloud(rng.normal(size=(n, dim)), rng.exponential(size=n))


@PROPERTY
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_average_of_a_cloud_is_the_mean_over_the_orbit(seed, n):
    """For test functions f: mu^G(f) = (1/|G|) sum_g mu(f o M_g)."""
    group, cloud = Group.dihedral(n), random_cloud(seed)
    found = symmetrise(cloud, group)
    assert found.size == group.order * cloud.size
    for f in (lambda z: np.sin(z[..., 0] + 2 * z[..., 1]), lambda z: z[..., 0] ** 3):
        slow = math.fsum(
            w * float(f(m @ z)) / group.order
            for m in group.matrices
            for w, z in zip(cloud.weights, cloud.points, strict=True)
        )
        # 80 terms of size 100 at most.
        assert found.expect(f) == pytest.approx(slow, abs=1e-12)
    assert found.mass == pytest.approx(cloud.mass, rel=1e-14)
    assert np.abs(group.projection() @ cloud.mean() - found.mean()).max() < 1e-13


def test_average_of_a_cloud_twice_has_the_same_law():
    group, cloud = Group.reflection(), Cloud([0.3, -1.0, 2.0], [0.2, 0.5, 0.3])
    once = symmetrise(cloud, group)
    assert w2(once, symmetrise(once, group)) < 1e-14
    assert asymmetry(once, group) < 1e-14
    assert w2(cloud, once) > 0.1


# -- groups that do not map cells to cells


def test_remapped_average():
    """Mass and sign are kept; it is invariant up to the smearing, which is of order h."""
    group, gaps, errors, sizes = Group.cyclic(3), [], [], [24, 48, 96]
    for n in sizes:
        grid = Grid.box((-4, -4), (4, 4), (n, n))
        rho = Density.gaussian(grid, (1.0, 0.3), 0.15)
        found = symmetrise(rho, group)
        assert found.values.min() >= 0
        assert found.mass == pytest.approx(rho.mass, rel=1e-6)  # what may leave the grid
        exact = Density.mixture(
            [Density.gaussian(grid, m @ (1.0, 0.3), 0.15) for m in group.matrices], [1 / 3] * 3
        )
        errors.append(np.abs(found.values - exact.values).sum() * grid.volume)
        gaps.append(asymmetry(found, group))
        assert errors[-1] <= found.remap_error
        assert 0 < gaps[-1] <= 2 * found.remap_error
    assert errors[0] / errors[2] > 4
    assert gaps[0] / gaps[2] > 4


def test_planted_missing_image_is_seen_through_the_smearing(monkeypatch):
    grid = Grid.box((-4, -4), (4, 4), (48, 48))
    rho = Density.gaussian(grid, (1.0, 0.3), 0.15)
    monkeypatch.setattr(module, "remap", lambda grid, values, matrix: values)
    wrong = symmetrise(rho, Group.cyclic(3))
    monkeypatch.undo()
    assert asymmetry(wrong, Group.cyclic(3)) > 10 * symmetrise(rho, Group.cyclic(3)).remap_error


def test_remap_error_adds_up():
    grid = Grid.box((-4, -4), (4, 4), (24, 24))
    once = symmetrise(Density.gaussian(grid, (1.0, 0.3), 0.15), Group.cyclic(3))
    twice = symmetrise(once, Group.cyclic(3))
    assert twice.remap_error > once.remap_error
    assert symmetrise(once, Group.swap()).remap_error == once.remap_error
    with pytest.raises(LostMassError, match="leaves the grid"):
        symmetrise(Density.uniform(grid), Group.cyclic(3))


def test_rotations_of_a_round_law_do_nothing_but_smear():
    grid = Grid.box((-4, -4), (4, 4), (48, 48))
    round_law = Density.gaussian(grid, (0, 0), 0.4)
    found = symmetrise(round_law, Group.so2(7))
    assert np.abs(found.values - round_law.values).sum() * grid.volume <= found.remap_error


# -- asymmetry


def test_asymmetry_of_a_density_is_the_largest_l1_distance():
    rho = random_density(SQUARE, 8)
    slow = max(
        np.abs(image - rho.values).sum() * SQUARE.volume
        for image in images_of(rho, Group.cyclic(4))
    )
    assert asymmetry(rho, Group.cyclic(4)) == pytest.approx(slow, rel=1e-14)


@PROPERTY
@given(st.floats(-5, 5))
def test_asymmetry_of_a_point_on_the_line(a):
    assert asymmetry(Cloud([a]), Group.reflection()) == pytest.approx(2 * abs(a), rel=1e-14)


def test_asymmetry_does_not_count_on_the_identity_coming_first():
    group = Group("reflection", [[[-1.0]], [[1.0]]])
    assert asymmetry(Cloud([1.0]), group) == 2.0
    assert asymmetry(Cloud([1.0, 0.0]), Group.trivial()) == 0.0


def test_asymmetry_of_a_point_of_the_plane():
    """Sliced W2 of two points: their distance times the root mean square cosine, 1/sqrt 2."""
    found = asymmetry(Cloud([[2.0, 0.0]]), Group.swap())
    assert found == pytest.approx(2 * math.sqrt(2) / math.sqrt(2), rel=1e-3)
    assert asymmetry(Cloud([[2.0, 2.0]]), Group.swap()) < 1e-14


# -- projection


@PROPERTY
@given(st.integers(0, 2**32), st.integers(2, 4))
def test_projection(seed, dim):
    """On E^G; idempotent; the same before and after averaging; nothing is nearer."""
    group, cloud = Group.permutation(dim), random_cloud(seed, dim)
    found = project(cloud, group)
    for m in group.matrices:
        assert np.abs(found.points @ m.T - found.points).max() < 1e-14
    np.testing.assert_allclose(project(found, group).points, found.points, atol=1e-14)
    np.testing.assert_allclose(
        found.points, cloud.points.mean(axis=1, keepdims=True) + 0 * found.points, atol=1e-14
    )
    assert (found.weights == cloud.weights).all()
    np.testing.assert_allclose(
        project(symmetrise(cloud, group), group).mean(), found.mean(), atol=1e-13
    )
    rest = cloud.points - found.points
    assert np.abs((rest * found.points).sum(axis=1)).max() < 1e-13


def test_planted_projection_by_the_sum_leaves_the_subspace(monkeypatch):
    monkeypatch.setattr(Group, "weights", property(lambda group: np.ones(group.order)))
    with pytest.raises(AssertionError):
        test_projection.hypothesis.inner_test(0, 2)


def test_the_square_has_all_its_symmetries():
    """The group that `check_exact` averages over is the one the flips and transposes generate."""
    found = {tuple(m.ravel()) for m in Group.dihedral(4).matrices + 0.0}
    assert found == {tuple(m.ravel()) for m in np.array(signed_permutations(2)) + 0.0}


def test_a_group_of_another_dimension_is_refused():
    for call in (
        lambda: symmetrise(Cloud([1.0]), Group.swap()),
        lambda: symmetrise(Density.uniform(SQUARE), Group.reflection()),
        lambda: asymmetry(Cloud([1.0]), Group.swap()),
        lambda: project(Cloud([1.0]), Group.swap()),
    ):
        with pytest.raises(ValueError, match=r"acts on z in dimension \d, but.*acting\(z="):
            call()
