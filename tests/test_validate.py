"""`validate`: each claim holds where it should, fails where it should not, and sees its bug."""

import json
from dataclasses import replace

import numpy as np
import pytest
from problems import (
    REFLECTION,
    TAU,
    Upwind,
    arbitrary_target,
    bump_energy,
    bump_start,
    desai_zwanzig_energy,
    even_target,
    half_square,
    swap_energy,
    swapped_target,
)
from reference import refuses

import meanfield_pde as mf
from meanfield_pde.eulerian import _kernels, march
from meanfield_pde.eulerian.stepper import State
from meanfield_pde.studies import claims as module
from meanfield_pde.studies import setting as settings_module
from meanfield_pde.studies.claims import CLAIMS, Claim, Finding
from meanfield_pde.studies.claims import flows as flow_claims
from meanfield_pde.studies.claims import network as network_claims
from meanfield_pde.studies.setting import Setting, moved_direction
from meanfield_pde.studies.validate import FALSE_MARGIN

CELLS = 60
OF_GROUP = ("law-averaged", "si-tangent", "wi-preserved", "limit-invariant")
OF_ANY = ("mass-conserved", "positive", "energy-decreases")
ALWAYS = (*OF_ANY, "energy-dissipated", "schedule-is-a-clock")
OF_ENERGY = (*OF_ANY, "reaches-gibbs", *ALWAYS[3:4], "relaxes-at-gap", "one-limit", *ALWAYS[4:])
OF_SYMMETRY = (*network_claims.CLAIMS, *flow_claims.CLAIMS)
OTHERS = {"particles", "asked", "sets", "frozen", "lazy metric"}
ON_DENSITIES = tuple(name for name, claim in CLAIMS.items() if not OTHERS & set(claim.needs))


def network(target=even_target, unit=None, t1=1.0, variant="vanilla", start=None):
    energy = bump_energy(target, variant)
    if unit is not None:
        risk = mf.Risk(unit, mf.Data.gauss_legendre(40, -3, 3, target))
        energy = risk + TAU * mf.Penalty() + TAU * mf.Entropy()
    return mf.Problem(mf.GradientFlow(energy), start or bump_start(CELLS), t1)


def row_of(report, claim):
    return next(row for row in report.rows if row["claim"] == claim)


def check(name, problem=None, group=REFLECTION, options=None):
    """Verdict and row of one claim."""
    report = mf.validate(problem or network(), group, [name], options)
    return report.verdicts[0], report.rows[0]


# -- claims that hold


@pytest.fixture(scope="module")
def invariant():
    return mf.validate(network(), REFLECTION)


@pytest.mark.parametrize("claim", ON_DENSITIES)
def test_claims_hold_and_their_controls_fail(invariant, claim):
    row = row_of(invariant, claim)
    assert row["number"] <= row["tolerance"], row
    assert row["control"] > row["tolerance"], row
    # A control that fails by a hair would not convince.
    assert row["control"] > 10 * row["tolerance"]
    assert row["reason"]
    assert row["because of"]


def test_all_claims_are_checked_where_they_apply(invariant):
    assert tuple(row["claim"] for row in invariant.rows) == ON_DENSITIES
    assert all(verdict is True for verdict in invariant.verdicts)
    assert invariant.passed
    assert "reflection" in invariant.title
    data = json.loads(invariant.to_json())
    assert data["rows"][0]["verdict"] == "holds"


def test_claims_of_a_problem_without_group_or_risk():
    energy = mf.Potential(half_square) + 0.5 * mf.Entropy()
    problem = mf.Problem(
        mf.GradientFlow(energy), mf.Density.gaussian(mf.Grid.box(-5, 5, 40), 1.0, 0.2), 1.0
    )
    report = mf.validate(problem)
    assert tuple(row["claim"] for row in report.rows) == OF_ENERGY
    assert report.passed, report.table()
    with_group = mf.validate(problem, REFLECTION)
    assert {row["claim"] for row in with_group.rows} == {*OF_ENERGY, *OF_GROUP}
    assert with_group.passed, with_group.table()
    cold = mf.Problem(mf.GradientFlow(energy.smooth), problem.initial, 1.0)
    assert tuple(row["claim"] for row in mf.validate(cold).rows) == ALWAYS


@pytest.mark.parametrize("variant", ["data-augmented", "feature-averaged"])
def test_problems_that_are_stated_augmented(variant):
    """Claims speak of all variants, whichever the problem is stated in."""
    report = mf.validate(network(variant=variant), REFLECTION, OF_SYMMETRY)
    assert report.passed, report.table()


def test_claims_on_a_circle():
    data = mf.Data.circle(8, lambda x: 0.8 * np.cos(x[..., 0]))
    energy = mf.Risk(mf.Unit.harmonic(), data, "half_squared") + 0.1 * mf.Entropy()
    grid = mf.Grid.torus(-np.pi, np.pi, 48)
    start = mf.Density.from_function(grid, lambda z: (1 - 0.5 * np.cos(z[..., 0])) / (2 * np.pi))
    report = mf.validate(mf.Problem(mf.GradientFlow(energy), start, 1.0), REFLECTION)
    assert report.passed, report.table()


def test_claims_in_the_plane():
    grid = mf.Grid.box((-4, -4), (4, 4), (20, 20))
    start = mf.Density.gaussian(grid, (0.5, -0.5), 0.3)
    problem = mf.Problem(mf.GradientFlow(swap_energy(swapped_target)), start, 0.5)
    claims = [name for name in ON_DENSITIES if name != "reaches-gibbs"]
    report = mf.validate(problem, mf.Group.swap(), claims)
    assert report.passed, report.table()


def test_groups_that_turn_cells():
    """A group that does not permute the cells is judged by the smearing of the remap."""
    grid = mf.Grid.box((-3, -3), (3, 3), (24, 24))
    energy = mf.Potential(half_square) + 0.2 * mf.Entropy()
    start = mf.Density.gaussian(grid, (0.0, 0.0), 0.2)
    problem = mf.Problem(mf.GradientFlow(energy), start, 0.3)
    holds, row = check("wi-preserved", problem, mf.Group.cyclic(3))
    assert holds, row
    assert "remap" in row["reason"]
    assert row["tolerance"] > 1e-3


def on_chart(grid):
    data = mf.Data.gauss_hermite(grid.ambient_dim, 6, lambda x: np.cos(x.sum(-1)))
    energy = mf.Risk(mf.Unit.bump(), data) + TAU * mf.Penalty() + TAU * mf.Entropy()
    noise = mf.Group.swap() if grid.ambient_dim == 2 else None
    return mf.Problem(mf.GradientFlow(energy, noise=noise), mf.Density.gaussian(grid, 0, 0.3), 0.2)


@pytest.mark.parametrize(
    ("chart", "group"),
    [
        (mf.Chart.quotient(REFLECTION), REFLECTION),
        (mf.Chart.fixed_subspace(mf.Group.swap()), mf.Group.swap()),
    ],
    ids=["half line", "fixed line"],
)
def test_claims_that_compare_laws_on_all_of_z_are_none_of_a_chart(chart, group):
    problem = on_chart(mf.Grid.box(0 if group is REFLECTION else -4, 4, 30, chart=chart))
    names = [row["claim"] for row in mf.validate(problem, group).rows]
    assert {"mass-conserved", "reaches-gibbs", "si-tangent"} < set(names)
    assert not {"wi-infimum", "law-averaged", "limit-invariant", *flow_claims.CLAIMS} & set(names)
    refuses(lambda: mf.validate(problem, group, ["wi-infimum"]), "grid of Z", "without", "drop")


def test_several_laws_are_each_a_limit():
    """Of the double well with attraction, the law on the side of the start."""
    grid = mf.Grid.box(-3, 3, 60)
    problem = mf.Problem(
        mf.GradientFlow(desai_zwanzig_energy(0.2)), mf.Density.gaussian(grid, 0.5, 0.1), 10.0
    )
    holds, row = check("reaches-gibbs", problem)
    assert holds, row


# -- claims that are false

FALSE = {
    "data-invariant": False,
    "risk-invariant": False,
    "wi-preserved": False,
    "vanilla-equals-da": False,
    "vanilla-equals-ea-on-si": False,
    "si-tangent": False,
}


def test_false_claims():
    """An arbitrary target: theory says what fails, and it does, by far."""
    everything = {name: name not in FALSE for name in (*OF_SYMMETRY, *FALSE)}
    report = mf.validate(network(arbitrary_target), REFLECTION, everything)
    assert report.passed, report.table()
    for name in FALSE:
        row = row_of(report, name)
        assert row["theory says"] == "false here"
        assert row["number"] > FALSE_MARGIN * row["tolerance"]
        assert row["control"] == ""


@pytest.mark.parametrize("name", list(FALSE))
def test_claims_wrongly_said_to_be_true(name):
    holds, row = check(name, network(arbitrary_target))
    assert holds is False, row


@pytest.mark.parametrize("name", OF_SYMMETRY)
def test_claims_wrongly_said_to_be_false(name):
    assert mf.validate(network(), REFLECTION, {name: False}).verdicts == (False,)


def test_nearly_false_is_neither(monkeypatch):
    """Between its tolerance and a thousand times that, a number is neither true nor false."""

    def nearly(setting):
        return Finding(100.0, 1.0, "made for a test", 1e9, "none")

    monkeypatch.setitem(CLAIMS, "nearly", Claim("made for a test", "here", (), nearly))
    for expected in (True, False):
        assert mf.validate(network(), None, {"nearly": expected}).verdicts == (False,)


@pytest.mark.parametrize("control", [None, 0.5, 1.0])
def test_a_control_that_does_not_fail_is_no_evidence(monkeypatch, control):
    def tame(setting):
        return Finding(0.0, 1.0, "made for a test", control, "none")

    monkeypatch.setitem(CLAIMS, "tame", Claim("made for a test", "here", (), tame))
    assert mf.validate(network(), None, ["tame"]).verdicts == (False,)


# -- planted bugs, each seen by its claim


def test_a_unit_that_is_not_equivariant_is_caught():
    shifted = mf.Unit.custom(lambda x, z: np.exp(-0.5 * (x - z - 1e-6)[..., 0] ** 2))
    broken = network(unit=shifted)
    for name in ("unit-equivariant", "risk-invariant", "wi-preserved"):
        holds, row = check(name, broken)
        assert holds is False, row
    # Feature averaging makes an invariant risk of any unit.
    assert check("fa-preserves-wi", broken)[0]


def test_a_tilted_target_is_caught():
    tilted = network(lambda x: even_target(x) + 1e-6 * np.tanh(x[..., 0]))
    for name in FALSE:
        holds, row = check(name, tilted)
        assert holds is False, row
    for name in ("unit-equivariant", "da-preserves-wi", "fa-preserves-wi", "da-equals-fa"):
        holds, row = check(name, tilted)
        assert holds, row


@pytest.mark.parametrize(
    ("wrapped", "claim"),
    [("data-augmented", "da-preserves-wi"), ("feature-averaged", "fa-preserves-wi")],
)
def test_variants_that_do_nothing_are_caught(monkeypatch, wrapped, claim):
    """Planted: a variant that is the plain risk under another name."""
    right = settings_module.with_variant

    def forgetful(energy, variant, group):
        return right(energy, "vanilla" if variant == wrapped else variant, group)

    monkeypatch.setattr(settings_module, "with_variant", forgetful)
    for name in (claim, "da-equals-fa"):
        holds, row = check(name, network(arbitrary_target))
        assert holds is False, row


def test_a_leak_is_caught(monkeypatch):
    flux_form = _kernels.flux_form

    def leaky(rho, source, forward, backward, dt, out):
        flux_form(rho, source, forward, backward, dt, out)
        out *= 1 - 1e-12

    monkeypatch.setattr(_kernels, "flux_form", leaky)
    holds, row = check("mass-conserved", options={"flux": "sg", "stepper": "heun"})
    assert holds is False, row


def test_a_negative_density_is_caught(monkeypatch):
    """Planted in the record: the march and `Density` itself refuse to make one."""
    flow = Setting.flow

    def negative(self, *arguments, **options):
        solution = flow(self, *arguments, **options)
        return replace(solution, statistics=replace(solution.statistics, smallest=-1e-300))

    monkeypatch.setattr(Setting, "flow", negative)
    holds, row = check("positive")
    assert holds is False, row


@pytest.fixture
def unwatched(monkeypatch):
    """Let the march accept every step, whatever becomes of the energy."""
    monkeypatch.setattr(march.March, "_check", lambda self, rho: State(self.equation, rho))


def test_a_rise_of_the_energy_is_caught(monkeypatch, unwatched):
    """Planted: a flux that goes uphill."""
    options = {"flux": "sg", "stepper": "heun", "dt": 0.01}
    problem = network(t1=0.05)
    assert check("energy-decreases", problem, options=options)[0]
    transport = mf.ScharfetterGummel.transport

    def uphill(self, grid, potential, beta):
        return transport(self, grid, -potential, beta)

    monkeypatch.setattr(mf.ScharfetterGummel, "transport", uphill)
    holds, row = check("energy-decreases", problem, options=options)
    assert holds is False, row


def test_other_stationary_states_are_caught(unwatched):
    """Planted: a flux whose free energy does not fall all the way."""
    holds, row = check("reaches-gibbs", options={"flux": Upwind(), "stepper": "heun"})
    assert holds is False, row
    assert row["number"] > 1e-4


def test_a_biased_flow_is_caught(monkeypatch):
    """Planted: one way a billionth faster than the other."""
    flux_form = _kernels.flux_form

    def biased(rho, source, forward, backward, dt, out):
        flux_form(rho, source, forward * (1 + 1e-9), backward, dt, out)

    monkeypatch.setattr(_kernels, "flux_form", biased)
    for name in ("wi-preserved", "da-preserves-wi", "fa-preserves-wi"):
        holds, row = check(name, options={"flux": "sg", "stepper": "heun"})
        assert holds is False, row


# -- the setting


def test_flows_are_solved_once():
    setting = Setting(network(), REFLECTION, {})
    first = setting.flow("vanilla")
    assert setting.flow("vanilla") is first
    assert setting.flow("vanilla", fault="targets") is not first
    assert setting.flow("stated", "given").densities[0].values is not None


def test_starts():
    one_sided = network(start=bump_start(CELLS, invariant=False))
    setting = Setting(one_sided, REFLECTION, {})
    assert setting.start("given") is one_sided.initial
    assert mf.asymmetry(setting.start("invariant"), REFLECTION) == 0
    tilted = setting.start("tilted")
    assert mf.asymmetry(tilted, REFLECTION) > 0.1
    assert tilted.mass == pytest.approx(one_sided.initial.mass, rel=1e-14)


def test_tilts_are_moved_by_the_group():
    """The direction of a tilt is one that the group turns around, not one that it fixes."""
    direction = moved_direction(mf.Group.swap().projection())
    np.testing.assert_allclose(np.abs(direction), np.sqrt(0.5))
    assert direction.sum() == pytest.approx(0.0, abs=1e-15)
    np.testing.assert_array_equal(moved_direction(np.eye(2)), [1.0, 0.0])
    data = mf.Data.gauss_hermite(2, 4, swapped_target)
    grid = mf.Grid.box((-2, -2), (2, 2), (8, 8))
    energy = mf.Risk(mf.Unit.ridge("tanh"), data) + 0.1 * mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), mf.Density.uniform(grid), 1.0)
    tilted = Setting(problem, mf.Group.swap(), {}).tilted_data(data)
    assert max(data.invariance_defect(mf.Group.swap())) < 1e-13
    assert max(tilted.invariance_defect(mf.Group.swap())) > 0.1


# -- what it takes


def test_claims_by_name_list_or_mapping():
    for claims in ("positive", ["positive"], ("positive",), {"positive": True}):
        assert [row["claim"] for row in mf.validate(network(), None, claims).rows] == ["positive"]


def test_options_reach_the_solver(monkeypatch):
    seen = []

    def spy(problem, **options):
        seen.append(options)
        return mf.solve(problem, **options)

    monkeypatch.setattr(settings_module, "solve", spy)
    mf.validate(network(), None, "positive", {"stepper": "b1", "save": [0.0], "tolerance": 1e-2})
    assert all(o["stepper"] == "b1" and o["tolerance"] == 1e-2 for o in seen)
    assert all(o["save"] != [0.0] for o in seen)


def test_unknown_claims():
    refuses(
        lambda: mf.validate(network(), REFLECTION, ["wi_preserved"]),
        "claims",
        "'wi_preserved'",
        "pick",
    )


@pytest.mark.parametrize("name", OF_SYMMETRY)
def test_claims_of_symmetry_need_a_group(name):
    refuses(lambda: mf.validate(network(), None, [name]), name, "without", "group=")


def test_claims_need_what_they_speak_of():
    cold = mf.Problem(mf.GradientFlow(mf.Potential(half_square)), bump_start(CELLS), 1.0)
    refuses(lambda: mf.validate(cold, None, ["reaches-gibbs"]), "diffusion", "without", "drop")
    refuses(lambda: mf.validate(cold, REFLECTION, ["da-equals-fa"]), "risk", "without", "drop")


def test_particles_cannot_be_validated():
    cloud = mf.Problem(network().flow, mf.Cloud([[0.0]]), 1.0)
    refuses(lambda: mf.validate(cloud), "initial", "Cloud", "grid")


def test_every_claim_has_a_source_and_a_need():
    for name, claim in CLAIMS.items():
        assert claim.statement, name
        assert claim.source, name
        known = {"group", "risk", "diffusion", "fixed subspace", "particles"}
        known |= {
            "transport alone",
            "squared loss",
            "few data",
            "periodic projection",
            "grid of Z",
            *OTHERS,
        }
        assert set(claim.needs) <= known, name
    assert module.CLAIMS is CLAIMS
