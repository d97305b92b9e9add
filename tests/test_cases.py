"""Every case of the folder: it loads, solves at a low cost, and claims what makes sense."""

import subprocess
import sys

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.case import case_folder
from meanfield_pde.case.claim_names import CLAIM_NAMES, GAME_CLAIM_NAMES
from meanfield_pde.energies.loss import Squared
from meanfield_pde.energies.set_unit import SetUnit
from meanfield_pde.measures.chart import Radius
from meanfield_pde.studies.claims import CLAIMS, GAME_CLAIMS
from meanfield_pde.studies.closed_forms import known
from meanfield_pde.studies.game_setting import GameSetting

NAMES = sorted(path.stem for path in case_folder().glob("*.toml"))
GAMES = [name for name in NAMES if mf.load_case(name).schema.of_game]
OF_ONE = [name for name in NAMES if name not in GAMES]
DEPENDS = (
    *("si-suffices", "si-is-worse", "limit-invariant", "particles-keep-wi", "particles-keep-si"),
    *("particles-da-equals-vanilla", "sgd-nears-si"),
)
"""Claims that are false of some problems, where the data have no symmetry or for other reasons."""


def coarse(name):
    """The case with few cells, and implicit steps where explicit ones would be many."""
    case = mf.load_case(name)
    if case.schema.of_game:
        cells = ["24" if law.grid.dim == 1 else "[12, 12]" for law in case.problem.initial]
        grids = [f"player.{k}.grid.cells={n}" for k, n in enumerate(cells)]
        return case.with_settings([*grids, "solve.tolerance=1e-2"])
    cells = "24" if case.problem.initial.grid.dim == 1 else "[24, 24]"
    if case.claims.get("collapses"):  # a core on 24 cells fills four of them at once
        cells = "[48, 48]"
    return case.with_settings([f"grid.cells={cells}", "solve.tolerance=1e-2"])


def of_densities(case):
    """Return the claims of a case, but those on particles and one that needs more cells."""
    return {
        name: holds
        for name, holds in case.claims.items()
        if "particles" not in CLAIMS[name].needs and name != "one-drift"
    }


def moves_parameters(name):
    group = mf.load_case(name).group
    return group is not None and group.fixed_basis().shape[0] > group.fixed_basis().shape[1]


def risk_of(case):
    leaves = (leaf for _, leaf in case.problem.flow.energy.terms)
    return next((leaf for leaf in leaves if isinstance(leaf, mf.Risk)), None)


def test_all_cases_are_listed():
    assert list(mf.list_cases()) == NAMES
    assert len(NAMES) >= 11
    assert all(mf.list_cases().values())


@pytest.mark.parametrize("name", NAMES)
def test_case_solves(name):
    case = coarse(name)
    solution = mf.solve(case.problem, **case.solve_options())
    assert solution.ok
    collapsed = case.claims.get("collapses", False)
    assert (solution.statistics.concentrated is not None) is collapsed
    assert bool(solution.times[-1] < case.problem.t1) is collapsed
    assert solution.statistics.mass_drift < 1e-13
    assert solution.statistics.smallest >= 0
    if name in GAMES:
        assert (solution.gap > 0).all()
        assert (solution.average_gap > 0).all()
        return
    assert (np.diff(solution.energy) < 0).all()
    assert solution.energy[0] - solution.energy[-1] > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_case_says_where_it_is_from(name):
    case = mf.load_case(name)
    assert case.name == name
    assert case.schema.source
    assert len(case.schema.about) > 100


@pytest.mark.parametrize("name", NAMES)
def test_case_runs_with_particles(name):
    case = coarse(name).with_settings(
        [
            *("simulate.particles=20", "simulate.seeds=2", "simulate.dt=0.01"),
            *("simulate.save=[0, 0.1]",),
        ]
    )
    run = mf.simulate(case.problem, **case.simulate_options())
    for points in run.points if name in GAMES else (run.points,):
        assert points.shape[:3] == (2, 2, 20)
        assert np.abs(points[0] - points[1]).max() > 0


@pytest.mark.parametrize("name", GAMES)
def test_claims_of_games_have_what_they_need(name):
    case = mf.load_case(name)
    has = {**GameSetting(case.problem).has(), "particles": True, "asked": True}
    for claim in case.claims:
        assert all(has[need] for need in GAME_CLAIMS[claim].needs), claim
    kept = ("mass-conserved", "positive", "swap-symmetric", "zero-sum", "particles-swap-symmetric")
    assert all(case.claims[claim] for claim in kept)
    assert "not\nguaranteed" in case.schema.about or "not guaranteed" in case.schema.about


@pytest.mark.parametrize("name", OF_ONE)
def test_claims_have_what_they_need(name):
    case = mf.load_case(name)
    risk = risk_of(case)
    has = {"group": case.group is not None, "risk": risk is not None}
    has["lazy metric"] = case.problem.flow.metric is not None
    grid = case.problem.initial.grid
    has["grid of Z"] = grid.symmetric_chart is None
    has["orbits of few points"] = not isinstance(grid.chart, Radius) or grid.chart.dim == 2
    has["frozen"] = bool(case.problem.flow.frozen)
    has["diffusion"] = case.problem.flow.energy.beta > 0 and not has["frozen"]
    has["sets"] = risk is not None and isinstance(risk.unit, SetUnit)
    has["squared loss"] = risk is not None and isinstance(risk.loss, Squared)
    has["periodic projection"] = True
    has["few data"] = risk is not None and risk.data.size * 2 <= 2000
    has["fixed subspace"] = case.group is not None and case.group.fixed_basis().size > 0
    has["transport alone"] = not case.problem.flow.reaction
    has["particles"] = has["asked"] = True
    flow = case.problem.flow
    has["reaction"], has["no reaction"] = flow.reaction > 0, flow.reaction == 0
    has["gradient flow"], has["transport"] = flow.dissipative, flow.transport
    kernels = [table.name for table in case.schema.energy if table.kind == "interaction"]
    has["log kernel"] = kernels == ["log"]
    has["plane"] = case.problem.initial.grid.ambient_dim == 2
    has |= known(case.problem)
    assert case.claims
    for claim in case.claims:
        assert all(has[need] for need in CLAIMS[claim].needs), claim
    # What conserves, conserves always.
    assert all(case.claims[claim] for claim in ("mass-conserved", "positive", "energy-decreases"))


@pytest.mark.parametrize("name", [name for name in NAMES if moves_parameters(name)])
def test_claims_of_symmetry_fit_the_problem(name):
    case = mf.load_case(name)
    assert mf.asymmetry(case.problem.initial, case.group) <= 1e-14
    risk = risk_of(case)
    if risk is None:
        assert case.claims["wi-preserved"]
        return
    invariant = max(risk.data.invariance_defect(case.group)) < 1e-12
    of_data = (
        *("data-invariant", "risk-invariant", "wi-preserved", "vanilla-equals-da"),
        *("vanilla-equals-ea-on-si", "si-tangent"),
    )
    for claim in of_data:
        if claim in case.claims or case.problem.initial.grid.chart is None:
            assert case.claims[claim] is invariant, claim
    for claim, stated in case.claims.items():
        assert stated is True or claim in (*of_data, *DEPENDS), claim


@pytest.mark.parametrize("name", ["reflection-arbitrary", "swap-arbitrary"])
def test_a_claim_stated_the_wrong_way_fails(name):
    case = coarse(name).with_settings(["claims.wi-preserved=true"])
    report = mf.validate(case, claims=of_densities(case))
    failed = [
        row["claim"]
        for row, verdict in zip(report.rows, report.verdicts, strict=True)
        if verdict is False
    ]
    assert failed == ["wi-preserved"]


@pytest.mark.parametrize(
    "name", ["reflection-invariant", "swap-arbitrary", "swap-vector", "double-well"]
)
def test_claims_hold_on_a_coarse_grid(name):
    case = coarse(name)
    report = mf.validate(case, claims=of_densities(case))
    assert report.passed, report.table()


def test_numbers_that_the_texts_quote():
    # Mean and variance of the Ornstein-Uhlenbeck process, means of the other two at rest.
    case = mf.load_case("ornstein-uhlenbeck-1d")
    rho = mf.solve(case.problem, **case.solve_options()).at(1.0)
    assert rho.mean()[0] == pytest.approx(0.3678794, abs=2e-4)
    assert rho.cov()[0, 0] == pytest.approx(0.4377458, abs=2e-4)
    case = mf.load_case("desai-zwanzig")
    rho = mf.solve(case.problem, **case.solve_options()).at(40.0)
    assert rho.mean()[0] == pytest.approx(0.8514788572, abs=1e-5)
    case = mf.load_case("circle-network")
    rho = mf.solve(case.problem, **case.solve_options()).at(5.0)
    assert rho.expect(lambda z: np.cos(z[..., 0])) == pytest.approx(0.4138828011, abs=2e-4)
    case = mf.load_case("kuramoto").with_settings(["grid.cells=128", "t1=10.0", "save=[10.0]"])
    rho = mf.solve(case.problem, **case.solve_options()).at(10.0)
    assert rho.expect(lambda z: np.cos(z[..., 0])) == pytest.approx(0.7241587176, abs=5e-4)


def test_names_that_cases_know_are_those_of_the_claims():
    assert set(CLAIM_NAMES) == set(CLAIMS)
    assert set(GAME_CLAIM_NAMES) == set(GAME_CLAIMS)
    for names in (CLAIM_NAMES, GAME_CLAIM_NAMES):
        assert len(names) == len(set(names))


def test_a_case_is_solved_without_what_it_does_not_need():
    """Solvers of games, studies and statistics take longer to import than small cases to solve."""
    code = (
        "import sys, meanfield_pde as mf; case = mf.load_case('ornstein-uhlenbeck-2d');"
        "mf.solve(case.with_settings(['grid.cells=[16, 16]']).problem);"
        "print([name for name in ('scipy.special', 'scipy.fft', 'scipy.stats', 'scipy.optimize',"
        "'scipy.sparse', 'matplotlib', 'meanfield_pde.studies.claims',"
        "'meanfield_pde.eulerian.game_solve', 'meanfield_pde.lagrangian') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
