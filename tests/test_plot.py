"""Figures: what they show, that their text fits, and that they touch no global state."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.plot.reports import distances_in
from meanfield_pde.studies.claims import flows, network, scheme


def small(name, *settings):
    cells = "[16, 16]" if name.startswith("swap") else "48"
    return mf.load_case(name).with_settings(
        [f"grid.cells={cells}", "t1=0.5", "save=3", "simulate.particles=40", *settings]
    )


@pytest.fixture(scope="module", params=["kuramoto", "reflection-arbitrary", "swap-arbitrary"])
def case(request):
    return small(request.param, "simulate.seeds=3", "simulate.dt=0.05")


@pytest.fixture(scope="module")
def solution(case):
    return mf.solve(case.problem, **case.solve_options())


@pytest.fixture(scope="module")
def run(case):
    return mf.simulate(case.problem, **case.simulate_options())


@pytest.fixture(scope="module")
def comparison(solution, run):
    return mf.compare(solution, run)


@pytest.fixture(scope="module")
def validation(case):
    quick = {**network.CLAIMS, **flows.CLAIMS, **scheme.CLAIMS}
    return mf.validate(case, claims={k: v for k, v in case.claims.items() if k in quick})


def panels(figure):
    """Axes with something drawn on them other than a colour bar."""
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def require_fitting(figure):
    """All that is drawn lies inside the figure, and neighbouring tick labels do not overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    drawn, size = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) > -0.01
    assert drawn.x1 < size[0] + 0.01
    assert drawn.y1 < size[1] + 0.01
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            shown = [
                tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high
            ]
            shown = [text for text in shown if text.get_visible() and text.get_text()]
            boxes = [text.get_window_extent(renderer) for text in shown]
            for one, other in pairwise(boxes):
                assert not one.overlaps(other), (axes.get_title(), axis)


def require_labelled(figure):
    labels = [axes.get_xlabel() for axes in panels(figure)]
    assert any(labels)
    assert any(axes.get_ylabel() or axes.get_title(loc="left") for axes in panels(figure))


@pytest.mark.parametrize("name", ["density", "energy", "asymmetry"])
def test_figures_of_a_solution(case, solution, name):
    draw = getattr(plot, f"{name}_figure")
    figure = draw(solution, case.group) if name == "asymmetry" else draw(solution)
    require_labelled(figure)
    require_fitting(figure)


def test_density_has_a_line_or_a_panel_for_each_time(solution):
    axes = panels(plot.density_figure(solution))
    if solution.densities[0].grid.dim == 1:
        lines = axes[0].get_lines()
        assert [line.get_label() for line in lines] == ["$t$ = 0", "$t$ = 0.25", "$t$ = 0.5"]
        assert np.array_equal(lines[1].get_ydata(), solution.densities[1].values)
        return
    assert [one.get_title(loc="left") for one in axes] == ["$t$ = 0", "$t$ = 0.25", "$t$ = 0.5"]
    images = [one.get_images()[0] for one in axes]
    assert len({image.get_clim() for image in images}) == 1
    assert np.array_equal(images[2].get_array(), solution.densities[2].values.T)


def test_many_times_have_a_colour_bar():
    case = small("kuramoto", "save=12")
    figure = plot.density_figure(mf.solve(case.problem, **case.solve_options()))
    assert len(panels(figure)[0].get_lines()) == 12
    assert len(figure.axes) == 2
    require_fitting(figure)


def test_asymmetry_shows_what_the_function_says(case, solution):
    axes = panels(plot.asymmetry_figure(solution, case.group))[0]
    shown = axes.get_lines()[0].get_ydata()
    for value, rho in zip(shown, solution.densities, strict=True):
        assert value == max(mf.asymmetry(rho, case.group), 1e-18)


def test_energy_is_logarithmic_where_it_spans_decades():
    case = small("double-well", "t1=10", "save=6")
    figure = plot.energy_figure(mf.solve(case.problem, **case.solve_options()))
    assert [axes.get_yscale() for axes in panels(figure)] == ["log", "log"]
    require_fitting(figure)
    # At rest there is nothing to take a logarithm of.
    problem = case.problem
    rest = mf.gibbs(problem.flow.energy, problem.initial.grid)
    still = mf.solve(mf.Problem(problem.flow, rest, t1=1.0), save=3)
    still = replace(still, energy=np.full(3, -1.0), dissipation=np.zeros(3))
    assert panels(plot.energy_figure(still))[0].get_yscale() == "linear"


@pytest.mark.parametrize("with_density", [True, False])
def test_particles(solution, run, with_density):
    figure = plot.particles_figure(solution if with_density else None, run)
    assert len(panels(figure)) == 3
    require_labelled(figure)
    require_fitting(figure)
    if run.points.shape[-1] == 1:
        heights = panels(figure)[0].patches[0].get_data()
        mass = heights.values @ np.diff(heights.edges)
        assert mass == pytest.approx(1.0, abs=0.05)
        assert len(panels(figure)[0].get_lines()) == with_density


def test_particles_in_space_are_refused(run):
    with pytest.raises(ValueError, match="at most 2 dimensions to be drawn, got 3"):
        plot.particles_figure(None, replace(run, points=np.zeros((3, 1, 5, 3))))


def test_comparison(comparison, solution, run):
    figure = plot.comparison_figure(comparison, solution, run)
    require_labelled(figure)
    require_fitting(figure)
    assert "checks" in figure.get_suptitle()
    rows = distances_in(comparison)
    for row in rows:
        assert row["verdict"] == (row["particles"] <= row["largest"])
    drawn = panels(figure)[-1].get_lines()
    limits = next(line for line in drawn if line.get_label() == "largest that holds")
    last = [row["largest"] for row in rows if row["quantity"] == rows[-1]["quantity"]]
    assert limits.get_ydata().tolist() == last
    failing = replace(comparison, verdicts=(False,) * len(comparison.verdicts))
    assert "fail (" in plot.comparison_figure(failing, solution, run).get_suptitle()


def test_validation(validation):
    figure = plot.validation_figure(validation)
    require_fitting(figure)
    axes = panels(figure)[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert [name.split(" ")[0] for name in names] == [row["claim"] for row in validation.rows]
    assert [" (false here)" in n for n in names] == [not r["expected"] for r in validation.rows]
    colors = {line.get_color() for line in axes.get_lines()}
    failing = replace(validation, verdicts=(False, *validation.verdicts[1:]))
    more = {line.get_color() for line in panels(plot.validation_figure(failing))[0].get_lines()}
    assert more - colors == {"#D55E00"}


def test_validation_without_a_number(validation):
    """A claim whose numerics failed has a reason alone: its line stays empty."""
    rows = ({"claim": "lost", "expected": True, "reason": "no steps"}, *validation.rows)
    failing = replace(validation, rows=rows, verdicts=(False, *validation.verdicts))
    shown, all_shown = (panels(plot.validation_figure(r))[0] for r in (failing, validation))
    assert shown.get_yticklabels()[0].get_text() == "lost"
    assert len(shown.get_lines()) == len(all_shown.get_lines()) + 1


@pytest.mark.parametrize("flux", ["sg", "rl"])
def test_convergence(flux):
    case = small("kuramoto", f"solve.flux={flux}", "solve.stepper=heun")
    report = mf.convergence(case, levels=3)
    figure = plot.convergence_figure(report)
    require_labelled(figure)
    require_fitting(figure)
    for axes in panels(figure):  # two decades at least are marked
        low, high = axes.get_ylim()
        assert high / low >= 9.99
    steep = {k: {**part, "order": 4.0} for k, part in report.details.items()}
    figure = plot.convergence_figure(replace(report, details=steep))
    assert [len(axes.get_lines()) for axes in panels(figure)] == [4, 4]
    require_fitting(figure)


def test_saved_as_png_or_not_at_all(tmp_path, solution):
    figure = plot.density_figure(solution)
    plot.save_figure(figure, tmp_path / "deep" / "density.png")
    assert (tmp_path / "deep" / "density.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    with pytest.raises(mf.StorageError):
        plot.save_figure(figure, tmp_path / "deep" / "density.png" / "density.png")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["density.png"]


def test_settings_of_the_user_are_left_alone(solution):
    before = dict(mpl.rcParams)
    with mpl.rc_context({"font.size": 30.0}):
        figure = plot.density_figure(solution)
        assert mpl.rcParams["font.size"] == 30.0
    assert dict(mpl.rcParams) == before
    assert panels(figure)[0].xaxis.label.get_size() == 10.0


def test_no_pyplot():
    code = "import sys, meanfield_pde.plot; print('matplotlib.pyplot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
