"""Bifurcation diagrams against self-consistency equations, and growth rates against a slow twin."""

import json

import numpy as np
import pytest
from problems import (
    TRANSITIONS,
    circle,
    desai_zwanzig_energy,
    desai_zwanzig_mean,
    generator,
    half_square,
    kuramoto_order,
)
from scipy.optimize import root
from scipy.special import i0
from test_cli import call, require_message
from xarray import open_dataset

import meanfield_pde as mf
from meanfield_pde.plot import bifurcation_figure
from meanfield_pde.studies import bifurcation as module

PULL = mf.Interaction(lambda dz: -np.cos(dz[..., 0]))


def phases(coupling):
    return coupling * PULL + 1.0 * mf.Entropy()


def test_kuramoto_on_both_sides():
    report = mf.bifurcation(phases, np.linspace(1, 4, 16).tolist(), circle(64), name="K")
    assert report.passed
    flat, ordered = report.details["disordered"], report.details["ordered"]
    assert np.abs(flat["order"]).max() < 1e-12
    np.testing.assert_allclose(flat["growth_rate"], np.array(flat["parameter"]) / 2 - 1, atol=1e-3)
    assert ordered["parameter"] == [K for K in flat["parameter"] if K > 2]
    exact = [kuramoto_order(K) for K in ordered["parameter"]]
    np.testing.assert_allclose(ordered["order"], exact, rtol=0, atol=1e-4)
    free = [
        0.5 * K * r * r - np.log(2 * np.pi * i0(K * r))
        for K, r in zip(ordered["parameter"], exact, strict=True)
    ]
    np.testing.assert_allclose(ordered["free_energy"], free, atol=1e-8)
    assert all(ordered["stable"])
    assert flat["stable"] == [K <= 2 for K in flat["parameter"]]
    assert report.details["critical"] == pytest.approx([2.0], abs=1e-3)
    assert "opposite" not in report.details


@pytest.mark.parametrize("name", list(TRANSITIONS))
def test_critical_values(name):
    t = TRANSITIONS[name]
    bracket = 0.6 * t.critical, 1.5 * t.critical
    assert mf.critical_value(t.energy, bracket, t.grid) == pytest.approx(t.critical, abs=1e-3)


def test_a_derivative_off_by_5_percent_is_caught(monkeypatch):
    kernel = module._kernel
    monkeypatch.setattr(module, "_kernel", lambda *given: 1.05 * kernel(*given))
    t = TRANSITIONS["desai-zwanzig-critical-1"]
    assert abs(mf.critical_value(t.energy, (0.3, 0.7), t.grid) - t.critical) > 1e-2


def test_desai_zwanzig_has_two_ordered_branches():
    grid = mf.Grid.box(-4, 4, 100)
    report = mf.bifurcation(desai_zwanzig_energy, [0.25, 0.35, 0.44, 0.5], grid)
    up, down = (report.details[name] for name in ("ordered", "opposite"))
    assert up["parameter"] == [0.25, 0.35, 0.44]
    exact = [desai_zwanzig_mean(beta) for beta in up["parameter"]]
    np.testing.assert_allclose(up["order"], exact, atol=1e-5)
    np.testing.assert_allclose(down["order"], np.negative(exact), atol=1e-5)
    assert report.details["disordered"]["stable"] == [False, False, False, True]
    assert report.passed


def slow_growth(energy, law):
    """Leading eigenvalue of the equation in space, by differences of its right-hand side."""

    def rhs(values):
        potential = energy.smooth.on(law.grid).potential(values)
        return generator(law.grid, potential, energy.beta) @ values

    step = 1e-7
    columns = [
        (rhs(law.values + nudge) - rhs(law.values - nudge)) / (2 * step)
        for nudge in step * np.eye(law.grid.size)
    ]
    found = np.linalg.eigvals(np.stack(columns, axis=1)).real
    return np.delete(found, np.abs(found).argmin()).max()  # 0 belongs to the mass


@pytest.mark.parametrize("beta", [0.3, 0.6])
def test_growth_rates_are_those_of_the_equation(beta):
    tilted = mf.Potential(lambda z: 0.05 * z[..., 0])
    energy = desai_zwanzig_energy(beta) + tilted
    rest = module._disordered(lambda _: energy, 0.0, mf.Grid.box(-3, 3, 30))
    assert np.abs(rest.law.values - mf.gibbs(energy, rest.law.grid, rest.law).values).max() < 1e-9
    assert rest.growth == pytest.approx(slow_growth(energy, rest.law), abs=1e-5)


def test_a_network_has_one_law():
    """A convex risk: one branch, stable, where the law is that of Newton in data space."""
    data = mf.Data.gauss_hermite(1, 6, lambda x: np.tanh(x[..., 0]))
    risk = mf.Risk(mf.Unit.ridge("tanh"), data) + 0.05 * mf.Penalty()
    grid = mf.Grid.box(-5, 5, 80)
    report = mf.bifurcation(lambda beta: risk + beta * mf.Entropy(), [0.05, 0.1, 0.2], grid)
    assert report.passed
    assert set(report.details) == {"name", "critical", "disordered"}
    for beta, order in zip((0.05, 0.1, 0.2), report.details["disordered"]["order"], strict=True):
        law = mf.gibbs(risk + beta * mf.Entropy(), grid)
        assert order == pytest.approx(law.mean()[0], abs=1e-8)


def tilted_mean(mean, beta):
    """Mean of the Gibbs law of a tilted double well with a pull to the given mean, and slope."""
    x = np.linspace(-6, 6, 4001)
    rho = np.exp(-(0.25 * x**4 - 0.5 * x**2 - 0.05 * x + 0.5 * (x - mean) ** 2) / beta)
    rho /= rho.sum()
    found = float(rho @ x)
    return found, float(rho @ (x - found) ** 2) / beta


def test_a_law_that_ends_at_a_fold():
    """The unstable law and the one beside it end together; beyond there is one law alone."""
    grid = mf.Grid.box(-3.5, 3.5, 100)
    tilted = mf.Potential(lambda z: (0.25 * z**4 - 0.5 * z**2 - 0.05 * z).sum(-1))

    def family(beta):
        return tilted + mf.Interaction(half_square) + beta * mf.Entropy()

    def misfit(place):
        mean, slope = tilted_mean(*place)
        return [mean - place[0], slope - 1]

    mean, fold = root(misfit, [-0.4, 0.3]).x
    report = mf.bifurcation(family, np.linspace(0.2, 0.6, 6).tolist(), grid)
    flat, ordered, opposite = (report.details[key] for key in module.BRANCHES)
    assert report.passed
    assert report.details["critical"] == pytest.approx([fold], abs=1e-5)
    assert max(flat["order"][:2]) < 0 < min(flat["order"][2:])
    assert opposite["parameter"] == ordered["parameter"] == flat["parameter"][:2]
    for branch in (flat, ordered, opposite):
        for beta, found in zip(branch["parameter"], branch["order"], strict=True):
            assert found == pytest.approx(tilted_mean(found, beta)[0], abs=1e-5)


def test_a_family_that_jumps_has_no_critical_value_there():
    def family(value):
        return desai_zwanzig_energy(1.5 if value > 0.5 else 0.1, 0.3)

    grid = mf.Grid.box(-3.5, 3.5, 64)
    report = mf.bifurcation(family, [0.2, 0.4, 0.6], grid)
    assert report.details["critical"] == []
    assert any("jumps between 0.4 and 0.6" in note for note in report.notes)
    with pytest.raises(mf.GibbsError, match="jumps between 0.2 and 0.6"):
        mf.critical_value(family, (0.2, 0.6), grid)


def test_laws_that_the_order_does_not_see():
    """Of a kernel with the second wave alone the first moment vanishes on either side."""
    second = mf.Interaction(lambda dz: -np.cos(2 * dz[..., 0]))
    report = mf.bifurcation(
        lambda K: K * second + 1.0 * mf.Entropy(), [1.5, 2.5, 3.0], circle(64), name="K"
    )
    assert report.passed
    assert report.details["ordered"]["parameter"] == [2.5, 3.0]
    free = [
        0.5 * K * (r := kuramoto_order(K)) ** 2 - np.log(2 * np.pi * i0(K * r)) for K in (2.5, 3.0)
    ]
    np.testing.assert_allclose(report.details["ordered"]["free_energy"], free, atol=1e-8)


def test_wrong_input():
    grid = circle(32)
    with pytest.raises(ValueError, match="values must be two numbers or more in increasing order"):
        mf.bifurcation(phases, [2.0, 1.0], grid)
    with pytest.raises(ValueError, match="family must give energies with diffusion"):
        mf.bifurcation(lambda K: K * PULL, [1.0, 2.0], grid)
    with pytest.raises(ValueError, match="grid must have at most 1024 cells"):
        mf.bifurcation(phases, [1.0, 2.0], circle(2000))
    with pytest.raises(ValueError, match="bracket must enclose a change of stability"):
        mf.critical_value(phases, (0.5, 1.5), grid)


def test_the_figure_has_every_branch():
    energy = mf.Potential(half_square) + 1.0 * mf.Entropy()
    lone = mf.bifurcation(lambda b: b * energy, [1.0, 2.0], mf.Grid.box(-6, 6, 40))
    full = mf.bifurcation(desai_zwanzig_energy, [0.3, 0.4, 0.5], mf.Grid.box(-4, 4, 60))
    counts = [len(bifurcation_figure(report).legends[0].texts) for report in (lone, full)]
    assert counts == [3, 5]


def test_command(tmp_path):
    words = ["bifurcation", "kuramoto", "--set", "grid.cells=32", "-o", tmp_path]
    result = call(*words, "--over", "energy.interaction.factor=1:4:4")
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"bifurcation.{ending}" for ending in ("json", "nc", "png", "txt")]
    details = json.loads((tmp_path / "bifurcation.json").read_text())["details"]
    assert details["ordered"]["order"] == pytest.approx([kuramoto_order(3), kuramoto_order(4)])
    with open_dataset(tmp_path / "bifurcation.nc", engine="h5netcdf") as data:
        assert data.attrs["branches"] == "disordered, ordered"
        assert data["branch"].values.tolist() == [0, 0, 0, 0, 1, 1]
    require_message(call(*words, "--over", "t1=1"), 2, "values must be two numbers or more")
    require_message(call(*words, "--over", "energy.entropy.factor=-1:1:3"), 2, "energy.entropy")
