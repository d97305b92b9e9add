"""Tables of units: as right as the sums that they replace, and never used where they are not."""

import itertools

import numpy as np
import pytest
import reference
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY

import meanfield_pde as mf
from meanfield_pde.energies import moved_unit
from meanfield_pde.energies import risk as user
from meanfield_pde.energies import tabulated as module
from meanfield_pde.energies import unit as units
from meanfield_pde.energies.energy import Batch
from meanfield_pde.energies.loss import Huber
from meanfield_pde.energies.moved_unit import AveragedUnit, MovedUnit, ProjectedUnit
from meanfield_pde.energies.tabulated import tabulate

SMOOTH = sorted(set(units.ACTIVATIONS) - {"relu"})
TURN = np.array([[-1.0]])
UNITS = {
    **{f"ridge {name}": mf.Unit.ridge(name) for name in SMOOTH},
    **{f"scaled ridge {name}": mf.Unit.scaled_ridge(name) for name in SMOOTH},
    "bump": mf.Unit.bump(0.3),
    "harmonic": mf.Unit.harmonic(3),
    "moved": MovedUnit(mf.Unit.bump(), TURN),
    "averaged": AveragedUnit(mf.Unit.bump(), mf.Group.reflection()),
    "projected": ProjectedUnit(mf.Unit.bump(), mf.Group.trivial()),
}
SPREADS = {"wide": (0.0, 1.0), "narrow": (0.7, 1e-3), "equal": (0.7, 0.0), "aside": (3.0, 0.1)}


@pytest.fixture(autouse=True)
def worth(monkeypatch):
    """Tables for clouds of any size."""
    monkeypatch.setattr(user, "WORTH_TABULATING", 1)


def target(x):
    return np.sin(x[..., 0]) + 0.5


def risk_of(unit, loss="half_squared", nodes=16):
    return mf.Risk(unit, mf.Data.gauss_hermite(1, nodes, target), loss)


def cloud_of(unit, spread="wide", n=50):
    """Uneven weights; several of the points twice."""
    rng = np.random.default_rng(3)
    dim = 1 + unit.amplitudes
    middle, width = SPREADS[spread]
    points = middle + width * rng.standard_normal((n, dim))
    points[n // 2 :: 3] = points[n // 2]
    return mf.Cloud(points, 0.5 + rng.random(n))


def exact_drift(risk, cloud, batch=None):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(user, "WORTH_TABULATING", np.inf)
        return risk.drift(cloud, batch)


def tables(risk):
    return list(risk._tables.values())


def check_accuracy(risk, cloud):
    found, exact = risk.drift(cloud), exact_drift(risk, cloud)
    assert all(table is not None for table in tables(risk))
    assert tables(risk)
    assert not np.array_equal(found, exact)
    assert np.abs(found - exact).max() <= 1e-9 * np.abs(exact).max(), "accuracy"


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("name", UNITS)
def test_drifts_by_tables(name, spread):
    unit = UNITS[name]
    check_accuracy(risk_of(unit), cloud_of(unit, spread))


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber"])
@pytest.mark.parametrize("n", [1, 2, 20_000])
def test_losses_and_numbers(loss, n):
    unit = mf.Unit.scaled_ridge("tanh")
    data = mf.Data.gauss_hermite(1, 64, lambda x: np.where(x[..., 0] > 0.3, 1.0, -1.0))
    check_accuracy(mf.Risk(unit, data, loss), cloud_of(unit, n=n))


def test_coarse_tables_are_caught(monkeypatch):
    """Planted: too few cells, and nobody to check them."""
    monkeypatch.setattr(module, "TOLERANCE", 1e9)
    monkeypatch.setattr(module, "CELLS", (32,))
    unit = mf.Unit.scaled_ridge("tanh")
    with pytest.raises(AssertionError, match="accuracy"):
        check_accuracy(risk_of(unit), cloud_of(unit))


@pytest.mark.parametrize("name", ["ridge erf", "scaled ridge tanh", "bump"])
def test_drifts_are_gradients_of_the_risk(name):
    """The value is summed exactly, the drift through a table."""
    risk, cloud = risk_of(UNITS[name], Huber(0.5)), cloud_of(UNITS[name], n=6)
    drift = risk.drift(cloud)
    assert tables(risk)[0] is not None

    def value(flat):
        return risk.value(mf.Cloud(flat.reshape(cloud.points.shape), cloud.weights))

    # Step 1e-4: remainder 1e-16 f^(5), rounding 1e-12.
    slope = reference.gradient(value, cloud.points.ravel(), step=1e-4).reshape(drift.shape)
    np.testing.assert_allclose(drift * cloud.weights[:, None], -slope, rtol=0, atol=1e-9)


def test_drifts_are_gradients_of_the_tabulated_outputs(monkeypatch):
    """To rounding, however rough the table: outputs and slopes come from the same polynomials."""
    unit = mf.Unit.scaled_ridge("tanh")
    risk, cloud = risk_of(unit), cloud_of(unit, n=6)
    monkeypatch.setattr(module, "TOLERANCE", 1e9)
    monkeypatch.setattr(module, "CELLS", (4,))
    table = tabulate(unit, risk.data, -4.0, 4.0)
    residual = np.random.default_rng(0).standard_normal((16, 1))

    def total(flat):
        moved = mf.Cloud(flat.reshape(cloud.points.shape), cloud.weights)
        return float((residual * table.outputs(moved)).sum())

    slope = reference.gradient(total, cloud.points.ravel(), step=1e-4).reshape(6, 2)
    found = table.pullback(cloud.points, residual) * cloud.weights[:, None]
    np.testing.assert_allclose(found, slope, rtol=0, atol=1e-9)
    exact = unit.pullback(risk.data.x, cloud.points, residual) * cloud.weights[:, None]
    assert np.abs(found - exact).max() > 1e-6


def test_a_drift_does_not_depend_on_those_before():
    """Bit for bit, whichever tables were made before and forgotten."""
    unit = mf.Unit.scaled_ridge("tanh")
    risk, cloud = risk_of(unit), cloud_of(unit, n=200)
    first = risk.drift(cloud)
    for factor in (1e-3, 0.01, 0.1, 2.0, 5.0, 10.0):
        risk.drift(mf.Cloud(factor * cloud.points, cloud.weights))
        assert len(tables(risk)) <= module.MAX_TABLES
    np.testing.assert_array_equal(risk.drift(cloud), first)
    np.testing.assert_array_equal(risk_of(unit).drift(cloud), first)


def test_layouts_of_memory_change_nothing():
    unit = mf.Unit.scaled_ridge("tanh")
    risk, cloud = risk_of(unit), cloud_of(unit)
    turned = mf.Cloud(np.asfortranarray(cloud.points), cloud.weights)
    np.testing.assert_array_equal(risk.drift(turned), risk.drift(cloud))


def test_batches():
    unit = mf.Unit.scaled_ridge("tanh")
    risk, cloud = risk_of(unit), cloud_of(unit)
    batch = Batch(np.array([3, 9, 9, 4]))
    exact = exact_drift(risk, cloud, batch)
    found = risk.drift(cloud, batch)
    assert tables(risk)[0] is not None
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-9 * np.abs(exact).max())
    assert np.abs(found - risk.drift(cloud)).max() > 1e-3


# -- where there is no table, or none that can be trusted


def check_exact(risk, cloud, batch=None):
    np.testing.assert_array_equal(risk.drift(cloud, batch), exact_drift(risk, cloud, batch))


@pytest.mark.parametrize("unit", [mf.Unit.ridge("relu"), mf.Unit.scaled_ridge("relu")])
def test_kinks_are_summed(unit):
    risk, cloud = risk_of(unit), cloud_of(unit)
    check_exact(risk, cloud)
    assert tables(risk) == [None]
    check_exact(risk_of(unit), mf.Cloud(0.0 * cloud.points))
    check_accuracy(risk_of(unit), cloud_of(unit, "aside"))  # the kink, at 0, is out of the range


@pytest.mark.parametrize("cell", [1, 13, 32, 63])
def test_a_kink_on_the_border_of_cells_is_noticed(monkeypatch, cell):
    """There each polynomial is exact, and only the slopes of neighbours differ."""
    kink = -4 + cell / 8
    data = mf.Data.samples([[1.0]], [0.0])
    value = lambda u: np.maximum(u - kink, 0.0)  # noqa: E731
    monkeypatch.setitem(units.ACTIVATIONS, "relu", (value, lambda u: 1.0 * (u > kink)))
    table = module._fit(mf.Unit.ridge("relu"), data, -4.0, 0.125, 64)
    assert table.errors[0].max() <= 1e-13
    assert table.errors[1].max() == pytest.approx(1.0)
    assert tabulate(mf.Unit.ridge("relu"), data, -4.0, 4.0) is None


def test_steep_units_take_more_cells_or_none():
    def cells(steepness):
        data = mf.Data.samples([[steepness], [1.0]], [0.0, 0.0])
        table = tabulate(mf.Unit.ridge("tanh"), data, -4.0, 4.0)
        return None if table is None else table.coefficients.shape[2]

    found = [cells(s) for s in (1.0, 5.0, 10.0)]
    assert found == sorted(found)
    assert found[0] < found[-1]
    assert cells(1e4) is None


@pytest.mark.parametrize("width", [1e-3, 1e-6])
@pytest.mark.parametrize("turned", [False, True])
def test_a_bump_between_the_nodes_is_noticed(width, turned):
    """It is 0 at every node, and 1 at one datum."""
    data = mf.Data.samples([[0.1234], [1.0]], [1.0, 1.0])
    unit = mf.Unit.bump(width)
    assert tabulate(MovedUnit(unit, TURN) if turned else unit, data, -4.25, 4.25) is None


def test_custom_units_are_summed():
    """They may be anything between the places where they are looked at."""
    unit = mf.Unit.custom(lambda x, z: np.tanh((x * z).sum(-1)))
    risk = risk_of(unit)
    check_exact(risk, mf.Cloud(np.linspace(-1, 1, 20)))
    assert not tables(risk)


@pytest.mark.parametrize("dim", [2, 3])
def test_units_of_several_variables_are_summed(dim):
    data = mf.Data.gauss_hermite(dim, 3, target)
    points = np.random.default_rng(0).standard_normal((20, dim + 1))
    for unit, z in (
        (mf.Unit.ridge("tanh"), points[:, 1:]),
        (mf.Unit.scaled_ridge("tanh"), points),
        (mf.Unit.bump(), points[:, 1:]),
    ):
        risk = mf.Risk(unit, data)
        check_exact(risk, mf.Cloud(z))
        assert not tables(risk)


def test_amplitudes_that_a_group_mixes_are_summed():
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    risk = risk_of(MovedUnit(mf.Unit.scaled_ridge("tanh"), swap))
    check_exact(risk, mf.Cloud(np.random.default_rng(0).standard_normal((20, 2))))


def test_a_batch_of_data_that_the_table_does_not_hold_is_summed():
    """A steep unit of hardly any weight does not stop a table, but a batch may draw it."""
    x, y = [[1.0], [2.0], [300.0]], [1.0, 0.0, 1.0]
    risk = mf.Risk(mf.Unit.ridge("tanh"), mf.Data.samples(x, y, [0.5, 0.5, 1e-18]))
    cloud = mf.Cloud(np.linspace(-2, 2, 50))
    check_accuracy(risk, cloud)
    check_exact(risk, cloud, Batch(np.array([0, 2])))
    plain = Batch(np.array([0, 1]))
    assert not np.array_equal(risk.drift(cloud, plain), exact_drift(risk, cloud, plain))


def test_small_clouds_and_small_batches_are_summed(monkeypatch):
    unit = mf.Unit.ridge("tanh")
    monkeypatch.setattr(user, "WORTH_TABULATING", 100)
    risk, one = risk_of(unit), Batch(np.array([3]))
    check_exact(risk, cloud_of(unit, n=99))
    check_exact(risk, cloud_of(unit, n=1500), one)
    assert not tables(risk)
    risk.drift(cloud_of(unit, n=1600), one)
    assert tables(risk)


def test_tables_that_are_too_large_are_not_made(monkeypatch):
    monkeypatch.setattr(module, "MAX_ENTRIES", 16 * 64 * 8 - 1)
    assert tabulate(mf.Unit.ridge("tanh"), risk_of(mf.Unit.ridge("tanh")).data, -1, 1) is None


@pytest.mark.parametrize("activation", ["tanh", "linear", "softplus"])
def test_particles_far_out(activation):
    for size in (1e20, 1e99, 1e150):
        cloud = mf.Cloud([[-size], [0.0], [size / 3]])
        risk = mf.Risk(mf.Unit.ridge(activation), mf.Data.samples([[1.0]], [0.0]))
        np.testing.assert_allclose(risk.drift(cloud), exact_drift(risk, cloud), rtol=1e-9)


# -- ranges


@given(st.floats(-1e30, 1e30), st.floats(-1e30, 1e30))
@PROPERTY
def test_ranges_hold_their_points_and_little_more(a, b):
    low, high = min(a, b), max(a, b)
    lower, upper = module.rounded(low, high)
    assert lower < low
    assert high < upper
    size = max(high - low, 0.1 * max(abs(low), abs(high))) or 1.0
    assert upper - lower <= 3.2 * size


def test_ranges_change_seldom():
    """Particles that spread from .01 to 10 meet few tables."""
    widths = np.geomspace(0.01, 10, 1000)
    assert len({module.rounded(-w, w) for w in widths}) <= 12


# -- whole runs


def paths(dynamics, monkeypatch, worth):
    monkeypatch.setattr(user, "WORTH_TABULATING", worth)
    risk = risk_of(mf.Unit.scaled_ridge("tanh"), nodes=32)
    energy = risk + 0.005 * mf.Penalty() + 0.01 * mf.Entropy()
    start = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), (16, 16)), (0.0, 0.0), 0.5)
    run = mf.simulate(mf.Problem(mf.GradientFlow(energy), start, 1.0), 400, 2, dynamics)
    return run.points[-1], risk


@pytest.mark.parametrize("dynamics", [mf.Langevin(0.02), mf.SGD(0.02, batch=5)])
def test_particles_take_the_same_paths(monkeypatch, dynamics):
    """With the same noise, every particle ends where the exact drift takes it."""
    fast, risk = paths(dynamics, monkeypatch, 1)
    again, _ = paths(dynamics, monkeypatch, 1)
    slow, _ = paths(dynamics, monkeypatch, np.inf)
    assert any(table is not None for table in tables(risk))
    np.testing.assert_array_equal(fast, again)
    np.testing.assert_allclose(fast, slow, rtol=0, atol=1e-8)


def test_wrong_tables_take_other_paths(monkeypatch):
    """Planted: polynomials off by a thousandth, with nobody to check them."""
    monkeypatch.setattr(module, "TOLERANCE", 1e9)
    plain = module._fit

    def wrong(*arguments):
        table = plain(*arguments)
        table.coefficients[...] *= 1.001
        return table

    monkeypatch.setattr(module, "_fit", wrong)
    fast, slow = (paths(mf.Langevin(0.02), monkeypatch, worth)[0] for worth in (1, np.inf))
    assert np.abs(fast - slow).max() > 1e-6


def test_pairs_of_units_are_complete():
    """Every unit that offers a table is tested here."""
    made = {type(unit) for unit in UNITS.values()}
    offering = {
        kind
        for kind in itertools.chain(units.Unit.__subclasses__())
        if kind.__module__ in (units.__name__, moved_unit.__name__) and "amplitudes" in vars(kind)
    }
    assert offering == made


@pytest.mark.parametrize("unit", [mf.Unit.ridge("tanh"), mf.Unit.scaled_ridge("tanh")])
def test_potentials_of_large_clouds(unit, monkeypatch):
    """By a table as by all data, and in chunks; on a batch too."""
    dim = 1 + (unit.amplitudes or 0)
    risk, cloud = risk_of(unit), mf.Cloud(np.random.default_rng(1).standard_normal((6000, dim)))
    for batch in (None, Batch(np.arange(risk.data.size))):
        found = risk.cloud_potential(cloud, batch)
        assert tables(risk)
        with monkeypatch.context() as patched:
            patched.setattr(user, "WORTH_TABULATING", np.inf)
            patched.setattr(user, "CHUNK", 20_000)
            exact = risk.cloud_potential(cloud, batch)
        assert not np.array_equal(found, exact)
        np.testing.assert_allclose(found, exact, rtol=0, atol=1e-10 * np.abs(exact).max())
