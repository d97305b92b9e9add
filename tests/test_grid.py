"""Grids: symmetry to the last bit, and the arithmetic of cells."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, ULP, nearest_image, refuses

from meanfield_pde.measures.grid import Grid

SIDES = st.floats(1e-3, 1e3)
COUNTS = st.integers(1, 400)
PLACES = st.floats(-50, 50)


def antisymmetric(axis):
    return bool((axis == -axis[::-1]).all())


@PROPERTY
@given(SIDES, COUNTS)
def test_centred_coordinates_are_antisymmetric_to_the_last_bit(half, n):
    grid = Grid.box(-half, half, n)
    assert antisymmetric(grid.axes[0])
    assert antisymmetric(grid.faces[0])


def test_planted_coordinates_from_the_corner_are_not_antisymmetric():
    """The usual formulas fail for some of these grids, so the check above can fail."""
    corner = [-0.7 + (np.arange(n) + 0.5) * (1.4 / n) for n in range(2, 60)]
    even = [np.linspace(-0.7 + 0.7 / n, 0.7 - 0.7 / n, n) for n in range(2, 60)]
    assert not all(antisymmetric(axis) for axis in corner)
    assert not all(antisymmetric(axis) for axis in even)
    assert all(antisymmetric(Grid.box(-0.7, 0.7, n).axes[0]) for n in range(2, 60))


@PROPERTY
@given(PLACES, SIDES, COUNTS)
def test_cells_fill_the_box(low, side, n):
    """Faces at the corners, centres half way between them; a few roundings of the coordinates."""
    grid = Grid.box(low, low + side, n)
    rounding = 4 * ULP * max(abs(low), abs(low + side))
    faces, axis = grid.faces[0], grid.axes[0]
    assert abs(faces[0] - low) <= rounding
    assert abs(faces[-1] - (low + side)) <= rounding
    np.testing.assert_allclose(axis, 0.5 * (faces[1:] + faces[:-1]), rtol=0, atol=rounding)
    np.testing.assert_allclose(np.diff(faces), grid.spacing[0], rtol=0, atol=2 * rounding)
    assert grid.size * grid.volume == pytest.approx((low + side) - low, rel=2 * ULP)
    assert (grid.dim, grid.shape, grid.size) == (1, (n,), n)


def test_two_dimensions():
    grid = Grid.box(lower=(-1, 0), upper=(1, 3), cells=(4, 2))
    assert grid.points.shape == (4, 2, 2)
    for i, j in np.ndindex(4, 2):
        assert grid.points[i, j].tolist() == [-0.75 + 0.5 * i, 0.75 + 1.5 * j]
    assert grid.spacing == (0.5, 1.5)
    assert (grid.volume, grid.middle, grid.size) == (0.75, (0.0, 1.5), 8)


@pytest.mark.parametrize("cells", [7, (3, 8)])
def test_floor_is_the_spread_of_a_cell(cells):
    """The Gauss rule with two nodes is exact for squares."""
    dim = np.size(cells)
    grid = Grid.box(np.zeros(dim), np.arange(1, dim + 1), cells)
    nodes = [0.5 * h * x / math.sqrt(3) for h in grid.spacing for x in (-1, 1)]
    spread = sum(x * x for x in nodes) / 2
    assert grid.floor == pytest.approx(math.sqrt(spread), rel=4 * ULP)


@PROPERTY
@given(st.floats(-40, 40), st.floats(-40, 40))
def test_wrap_finds_the_shortest_difference(x, y):
    torus = Grid.torus(lower=(0, -1), upper=(3, 4), cells=(3, 5))
    given_ = np.array([x, y])
    wrapped = torus.wrap(given_)
    # Half a period both ways is equally short: compare lengths, not signs. 80 is the size of x - y.
    slow = np.array(nearest_image(torus, given_))
    np.testing.assert_allclose(np.abs(wrapped), np.abs(slow), rtol=0, atol=80 * ULP)
    turns = (given_ - wrapped) / np.array([3, 5])
    np.testing.assert_allclose(turns, np.rint(turns), rtol=0, atol=40 * ULP)
    assert (torus.wrap(-given_) == -wrapped).all()
    assert (Grid.box((0, -1), (3, 4), (3, 5)).wrap(given_) == given_).all()


def test_planted_wrap_by_remainder_is_not_odd():
    torus = Grid.torus(0.0, 3.0, 3)
    differences = np.linspace(-7, 7, 29)[:, None]
    assert (torus.wrap(-differences) == -torus.wrap(differences)).all()
    remainder = (differences + 1.5) % 3.0 - 1.5
    assert not ((-differences + 1.5) % 3.0 - 1.5 == -remainder).all()


def test_grids_are_values():
    grid = Grid.box(-1, 1, 4)
    assert grid == Grid.box(-1.0, 1.0, np.int64(4))
    assert len({grid, Grid.box(-1, 1, 4)}) == 1
    assert grid != Grid.torus(-1, 1, 4)
    assert grid != Grid.box(-1, 1, 5)
    with pytest.raises(AttributeError):
        grid.lower = (0.0,)


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Grid.box((0, 0), 1, 4), "lower, upper and cells", "(0.0, 0.0)", "pairs in 2D"),
        (lambda: Grid.box((0, 0), (1, 1), 4), "cells", "(4,)", "pairs in 2D"),
        (lambda: Grid.box((0,) * 3, (1,) * 3, (2,) * 3), "dimensions", "got 3", "particles"),
        (lambda: Grid.box([], [], []), "dimensions", "got 0", "particles"),
        (lambda: Grid.box(1, -1, 4), "lower must be below upper", "1 and -1", "swap"),
        (lambda: Grid.torus((0, 2), (1, 2), (4, 4)), "lower", "2 and 2", "swap"),
        (lambda: Grid.box(-np.inf, 1, 4), "lower", "got -inf", "one number a dimension"),
        (lambda: Grid.box(0, (1, np.nan), 4), "upper", "nan at flat index 1", "one number"),
        (lambda: Grid.box("left", 1, 4), "lower must be numbers", "'left'", "one number"),
        (lambda: Grid.box([[0, 0]], [[1, 1]], (2, 2)), "lower and upper", "(1, 2)", "one number"),
        (lambda: Grid.box(0, 1, 0), "cells", "got 0", "positive count"),
        (lambda: Grid.box(0, 1, 2.0), "cells", "got 2.0", "positive count"),
        (lambda: Grid.box(0, 1, True), "cells", "got True", "positive count"),
        (lambda: Grid.box((0, 0), (1, 1), (4, -3)), "cells", "got -3", "positive count"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
