"""Approximate and wrong symmetry: the gap of the risk, and the bound by that of the data."""

import numpy as np
import pytest
from problems import REFLECTION, arbitrary_target, even_target
from reference import refuses
from scipy.optimize import linear_sum_assignment, linprog

import meanfield_pde as mf

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)
POINTS = np.linspace(-4, 4, 161)


def shifted(eps, target=even_target):
    """Bumps and an even target on [-3, 3] + eps."""
    x = 3 * NODES[:, None] + eps
    return mf.Risk(mf.Unit.bump(), mf.Data(x, target(x), WEIGHTS / 2))


def transport(first, second, weights):
    """W_1 with |x| + |y|, by linear programming."""
    cost = np.abs(first[:, None] - second[None]).sum(-1)
    n = len(cost)
    leaving = np.kron(np.eye(n), np.ones(n))
    arriving = np.kron(np.ones(n), np.eye(n))
    marginals = np.concatenate([weights, weights])
    found = linprog(cost.ravel(), A_eq=np.vstack([leaving, arriving]), b_eq=marginals)
    return found.fun


def gap_of_masses(eps):
    """Largest |R - R^G| over point masses, by the definition of the risk on a fine grid."""
    x = 3 * NODES + eps
    y = 0.5 * (np.exp(-0.5 * (x - 1.5) ** 2) + np.exp(-0.5 * (x + 1.5) ** 2))
    z = np.linspace(-4, 4, 3201)

    def risk(z):
        return (WEIGHTS / 2) @ (np.exp(-0.5 * (x[:, None] - z) ** 2) - y[:, None]) ** 2

    return np.abs(0.5 * (risk(z) - risk(-z))).max()


@pytest.mark.parametrize("eps", [0.001, 0.01, 0.1])
def test_shifted_data(eps):
    risk = shifted(eps)
    gap = mf.symmetry_gap(risk, REFLECTION, POINTS, constant=2.0)
    x = risk.data.x[:, 0]
    y = risk.data.y[:, 0]
    there, back = np.stack([x, y], axis=1), np.stack([-x, y], axis=1)
    # The identity, of weight 1/2, moves nothing.
    assert gap.bound == pytest.approx(2.0 * 0.5 * transport(there, back, WEIGHTS / 2), rel=1e-9)
    assert gap.found == pytest.approx(gap_of_masses(eps), rel=2e-4)
    assert gap.found <= gap.bound
    computed = mf.symmetry_gap(risk, REFLECTION, POINTS)
    assert gap.found <= computed.bound < gap.bound


def test_numbers_of_the_instance():
    """Gap .0011255 and bound .0235 at a shift of .01, with C = 2."""
    gap = mf.symmetry_gap(shifted(0.01), REFLECTION, POINTS, constant=2.0)
    assert gap.found == pytest.approx(0.0011255, abs=5e-8)
    assert gap.bound == pytest.approx(0.0235, abs=5e-5)


def test_linear_in_the_shift():
    shifts = np.array([0.0125, 0.025, 0.05, 0.1])
    gaps = [mf.symmetry_gap(shifted(eps), REFLECTION, POINTS) for eps in shifts]
    for values in ([gap.found for gap in gaps], [gap.bound for gap in gaps]):
        slopes = np.array(values) / shifts
        assert slopes.max() / slopes.min() < 1.07


def test_the_law_attains_the_gap():
    risk = shifted(0.05)
    gap = mf.symmetry_gap(risk, REFLECTION, POINTS)
    augmented = mf.data_augmented(risk, REFLECTION)
    assert abs(risk.value(gap.law) - augmented.value(gap.law)) == pytest.approx(gap.found, rel=1e-9)
    rng = np.random.default_rng(0)
    for _ in range(200):
        mu = mf.Cloud(rng.choice(POINTS, 3), rng.dirichlet(np.ones(3)))
        assert abs(risk.value(mu) - augmented.value(mu)) <= gap.found * (1 + 1e-9)


def test_a_symmetry_that_the_data_have():
    gap = mf.symmetry_gap(shifted(0.0), REFLECTION, POINTS)
    assert gap.found < 1e-15
    assert gap.bound < 1e-14


def test_a_wrong_group():
    """An arbitrary target has no reflection: the gap is large, and so is its bound."""
    gap = mf.symmetry_gap(shifted(0.0, arbitrary_target), REFLECTION, POINTS)
    assert 0.1 < gap.found <= gap.bound < 1


@pytest.mark.parametrize("loss", ["half_squared", "huber"])
def test_other_losses(loss):
    risk = mf.Risk(mf.Unit.bump(), shifted(0.1).data, loss)
    gap = mf.symmetry_gap(risk, REFLECTION, POINTS)
    assert 0 < gap.found <= gap.bound


def test_labels():
    data = mf.Data.gauss_legendre(20, -3, 3, lambda x: np.sign(x[..., 0] + 1.0))
    odd = REFLECTION.acting(y=REFLECTION.matrices, z=np.ones((2, 1, 1)))
    risk = mf.Risk(mf.Unit.ridge("tanh"), data, "logistic")
    # Parameters stay where they are, and so does the risk, whatever the data.
    assert mf.symmetry_gap(risk, odd, np.linspace(-1, 1, 21)).found == 0
    odd = REFLECTION.acting(y=REFLECTION.matrices, x=np.ones((2, 1, 1)))
    gap = mf.symmetry_gap(risk, odd, np.linspace(-1, 1, 21))
    assert 0.1 < gap.found <= gap.bound


def test_several_outputs():
    """Vector units on the plane, outputs exchanged with the coordinates."""
    swap = mf.Group.swap()
    group = swap.acting(y=swap.matrices)
    unit = mf.Unit.custom(lambda x, z: np.tanh(x * z), outputs=2)
    data = mf.Data.gauss_hermite(2, 4, lambda x: np.tanh(x) + np.array([0.1, 0.0]))
    rng = np.random.default_rng(0)
    gap = mf.symmetry_gap(mf.Risk(unit, data), group, rng.uniform(-2, 2, (50, 2)))
    assert 0 < gap.found <= gap.bound
    here = np.concatenate([data.x, data.y], axis=1)
    moved = np.concatenate([data.x[:, ::-1], data.y[:, ::-1]], axis=1)
    assert gap.distance == pytest.approx(0.5 * transport(here, moved, data.weights), rel=1e-8)


def test_angles_are_compared_modulo_their_period():
    """Sixteen angles turned by an eighth of a node: each moves that far, not around the circle."""
    step = 2 * np.pi / 16
    angles = (np.arange(16) - 7.5)[:, None] * step + step / 8
    data = mf.Data(angles, np.cos(angles), np.full(16, 1 / 16), period=2 * np.pi)
    gap = mf.symmetry_gap(mf.Risk(mf.Unit.harmonic(), data), REFLECTION, np.linspace(-3, 3, 31))
    turn = angles + angles.T  # from an angle to the image of another
    cost = np.abs(turn - 2 * np.pi * np.rint(turn / (2 * np.pi)))
    cost = cost + np.abs(np.cos(angles) - np.cos(angles).T)
    rows, columns = linear_sum_assignment(cost)
    assert gap.distance == pytest.approx(0.5 * cost[rows, columns].mean(), rel=1e-9)
    assert gap.found <= gap.bound


def test_the_bound_needs_an_equivariant_unit():
    """Control: a unit that is not equivariant has a gap on invariant data."""
    unit = mf.Unit.custom(lambda x, z: np.exp(-0.5 * (x - z - 0.3)[..., 0] ** 2))
    gap = mf.symmetry_gap(mf.Risk(unit, shifted(0.0).data), REFLECTION, POINTS)
    assert gap.found > 100 * gap.bound


def test_wrong_input():
    risk = shifted(0.0)
    refuses(lambda: mf.symmetry_gap("risk", REFLECTION, POINTS), "risk", "str", "plain")
    refuses(lambda: mf.symmetry_gap(risk, "swap", POINTS), "group", "str", "make")
    refuses(lambda: mf.symmetry_gap(risk, REFLECTION, POINTS, -1.0), "constant", "-1", "Lipschitz")
    wide = mf.Risk(mf.Unit.custom(lambda x, z: np.tanh(x * z).sum(-1)), risk.data)
    apart = np.zeros((3, 2))
    refuses(lambda: mf.symmetry_gap(wide, REFLECTION, apart), "reflection", "dimension 2", "acting")
    many = mf.Data.gauss_legendre(2001, -3, 3, even_target)
    risk = mf.Risk(mf.Unit.bump(), many)
    refuses(lambda: mf.symmetry_gap(risk, REFLECTION, POINTS), "risk", "2001", "fewer")
