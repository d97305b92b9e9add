"""Solves on fundamental domains and on charts, against solves in the whole space."""

import numpy as np
import pytest
from problems import TAU, bump_energy, bump_start, even_target, swap_energy, swapped_target
from reference import refuses

import meanfield_pde as mf
from meanfield_pde.eulerian import reduction as module
from meanfield_pde.eulerian.flux import FLUXES, Ends
from meanfield_pde.eulerian.stepper import STEPPERS

FLIP, SWAP, SQUARE = mf.Group.reflection(), mf.Group.swap(), mf.Group.dihedral(4)
GROUPS = {
    "flip": mf.Group.reflection(2),
    "quarter": mf.Group.dihedral(2),
    "swap": SWAP,
    "octant": SQUARE,
}


def radial(x):
    return np.exp(-(x**2).sum(-1))


def well(z):
    return np.cos(z).sum(-1) + 0.1 * (z**2).sum(-1) + 0.01 * (z**2).prod(-1)


ENERGIES = {
    "potential": lambda: mf.Potential(well) + 0.1 * mf.Entropy(),
    "interaction": lambda: (
        0.1 * mf.Penalty()
        + mf.Interaction(lambda dz: np.exp(-0.5 * (dz**2).sum(-1)))
        + 0.1 * mf.Entropy()
    ),
    "network": lambda: (
        mf.Risk(mf.Unit.bump(), mf.Data.gauss_hermite(2, 8, radial))
        + TAU * mf.Penalty()
        + TAU * mf.Entropy()
    ),
    "no diffusion": lambda: mf.Potential(well),
}
METHODS = [("heun", "sg"), ("heun", "rl"), ("mprk22", "compact"), ("b1", "sg"), ("auto", "auto")]


def plane(group, cells=24):
    grid = mf.Grid.box((-4, -4), (4, 4), (cells, cells))
    return mf.symmetrise(mf.Density.gaussian(grid, (1.0, 0.3), 0.15), group)


@pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
@pytest.mark.parametrize("energy", ENERGIES)
@pytest.mark.parametrize(("stepper", "flux"), METHODS)
def test_reduced_is_whole(group, energy, stepper, flux):
    """The same density, energy, dissipation and steps, and invariance to the last bit."""
    flow = mf.GradientFlow(ENERGIES[energy]())
    problem = mf.Problem(flow, plane(group), t1=0.3)
    options = {"save": 3, "stepper": stepper, "flux": flux}
    if stepper == "b1":
        options["dt"] = 0.1
    whole = mf.solve(problem, **options)
    reduced = mf.solve(problem, reduce=group, **options)
    assert reduced.statistics.steps == whole.statistics.steps
    for one, other in zip(whole.densities, reduced.densities, strict=True):
        np.testing.assert_allclose(other.values, one.values, rtol=0, atol=1e-12)
        assert other.mass == pytest.approx(1, abs=1e-7)
        assert mf.asymmetry(other, group) == 0.0
    np.testing.assert_allclose(reduced.energy, whole.energy, rtol=0, atol=1e-12)
    np.testing.assert_allclose(reduced.dissipation, whole.dissipation, rtol=1e-10, atol=1e-14)
    assert "reduced by" in reduced.statistics.reason


@pytest.mark.parametrize("stepper", [*STEPPERS, "auto"])
def test_half_of_a_line(stepper):
    problem = mf.Problem(mf.GradientFlow(bump_energy(even_target)), bump_start(200), 1.0)
    options = {"stepper": stepper, "dt": 0.02 if stepper in ("b1", "b2") else None}
    whole = mf.solve(problem, **options)
    reduced = mf.solve(problem, reduce=FLIP, **options)
    gap = np.abs(whole.densities[-1].values - reduced.densities[-1].values).max()
    assert gap <= 1e-12
    assert "100 of 200 cells" in reduced.result


def test_problems_stated_on_the_half_line():
    """A density on a chart is the image of the invariant one, for every flux."""
    grid = mf.Grid.box(0, 4, 100, chart=mf.Chart.quotient(FLIP))
    start = mf.Density.gaussian(grid, 1.0, 0.25, lost=1e-4)
    energy = bump_energy(even_target)
    whole = mf.Problem(mf.GradientFlow(energy), mf.lift(start), 1.0)
    for flux in FLUXES:
        stepper = "heun" if flux == "rl" else "mprk22"
        half = mf.solve(mf.Problem(mf.GradientFlow(energy), start, 1.0), flux=flux, stepper=stepper)
        full = mf.solve(whole, flux=flux, stepper=stepper)
        lifted = mf.lift(half.densities[-1]).values
        np.testing.assert_allclose(lifted, full.densities[-1].values, rtol=0, atol=1e-12)
    rest, whole_rest = mf.gibbs(energy, grid), mf.gibbs(energy, grid.whole)
    np.testing.assert_allclose(mf.lift(rest).values, whole_rest.values, rtol=0, atol=1e-11)


def test_a_forgotten_image_behind_the_mirror_is_caught(monkeypatch):
    """With one-sided differences at the mirror the compact flux is another one."""
    problem = mf.Problem(mf.GradientFlow(bump_energy(even_target)), bump_start(200), 1.0)
    whole = mf.solve(problem, stepper="mprk22", flux="compact").densities[-1]
    for place in ("flux", "line", "lines"):
        name = f"meanfield_pde.eulerian.{place}.ends_of"
        monkeypatch.setattr(name, lambda grid, axis: Ends(False, False))
    reduced = mf.solve(problem, stepper="mprk22", flux="compact", reduce=FLIP).densities[-1]
    assert np.abs(whole.values - reduced.values).max() > 1e-11


def test_a_density_of_the_plane_by_its_radius():
    """Rotation-invariant network: moments of the Cartesian solve, and of cells as wide in r.

    Both start from values at the nodes: averages over cells have other moments, by h^2 / 12.
    """
    data = mf.Data.gauss_laguerre(12, 32, lambda x: np.exp(-0.4 * (x**2).sum(-1)))
    energy = mf.Risk(mf.Unit.bump(), data) + TAU * mf.Penalty() + TAU * mf.Entropy()

    def final(grid, density):
        start = mf.Density.from_function(grid, density, nodes=1).normalised()
        problem = mf.Problem(mf.GradientFlow(energy), start, 2.0)
        return mf.solve(problem, tolerance=2e-5, flux="compact", stepper="mprk22").densities[-1]

    def normal(z):
        return np.exp(-(z**2).sum(-1)) / np.pi

    plane = final(mf.Grid.box((-5, -5), (5, 5), (128, 128)), normal)
    grid = mf.Grid.box(0, 5, 64, chart=mf.Chart.radius(2))
    ring = final(grid, lambda z: 2 * np.pi * z[..., 0] * normal(z))
    for k in (2, 4):
        assert ring.moment(k) == pytest.approx(plane.moment(k), rel=1e-5)
    assert energy.value(ring) == pytest.approx(energy.value(plane), abs=1e-7)


@pytest.mark.parametrize("dim", [2, 3, 10])
def test_ornstein_uhlenbeck_on_the_radius(dim):
    """E |z|^2 = D v(t), and the law stays that of a normal vector: order 2."""
    v0, beta, errors = 0.3, 0.5, []
    v1 = beta + (v0 - beta) * np.exp(-2.0)
    flow = mf.GradientFlow(0.5 * mf.Penalty() + beta * mf.Entropy())
    for cells in (60, 120, 240):
        grid = mf.Grid.box(0, np.sqrt(dim) + 4, cells, chart=mf.Chart.radius(dim))
        start = mf.Density.gaussian(grid, 0.0, v0)
        solution = mf.solve(mf.Problem(flow, start, 1.0), flux="sg", tolerance=1e-4)
        exact = mf.Density.gaussian(grid, 0.0, v1)
        errors.append(float(mf.distance.l1(solution.densities[-1], exact)))
        assert solution.statistics.energy_rise <= 1e-12
    assert -np.polyfit(np.log([60, 120, 240]), np.log(errors), 1)[0] == pytest.approx(2, abs=0.25)
    assert errors[-1] < 2e-3
    rest = mf.gibbs(flow.energy, grid)
    there = mf.Density.gaussian(grid, 0.0, beta)
    assert float(mf.distance.l1(rest, there)) < 1e-3


def test_flows_on_the_fixed_subspace():
    """A strongly invariant law on the diagonal, against particles that know nothing of charts."""
    energy = swap_energy(swapped_target)
    grid = mf.Grid.box(-6, 6, 300, chart=mf.Chart.fixed_subspace(SWAP))
    start = mf.Density.gaussian(grid, 0.7, 0.25)
    problem = mf.Problem(mf.GradientFlow(energy, noise=SWAP), start, 2.0)
    solution = mf.solve(problem)
    run = mf.simulate(problem, 2000, seed=3, dt=0.02, seeds=8)
    assert np.abs(run.points[..., 0] - run.points[..., 1]).max() <= 1e-12
    report = mf.compare(solution, run)
    assert report.passed, report.table()
    other = mf.Problem(mf.GradientFlow(energy + 0.02 * mf.Penalty(), noise=SWAP), start, 2.0)
    assert not mf.compare(mf.solve(other), run).passed


# -- refusals


def refused(start, group, energy=None, **options):
    energy = ENERGIES["potential"]() if energy is None else energy
    return lambda: mf.solve(
        mf.Problem(mf.GradientFlow(energy), start, 0.1), reduce=group, **options
    )


ON_A_LINE = mf.Density.uniform(mf.Grid.box(-6, 6, 30, chart=mf.Chart.fixed_subspace(SWAP)))
LOPSIDED = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), (24, 24)), (1.0, 0.3), 0.15)
REFUSALS = {
    "start": (refused(LOPSIDED, SQUARE), "initial", "relative", "mf.symmetrise"),
    "energy": (
        refused(plane(SQUARE), SQUARE, mf.Potential(lambda z: z[..., 0])),
        *("energy", "relative", "another group"),
    ),
    "rotations": (refused(plane(SQUARE), mf.Group.cyclic(4)), "reduce", "cyclic(4)", "radius"),
    "odd": (refused(plane(SQUARE, 25), SQUARE), "reduce", "25 x 25", "even number"),
    "off centre": (
        refused(mf.Density.uniform(mf.Grid.box((-3, -4), (4, 4), (24, 24))), SQUARE),
        *("reduce", "-3", "centre"),
    ),
    "oblong": (
        refused(mf.Density.uniform(mf.Grid.box((-4, -4), (4, 4), (24, 20))), SWAP),
        *("reduce", "24 x 20", "same on both"),
    ),
    "torus": (
        refused(mf.Density.uniform(mf.Grid.torus(-1, 1, 20)), FLIP),
        *("reduce", "torus", "symmetry="),
    ),
    "chart": (refused(ON_A_LINE, SWAP), "noise", "all directions", "noise=group"),
    "both": (
        refused(plane(SQUARE), SQUARE, symmetry=SQUARE),
        *("symmetry", "both", "invariant"),
    ),
    "no group": (refused(plane(SQUARE), "octant"), "reduce", "str", "mf.Group"),
    "leaving": (
        lambda: mf.solve(
            mf.Problem(
                mf.GradientFlow(swap_energy(lambda x: np.tanh(2 * x[..., 0])), noise=SWAP),
                ON_A_LINE,
                0.1,
            )
        ),
        *("energy must have a drift tangent", "leaves it", "data augmentation"),
    ),
    "noise": (
        lambda: mf.solve(mf.Problem(mf.GradientFlow(swap_energy(swapped_target)), ON_A_LINE, 0.1)),
        *("noise", "in all directions", "group of the chart"),
    ),
}


@pytest.mark.parametrize(("call", "argument", "got", "remedy"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_what_is_reduced():
    """Half, quarter and octant, and the part of a group that has mirrors."""
    problem = mf.Problem(mf.GradientFlow(ENERGIES["potential"]()), plane(SQUARE), 0.1)
    for group, cells, said in [
        (GROUPS["flip"], (12, 24), "2 of 2"),
        (GROUPS["quarter"], (12, 12), "4 of 4"),
        (SWAP, (24, 24), "2 of 2"),
        (SQUARE, (12, 12), "8 of 8"),
    ]:
        found, reduced = module.reduction(problem, group)
        assert reduced.initial.grid.cells == cells
        assert said in found.said
        lifted = found.lift(reduced.initial).values
        np.testing.assert_allclose(lifted, problem.initial.values, rtol=0, atol=1e-15)
