"""Games through files, comparison, claims and figures, each with a fault that is caught."""

from dataclasses import replace

import numpy as np
import pytest
from games import circle, payoff_a, payoff_b, peak
from reference import refuses
from test_plot import panels, require_fitting, require_labelled

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.energies.payoff import ProductPayoff
from meanfield_pde.eulerian.game_step import Match
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.studies.claims import GAME_CLAIMS

STATED = {
    "game-langevin": ["game.beta=0.5", "t1=20.0", "save=5"],
    "game-fisher-rao": ["t1=40.0", "save=9"],
    "game-plane": ["t1=1.0", "save=3"],
}


def coarse(name):
    cells = "[12, 12]" if name == "game-plane" else "32"
    grids = [f"player.{k}.grid.cells={cells}" for k in range(2)]
    few = ["simulate.particles=60", "simulate.seeds=4", "simulate.save=[0, 0.5]"]
    return mf.load_case(name).with_settings([*grids, *STATED[name], *few])


@pytest.fixture(scope="module", params=STATED)
def case(request):
    return coarse(request.param)


@pytest.fixture(scope="module")
def solution(case):
    return mf.solve(case.problem, **{**case.solve_options(), "save": [0.0, 0.5, 1.0]})


@pytest.fixture(scope="module")
def run(case):
    return mf.simulate(case.problem, **case.simulate_options())


# -- files


def test_solution_comes_back_bit_for_bit(tmp_path, case, solution):
    given = replace(solution, attributes={"case": case.text})
    mf.save_solution(given, tmp_path / "solution.nc")
    back = mf.load_solution(tmp_path / "solution.nc", case.problem)
    assert isinstance(back, mf.GameSolution)
    assert back.problem is case.problem
    assert back.attributes["case"] == case.text
    for name in ("times", "payoff", "gap", "average_gap", "entropic_gap", "mass"):
        assert np.array_equal(getattr(back, name), getattr(solution, name)), name
    for name in ("densities", "averages"):
        for one, other in zip(getattr(back, name), getattr(solution, name), strict=True):
            for a, b in zip(one, other, strict=True):
                assert a.grid == b.grid
                assert np.array_equal(a.values, b.values)
    assert (back.statistics, back.result, back.ok) == (solution.statistics, solution.result, True)


def test_run_comes_back_bit_for_bit(tmp_path, case, run):
    mf.save_run(run, tmp_path / "run.nc")
    back = mf.load_run(tmp_path / "run.nc", case.problem)
    assert isinstance(back, mf.GameRun)
    assert all(np.array_equal(a, b) for a, b in zip(back.points, run.points, strict=True))
    assert (back.seed, back.dynamics, back.result) == (run.seed, run.dynamics, run.result)
    with pytest.raises(mf.StorageError, match="kind is game-run"):
        mf.load_solution(tmp_path / "run.nc")


def test_dims_name_the_players(case, solution, run):
    data = solution.to_dataset()
    wide = case.name == "game-plane"
    assert data["first"].dims == (("time", "x1", "x2") if wide else ("time", "x"))
    assert data["second_average"].dims == (("time", "y1", "y2") if wide else ("time", "y"))
    assert data.attrs["kind"] == "game-solution"
    assert run.to_dataset()["second"].dims == ("time", "seed", "particle", "y")


def test_nan_never_reaches_a_file(tmp_path, solution):
    with pytest.raises(ValueError, match="gap must be finite"):
        mf.save_solution(replace(solution, gap=solution.gap * np.nan), tmp_path / "a.nc")
    assert list(tmp_path.iterdir()) == []


# -- comparison


@pytest.fixture(scope="module")
def langevin():
    """Game B with its solution and particles."""
    grid = circle(64)
    game = mf.ZeroSumGame(products_b(), beta=0.3)
    problem = mf.Problem(game, (peak(grid, 1.0), peak(grid, 3.0)), 1.0)
    run = mf.simulate(problem, particles=1000, seeds=8, dt=0.02, save=[0, 1])
    return problem, mf.solve(problem, save=[0, 1]), run


def products_b(shift=0.0):
    """Payoff B as products; the shift of its second term is a fault."""
    return ProductPayoff(
        [
            (lambda x: np.cos(x[..., 0]), lambda y: np.cos(y[..., 0])),
            (lambda x: np.sin(x[..., 0]), lambda y: np.sin(y[..., 0])),
            (lambda x: 0.5 * np.cos(2 * (x[..., 0] - shift)), lambda y: np.ones(y.shape[:-1])),
            (lambda x: np.ones(x.shape[:-1]), lambda y: 0.3 * np.sin(y[..., 0])),
        ]
    )


def test_comparison_holds_for_both_players(langevin):
    _, solution, run = langevin
    report = mf.compare(solution, run, distances=["w1"])
    assert report.passed, report.table()
    assert report.columns[:3] == ("time", "player", "quantity")
    found = [(row["time"], row["player"], row["quantity"]) for row in report.rows]
    of_player = ["cos x", "sin x", "w1"]
    each = [(p, q) for p in ("first", "second") for q in of_player] + [("both", "payoff")]
    assert found == [(t, *pair) for t in (0.0, 1.0) for pair in each]


def test_comparison_sees_one_wrong_player(langevin):
    problem, _, run = langevin
    flow = mf.ZeroSumGame(products_b(shift=0.4), beta=0.3)
    wrong = mf.solve(mf.Problem(flow, problem.initial, 1.0), save=[0, 1])
    report = mf.compare(wrong, run, distances=["w1"])
    failed = {
        row["player"]
        for row, holds in zip(report.rows, report.verdicts, strict=True)
        if holds is False
    }
    assert "first" in failed
    assert report.rows[0]["time"] == 0.0
    assert all(report.verdicts[: len(report.rows) // 2])  # they start alike


def test_payoff_of_clouds_and_densities(langevin):
    problem, solution, _ = langevin
    p, q = solution.densities[-1]
    x, y = p.grid.points[:, None], q.grid.points[None]
    direct = p.masses @ payoff_b(x, y) @ q.masses
    row = next(r for r in mf.compare(*langevin[1:], ["w1"]).rows if r["quantity"] == "payoff")
    start = [rho.masses for rho in problem.initial]
    assert row["density"] == pytest.approx(start[0] @ payoff_b(x, y) @ start[1], abs=1e-13)
    assert solution.payoff[-1] == pytest.approx(direct, abs=1e-13)


def test_comparisons_that_make_no_sense(langevin):
    problem, solution, run = langevin
    one = mf.solve(mf.Problem(mf.GradientFlow(mf.Entropy()), problem.initial[0], 1.0))
    refuses(lambda: mf.compare(one, run), "solution", "Solution", "for the game")
    refuses(lambda: mf.compare(solution, replace(run, times=run.times + 3)), "times", "3", "save=")
    refuses(lambda: mf.compare(solution, run, ["model"]), "distances", "'model'", "risk")
    lost = replace(solution, problem=None)
    refuses(lambda: mf.compare(lost, run), "problem", "file", "load_solution")


# -- claims


def test_claims_hold_on_coarse_grids(case):
    claims = dict(case.claims)
    if case.name != "game-fisher-rao":  # the cheapest for claims on particles
        claims.pop("particles-follow-density", None)
    if case.name == "game-plane":
        del claims["gap-closes"]
    report = mf.validate(case, claims=claims)
    assert report.passed, report.table()


def test_controls_are_what_they_say():
    """Where all apply, each is named; those on particles are left to those who ask."""
    report = mf.validate(coarse("game-fisher-rao").problem)
    found = [row["claim"] for row in report.rows]
    assert "last-iterate-cycles" in found
    assert "particles-follow-density" not in found
    assert "reaches-entropic-nash" not in found
    assert set(found) < set(GAME_CLAIMS)


def verdict(problem, name, expected=True):
    (found,) = mf.validate(problem, claims={name: expected}).verdicts
    return found


def test_cycles_are_not_convergence():
    case = mf.load_case("game-cycle").with_settings(
        [f"player.{k}.grid.cells=48" for k in range(2)] + ["t1=8.0", "save=9"]
    )
    for name in ("reaches-entropic-nash", "gap-closes"):
        report = mf.validate(case, claims={name: False})
        assert report.passed, report.table()
        assert not mf.validate(case, claims={name: True}).passed


def test_convergence_is_not_cycling():
    grid = circle(32)
    game = mf.ZeroSumGame(payoff_a, beta=1.0)
    still = mf.Problem(game, (peak(grid, 1.0), peak(grid, 2.0)), 8.0)
    assert verdict(still, "gap-closes")
    assert verdict(still, "reaches-entropic-nash")
    assert not verdict(still, "reaches-entropic-nash", expected=False)


def test_claims_that_lack_something():
    problem = coarse("game-langevin").problem
    with pytest.raises(ValueError, match="got a problem without; drop the claim"):
        mf.validate(problem, claims=["last-iterate-cycles"])
    refuses(lambda: mf.validate(problem, claims=["wi-preserved"]), "claims", "'wi-", "pick")
    group = mf.Group.reflection(1)
    refuses(lambda: mf.validate(problem, group), "group", "reflection", "no claims")
    law = mf.Cloud([[0.0]])
    refuses(
        lambda: mf.validate(mf.Problem(problem.flow, (problem.initial[0], law), 1.0)),
        *("initial", "Cloud", "grid"),
    )


def test_a_player_who_moves_second_is_caught(monkeypatch):
    """The second player answers the first one's move, in the density and in the particles."""
    problem = coarse("game-langevin").problem
    names = ("swap-symmetric", "particles-swap-symmetric")
    assert all(verdict(problem, name) for name in names)

    def late(self, before, after):
        return self.payoff.first(0.5 * (before[1] + after[1])), -self.payoff.second(after[0])

    plain = ProductPayoff.drifts

    def drifts(self, mu, nu):
        down, _ = plain(self, mu, nu)
        return down, plain(self, Cloud(mu.points + 0.05 * down), nu)[1]

    monkeypatch.setattr(Match, "between", late)
    monkeypatch.setattr(ProductPayoff, "drifts", drifts)
    assert not any(verdict(problem, name) for name in names)


def test_another_reaction_is_caught(monkeypatch):
    """A reaction of the first player alone at half its rate: relative entropies drift."""
    problem = coarse("game-fisher-rao").problem
    assert verdict(problem, "last-iterate-cycles")
    plain = Match.potentials

    def slower(self, p, q):
        loss, gain = plain(self, p, q)
        return 0.5 * loss, gain

    monkeypatch.setattr(Match, "potentials", slower)
    assert not verdict(problem, "last-iterate-cycles")


# -- other studies


def test_studies_of_one_law_refuse_games(case, solution):
    problem, said = case.problem, ("gradient flow", "got a game", "compare and validate")
    grid = problem.initial[0].grid
    refuses(lambda: mf.convergence(case), *said)
    refuses(lambda: mf.convergence(problem), *said)
    refuses(lambda: mf.discover(case), *said)
    refuses(lambda: mf.sweep(case, "particles=10,20,40"), *said)
    refuses(lambda: mf.fluctuations(case), *said)
    refuses(lambda: mf.fluctuations(problem), *said)
    refuses(lambda: mf.residual(solution), *said)
    refuses(lambda: mf.infimum(problem.flow, grid), *said)
    refuses(lambda: mf.gibbs(problem.flow, grid), *said)


def test_what_python_prints_is_short(case, solution, run):
    for thing in (solution, run, solution.densities[0][0]):
        assert len(repr(thing)) < 1500
    assert solution.result in repr(solution)
    assert run.result in repr(run)


# -- figures


def test_figures(case, solution, run):
    drawn = {
        "players": plot.players_figure(solution),
        "gap": plot.gap_figure(solution),
        "phase": plot.phase_figure(solution),
        "particles": plot.game_particles_figure(None, run),
    }
    for name, figure in drawn.items():
        require_labelled(figure)
        require_fitting(figure)
        if name == "gap":
            upper, _ = panels(figure)
            assert upper.get_yscale() == "log"
            assert np.array_equal(upper.get_lines()[1].get_ydata(), solution.average_gap)
    if solution.densities[0][0].grid.dim == 1:
        first, second = panels(drawn["players"])
        assert first.get_legend() is None
        assert second.get_legend() is not None
        assert [one.get_ylabel() for one in (first, second)] == ["$p_t(x)$", "$q_t(y)$"]
    x, y = panels(drawn["phase"])[0].get_lines()[0].get_data()
    for shown, k in ((x, 0), (y, 1)):
        expected = [pair[k].expect(lambda z: np.cos(z[..., 0])) for pair in solution.densities]
        assert shown == pytest.approx(expected, abs=1e-14)


def test_figure_of_a_comparison(langevin):
    _, solution, run = langevin
    report = mf.compare(solution, run, distances=["w1", "w2"])
    figure = plot.game_comparison_figure(report, solution, run)
    require_labelled(figure)
    require_fitting(figure)
    assert len(panels(figure)) == 2 * 2 + 2 * 2
