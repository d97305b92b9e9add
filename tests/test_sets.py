"""Functions of sets: units that no order of the points changes, and layers that are frozen."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import half_square
from reference import PROPERTY, ULP, order, refuses

import meanfield_pde as mf
from meanfield_pde.energies.set_unit import SetUnit
from meanfield_pde.energies.sets import point_permutations, rows_of_sets
from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.studies.claims import CLAIMS
from meanfield_pde.studies.setting import Setting

RNG = np.random.default_rng(0)
SETS = [RNG.uniform(-1, 1, size) for size in (1, 2, 3, 4) for _ in range(3)]
Z = RNG.normal(size=(7, 2))
SLOW = {
    "tanh": math.tanh,
    "relu": lambda t: max(t, 0.0),
    "linear": lambda t: t,
    "cos": math.cos,
}
KINDS = pytest.mark.parametrize(
    ("activation", "test_function"), [("tanh", "relu"), ("linear", "tanh"), ("cos", "cos")]
)


def sets_energy(beta=0.02, target=np.ptp):
    data = mf.Data.sets([u for u in SETS if u.size > 1], target)
    risk = mf.Risk(mf.Unit.on_sets("tanh", "tanh"), data)
    return risk + 0.02 * mf.Penalty() + beta * mf.Entropy()


# -- units


@KINDS
def test_unit_is_its_formula(activation, test_function):
    unit = mf.Unit.on_sets(activation, test_function)
    found = unit.features(rows_of_sets(SETS), Z)
    for i, points in enumerate(SETS):
        for k, (a, b) in enumerate(Z):
            mean = math.fsum(a * SLOW[test_function](u - b) for u in points) / len(points)
            assert found[i, k, 0] == pytest.approx(SLOW[activation](mean), abs=8 * ULP)


@KINDS
def test_pullback_is_the_gradient(activation, test_function):
    unit, x = mf.Unit.on_sets(activation, test_function), rows_of_sets(SETS)
    residual = RNG.normal(size=(len(x), 1))
    found, h = unit.pullback(x, Z, residual), 1e-6
    for axis in range(2):
        step = h * np.eye(2)[axis]
        up, down = (unit.features(x, Z + s)[..., 0].T @ residual[:, 0] for s in (step, -step))
        np.testing.assert_allclose(found[:, axis], (up - down) / (2 * h), atol=1e-8)


def order_defect(features, sets):
    """Largest change of features (rows, z) -> values when points change places in every row."""
    rows = rows_of_sets(sets)
    group = point_permutations(rows.shape[1] // 2)
    here = features(rows, Z)
    return max(float(np.abs(features(rows @ g.T, Z) - here).max()) for g in group.on_x(8))


@KINDS
def test_order_of_points_makes_no_difference(activation, test_function):
    unit = mf.Unit.on_sets(activation, test_function)
    assert order_defect(unit.features, SETS) <= 8 * ULP
    residual = RNG.normal(size=(len(SETS), 1))
    assert order_defect(lambda x, z: unit.pullback(x, z, residual), SETS) <= 1e-13


@KINDS
def test_planted_weights_by_place_are_caught(activation, test_function):
    unit = mf.Unit.on_sets(activation, test_function)
    by_place = np.concatenate([np.ones(4), [1.0, 1.1, 1.2, 1.3]])
    assert order_defect(lambda x, z: unit.features(x * by_place, z), SETS) > 1e-3


@PROPERTY
@given(st.lists(st.floats(-3, 3), min_size=1, max_size=4), st.floats(-9, 9))
def test_padding_and_repetition_do_not_count(points, padding):
    """A row is a probability measure: what weighs nothing does not count."""
    unit = SetUnit("tanh", "tanh")
    alone = unit.features(rows_of_sets([points]), Z)
    padded = rows_of_sets([points, [0.0] * 6])[:1]
    padded[0, len(points) : 6] = padding
    np.testing.assert_array_equal(unit.features(padded, Z), alone)
    twice = unit.features(rows_of_sets([points * 2]), Z)
    np.testing.assert_allclose(twice, alone, atol=8 * ULP)


def test_planted_equal_weights_see_the_padding():
    unit, rows = SetUnit("tanh", "tanh"), rows_of_sets([[1.0], [1.0, 2.0]])
    rows[:, 2:] = 0.5
    alone = unit.features(rows_of_sets([[1.0]]), Z)
    assert np.abs(unit.features(rows[:1], Z) - alone).max() > 1e-3


# -- data


def test_targets_of_sets():
    for target in (np.max, [np.max(u) for u in SETS]):
        data = mf.Data.sets(SETS, target)
        np.testing.assert_array_equal(data.y[:, 0], [max(u) for u in SETS])
    assert data.x.shape == (len(SETS), 8)
    np.testing.assert_allclose(data.x[:, 4:].sum(axis=1), 1.0, rtol=ULP)


@pytest.mark.parametrize(
    ("sets", "argument", "got"),
    [
        ([], "sets", "none"),
        ([[1.0], []], "sets[1]", "(0,)"),
        ([[[1.0]]], "sets[0]", "(1, 1)"),
        ([[1.0, np.nan]], "sets[0]", "nan"),
        ([["a"]], "sets[0]", "'a'"),
    ],
)
def test_wrong_sets_are_refused(sets, argument, got):
    refuses(lambda: rows_of_sets(sets), argument, got, "give a list of points")


def test_unit_refuses_other_rows():
    risk = mf.Risk(mf.Unit.on_sets("tanh", "tanh"), mf.Data.samples(np.ones((2, 3)), [0.0, 1.0]))
    refuses(lambda: risk.drift(mf.Cloud(Z)), "on_sets", "dimension 3", "change the data")
    refuses(lambda: mf.Unit.on_sets("tanh", "step"), "activation", "'step'", "Unit.custom")


# -- the group


def test_permutations_leave_parameters_where_they_are():
    group = point_permutations(4)
    rho = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), (16, 16)), (0.5, 0.3), 0.4)
    assert group.order == 24
    assert mf.asymmetry(rho, group) == 0.0
    np.testing.assert_allclose(mf.symmetrise(rho, group).values, rho.values, rtol=1e-15)
    np.testing.assert_array_equal(group.fixed_basis(), np.eye(2))


def test_augmentation_by_permutations_changes_nothing():
    energy = sets_energy()
    risk = energy.terms[0][1]
    for variant in (mf.data_augmented, mf.feature_averaged):
        augmented = variant(risk, point_permutations(4))
        assert augmented.value(mf.Cloud(Z)) == pytest.approx(risk.value(mf.Cloud(Z)), rel=1e-14)
        np.testing.assert_allclose(
            augmented.drift(mf.Cloud(Z)), risk.drift(mf.Cloud(Z)), rtol=1e-12, atol=1e-15
        )


# -- frozen coordinates: exact laws

BETA = 0.3


def coupled(frozen, cells=(40, 40), t1=1.0):
    """V = (a - b)^2 / 2 with one coordinate frozen: the other is attracted by it."""
    grid = mf.Grid.box((-5, -5), (5, 5), cells)
    V = mf.Potential(lambda z: 0.5 * (z[..., 0] - z[..., 1]) ** 2)
    start = mf.Density.gaussian(grid, (1.0, -0.5), (0.3, 0.5))
    flow = mf.GradientFlow(V + BETA * mf.Entropy(), frozen=(frozen,))
    return mf.Problem(flow, start, t1)


def exact(frozen, t):
    """Mean and covariance: a = (1 - e^-t) b + e^-t a0 + noise, where b is frozen."""
    mean, variances = np.array([1.0, -0.5]), np.array([0.3, 0.5])
    moving, decay = 1 - frozen, math.exp(-t)
    matrix = np.eye(2)
    matrix[moving] = (1 - decay) * np.eye(2)[frozen] + decay * np.eye(2)[moving]
    cov = matrix @ np.diag(variances) @ matrix.T
    cov[moving, moving] += BETA * (1 - decay**2)
    return matrix @ mean, cov


AXES = pytest.mark.parametrize("frozen", [0, 1])
METHODS = pytest.mark.parametrize(
    ("flux", "stepper"),
    [("sg", "heun"), ("rl", "heun"), ("sg", "b1"), ("compact", "mprk22"), ("sg", "b2")],
)


@AXES
@METHODS
def test_frozen_flow_converges_to_the_exact_law(frozen, flux, stepper):
    """Of second order where the stepper is; one of first order takes steps that shrink as h^2."""
    errors, sizes = [], (32, 64) if stepper in ("b1", "b2") else (64, 128)
    for n in sizes:
        problem, dt = coupled(frozen, (n, n)), 25 / n**2 if stepper == "b1" else None
        options = {"flux": flux, "stepper": stepper, "tolerance": 1e-5, "dt": dt}
        rho = mf.solve(problem, **options).densities[-1]
        errors.append(mf.distance.l1(rho, mf.Density.gaussian(rho.grid, *exact(frozen, 1.0))))
    assert order(sizes, errors) > 1.8
    assert errors[-1] < 0.02


@AXES
def test_frozen_particles_have_the_exact_law(frozen):
    n = 40_000
    run = mf.simulate(coupled(frozen, (256, 256)), particles=n, dt=0.005, seed=2, save=[0, 1])
    before, after = run.points[:, 0]
    np.testing.assert_array_equal(before[:, frozen], after[:, frozen])
    mean, cov = exact(frozen, 1.0)
    assert (np.abs(after.mean(axis=0) - mean) < 4.5 * np.sqrt(np.diag(cov) / n)).all()
    scatter = np.sqrt((cov**2 + np.outer(np.diag(cov), np.diag(cov))) / n)
    assert (np.abs(np.cov(after.T) - cov) < 4.5 * scatter + 0.005 * np.abs(cov)).all()


def marginal_change(problem, **options):
    """Largest relative change of the law of the frozen coordinate, cell by cell."""
    solution = mf.solve(problem, save=[0, 0.5, 2], **options)
    moving = problem.flow.moving(2)
    laws = [rho.masses.sum(axis=moving) for rho in solution.densities]
    return max(float(np.abs(law - laws[0]).max()) for law in laws) / solution.mass[0]


def network(frozen, grid=None, beta=0.02):
    grid = grid or mf.Grid.box((-5, -4), (5, 4), (32, 24))
    start = mf.Density.gaussian(grid, (0.5, -0.5), (0.8, 0.2))
    return mf.Problem(mf.GradientFlow(sets_energy(beta), frozen=frozen), start, t1=2.0)


@AXES
@METHODS
@pytest.mark.parametrize("beta", [0.0, 0.02, 0.5])
def test_law_of_frozen_coordinates_is_conserved(frozen, flux, stepper, beta):
    if stepper == "b2" or flux == "rl":
        problem = coupled(frozen, t1=2.0)  # b2 takes long where potentials move
    else:
        problem = network((frozen,), beta=beta)
    options = {"flux": flux, "stepper": stepper, "tolerance": 1e-2}
    assert marginal_change(problem, **options) < 1e-13


def test_law_of_frozen_coordinates_is_conserved_on_a_torus():
    grid = mf.Grid.torus((-3, -3), (3, 3), (24, 24))
    V = mf.Potential(lambda z: np.cos(np.pi / 3 * (z[..., 0] - z[..., 1])))
    start = mf.Density.from_function(grid, lambda z: 2 + np.sin(np.pi / 3 * z.sum(-1)))
    start = start.normalised()
    for stepper in ("heun", "mprk22"):
        problem = mf.Problem(mf.GradientFlow(V + 0.1 * mf.Entropy(), frozen=(1,)), start, 2.0)
        assert marginal_change(problem, stepper=stepper) < 1e-13


@pytest.mark.parametrize("stepper", ["heun", "mprk22", "b1"])
def test_planted_leak_across_is_caught(monkeypatch, stepper):
    """Rates of a frozen axis that are small instead of none."""
    real = Generator.along

    def leaky(self, axes):
        kept = real(self, axes)
        forward, backward = (
            0.999 * a + 0.001 * b
            for a, b in ((kept.forward, self.forward), (kept.backward, self.backward))
        )
        return Generator(self.grid, forward, backward, self.lag)

    monkeypatch.setattr(Generator, "along", leaky)
    options = {"flux": "sg", "stepper": stepper, "tolerance": 1e-2}
    if stepper == "mprk22":  # it steps along the moving axis alone, whatever the rates of the other
        assert marginal_change(network((1,)), **options) < 1e-13
        monkeypatch.setattr("meanfield_pde.eulerian.stepper.Equation.moving", (0, 1))
    assert marginal_change(network((1,)), **options) > 1e-7


def test_frozen_law_relaxes_to_gibbs_laws_place_by_place():
    """At rest each place has the Gibbs law of its slopes, with the mass that it had."""
    problem = replace(network((1,), beta=0.3), t1=2000.0)
    rho = mf.solve(problem, tolerance=1e-2).densities[-1]
    energy = problem.flow.energy
    weights = np.exp(-energy.smooth.potential(rho) / energy.beta)
    law = problem.initial.values.sum(axis=0) * weights / weights.sum(axis=0)
    both = rho.values.sum() * weights / weights.sum()
    assert np.abs(rho.values - law).sum() * rho.grid.volume < 1e-6
    assert np.abs(rho.values - both).sum() * rho.grid.volume > 0.1


def test_the_larger_space_reaches_lower():
    """A frozen law is one of the competitors of the Gibbs law, which minimises over all."""
    problem = network((1,), beta=0.1)
    energy, grid = problem.flow.energy, problem.initial.grid
    frozen = mf.solve(replace(problem, t1=200.0), tolerance=1e-2)
    trained = mf.solve(replace(network((), beta=0.1), t1=200.0), tolerance=1e-2)
    least = energy.value(mf.gibbs(energy, grid))
    assert least <= trained.energy[-1] + 1e-9 <= frozen.energy[-1]
    assert frozen.energy[-1] > least + 1e-3


def test_residual_knows_what_is_frozen():
    problem = coupled(1, (64, 64))
    solution = mf.solve(problem, save=np.linspace(0, 1, 21), tolerance=1e-4)
    assert mf.residual(solution).relative.max() < 0.02
    freed = replace(problem, flow=replace(problem.flow, frozen=()))
    assert mf.residual(solution, freed).relative.max() > 0.2


def test_sgd_keeps_frozen_coordinates():
    run = mf.simulate(network((1,)), particles=50, dynamics=mf.SGD(dt=0.01, batch=5), save=[0, 1])
    np.testing.assert_array_equal(run.points[0, ..., 1], run.points[1, ..., 1])
    assert np.abs(run.points[0, ..., 0] - run.points[1, ..., 0]).min() > 0


# -- what is refused


@pytest.mark.parametrize(
    ("frozen", "got"), [(1, "1"), ("1", "'1'"), ((0.5,), "0.5"), ((-1,), "-1"), ((1, 1), "[1, 1]")]
)
def test_wrong_coordinates_are_refused(frozen, got):
    refuses(lambda: mf.GradientFlow(mf.Entropy(), frozen=frozen), "frozen", got, "frozen=(1,)")


@pytest.mark.parametrize("frozen", [(2,), (0, 1)])
def test_coordinates_that_leave_nothing_to_move_are_refused(frozen):
    refuses(lambda: network(frozen), "frozen", str(list(frozen)), "drop the others")
    flow = mf.GradientFlow(mf.Potential(half_square), frozen=frozen)
    anywhere = mf.Problem(flow, lambda n, rng: rng.normal(size=(n, 2)), 1.0)
    refuses(lambda: mf.simulate(anywhere, 10), "frozen", str(list(frozen)), "drop the others")


def test_symmetry_that_mixes_frozen_coordinates_is_refused():
    flow = mf.GradientFlow(mf.Potential(half_square) + mf.Entropy(), frozen=(1,))
    grid = mf.Grid.box((-4, -4), (4, 4), (16, 16))
    problem = mf.Problem(flow, mf.Density.gaussian(grid, (0, 0), 0.5), 0.1)
    refuses(lambda: mf.solve(problem, symmetry=mf.Group.swap()), "symmetry", "swap", "no frozen=")
    assert mf.solve(problem, symmetry=mf.Group.reflection(2, axis=1)).ok


# -- claims and cases


def check_claim(name, case):
    setting = Setting(case.problem, case.group, {"tolerance": 1e-2})
    finding = CLAIMS[name].check(setting)
    assert finding.number <= finding.tolerance
    assert finding.control > 1e3 * finding.tolerance


def coarse(name):
    return mf.load_case(name).with_settings(["grid.cells=[24, 24]", "t1=1", "save=2"])


@pytest.mark.parametrize(
    ("name", "case"),
    [
        ("permutation-invariant", "sets-trained"),
        ("permutation-invariant", "sets-frozen"),
        ("frozen-law-kept", "sets-frozen"),
    ],
)
def test_claims_hold_and_can_fail(name, case):
    check_claim(name, coarse(case))


def test_claims_need_what_they_speak_of():
    case = coarse("sets-frozen")
    with pytest.raises(ValueError, match="reaches-gibbs needs diffusion"):
        mf.validate(case, claims=["reaches-gibbs"])
    with pytest.raises(ValueError, match="frozen-law-kept needs frozen"):
        mf.validate(coarse("sets-trained"), claims=["frozen-law-kept"])
    with pytest.raises(ValueError, match="permutation-invariant needs sets"):
        mf.validate(mf.load_case("swap-invariant"), claims=["permutation-invariant"])


def test_cases_say_which_key_is_wrong():
    case = mf.load_case("sets-frozen")
    with pytest.raises(mf.CaseError, match=r"frozen: frozen must leave .* got \[2\]"):
        case.with_settings(["frozen=[2]"])
    with pytest.raises(mf.CaseError, match="lower must be below upper"):
        case.with_settings(["energy.risk.data.lower=2"])
    with pytest.raises(mf.CaseError, match=r"group.n"):
        case.with_settings(["group.n=7"])


def test_case_learns_sets_of_a_teacher():
    target = "{ kind = 'teacher', points = [[1, 0]] }"
    case = coarse("sets-trained").with_settings([f"energy.risk.data.target={target}"])
    risk = next(leaf for _, leaf in case.problem.flow.energy.terms if isinstance(leaf, mf.Risk))
    assert risk.value(mf.Cloud([[1.0, 0.0]])) == pytest.approx(0.0, abs=1e-30)
