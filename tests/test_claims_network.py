"""Claims about networks, averages and drifts: their numbers by hand, and the bugs they catch."""

import numpy as np
import pytest
from problems import (
    REFLECTION,
    TAU,
    arbitrary_target,
    bump_energy,
    bump_start,
    even_target,
    first_target,
    half_square,
    swap_energy,
    swapped_target,
)
from reference import integral

import meanfield_pde as mf
from meanfield_pde.energies import unit as unit_module
from meanfield_pde.energies import variants as variants_module
from meanfield_pde.energies.moved_unit import AveragedUnit
from meanfield_pde.measures import symmetry as symmetry_module
from meanfield_pde.studies.claims import CLAIMS
from meanfield_pde.studies.claims.averages import average_outputs, risk_gaps

SWAP = mf.Group.swap()
STATIC = (
    *("unit-equivariant", "loss-invariant", "law-averaged", "averages-commute"),
    *("average-is-closest", "risk-gap", "symmetry-gap-bounded", "da-fa-ea-agree-on-si"),
)
OF_DATA = ("data-invariant", "risk-invariant", "vanilla-equals-ea-on-si", "si-tangent")


def bumps(target=even_target, cells=60):
    return mf.Problem(mf.GradientFlow(bump_energy(target)), bump_start(cells), 1.0)


def ridges(target=swapped_target, cells=16):
    grid = mf.Grid.box((-4, -4), (4, 4), (cells, cells))
    start = mf.Density.gaussian(grid, (0.5, -0.5), 0.3)
    return mf.Problem(mf.GradientFlow(swap_energy(target)), start, 0.5)


def vectors():
    """Units (tanh z1 x1, tanh z2 x2); the swap acts on x, y and z."""
    unit = mf.Unit.custom(lambda x, z: np.tanh(x * z), outputs=2)
    data = mf.Data.gauss_hermite(2, 4, lambda x: np.tanh(2 * x))
    energy = mf.Risk(unit, data) + TAU * mf.Entropy()
    grid = mf.Grid.box((-3, -3), (3, 3), (12, 12))
    return mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, (0.5, 0.0), 0.2), 0.5)


def turning():
    """Bumps in the plane, data on hexagons, turned by thirds: cells do not go to cells."""
    angles = np.arange(6) * np.pi / 3 + 0.2
    x = np.concatenate([r * np.stack([np.cos(angles), np.sin(angles)], axis=1) for r in (0.5, 1.5)])
    data = mf.Data.samples(x, np.exp(-(x**2).sum(-1)))
    grid = mf.Grid.box((-4, -4), (4, 4), (24, 24))
    energy = mf.Risk(mf.Unit.bump(), data) + TAU * mf.Entropy()
    return mf.Problem(mf.GradientFlow(energy), mf.Density.gaussian(grid, (0.5, 0.0), 0.2), 0.5)


SYSTEMS = {
    "bumps": (bumps, REFLECTION),
    "ridges": (ridges, SWAP),
    "vectors": (vectors, SWAP.acting(y=SWAP.matrices)),
    "turning": (turning, mf.Group.cyclic(3)),
}


def check(name, problem, group):
    """Verdict and row of one claim."""
    report = mf.validate(problem, group, [name])
    return report.verdicts[0], report.rows[0]


# -- claims that hold


@pytest.mark.parametrize("claim", [*STATIC, *OF_DATA])
@pytest.mark.parametrize("system", SYSTEMS)
def test_static_claims_hold(system, claim):
    problem, group = SYSTEMS[system]
    holds, row = check(claim, problem(), group)
    assert holds, row
    assert row["number"] < 1e-13
    assert row["control"] > 1e-4


@pytest.mark.parametrize("claim", STATIC)
def test_claims_that_do_not_ask_for_invariant_data(claim):
    assert check(claim, bumps(arbitrary_target), REFLECTION)[0]
    assert check(claim, ridges(first_target), SWAP)[0]


@pytest.mark.parametrize("claim", OF_DATA)
def test_claims_that_ask_for_invariant_data(claim):
    for problem, group in ((bumps(arbitrary_target), REFLECTION), (ridges(first_target), SWAP)):
        assert check(claim, problem, group)[0] is False
        assert mf.validate(problem, group, {claim: False}).passed


def test_claims_for_other_losses():
    """The formula of the risk gap is one of squares; the others take any loss."""
    problem = bumps()
    flow = mf.GradientFlow(bump_energy(even_target, loss="huber"))
    report = mf.validate(mf.Problem(flow, problem.initial, 1.0), REFLECTION, STATIC[:-3])
    assert report.passed, report.table()
    names = [row["claim"] for row in mf.validate(problem, REFLECTION).rows]
    assert "risk-gap" in names
    with pytest.raises(ValueError, match="risk-gap needs squared loss"):
        mf.validate(mf.Problem(flow, problem.initial, 1.0), REFLECTION, ["risk-gap"])


def test_inputs_without_symmetry():
    """Random samples: averages still commute; orthogonality and the risk gap are lost."""
    rng = np.random.default_rng(0)
    data = mf.Data.samples(rng.standard_normal((30, 2)), rng.standard_normal(30))
    energy = mf.Risk(mf.Unit.ridge("tanh"), data) + TAU * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), ridges().initial, 0.2)
    lost = {"average-is-closest", "risk-gap", *OF_DATA}
    report = mf.validate(problem, SWAP, {n: n not in lost for n in (*STATIC, *OF_DATA)})
    assert report.passed, report.table()


def test_claims_for_labels():
    """Tilted labels are labels: the logistic loss takes no others."""
    data = mf.Data.gauss_hermite(2, 6, lambda x: np.where(x.sum(-1) > -0.1, 1.0, -1.0))
    energy = mf.Risk(mf.Unit.ridge("tanh"), data, "logistic") + TAU * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), ridges().initial, 0.2)
    names = [*(name for name in STATIC if name != "risk-gap"), *OF_DATA, "vanilla-equals-da"]
    report = mf.validate(problem, SWAP, names)
    assert report.passed, report.table()


@pytest.mark.parametrize("order", [1, 2, 3])
def test_claims_for_harmonics(order):
    """Tilted targets are seen by a unit of any frequency."""
    data = mf.Data.circle(16, lambda x: 0.8 * np.cos(order * x[..., 0]))
    energy = mf.Risk(mf.Unit.harmonic(order), data) + 0.1 * mf.Entropy()
    grid = mf.Grid.torus(-np.pi, np.pi, 48)
    start = mf.Density.from_function(grid, lambda z: (1 - 0.5 * np.cos(z[..., 0])) / (2 * np.pi))
    problem = mf.Problem(mf.GradientFlow(energy), start, 0.5)
    report = mf.validate(problem, REFLECTION, [*STATIC, *OF_DATA, "vanilla-equals-da"])
    assert report.passed, report.table()


def test_a_projection_that_is_not_periodic():
    """The mean of two angles is none: architectures under the swap do not live on a torus."""
    unit = mf.Unit.custom(lambda x, z: np.cos(x - z).sum(-1))
    data = mf.Data.samples([[0.5, 0.5], [1.0, -1.0], [-1.0, 1.0]], [0.3, 0.1, 0.1])
    grid = mf.Grid.torus((-np.pi, -np.pi), (np.pi, np.pi), (12, 12))
    energy = mf.Risk(unit, data) + TAU * mf.Entropy()
    start = mf.Density.from_function(grid, lambda z: 1 + 0.5 * np.cos(z[..., 0]))
    start = mf.Density(grid, start.values / start.mass)
    report = mf.validate(mf.Problem(mf.GradientFlow(energy), start, 0.2), SWAP)
    assert report.passed, report.table()
    names = [row["claim"] for row in report.rows]
    assert "ea-preserves-wi" not in names
    assert "da-fa-ea-agree-on-si" in names


# -- numbers


NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


@pytest.mark.parametrize(("centre", "expected"), [(1.0, -0.0238985193), (-2.0, 0.2788840040)])
def test_risk_gap_of_one_bump(centre, expected):
    """R(f) - R(Q f) for f = exp(-(x - c)^2 / 2), by quadrature, by formula and as the package does.

    E over x uniform on [-3, 3]; the integrals are smooth, so that another rule must agree.
    """

    def f(x):
        return np.exp(-0.5 * (x - centre) ** 2)

    def target(x):
        return arbitrary_target(np.asarray(x)[..., None])

    def averaged(x):
        return 0.5 * (f(x) + f(-x))

    direct = integral(lambda x: (f(x) - target(x)) ** 2, -3, 3) / 6
    direct -= integral(lambda x: (averaged(x) - target(x)) ** 2, -3, 3) / 6
    formula = integral(
        lambda x: (f(x) - averaged(x)) ** 2 - 2 * target(x) * (f(x) - averaged(x)), -3, 3
    )
    assert direct == pytest.approx(expected, abs=6e-11)
    assert formula / 6 == pytest.approx(direct, abs=1e-13)
    risk = mf.Risk(mf.Unit.bump(), mf.Data.gauss_legendre(40, -3, 3, arbitrary_target))
    delta = mf.Cloud([[centre]])
    outputs = risk.predict(delta), average_outputs(risk, REFLECTION, delta)
    ours = risk_gaps(risk, risk.data.weights, *outputs)
    assert ours[0] == pytest.approx(direct, abs=1e-12)
    assert ours[0] == pytest.approx(ours[1], abs=1e-14)


def normal_drift_at_rest():
    """Largest normal drift of ridges that learn tanh 2 x1: at z = 0, whatever the law on E^G.

    The network of such a law is invariant, so that only the part (tanh 2 x1 - tanh 2 x2) / 2 of
    the target counts. At z = 0 the unit's gradient is x, and 2 E[that (x1 - x2)] / sqrt 2 is
    sqrt 2 E[x tanh 2x] for independent coordinates of mean 0.
    """
    x, w = np.polynomial.hermite_e.hermegauss(8)
    return np.sqrt(2) * (w / w.sum()) @ (x * np.tanh(2 * x))


def test_normal_drift_of_an_arbitrary_target():
    exact = normal_drift_at_rest()
    assert exact == pytest.approx(1.07, abs=5e-3)
    problem = ridges(first_target)
    _, row = check("si-tangent", problem, SWAP)
    assert row["number"] == pytest.approx(exact, rel=1e-12)
    # The largest entry of the same vector.
    _, row = check("vanilla-equals-ea-on-si", problem, SWAP)
    assert row["number"] == pytest.approx(exact / np.sqrt(2), rel=1e-12)
    assert row["number"] == pytest.approx(0.75, abs=1e-2)
    for name in ("si-tangent", "vanilla-equals-ea-on-si"):
        assert check(name, ridges(), SWAP)[1]["number"] < 1e-15


def test_drifts_on_the_fixed_line_by_hand():
    """DA = FA = EA on SI laws, from the definitions with loops over the group."""
    rng = np.random.default_rng(0)
    points = np.repeat(rng.standard_normal((7, 1)), 2, axis=1)
    risk = mf.Risk(mf.Unit.ridge("tanh"), mf.Data.gauss_hermite(2, 8, first_target))
    x, y, w = risk.data.x, risk.data.y[:, 0], risk.data.weights
    swap = SWAP.matrices[1]

    def gradient(cloud, z):
        residual = 2 * w * (np.tanh(x @ cloud.T).mean(axis=1) - y)
        return ((1 - np.tanh(x @ z.T) ** 2) * residual[:, None]).T @ x

    both = np.concatenate([points, points @ swap])
    augmented = 0.5 * (gradient(points, points) + gradient(points @ swap, points @ swap) @ swap)
    averaged = 0.5 * (gradient(both, points) + gradient(both, points @ swap) @ swap)
    confined = gradient(points, points) @ (0.5 * np.ones((2, 2)))
    np.testing.assert_allclose(augmented, averaged, atol=1e-14)
    np.testing.assert_allclose(augmented, confined, atol=1e-14)
    cloud = mf.Cloud(points)
    for variant in (mf.data_augmented, mf.feature_averaged, mf.equivariant_architecture):
        np.testing.assert_allclose(variant(risk, SWAP).drift(cloud), -confined, atol=1e-14)


# -- planted bugs


def test_a_unit_that_is_not_equivariant_is_caught():
    unit = mf.Unit.custom(lambda x, z: np.exp(-0.5 * (x - z - 1e-6)[..., 0] ** 2))
    risk = mf.Risk(unit, mf.Data.gauss_legendre(40, -3, 3, even_target))
    problem = mf.Problem(mf.GradientFlow(risk + TAU * mf.Entropy()), bump_start(60), 1.0)
    for name in ("unit-equivariant", "averages-commute", "symmetry-gap-bounded", "si-tangent"):
        holds, row = check(name, problem, REFLECTION)
        assert holds is False, row
    assert not mf.assumptions(risk, REFLECTION).passed


def caught(names, problem, group=REFLECTION):
    """Names of the claims that do not hold."""
    report = mf.validate(problem, group, names)
    rows = zip(report.rows, report.verdicts, strict=True)
    return [row["claim"] for row, verdict in rows if not verdict]


def test_a_flipped_sign_in_feature_averaging_is_caught(monkeypatch):
    """Planted: the last element of the group enters the mean with the wrong sign."""

    def features(self, x, z):
        moved = [self.unit.features(x, z @ m.T) for m in self.group.on_z(z.shape[1])]
        return sum(w * f for w, f in zip(flipped(self.group), moved, strict=True))

    def pullback(self, x, z, residual):
        moved = [self.unit.pullback(x, z @ m.T, residual) @ m for m in self.group.on_z(z.shape[1])]
        return sum(w * f for w, f in zip(flipped(self.group), moved, strict=True))

    def flipped(group):
        return [*group.weights[:-1], -group.weights[-1]]

    monkeypatch.setattr(AveragedUnit, "features", features)
    assert "da-equals-fa" in caught(["da-equals-fa"], bumps())
    monkeypatch.setattr(AveragedUnit, "pullback", pullback)
    monkeypatch.setattr(AveragedUnit, "network", unit_module.Unit.network)
    names = ["da-fa-ea-agree-on-si", "da-equals-fa"]
    assert caught(names, ridges(), SWAP) == names


def test_a_missing_order_is_caught(monkeypatch):
    """Planted: sums over the group in place of means, in all that take its weights."""
    monkeypatch.setattr(mf.Group, "weights", property(lambda self: np.ones(self.order)))
    assert caught(["law-averaged", "averages-commute"], bumps()) == [
        "law-averaged",
        "averages-commute",
    ]


def test_a_missing_order_in_one_variant_is_caught(monkeypatch):
    right = variants_module.DataAugmented.drift

    def summed(self, cloud, batch=None):
        return self.group.order * right(self, cloud, batch)

    monkeypatch.setattr(variants_module.DataAugmented, "drift", summed)
    assert caught(["da-fa-ea-agree-on-si"], ridges(), SWAP) == ["da-fa-ea-agree-on-si"]


def test_a_missing_order_on_the_grid_is_caught(monkeypatch):
    mean = symmetry_module.order_free_mean
    monkeypatch.setattr(symmetry_module, "order_free_mean", lambda values: 2 * mean(values))
    assert caught(["law-averaged"], bumps()) == ["law-averaged"]


def test_a_remap_that_loses_mass_is_caught(monkeypatch):
    """Planted: values at the places where cells come from, in place of shares of cells."""

    def pulled(grid, values, matrix):
        first = np.array([axis[0] for axis in grid.axes])
        there = np.rint((grid.points @ matrix - first) / grid.spacing).astype(int)
        i, j = np.moveaxis(np.clip(there, 0, np.array(grid.cells) - 1), -1, 0)
        return values[i, j]

    energy = mf.Potential(half_square) + 0.2 * mf.Entropy()
    grid = mf.Grid.box((-4, -4), (4, 4), (24, 24))
    start = mf.Density.gaussian(grid, (0.0, 0.0), 0.3)
    problem = mf.Problem(mf.GradientFlow(energy), start, 0.3)
    group = mf.Group.cyclic(3)
    assert caught(["law-averaged"], problem, group) == []
    monkeypatch.setattr(symmetry_module, "remap", pulled)
    assert caught(["law-averaged"], problem, group) == ["law-averaged"]


def test_a_bound_without_the_outputs_is_caught(monkeypatch):
    """Planted: a distance of data by their places alone."""
    from meanfield_pde.studies import approximate

    right = approximate._apart

    def blind(data, first, second):
        return right(data, *(rows * ([1.0] * data.dim + [0.0]) for rows in (first, second)))

    monkeypatch.setattr(approximate, "_apart", blind)
    assert caught(["symmetry-gap-bounded"], bumps(arbitrary_target)) == ["symmetry-gap-bounded"]


def test_every_static_claim_is_registered():
    assert set(STATIC) | set(OF_DATA) <= set(CLAIMS)
