"""Claims about birth and death, and what other claims and studies make of a reaction."""

from dataclasses import replace

import numpy as np
import pytest
from problems import REACTING, bump_energy, bump_start, even_target, half_square, two_wells
from reference import refuses

import meanfield_pde as mf

WELL = mf.Potential(half_square) + 0.5 * mf.Entropy()
LINE = mf.Grid.box(-5, 5, 80)
START = mf.Density.gaussian(LINE, 1.0, 0.25)


def problem(energy=WELL, start=START, t1=1.0, **options):
    return mf.Problem(mf.GradientFlow(energy, **{"reaction": 1.0, **options}), start, t1)


def wells(reaction=5.0, t1=10.0):
    grid = mf.Grid.box(-5, 5, 200)
    left, all_over = mf.Density.gaussian(grid, -2.0, 0.02), mf.Density.uniform(grid)
    start = mf.Density.mixture([left, all_over], [0.999, 0.001])
    return problem(two_wells(), start, t1, reaction=reaction)


def row(report):
    assert len(report.rows) == 1
    return report.rows[0]


def test_the_bound_holds_and_its_control_fails():
    for case in (wells(), problem(bump_energy(even_target), bump_start(80), entropic=True)):
        report = mf.validate(case, claims=["fisher-rao-bound"], options={"stepper": "b2"})
        assert report.passed, report.text()
        assert 0 < row(report)["number"] <= 1 < row(report)["control"]


def test_the_bound_needs_a_fall():
    report = mf.validate(
        problem(start=mf.gibbs(WELL, LINE), entropic=True), claims=["fisher-rao-bound"]
    )
    assert not report.passed
    assert "does not fall" in row(report)["because of"]


def test_the_bound_needs_mass_everywhere():
    start = mf.Density(LINE, np.where(LINE.axes[0] > 1, 0.25, 0.0))
    report = mf.validate(problem(start=start), claims=["fisher-rao-bound"])
    assert "finds none" in row(report)["because of"]


def test_a_reaction_escapes_where_there_is_something_to_escape():
    options = {"stepper": "b2"}
    assert mf.validate(wells(), claims=["reaction-escapes"], options=options).passed
    # Too early: nothing has grown yet.
    early = mf.validate(wells(t1=0.2), claims=["reaction-escapes"], options=options)
    assert not early.passed
    well = problem(mf.Potential(half_square), t1=8.0)
    assert mf.validate(well, claims={"reaction-escapes": False}, options=options).passed


def test_a_plain_well_is_left_by_no_reaction():
    """With diffusion both flows end at the same Gibbs law."""
    both = problem(t1=30.0, entropic=True)
    assert mf.validate(both, claims={"reaction-escapes": False}).passed


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({}, ("energy-decreases", "reaches-gibbs", "one-limit", "relaxes-at-gap")),
        ({"entropic": True}, ("relaxes-at-gap",)),
        ({"frozen": (1,)}, ("frozen-law-kept",)),
        ({"transport": False}, ("reaction-escapes",)),
    ],
)
def test_claims_that_a_reaction_makes_false_are_refused(options, refused):
    start = START
    if "frozen" in options:
        start = mf.Density.gaussian(mf.Grid.box((-5, -5), (5, 5), (20, 20)), (0.0, 0.0), 0.3)
    case = problem(start=start, **options)
    for name in refused:
        refuses(
            lambda name=name: mf.validate(case, claims=[name]), f"claim {name}", "without", "drop"
        )
    assert not set(refused) & {r["claim"] for r in mf.validate(case, claims=None).rows}


def test_claims_without_a_reaction_are_refused_where_they_speak_of_one():
    still = mf.Problem(mf.GradientFlow(WELL), START, 1.0)
    for name in ("fisher-rao-bound", "reaction-escapes"):
        refuses(lambda name=name: mf.validate(still, claims=[name]), name, "without", "drop")


KEPT = ("mass-conserved", "positive", "energy-dissipated", "schedule-is-a-clock", "one-drift")


@pytest.mark.parametrize("name", ["both", "both-with-entropy", "both-without-diffusion"])
def test_claims_that_stay_true(name):
    """The balance of the free energy among them, though it need not fall."""
    report = mf.validate(REACTING[name].problem(100), claims=KEPT)
    assert report.passed, report.text()


def test_gibbs_is_the_limit_where_the_entropy_reacts():
    claims = ["reaches-gibbs", "one-limit", "energy-decreases"]
    for transport in (True, False):
        report = mf.validate(problem(t1=5.0, entropic=True, transport=transport), claims=claims)
        assert report.passed, report.text()


def test_invariance_is_kept():
    case = problem(bump_energy(even_target), bump_start(60), reaction=2.0)
    report = mf.validate(
        case, mf.Group.reflection(), ["wi-preserved", "da-equals-fa", "vanilla-equals-da"]
    )
    assert report.passed, report.text()


@pytest.mark.parametrize("name", list(REACTING))
def test_the_residual_knows_the_reaction(name):
    flow = REACTING[name].problem(10).flow
    grid = mf.Grid.box(-5, 5, 160 if flow.energy.beta or not flow.transport else 320)
    made = mf.Problem(flow, mf.Density.gaussian(grid, 0.5, 0.25), 0.5)
    solution = mf.solve(made, save=21, tolerance=1e-4)
    still = replace(flow, reaction=0.0, entropic=False, transport=True)
    faster = replace(flow, reaction=1.2 * flow.reaction)
    found, without, off = (
        float(mf.residual(solution, replace(made, flow=other)).relative.max())
        for other in (flow, still, faster)
    )
    assert found < 4e-3
    assert without > 0.05
    assert off > 0.01


@pytest.mark.parametrize("entropic", [False, True])
def test_on_the_radius_the_residual_knows_the_volume(entropic):
    grid = mf.Grid.box(0.0, 6.0, 150, mf.Chart.radius(3))
    start = mf.Density.gaussian(grid, 0.0, 0.25)
    made = problem(start=start, t1=0.5, transport=False, entropic=entropic)
    solution = mf.solve(made, save=21, tolerance=1e-4)
    assert mf.residual(solution).relative.max() < 4e-3
    other = replace(made, flow=replace(made.flow, entropic=not entropic))
    assert mf.residual(solution, other).relative.max() > 0.2


@pytest.mark.parametrize("name", ["both", "both-with-entropy", "reaction"])
def test_orders_of_convergence(name):
    flow = REACTING[name]
    options = {"flux": "sg", "stepper": "b2"}
    asked = {"space": 2.0} if name == "reaction" else {"space": 2.0, "time": 2.0}

    def made(grid):
        return mf.Problem(flow.problem(10).flow, flow.start(grid), 0.5)

    report = mf.convergence(made, mf.Grid.box(-5, 5, 50), levels=3, orders=asked, options=options)
    assert report.passed, report.text()
    assert ("time" in report.details) == (name != "reaction")
    if name == "reaction":
        assert "steps of b2 are exact" in " ".join(report.notes)
