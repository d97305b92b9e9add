"""Conservative remap: overlaps against polygon clipping, mass and sign kept."""

import math

import numpy as np
import pytest
import scipy
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, order, overlap, refuses, signed_permutations

from meanfield_pde.measures import remap as module
from meanfield_pde.measures.density import Density, LostMassError
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.remap import remap, remap_matrix

SMALL = Grid.box((-1, -1.2), (1, 1.2), (4, 3))
SQUARE = Grid.box((-2, -2), (2, 2), (8, 8))
ANGLES = st.one_of(
    st.floats(-math.pi, math.pi),
    st.sampled_from([0.0, math.pi / 4, math.pi / 2, 1e-13, -1e-10, 1e-7, 1e-3]),
)


def orthogonal(angle, mirrored=False):
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]]) @ np.diag([1.0, -1.0 if mirrored else 1.0])


def check_overlaps(matrix):
    """Every entry against the clipped polygon. Areas of unit cells: a few roundings."""
    found = remap_matrix(SMALL, matrix).toarray()
    points = SMALL.points.reshape(-1, 2)
    exact = np.array([[overlap(matrix, k, cell, SMALL.spacing) for k in points] for cell in points])
    np.testing.assert_allclose(found, exact / SMALL.volume, rtol=0, atol=1e-14)


def check_conserves(angle, mirrored):
    """Nothing negative; all of a moved cell is somewhere, if it lies inside."""
    matrix = orthogonal(angle, mirrored)
    shares = remap_matrix(SQUARE, matrix)
    assert shares.data.min() >= 0
    columns = np.asarray(shares.sum(axis=0)).ravel()
    # At most nine shares a cell, each rounded a few times.
    assert columns.max() <= 1 + 1e-14
    radius = np.linalg.norm(SQUARE.points.reshape(-1, 2), axis=1) + 0.5 * np.hypot(0.5, 0.5)
    np.testing.assert_allclose(columns[radius < 2], 1.0, rtol=0, atol=1e-14)
    rows = np.asarray(shares.sum(axis=1)).ravel()  # and cells that are covered are covered once
    np.testing.assert_allclose(rows[radius < 2], 1.0, rtol=0, atol=1e-14)


@PROPERTY
@given(ANGLES, st.booleans())
def test_overlaps_against_clipped_polygons(angle, mirrored):
    check_overlaps(orthogonal(angle, mirrored))


@PROPERTY
@given(ANGLES, st.booleans())
def test_shares_are_positive_and_sum_to_one(angle, mirrored):
    check_conserves(angle, mirrored)


def no_ceiling(x0, y0, x1, y1):
    """Heights that are not cut at the top of the target cell."""
    a, b = np.clip(x0, -0.5, 0.5), np.clip(x1, -0.5, 0.5)
    slope = np.where(x1 == x0, 0.0, (y1 - y0) / np.where(x1 == x0, 1.0, x1 - x0))
    ends = [y0 + slope * (c - x0) + 0.5 for c in (a, b)]
    return (b - a) * np.maximum(0.5 * (ends[0] + ends[1]), 0.0)


def cancelling(x0, y0, x1, y1):
    """Differences of antiderivatives, divided by the rise: they cancel for small rises."""

    def ramp(u):
        return np.where(u < 0, 0.0, np.where(u > 1, u - 0.5, 0.5 * u * u))

    a, b = np.clip(x0, -0.5, 0.5), np.clip(x1, -0.5, 0.5)
    slope = np.where(x1 == x0, 0.0, (y1 - y0) / np.where(x1 == x0, 1.0, x1 - x0))
    ya, yb = y0 + slope * (a - x0) + 0.5, y0 + slope * (b - x0) + 0.5
    flat = np.abs(yb - ya) < 1e-12
    mean = (ramp(yb) - ramp(ya)) / np.where(flat, 1.0, yb - ya)
    return (b - a) * np.where(flat, np.clip(0.5 * (ya + yb), 0, 1), mean)


BUGS = {
    "no ceiling": (module, "_height_integral", no_ceiling, 0.5, False),
    "cancelling": (module, "_height_integral", cancelling, 1e-9, False),
    "mirror turns cells inside out": (np.linalg, "det", lambda m: 1.0, 0.5, True),
}


@pytest.mark.parametrize(("home", "name", "wrong", "angle", "mirrored"), BUGS.values(), ids=BUGS)
def test_planted_overlaps_are_caught(monkeypatch, home, name, wrong, angle, mirrored):
    monkeypatch.setattr(home, name, wrong)
    with pytest.raises(AssertionError):
        check_overlaps(orthogonal(angle, mirrored))


def test_planted_nearest_cell_does_not_conserve(monkeypatch):
    """Moving each cell whole to the nearest one covers some cells twice."""

    def nearest(grid, matrix):
        first = np.array([axis[0] for axis in grid.axes])
        centre = (grid.points.reshape(-1, 2) @ matrix.T - first) / grid.spacing
        index = np.rint(centre).astype(int)
        inside = ((index >= 0) & (index < grid.cells)).all(axis=1)
        rows = np.ravel_multi_index(tuple(index[inside].T), grid.cells)
        entries = np.ones(inside.sum()), (rows, np.arange(grid.size)[inside])
        return scipy.sparse.csr_array(entries, shape=(grid.size, grid.size))

    monkeypatch.setitem(globals(), "remap_matrix", nearest)
    with pytest.raises(AssertionError):
        check_conserves(0.5, False)


@PROPERTY
@given(ANGLES, st.booleans())
def test_moving_back_is_the_transpose(angle, mirrored):
    """|M K cap L| = |K cap M^T L|."""
    matrix = orthogonal(angle, mirrored)
    there, back = remap_matrix(SMALL, matrix), remap_matrix(SMALL, matrix.T)
    np.testing.assert_allclose(there.toarray(), back.toarray().T, rtol=0, atol=1e-14)


@pytest.mark.parametrize("matrix", signed_permutations(2), ids=str)
def test_symmetries_of_the_square_permute_cells(matrix):
    values = np.random.default_rng(0).random(SQUARE.shape)
    moved = remap(SQUARE, values, matrix)
    for index in np.ndindex(SQUARE.shape):
        source = (SQUARE.points[index] @ matrix - SQUARE.axes[0][0]) / SQUARE.spacing[0]
        assert moved[index] == pytest.approx(values[tuple(np.rint(source).astype(int))], rel=1e-14)


@PROPERTY
@given(ANGLES, st.integers(0, 2**32))
def test_mass_and_sign_of_what_stays_inside(angle, seed):
    values = np.random.default_rng(seed).exponential(size=SQUARE.shape)
    values[np.linalg.norm(SQUARE.points, axis=-1) > 1.6] = 0.0
    moved = remap(SQUARE, values, orthogonal(angle))
    assert moved.min() >= 0
    assert moved.sum() == pytest.approx(values.sum(), rel=1e-14)


def test_smearing_is_of_first_order():
    """On coarser grids the second-order part, the widening by a cell, still shows."""
    sizes, errors = [128, 256, 512], []
    for n in sizes:
        grid = Grid.box((-4, -4), (4, 4), (n, n))
        cov = np.array([[0.4, 0.1], [0.1, 0.2]])
        turn = orthogonal(0.7)
        moved = remap(grid, Density.gaussian(grid, (0.5, 0.2), cov).values, turn)
        exact = Density.gaussian(grid, turn @ (0.5, 0.2), turn @ cov @ turn.T).values
        errors.append(np.abs(moved - exact).sum() * grid.volume)
    assert order(sizes, errors) == pytest.approx(1, abs=0.2)


def test_nothing_to_move():
    empty = np.zeros(SQUARE.shape)
    assert (remap(SQUARE, empty, orthogonal(0.3)) == empty).all()


def test_mass_that_leaves():
    corner = np.zeros(SQUARE.shape)
    corner[0, 0] = 1.0
    with pytest.raises(LostMassError, match=r"1 of the mass leaves.*allowed: 0\.5.*enlarge"):
        remap(SQUARE, corner, orthogonal(math.pi / 4), lost=0.5)
    assert remap(SQUARE, corner, orthogonal(math.pi / 4), lost=1.0).sum() == 0.0


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (
            lambda: remap(Grid.torus((0, 0), (1, 1), (3, 3)), np.ones((3, 3)), orthogonal(0.1)),
            "grid must be a 2D box",
            "2D torus",
            "maps cells to cells",
        ),
        (
            lambda: remap(Grid.box(0, 1, 3), np.ones(3), -np.eye(1)),
            "grid must be a 2D box",
            "1D box",
            "centred at 0",
        ),
        (
            lambda: remap(SQUARE, np.ones(SQUARE.shape), orthogonal(math.pi / 4)),
            "of the mass leaves",
            "allowed: 1e-06",
            "enlarge the grid",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
