"""Assumption 1 on one's own risk: what fails, by how much and where, and what follows."""

import re

import numpy as np
import pytest
from problems import (
    REFLECTION,
    arbitrary_target,
    even_target,
    first_target,
    swapped_target,
)
from reference import refuses

import meanfield_pde as mf

SWAP = mf.Group.swap()


def bumps(target=even_target, unit=None, loss="squared"):
    return mf.Risk(unit or mf.Unit.bump(), mf.Data.gauss_legendre(40, -3, 3, target), loss)


def failing(report):
    """Names of the parts that fail."""
    pairs = zip(report.rows, report.verdicts, strict=True)
    return [row["assumption"] for row, verdict in pairs if not verdict]


def row_of(report, name):
    return next(row for row in report.rows if row["assumption"] == name)


def vector_risk():
    """Outputs (tanh z1 x1, tanh z2 x2), exchanged with the coordinates of x and z."""
    unit = mf.Unit.custom(lambda x, z: np.tanh(x * z), outputs=2)
    data = mf.Data.gauss_hermite(2, 6, lambda x: np.tanh(2 * x))
    return mf.Risk(unit, data)


def ring(x):
    """A function of the radius."""
    return np.exp(-0.5 * (x**2).sum(-1))


def polar(angles, target, radii=4):
    """Data on circles, an angle off the rotations that are tested."""
    r = np.sqrt(np.arange(1, radii + 1))[:, None]
    phi = np.arange(angles) * (2 * np.pi / angles) + 0.1
    x = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=-1).reshape(-1, 2)
    return mf.Data.samples(x, target(x))


SYSTEMS = {
    "bumps": (bumps(), REFLECTION),
    "ridges": (mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(2, 8, swapped_target)), SWAP),
    "vectors": (vector_risk(), SWAP.acting(y=SWAP.matrices)),
    "rotations": (mf.Risk(mf.Unit.bump(), polar(32, ring)), mf.Group.so2(16)),
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_that_have_all(name):
    risk, group = SYSTEMS[name]
    report = mf.assumptions(risk, group)
    assert report.passed, report.table()
    assert max(row["defect"] for row in report.rows) < 1e-13
    assert all(note.startswith("Applies") for note in report.notes)
    assert all(row["reason"] and row["statement"] for row in report.rows)


def test_parameters_that_stay_fail_at_order_one():
    """The control of the systems: bumps whose parameters do not move."""
    report = mf.assumptions(bumps(), REFLECTION.acting(z=np.ones((2, 1, 1))))
    assert "unit equivariant" in failing(report)
    assert row_of(report, "unit equivariant")["defect"] > 0.9
    assert all(note.startswith("Not known, for want of unit") for note in report.notes)


@pytest.mark.parametrize(
    ("risk", "group"),
    [
        (bumps(arbitrary_target), REFLECTION),
        (mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(2, 8, first_target)), SWAP),
    ],
)
def test_targets_without_symmetry(risk, group):
    report = mf.assumptions(risk, group)
    assert failing(report) == ["data invariant", "risk invariant"]
    assert [note.split(":")[0] for note in report.notes] == [
        "Applies",
        "Not known, for want of data",
        "Applies",
    ]


def test_defect_of_the_data_by_hand():
    """Largest |y(-x) - y(x)| at the nodes, and the node where it is."""
    report = mf.assumptions(bumps(arbitrary_target), REFLECTION)
    row = row_of(report, "data invariant")
    x = np.polynomial.legendre.leggauss(40)[0][:, None] * 3
    jump = np.abs(arbitrary_target(-x) - arbitrary_target(x))
    assert row["defect"] == pytest.approx(jump.max(), rel=1e-12)
    assert row["where"].startswith("element 1, x = (")
    place = float(re.search(r"x = \(([-.\d]+)\)", row["where"])[1])
    assert abs(place) == pytest.approx(abs(x[jump.argmax(), 0]), abs=1e-3)
    assert row["where"].endswith("y")


def test_where_a_unit_fails():
    """The place that is named has the defect that is given."""
    unit = mf.Unit.custom(lambda x, z: np.exp(-0.5 * (x - z - 0.1)[..., 0] ** 2))
    row = row_of(mf.assumptions(bumps(unit=unit), REFLECTION), "unit equivariant")
    x, z = (float(v) for v in re.findall(r"\(([-.\d]+)\)", row["where"]))
    assert row["where"].startswith("element 1")
    gap = np.exp(-0.5 * (-x + z - 0.1) ** 2) - np.exp(-0.5 * (x - z - 0.1) ** 2)
    assert abs(gap) == pytest.approx(row["defect"], abs=1e-3)


@pytest.mark.parametrize("eps", [1e-3, 1e-7, 1e-10])
def test_small_faults_are_seen(eps):
    unit = mf.Unit.custom(lambda x, z: np.exp(-0.5 * (x - z - eps)[..., 0] ** 2))
    report = mf.assumptions(bumps(unit=unit), REFLECTION)
    assert failing(report) == ["unit equivariant", "risk invariant"]
    # |sigma'| is e^{-1/2} at most, and both sides move.
    assert 0.3 * eps < row_of(report, "unit equivariant")["defect"] < 2 * eps * np.exp(-0.5)
    shifted = mf.Data.gauss_legendre(40, -3 + eps, 3 + eps, even_target)
    report = mf.assumptions(mf.Risk(mf.Unit.bump(), shifted), REFLECTION)
    assert "data invariant" in failing(report)
    assert row_of(report, "data invariant")["defect"] == pytest.approx(2 * eps, rel=1e-3)
    assert row_of(report, "data invariant")["where"].endswith("place or weight")


def test_a_loss_without_symmetry():
    """An error in the first output counts twice."""
    loss = mf.CustomLoss(lambda p, y: 2 * (p - y)[:, 0] ** 2 + (p - y)[:, 1] ** 2)
    risk = mf.Risk(vector_risk().unit, vector_risk().data, loss)
    report = mf.assumptions(risk, SWAP.acting(y=SWAP.matrices))
    assert failing(report) == ["loss invariant", "risk invariant"]
    where = row_of(report, "loss invariant")["where"]
    pairs = re.findall(r"\(([-.\d]+), ([-.\d]+)\)", where)
    (a, b), (c, d) = ((float(u), float(v)) for u, v in pairs)
    gap = abs((a - c) ** 2 - (b - d) ** 2)
    assert gap == pytest.approx(row_of(report, "loss invariant")["defect"], rel=1e-2)


def test_a_loss_that_is_not_convex():
    """Convex where its own check looks, within two of the targets, and not beyond."""
    loss = mf.CustomLoss(lambda p, y: np.minimum((p - y) ** 2, 4.5)[:, 0])
    report = mf.assumptions(bumps(loss=loss), REFLECTION)
    assert failing(report) == ["loss convex"]
    where = row_of(report, "loss convex")["where"]
    a, b, y = (float(v) for v in re.findall(r"\(([-.\d]+)\)", where))

    def value(p):
        return min((p - y) ** 2, 4.5)

    excess = value((a + b) / 2) - (value(a) + value(b)) / 2
    assert excess == pytest.approx(row_of(report, "loss convex")["defect"], rel=1e-2)
    assert report.notes[2].startswith("Not known, for want of convex")


def test_actions_that_are_broken(monkeypatch):
    """Planted behind the constructor, which refuses them."""
    for space, matrices, name in (
        ("x", np.array([[[1.0]], [[-1.1]]]), "actions orthogonal"),
        ("z", np.array([[[-1.0]], [[1.0]]]), "actions homomorphic"),
    ):
        group = mf.Group.reflection()
        object.__setattr__(group, space, matrices)
        report = mf.assumptions(bumps(), group)
        assert name in failing(report)
        assert row_of(report, name)["where"].startswith(f"on {space}, element")
        assert "want of actions" in report.notes[0]


def test_rotations_between_the_nodes_of_the_group():
    """Data of 16 angles have the 16 rotations, and not those of 17 that stand for all others."""
    assert mf.assumptions(mf.Risk(mf.Unit.bump(), polar(16, ring)), mf.Group.so2(16)).passed
    report = mf.assumptions(mf.Risk(mf.Unit.bump(), polar(16, ring)), mf.Group.so2(17))
    assert failing(report) == ["data invariant", "risk invariant"]


def test_points_of_ones_own():
    """A fault far away is seen where one looks."""
    unit = mf.Unit.custom(lambda x, z: (x * (z > 50))[..., 0])
    near = mf.assumptions(bumps(unit=unit), REFLECTION)
    far = mf.assumptions(bumps(unit=unit), REFLECTION, points=[[60.0], [-60.0]])
    assert "unit equivariant" not in failing(near)
    assert "unit equivariant" in failing(far)


def test_the_table_fits_a_terminal():
    risk, group = SYSTEMS["vectors"]
    for report in (
        mf.assumptions(risk, group),
        mf.assumptions(bumps(arbitrary_target), REFLECTION),
    ):
        assert max(len(line) for line in report.table().splitlines()) <= 100


def test_wrong_input():
    refuses(lambda: mf.assumptions("risk", REFLECTION), "risk", "str", "plain")
    refuses(lambda: mf.assumptions(bumps(), "swap"), "group", "str", "make")
    with pytest.raises(ValueError, match="dimension"):
        mf.assumptions(bumps(), SWAP)
    with pytest.raises(ValueError, match="dimension"):
        mf.assumptions(bumps(), REFLECTION, points=[[0.0, 1.0]])
