"""Groups: axioms by brute force, fixed subspaces, and images of cells."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, nearest_cell, refuses, signed_permutations
from scipy.stats import ortho_group

from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import MAX_ORDER, Group, NotAGroupError

GROUPS = {
    "trivial": (Group.trivial(3), 1),
    "reflection": (Group.reflection(), 2),
    "reflection of an axis": (Group.reflection(3, axis=1), 2),
    "swap": (Group.swap(), 2),
    "permutation(1)": (Group.permutation(1), 1),
    "permutation(4)": (Group.permutation(4), 24),
    "cyclic(1)": (Group.cyclic(1), 1),
    "cyclic(5)": (Group.cyclic(5), 5),
    "dihedral(1)": (Group.dihedral(1), 2),
    "dihedral(2)": (Group.dihedral(2), 4),
    "dihedral(7)": (Group.dihedral(7), 14),
    "so2(12)": (Group.so2(12), 12),
    "quaternions": (
        Group.generate(
            [
                [[0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]],
                [[0, 0, -1, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, -1, 0, 0]],
            ]
        ),
        8,
    ),
    "swap on matrices": (
        Group.swap().acting(z=lambda p: np.kron(p, p), y=lambda p: [[np.linalg.det(p)]]),
        2,
    ),
}
BY_NAME = pytest.mark.parametrize(("group", "size"), GROUPS.values(), ids=GROUPS)
# Products of at most 20 rotations, each rounded: 1e-14.
ROUNDING = 1e-13


def place(matrices, matrix):
    """Which of the matrices this is; -1 where it is none."""
    for k, other in enumerate(matrices):
        if np.abs(other - matrix).max() < ROUNDING:
            return k
    return -1


def check_axioms(matrices, table=None):
    """Orthogonal, distinct, closed, with identity and inverses; the table multiplies."""
    d = matrices.shape[1]
    for g, matrix in enumerate(matrices):
        assert np.abs(matrix @ matrix.T - np.eye(d)).max() < ROUNDING
        assert place(matrices, matrix) == g
        assert place(matrices, matrix.T) >= 0
    assert place(matrices, np.eye(d)) >= 0
    for g, h in product(range(len(matrices)), repeat=2):
        found = place(matrices, matrices[g] @ matrices[h])
        assert found >= 0
        assert table is None or table[g, h] == found


@BY_NAME
def test_axioms(group, size):
    assert group.order == size
    check_axioms(group.matrices, group.table)
    assert group.weights.sum() == pytest.approx(1, rel=1e-15)
    assert np.ptp(group.weights) == 0


@pytest.mark.parametrize("missing", range(1, 6))
def test_planted_missing_element_is_caught_and_refused(missing):
    few = np.delete(Group.dihedral(3).matrices, missing, axis=0)
    with pytest.raises(AssertionError):
        check_axioms(few)
    with pytest.raises(NotAGroupError, match=r"5 matrices are not closed.*Group\.generate"):
        Group("broken", few)


@PROPERTY
@given(st.integers(1, 9), st.booleans(), st.integers(0, 2**32))
def test_conjugates_are_groups(n, mirrored, seed):
    """Any orthonormal basis and any order of the elements will do."""
    group = Group.dihedral(n) if mirrored else Group.cyclic(n)
    rng = np.random.default_rng(seed)
    basis = ortho_group.rvs(2, random_state=rng)
    matrices = basis @ group.matrices @ basis.T
    conjugate = Group("conjugate", matrices[rng.permutation(group.order)])
    check_axioms(conjugate.matrices, conjugate.table)
    expected = basis @ group.projection() @ basis.T
    np.testing.assert_allclose(conjugate.projection(), expected, atol=ROUNDING)


@PROPERTY
@given(st.integers(2, 12))
def test_two_mirrors_generate_a_dihedral_group(n):
    turn = Group.cyclic(n).matrices[1]
    mirror = np.diag([1.0, -1.0])
    found = Group.generate([mirror, turn @ mirror], name="mirrors")
    assert found.name == "mirrors"
    assert found.order == 2 * n
    assert {place(Group.dihedral(n).matrices, m) for m in found.matrices} == set(range(2 * n))


def test_rotations_by_right_angles_are_exact():
    assert set(np.unique(Group.dihedral(4).matrices)) == {-1.0, 0.0, 1.0}
    assert np.array_equal(Group.dihedral(1).matrices, Group.reflection(2, axis=1).matrices)


# -- fixed subspaces


def check_projection(matrices, p):
    """Symmetric, idempotent, onto exactly the vectors that every element fixes."""
    d = matrices.shape[1]
    assert np.abs(p - p.T).max() < ROUNDING
    assert np.abs(p @ p - p).max() < ROUNDING
    assert max(np.abs(m @ p - p).max() for m in matrices) < ROUNDING
    fixed = np.concatenate([m - np.eye(d) for m in matrices])
    rank = np.linalg.matrix_rank(fixed, tol=1e-9)
    assert np.trace(p) == pytest.approx(d - rank, abs=ROUNDING)


@BY_NAME
def test_projection(group, size):
    matrices = group.matrices if group.z is None else group.z
    p = group.projection()
    check_projection(matrices, p)
    basis = group.fixed_basis()
    np.testing.assert_allclose(basis.T @ basis, np.eye(basis.shape[1]), atol=ROUNDING)
    np.testing.assert_allclose(basis @ basis.T, p, atol=ROUNDING)


@pytest.mark.parametrize("bug", ["sum for mean", "half the group", "identity"])
def test_planted_projection_is_caught(bug):
    matrices = Group.swap().matrices
    wrong = {
        "sum for mean": matrices.sum(axis=0),
        "half the group": matrices[1],
        "identity": np.eye(2),
    }[bug]
    with pytest.raises(AssertionError):
        check_projection(matrices, wrong)


def test_known_fixed_subspaces():
    assert Group.swap().projection().tolist() == [[0.5, 0.5], [0.5, 0.5]]
    assert Group.cyclic(3).projection().tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert Group.permutation(3).fixed_basis().shape == (3, 1)
    # The swap acting on 2x2 matrices by P z P fixes the span of I and P.
    assert GROUPS["swap on matrices"][0].fixed_basis().shape == (4, 2)


@pytest.mark.parametrize("nodes", [5, 8])
def test_so2_is_exact_below_its_nodes(nodes):
    """The mean of cos(k angle) over the rule is 0 for 0 < k < nodes, and 1 at k = nodes."""
    angles = [math.atan2(m[1, 0], m[0, 0]) for m in Group.so2(nodes).matrices]
    for k in range(nodes + 1):
        mean = math.fsum(math.cos(k * a) for a in angles) / nodes
        assert mean == pytest.approx(1.0 if k in (0, nodes) else 0.0, abs=1e-14)


# -- actions


def test_default_actions():
    group = Group.swap()
    assert np.array_equal(group.on_z(2), group.matrices)
    assert np.array_equal(group.on_x(2), group.matrices)
    assert np.array_equal(group.on_y(3), [np.eye(3)] * 2)


def test_actions_are_representations():
    group = Group.dihedral(3).acting(
        y=lambda m: [[np.linalg.det(m)]],
        z=lambda m: np.kron(m, m),
        x=[np.eye(1)] * 6,
    )
    for given_ in (group.on_y(1), group.on_z(4), group.on_x(1)):
        for g, h in product(range(6), repeat=2):
            difference = given_[g] @ given_[h] - given_[group.table[g, h]]
            assert np.abs(difference).max() < ROUNDING
    assert group.acting(x=None).x is group.x


def test_planted_representation_in_another_order_is_refused():
    group = Group.dihedral(3)
    with pytest.raises(NotAGroupError, match=r"z is not a homomorphism.*keep the order"):
        group.acting(z=group.matrices[[0, 3, 1, 2, 4, 5]])
    with pytest.raises(NotAGroupError, match="y is not a homomorphism"):
        group.acting(y=lambda m: [[-1.0]])


# -- cells


def check_images(grid, group, images):
    points = grid.points.reshape(-1, grid.dim)
    for g, matrix in enumerate(group.on_z(grid.dim)):
        for cell, z in enumerate(points):
            index, distance = nearest_cell(grid, matrix @ z)
            assert distance < 1e-9
            assert images[g, cell] == np.ravel_multi_index(index, grid.cells)


CELLS = {
    "D4 on a square": (Grid.box((-1, -1), (1, 1), (4, 4)), Group.dihedral(4)),
    "D4 on an odd square": (Grid.box((-1, -1), (1, 1), (5, 5)), Group.dihedral(4)),
    "mirror of a rectangle": (Grid.box((-1, -2), (1, 3), (4, 3)), Group.reflection(2)),
    "reflection of the line": (Grid.box(-3, 3, 7), Group.reflection()),
    "circle": (Grid.torus(0, 2 * np.pi, 8), Group.reflection()),
    "square torus": (Grid.torus((0, 0), (1, 1), (4, 4)), Group.dihedral(4)),
    "a sign for six elements": (
        Grid.box(-1, 1, 4),
        Group.permutation(3).acting(z=lambda m: [[np.linalg.det(m)]]),
    ),
}


@pytest.mark.parametrize(("grid", "group"), CELLS.values(), ids=CELLS)
def test_images_of_cells(grid, group):
    images = group.cell_images(grid)
    assert images is not None
    check_images(grid, group, images)


def test_planted_images_of_the_inverse_are_caught():
    grid, group = CELLS["D4 on a square"]
    wrong = group.cell_images(grid)[[0, 3, 2, 1, 4, 5, 6, 7]]
    with pytest.raises(AssertionError):
        check_images(grid, group, wrong)


@pytest.mark.parametrize(
    ("grid", "group"),
    [
        (Grid.box((-1, -1), (1, 1), (4, 4)), Group.cyclic(3)),
        (Grid.box((-1, -1), (1, 1), (4, 4)), Group.cyclic(8)),
        (Grid.box((-1, -1), (1, 1), (4, 5)), Group.swap()),
        (Grid.box((-1, -1), (2, 1), (6, 4)), Group.reflection(2)),
        (Grid.box(-1, 1.5, 5), Group.reflection()),
        (Grid.torus(0.03, 1.03, 10), Group.reflection()),
        (Grid.torus((0, 0), (1, 2), (4, 8)), Group.swap()),
    ],
)
def test_no_images_where_cells_do_not_go_to_cells(grid, group):
    assert group.cell_images(grid) is None


def test_signed_permutations_are_all_there():
    """The yardstick of test_symmetry: eight symmetries of the square."""
    check_axioms(np.array(signed_permutations(2)))
    assert len(signed_permutations(2)) == 8


# -- refusals


def turn(angle):
    return [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Group("g", np.eye(2)), "matrices", "(2, 2)", "stack"),
        (lambda: Group("g", np.ones((1, 2, 3))), "matrices", "(1, 2, 3)", "stack"),
        (lambda: Group("g", [[["a"]]]), "matrices must be numbers", "'a'", "orthogonal"),
        (
            lambda: Group("g", [[[1.0 + 1e-8]]]),
            "matrices must be orthogonal",
            "1.00000001",
            "coord",
        ),
        (lambda: Group("g", [[[1.0]], [[1.0]]]), "matrices", "equal", "acting()"),
        (lambda: Group("g", [[[-1.0]]]), "1 matrices are not closed", "element 0", "generate"),
        (
            lambda: Group("g", [turn(2 * np.pi * k / 1001) for k in range(1001)]),
            f"at most {MAX_ORDER}",
            "got 1001",
            "fewer",
        ),
        (lambda: Group.generate([]), "generators", "(0,)", "stack"),
        (lambda: Group.generate([np.eye(2), np.eye(3)]), "generators", "[0., 0., 1.]", "square"),
        (lambda: Group.generate([np.ones((2, 2))]), "generators", "[[1.0, 1.0]", "coordinates"),
        (lambda: Group.generate([turn(1.0)]), "generators", "1000 products", "finite group"),
        (lambda: Group.reflection(2, axis=2), "axis", "got 2", "count from 0"),
        (lambda: Group.reflection(0), "dim", "got 0", "dimension"),
        (lambda: Group.permutation(7), "n must be at most 6", "got 7", "Group.generate"),
        (lambda: Group.cyclic(2.5), "n must be", "got 2.5", "rotations"),
        (lambda: Group.trivial(-1), "dim", "got -1", "dimension"),
        (lambda: Group.swap().on_z(3), "z has dimension 3", "acts on z in dimension 2", "acting(z"),
        (lambda: Group.swap().on_x(1), "x has dimension 1", "acts on x in dimension 2", "acting(x"),
        (
            lambda: Group.swap().acting(y=[[[1.0]]] * 2).on_y(2),
            "y has dimension 2",
            "acts on y in dimension 1",
            "acting(y",
        ),
        (lambda: Group.swap().acting(x=[np.eye(3)]), "x must have one matrix", "got 1", "order"),
        (lambda: Group.swap().acting(x=[np.ones((2, 2))] * 2), "x must", "[[1.0, 1.0]", "coord"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
