"""Units: values and pull-backs by loops, equivariance under their groups."""

import math

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses
from scipy.stats import ortho_group

from meanfield_pde.energies import moved_unit
from meanfield_pde.energies import unit as module
from meanfield_pde.energies.activation import ACTIVATIONS, COMPILED
from meanfield_pde.energies.matrix_unit import MatrixRidge
from meanfield_pde.energies.moved_unit import AveragedUnit, MovedUnit, ProjectedUnit
from meanfield_pde.energies.scaled_unit import ScaledUnit
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures.group import Group

SLOW = {
    "tanh": math.tanh,
    "logistic": lambda u: 1 / (1 + math.exp(-u)),
    "relu": lambda u: max(u, 0.0),
    "erf": math.erf,
    "softplus": lambda u: math.log(1 + math.exp(u)),
    "cos": math.cos,
    "linear": lambda u: u,
}


def dot(a, b):
    return sum(p * q for p, q in zip(a, b, strict=True))


def pair_of_tanhs(x, z):
    return np.stack([np.tanh(x[..., 0] * z[..., 0]), np.tanh(x[..., 1] * z[..., 1])], axis=-1)


def swapped(unit, x, z):
    return unit(x, [z[1], z[0]])


# name: unit, slow version, dimensions of x and z
UNITS = {
    **{
        f"ridge {name}": (Unit.ridge(name), lambda x, z, s=s: s(dot(x, z)), 2, 2)
        for name, s in SLOW.items()
    },
    **{
        f"scaled ridge {name}": (
            Unit.scaled_ridge(name),
            lambda x, z, s=s: z[0] * s(dot(x, z[1:])),
            2,
            3,
        )
        for name, s in SLOW.items()
    },
    **{
        f"separate ridge {name}": (
            Unit.separate_ridge(name, 3),
            lambda x, z, s=s: [s(p * q) for p, q in zip(x, z, strict=True)],
            3,
            3,
        )
        for name, s in SLOW.items()
    },
    "bump": (
        Unit.bump(0.7),
        lambda x, z: math.exp(-sum((p - q) ** 2 for p, q in zip(x, z, strict=True)) / 0.98),
        3,
        3,
    ),
    "harmonic": (Unit.harmonic(3), lambda x, z: math.cos(3 * (x[0] - z[0])), 1, 1),
    "custom": (
        Unit.custom(lambda x, z: np.sin((x * z).sum(-1)) + z[..., 0]),
        lambda x, z: math.sin(dot(x, z)) + z[0],
        2,
        2,
    ),
    "custom with a last axis": (
        Unit.custom(lambda x, z: np.sin((x * z).sum(-1, keepdims=True))),
        lambda x, z: math.sin(dot(x, z)),
        2,
        2,
    ),
    "custom without a complex step": (
        Unit.custom(lambda x, z: np.abs((x * z).sum(-1)) ** 2),
        lambda x, z: dot(x, z) ** 2,
        2,
        2,
    ),
    "custom of two outputs": (
        Unit.custom(pair_of_tanhs, outputs=2),
        lambda x, z: [math.tanh(x[0] * z[0]), math.tanh(x[1] * z[1])],
        2,
        2,
    ),
    "custom with a gradient": (
        Unit.custom(
            lambda x, z: (x * z).sum(-1) ** 2,
            gradient=lambda x, z: 2 * (x * z).sum(-1, keepdims=True) * x,
        ),
        lambda x, z: dot(x, z) ** 2,
        2,
        2,
    ),
    **{
        f"matrix ridge {name}": (
            Unit.matrix_ridge(name, 3),
            lambda x, z, s=s: [s(dot(x, z[:2])), s(dot(x, z[2:4])), s(dot(x, z[4:]))],
            2,
            6,
        )
        for name, s in SLOW.items()
    },
    "scaled bump": (
        Unit.scaled(Unit.bump(0.7)),
        lambda x, z: (
            z[0] * math.exp(-dot(x, x) / 0.98 - dot(z[1:], z[1:]) / 0.98 + dot(x, z[1:]) / 0.49)
        ),
        2,
        3,
    ),
    "scaled pair": (
        Unit.scaled(Unit.separate_ridge("tanh")),
        lambda x, z: [z[0] * math.tanh(p * q) for p, q in zip(x, z[1:], strict=True)],
        2,
        3,
    ),
    "projected": (
        ProjectedUnit(Unit.ridge("tanh"), Group.swap()),
        lambda x, z: math.tanh(0.5 * (z[0] + z[1]) * (x[0] + x[1])),
        2,
        2,
    ),
    "moved": (
        MovedUnit(Unit.ridge("tanh"), Group.swap().matrices[1]),
        lambda x, z: swapped(lambda x, z: math.tanh(dot(x, z)), x, z),
        2,
        2,
    ),
    "averaged": (
        AveragedUnit(Unit.ridge("tanh"), Group.cyclic(3)),
        lambda x, z: (
            sum(math.tanh(dot(x, [dot(row, z) for row in m])) for m in Group.cyclic(3).matrices) / 3
        ),
        2,
        2,
    ),
}
EVERY = pytest.mark.parametrize(("unit", "slow", "x_dim", "z_dim"), UNITS.values(), ids=UNITS)


def check_unit(unit, slow, x_dim, z_dim, seed=0):
    """Features pair by pair; pull-backs against differences of the contracted features."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(4, x_dim)), rng.normal(size=(3, z_dim))
    q = unit.outputs
    found = unit.features(x, z)
    assert found.shape == (4, 3, q)
    for i, k in np.ndindex(4, 3):
        np.testing.assert_allclose(found[i, k], np.atleast_1d(slow(x[i], z[k])), atol=1e-14)
    residual = rng.normal(size=(4, q))

    def contracted(one):
        values = [np.dot(r, np.atleast_1d(slow(p, one))) for r, p in zip(residual, x, strict=True)]
        return math.fsum(values)

    pulled = unit.pullback(x, z, residual)
    assert pulled.shape == (3, z_dim)
    for k in range(3):
        # Step 1e-3: h^4 f^(5)/30 with f^(5) up to 1e3, rounding 1e-13.
        slope = reference.gradient(contracted, z[k], step=1e-3)
        np.testing.assert_allclose(pulled[k], slope, rtol=0, atol=2e-9 * (1 + np.abs(slope).max()))
    unit.check_dimensions(x_dim, z_dim)
    check_network(unit, x, z, residual, rng)


def check_network(unit, x, z, residual, rng):
    """Outputs and pull-back of one evaluation against those of two."""
    weights = rng.random(len(z))
    outputs, pull = unit.network(x, z, weights)
    features = unit.features(x, z)
    assert outputs.shape == (len(x), unit.outputs)
    for i, q in np.ndindex(outputs.shape):
        exact = math.fsum(weights * features[i, :, q])
        assert outputs[i, q] == pytest.approx(exact, abs=1e-13)
    exact = unit.pullback(x, z, residual)
    np.testing.assert_allclose(pull(residual), exact, rtol=0, atol=1e-13 * (1 + abs(exact).max()))


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_features_and_pullbacks(unit, slow, x_dim, z_dim, seed):
    check_unit(unit, slow, x_dim, z_dim, seed)


def test_every_activation_is_tested():
    assert set(ACTIVATIONS) == set(SLOW)


@pytest.mark.parametrize("name", sorted(set(SLOW) - {"linear"}))
def test_planted_slopes_are_caught(monkeypatch, name):
    value, slope = ACTIVATIONS[name]
    monkeypatch.setitem(ACTIVATIONS, name, (value, lambda u: 1.001 * slope(u)))
    for kind in ("ridge", "scaled ridge"):
        with pytest.raises(AssertionError):
            check_unit(*UNITS[f"{kind} {name}"])


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (MatrixRidge, lambda self, x, z, r: matrix_pullback(self, x, z, r[:, ::-1])),
        (ProjectedUnit, lambda self, x, z, r: self.unit.pullback(x, z, r)),
        (module.Bump, lambda self, x, z, r: -bump_pullback(self, x, z, r)),
        (module.Harmonic, lambda self, x, z, r: harmonic_pullback(self, x, z, r) / self.order),
        (MovedUnit, lambda self, x, z, r: self.unit.pullback(x, z @ self.matrix.T, r)),
        (ScaledUnit, lambda self, x, z, r: np.abs(scaled_pullback(self, x, z, r))),
        (
            AveragedUnit,
            lambda self, x, z, r: sum(
                self.unit.pullback(x, z @ m.T, r) / 3 for m in self.group.matrices
            ),
        ),
    ],
)
def test_planted_pullbacks_are_caught(monkeypatch, kind, wrong):
    """A sign, a factor, and gradients that are not turned back."""
    name = {"Bump": "bump", "Harmonic": "harmonic", "MovedUnit": "moved"}
    name |= {"ScaledUnit": "scaled bump"}
    name |= {"MatrixRidge": "matrix ridge tanh", "ProjectedUnit": "projected"}
    monkeypatch.setattr(kind, "pullback", wrong)
    with pytest.raises(AssertionError):
        check_unit(*UNITS[name.get(kind.__name__, "averaged")])


matrix_pullback = MatrixRidge.pullback
scaled_pullback = ScaledUnit.pullback
bump_pullback, harmonic_pullback = module.Bump.pullback, module.Harmonic.pullback


def test_missing_share_of_the_group_is_caught(monkeypatch):
    monkeypatch.setattr(Group, "weights", property(lambda group: np.ones(group.order)))
    with pytest.raises(AssertionError):
        check_unit(*UNITS["averaged"])


NETWORKS = {
    "sign": (MovedUnit, "moved", lambda pull, r: -pull(r)),
    "not turned back": (AveragedUnit, "averaged", lambda pull, r: np.roll(pull(r), 1, 1)),
    "not projected": (ProjectedUnit, "projected", lambda pull, r: pull(r) * [1.0, 0.0]),
    "rows mixed up": (MatrixRidge, "matrix ridge tanh", lambda pull, r: pull(r[:, ::-1])),
    "weight left out": (ScaledUnit, "scaled bump", lambda pull, r: 0.9 * pull(r)),
    "factor": (module.Ridge, "ridge cos", lambda pull, r: 1.001 * pull(r)),
}


@pytest.mark.parametrize(("kind", "name", "wrong"), NETWORKS.values(), ids=NETWORKS)
def test_planted_networks_are_caught(monkeypatch, kind, name, wrong):
    right = kind.network

    def network(self, x, z, weights):
        outputs, pull = right(self, x, z, weights)
        return outputs, lambda residual: wrong(pull, residual)

    monkeypatch.setattr(kind, "network", network)
    with pytest.raises(AssertionError):
        check_unit(*UNITS[name])


def test_large_orbits_are_not_held_at_once(monkeypatch):
    monkeypatch.setattr(moved_unit, "AT_ONCE", 0)
    check_unit(*UNITS["averaged"])


@pytest.mark.parametrize("name", sorted(COMPILED))
def test_functions_mixed_up_in_compiled_networks_are_caught(monkeypatch, name):
    monkeypatch.setitem(COMPILED, name, not COMPILED[name])
    with pytest.raises(AssertionError):
        check_unit(*UNITS[f"matrix ridge {name}"])


def test_far_arguments_do_not_overflow():
    x, z = np.array([[1e3], [-1e3]]), np.array([[1.0], [-1.0]])
    for name in SLOW:
        for unit, places in ((Unit.ridge(name), z), (Unit.scaled_ridge(name), np.c_[z, z])):
            assert np.isfinite(unit.features(x, places)).all()
            assert np.isfinite(unit.pullback(x, places, np.ones((2, 1)))).all()


# -- equivariance


def check_equivariant(unit, group, x_dim, z_dim, seed):
    """sigma(rho_g x; M_g z) = rhohat_g sigma(x; z), to 1e-14 (Maass and Fontbona 2024)."""
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=(5, x_dim)), rng.normal(size=(6, z_dim))
    features = unit.features(x, z)
    actions = zip(group.on_x(x_dim), group.on_z(z_dim), group.on_y(unit.outputs), strict=True)
    for on_x, on_z, on_y in actions:
        moved = unit.features(x @ on_x.T, z @ on_z.T)
        np.testing.assert_allclose(moved, features @ on_y.T, rtol=0, atol=2e-14)


EQUIVARIANT = {
    "reflected bumps": (Unit.bump(), Group.reflection(), 1, 1),
    "swapped ridges": (Unit.ridge("tanh"), Group.swap(), 2, 2),
    "swap of vectors": (
        UNITS["custom of two outputs"][0],
        Group.swap().acting(y=lambda p: p),
        2,
        2,
    ),
    "swapped separate ridges": (
        Unit.separate_ridge("tanh"),
        Group.swap().acting(y=lambda p: p),
        2,
        2,
    ),
    "permuted separate ridges": (
        Unit.separate_ridge("erf", 3),
        Group.permutation(3).acting(y=lambda p: p),
        3,
        3,
    ),
    "turned bumps": (Unit.bump(), Group.so2(7), 2, 2),
    "circle": (Unit.harmonic(2), Group.reflection(), 1, 1),
    "a and b": (
        Unit.scaled_ridge("tanh"),
        Group.swap().acting(
            z=lambda p: np.block([[np.eye(1), np.zeros((1, 2))], [np.zeros((2, 1)), p]])
        ),
        2,
        3,
    ),
    "swapped matrices": (
        Unit.matrix_ridge("logistic", 2),
        Group.swap().acting(y=lambda p: p, z=lambda p: np.kron(p, p)),
        2,
        4,
    ),
}
IN_SYSTEMS = pytest.mark.parametrize(
    ("unit", "group", "x_dim", "z_dim"), EQUIVARIANT.values(), ids=EQUIVARIANT
)


@IN_SYSTEMS
@pytest.mark.parametrize("seed", range(3))
def test_units_are_equivariant(unit, group, x_dim, z_dim, seed):
    check_equivariant(unit, group, x_dim, z_dim, seed)


@PROPERTY
@given(st.integers(1, 4), st.integers(0, 2**32))
def test_ridges_and_bumps_under_any_orthogonal_matrix(dim, seed):
    rng = np.random.default_rng(seed)
    basis = np.atleast_2d(ortho_group.rvs(dim, random_state=rng) if dim > 1 else -1.0)
    x, z = rng.normal(size=(3, dim)), rng.normal(size=(2, dim))
    for unit in (Unit.ridge("softplus"), Unit.bump(2.0)):
        moved = unit.features(x @ basis.T, z @ basis.T)
        np.testing.assert_allclose(moved, unit.features(x, z), rtol=0, atol=2e-14)


@pytest.mark.parametrize(
    "name",
    [
        "reflected bumps",
        "swapped ridges",
        "swapped separate ridges",
        "swap of vectors",
        "swapped matrices",
    ],
)
def test_planted_identity_on_parameters_is_caught(name):
    """The control, M = id, fails at O(1)."""
    unit, group, x_dim, z_dim = EQUIVARIANT[name]
    still = group.acting(x=group.on_x(x_dim), z=[np.eye(z_dim)] * group.order)
    with pytest.raises(AssertionError):
        check_equivariant(unit, still, x_dim, z_dim, 0)


@IN_SYSTEMS
def test_averaged_units_are_invariant_in_their_parameters(unit, group, x_dim, z_dim):
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=(4, x_dim)), rng.normal(size=(3, z_dim))
    averaged = AveragedUnit(unit, group)
    for m in group.on_z(z_dim):
        found = averaged.features(x, z @ m.T)
        np.testing.assert_allclose(found, averaged.features(x, z), rtol=0, atol=2e-14)
        moved = MovedUnit(unit, m).features(x, z)
        np.testing.assert_allclose(moved, unit.features(x, z @ m.T), rtol=0, atol=0)


# -- refusals


X, Z = np.ones((2, 1)), np.ones((3, 1))


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Unit.ridge("sigmoid"), "activation", "'sigmoid'", "Unit.custom"),
        (lambda: Unit.scaled_ridge(None), "activation", "None", "Unit.custom"),
        (lambda: Unit.separate_ridge("sine"), "activation", "'sine'", "Unit.custom"),
        (lambda: Unit.separate_ridge("tanh", 0), "outputs", "got 0", "coordinates"),
        (
            lambda: Unit.separate_ridge("tanh").check_dimensions(2, 3),
            "separate_ridge",
            "z of dimension 3",
            "change",
        ),
        (lambda: Unit.matrix_ridge("step", 2), "activation", "'step'", "Unit.custom"),
        (lambda: Unit.matrix_ridge("tanh", 0), "outputs", "got 0", "rows of the matrix"),
        (
            lambda: Unit.matrix_ridge("tanh", 2).check_dimensions(2, 3),
            "matrix_ridge needs z of dimension 2 * 2",
            "got 3",
            "change the data",
        ),
        (lambda: Unit.bump(0.0), "width", "got 0", "standard deviation"),
        (lambda: Unit.harmonic(1.5), "order", "got 1.5", "whole"),
        (lambda: Unit.ridge("tanh").check_dimensions(1, 2), "ridge", "x of dimension 1", "change"),
        (lambda: Unit.scaled_ridge("tanh").check_dimensions(2, 2), "scaled_ridge", "2", "change"),
        (lambda: Unit.bump().check_dimensions(1, 2), "bump", "z of dimension 2", "change"),
        (lambda: Unit.harmonic().check_dimensions(2, 2), "harmonic", "x of dimension 2", "change"),
        (
            lambda: AveragedUnit(Unit.bump(), Group.swap()).check_dimensions(1, 1),
            "group swap acts on z",
            "dimension 1",
            "acting(z",
        ),
        (
            lambda: MovedUnit(Unit.bump(), np.eye(2)).check_dimensions(1, 2),
            "bump",
            "z of dimension 2",
            "change",
        ),
        (lambda: Unit.custom("tanh"), "function must be callable", "'tanh'", "lambda x, z"),
        (lambda: Unit.custom(np.add, outputs=0), "outputs", "got 0", "outputs of the unit"),
        (lambda: Unit.custom(np.multiply).features(X, Z[:, [0, 0]]), "unit", "(2, 3, 2)", "sum"),
        (
            lambda: Unit.custom(np.add, outputs=2).features(X, Z),
            "(..., 2)",
            "(2, 3, 1)",
            "outputs=",
        ),
        (
            lambda: Unit.custom(lambda x, z: (x + z)[..., 0] * np.inf).features(X, Z),
            "unit must be finite",
            "got inf",
            "change the unit",
        ),
        (
            lambda: Unit.custom(
                lambda x, z: (x * z).sum(-1), gradient=lambda x, z: -x + 0 * z
            ).pullback(X, Z, X),
            "gradient of unit is wrong",
            "is -1, differences of the function give 1",
            "correct it",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
