"""The convergence study: the orders it finds are those there are, and it finds what is wrong."""

import json

import numpy as np
import pytest
from manufactured import MANUFACTURED
from problems import FLOWS, Upwind
from reference import order, refuses

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.studies import refinement

CIRCLE = MANUFACTURED["waves-on-a-circle"]
SG = {"flux": "sg", "stepper": "mprk22"}


def study(made=CIRCLE, n=20, options=SG, **more):
    return mf.convergence(made.on, made.grid(n), options=options, **{"levels": 3, **more})


# -- orders


@pytest.mark.parametrize("stepper", ["heun", "mprk22"])
@pytest.mark.parametrize("name", ["waves-between-walls", "waves-on-a-circle", "waves-in-a-square"])
def test_orders_against_the_exact_law(name, stepper):
    made = MANUFACTURED[name]
    asked = {"space": 2, "time": 2}
    options = {"flux": "sg", "stepper": stepper}
    report = study(made, made.cells[0], options, exact=made.at, orders=asked)
    assert report.passed, report.table()
    for part in report.details.values():
        assert part["order"] == pytest.approx(2.0, abs=0.15)
    # The errors are those of a solve by hand.
    space = report.details["space"]
    rho = mf.solve(made.problem(made.cells[0]), flux="sg", stepper=stepper, tolerance=1e-5)
    error = mf.distance.l1(rho.densities[-1], made.at(made.grid(made.cells[0]), made.t1))
    assert space["errors"][0] == pytest.approx(float(error), rel=0.06)
    assert space["order"] == pytest.approx(order(1 / space["sizes"], space["errors"]), rel=1e-12)


@pytest.mark.parametrize("name", ["waves-on-a-circle", "waves-in-a-square"])
def test_orders_by_comparing_grids(name):
    """Differences of neighbouring grids are 1 - 1/4 of the errors."""
    made = MANUFACTURED[name]
    n = made.cells[0]
    alone, exact = study(made, n, levels=4), study(made, n, exact=made.at)
    part, truth = alone.details["space"], exact.details["space"]
    assert part["order"] == pytest.approx(2.0, abs=0.1)
    np.testing.assert_allclose(part["errors"], 0.75 * truth["errors"], rtol=0.1)


def test_first_order_steps():
    first = {"flux": "sg", "stepper": "b1"}
    report = study(options=first, orders={"time": 1})
    assert report.details["time"]["order"] == pytest.approx(1.0, abs=0.1)
    fits = [v for row, v in zip(report.rows, report.verdicts, strict=True) if row["cells"] == "fit"]
    assert fits == [None, True]
    assert not study(options=first, n=12, orders={"time": 2}).passed


def test_the_rate_is_a_clock():
    made = MANUFACTURED["slanted"]
    report = study(made, 80, exact=made.at, orders={"space": 2, "time": 2})
    assert report.passed, report.table()
    clock = made.flow.clock(0.0, made.t1)
    assert report.details["time"]["sizes"][0] == pytest.approx(clock / report.rows[-3]["steps"])


# -- what is wrong


def wrong(made):
    energy = made.energy + 0.05 * made.lines[0].beta * mf.Entropy()
    return lambda grid: mf.Problem(mf.GradientFlow(energy), made.at(grid, 0.0), made.t1)


def test_a_wrong_equation_is_caught_by_an_exact_law_alone():
    grid, options = CIRCLE.grid(80), {"options": SG, "orders": {"space": 2}, "levels": 3}
    assert not mf.convergence(wrong(CIRCLE), grid, CIRCLE.at, **options).passed
    assert mf.convergence(wrong(CIRCLE), grid, **options).passed


def test_a_first_order_flux_is_caught():
    options = {"flux": Upwind(), "stepper": "heun"}
    report = study(options=options, exact=CIRCLE.at, orders={"space": 2}, n=40)
    assert report.details["space"]["order"] < 1.5
    assert not report.passed
    assert report.title.startswith("Convergence of upwind and heun")


def test_errors_that_rise_fail():
    def worse(grid, t):
        factor = 1 + 0.001 * grid.cells[0] * np.sin(np.pi * grid.axes[0])
        return mf.Density(grid, CIRCLE.at(grid, t).values * factor)

    report = study(exact=worse)
    assert [v for r, v in zip(report.rows, report.verdicts, strict=True) if r["refined"] == "space"]
    assert report.verdicts[1] is False
    assert "FAILS" in report.table()


def test_steps_hardly_count(monkeypatch):
    """However loose the tolerance is at first; without tightening they would."""
    loose = {**SG, "tolerance": 0.05}
    shares = [row["of steps"] for row in study(options=loose, exact=CIRCLE.at).rows[:3]]
    assert max(shares) <= refinement.SHARE
    monkeypatch.setattr(refinement, "ROUNDS", 0)
    shares = [row["of steps"] for row in study(options=loose, exact=CIRCLE.at).rows[:3]]
    assert max(shares) > refinement.SHARE


def test_nothing_but_rounding():
    """A law at rest has no order, and no check of one."""
    made = MANUFACTURED["waves-between-walls"]

    def at_rest(grid):
        return mf.Problem(made.flow, mf.gibbs(made.energy, grid), 0.1)

    def rest(grid, t):
        return mf.gibbs(made.energy, grid)

    report = mf.convergence(at_rest, made.grid(16), rest, 3, {"space": 2, "time": 2}, SG)
    assert set(report.verdicts) == {None}
    json.loads(report.to_json())
    titles = [axes.get_title("left") for axes in plot.convergence_figure(report).axes]
    assert titles == ["In space: rounding alone", "In time: rounding alone"]


# -- grids and times


@pytest.mark.parametrize("shape", [(6,), (4, 6)])
def test_averaging_keeps_mass(shape):
    rng = np.random.default_rng(1)
    fine = rng.random((2, *(3 * n for n in shape)))
    coarse = refinement._averaged(fine, (2, *shape))
    np.testing.assert_allclose(coarse.sum() * 3 ** len(shape), fine.sum(), rtol=1e-14)
    for index in np.ndindex(shape):
        block = fine[(1, *(slice(3 * i, 3 * i + 3) for i in index))]
        assert coarse[(1, *index)] == pytest.approx(block.mean(), rel=1e-14)


def test_grids_may_be_listed():
    grids = [CIRCLE.grid(n) for n in (20, 30, 45)]
    report = study(made=CIRCLE, exact=CIRCLE.at)
    listed = mf.convergence(CIRCLE.on, grids, CIRCLE.at, 3, {"space": 2}, SG)
    assert listed.passed
    assert [row["cells"] for row in listed.rows[:3]] == ["20", "30", "45"]
    assert listed.rows[0]["error"] == pytest.approx(report.rows[0]["error"], rel=0.05)


def test_the_largest_error_over_the_saved_times():
    """At late times all is at rest, and a scheme that keeps Gibbs states has no error there."""
    flow = FLOWS["heat-neumann"]

    def exact(grid, t):
        wave = np.diff(np.sin(np.pi * grid.faces[0])) / (np.pi * grid.spacing[0])
        return mf.Density(grid, 1 + 0.5 * np.exp(-(np.pi**2) * t) * wave)

    def problem(grid):
        return mf.Problem(mf.GradientFlow(flow.energy), flow.start(grid), 4.0)

    both = {**SG, "save": [0.1, 4.0]}
    found = mf.convergence(problem, flow.grid(12), exact, 3, {"space": 2, "time": 2}, both)
    assert found.passed
    error = mf.solve(flow.problem(12), flux="sg", tolerance=1e-6).densities[-1].values
    error = np.abs(error - flow.end(flow.grid(12)).values).mean()
    assert found.rows[0]["error"] == pytest.approx(error, rel=0.06)
    assert "t = 0.1" in found.notes[2]


def test_methods_are_those_of_the_finest_grid():
    """OU at small noise: the limited flux on coarse grids, the compact one on fine grids."""
    energy = mf.Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.01 * mf.Entropy()

    def problem(grid):
        start = mf.Density.gaussian(grid, 1.0, 0.04)
        return mf.Problem(mf.GradientFlow(energy), start, 0.5)

    coarse = mf.Grid.box(-3, 3, 50)
    assert mf.solve(problem(coarse), save=[0]).statistics.flux == "rl"
    report = mf.convergence(problem, coarse, options={"tolerance": 1e-3})
    assert report.title.startswith("Convergence of compact and ")


def test_a_case_brings_all():
    settings = ["grid.cells=64", "t1=0.5", "save=[0, 0.25, 0.5]", "solve.stepper=mprk22"]
    settings.append("solve.flux=sg")
    case = mf.load_case("kuramoto").with_settings(settings)
    report = mf.convergence(case, orders={"space": 2, "time": 2})
    assert report.passed, report.table()
    assert [row["cells"] for row in report.rows[:4]] == ["16", "32", "64", "fit"]
    assert report.title == "Convergence of sg and mprk22, 16 to 128 cells"
    assert "t = 0.25" in report.notes[2]
    plane = mf.load_case("swap-invariant").with_settings(
        ["grid.cells=[16, 24]", "t1=0.2", "save=2"]
    )
    assert mf.convergence(plane, levels=3).rows[0]["cells"] == "4 x 6"


def test_a_method_without_error_in_time():
    """b2 is exact for a fixed potential: there is nothing to refine, and no order to ask for."""
    flow = FLOWS["ornstein-uhlenbeck"]

    def problem(grid):
        return mf.Problem(mf.GradientFlow(flow.energy), flow.start(grid), 1.0)

    report = mf.convergence(problem, flow.grid(50), levels=3, orders={"space": 2})
    assert report.passed
    assert set(report.details) == {"space"}
    assert "No error in time" in report.notes[2]
    both = {"space": 2, "time": 2}
    refuses(
        lambda: mf.convergence(problem, flow.grid(50), orders=both), "orders", "b2", "name another"
    )


def test_refusals():
    grid = CIRCLE.grid(20)
    box = mf.Grid.box(0, 2, 20)
    case = mf.load_case("kuramoto")
    refuses(lambda: mf.convergence(CIRCLE.problem(20)), "problem", "Problem", "every grid")
    refuses(lambda: mf.convergence(CIRCLE.on), "grids", "None", "the coarsest")
    refuses(lambda: mf.convergence(CIRCLE.on, [grid, grid, grid]), "finer", "20", "sort")
    refuses(lambda: mf.convergence(CIRCLE.on, [grid]), "at least 3", "1", "three")
    refuses(lambda: mf.convergence(CIRCLE.on, [1, 2, 3]), "grids", "int", "Grid.box")
    refuses(lambda: mf.convergence(CIRCLE.on, grid, levels=2), "levels", "2", "three")
    uneven = [CIRCLE.grid(n) for n in (20, 30, 45)]
    refuses(lambda: mf.convergence(CIRCLE.on, uneven), "divide", "(30,)", "double")
    refuses(lambda: study(orders={"speed": 2}), "orders", "speed", "names")
    refuses(lambda: study(orders={"space": 0}), "orders", "0", "most methods")
    refuses(lambda: study(options={"steps": 3}), "options", "steps", "drop")
    refuses(lambda: study(options={"save": [0]}), "save", "0 alone", "t1")
    refuses(lambda: mf.convergence(case, box), "domain", "(0.0,)", "function of a grid")
    refuses(lambda: mf.convergence(lambda grid: 3, grid), "problem(grid)", "int", "mf.Problem")
    refuses(lambda: study(exact=lambda grid, t: 1.0), "exact", "float", "averages")
    refuses(lambda: study(exact=lambda _, t: CIRCLE.at(grid, t)), "exact", "(20,)", "pass the grid")


def test_the_figure_shows_the_numbers():
    report = study(exact=CIRCLE.at)
    figure = plot.convergence_figure(report)
    for axes, part in zip(figure.axes, report.details.values(), strict=True):
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
        line, *slopes = axes.get_lines()
        np.testing.assert_array_equal(line.get_xdata(), part["sizes"])
        np.testing.assert_array_equal(line.get_ydata(), part["errors"])
        for expected, slope in zip((1, 2), slopes, strict=True):
            assert order(1 / slope.get_xdata(), slope.get_ydata()) == pytest.approx(expected)
        assert f"order {part['order']:.2f}" in axes.get_title("left")
        low, high = axes.get_ylim()
        assert low < part["errors"].min() < part["errors"].max() < high
