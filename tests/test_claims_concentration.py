"""Claims on logarithmic kernels, and the exact laws that they are held to."""

import numpy as np
import pytest
from reference import collapse_time, refuses

import meanfield_pde as mf
from meanfield_pde.eulerian import solve as solving
from meanfield_pde.studies.setting import Setting
from meanfield_pde.studies.virial import Virial

LOG = mf.Interaction(
    lambda dz: 0.5 * np.log((dz**2).sum(-1)), lambda dz: dz / (dz**2).sum(-1)[..., None]
)
WELL = mf.Potential(lambda z: 0.5 * (z**2).sum(-1), lambda z: z)
ABOVE, BELOW = mf.load_case("keller-segel-above"), mf.load_case("keller-segel-below")


def verdicts(problem, claims, **options):
    report = mf.validate(problem, claims=claims, options=options or None)
    return dict(zip((row["claim"] for row in report.rows), report.verdicts, strict=True))


# -- what is found in an energy


@pytest.mark.parametrize("dim", [1, 2, 3])
@pytest.mark.parametrize(
    ("energy", "chi", "kappa"),
    [
        (1.5 * LOG + 0.2 * mf.Entropy(), 1.5, 0.0),
        (-2.0 * LOG + WELL, -2.0, 1.0),
        (LOG + 0.5 * LOG + 3.0 * mf.Penalty() - WELL, 1.5, 5.0),
        (mf.Interaction(lambda dz: np.log(5 * (dz**2).sum(-1))) + 0.0 * WELL, 2.0, 0.0),
    ],
)
def test_strengths_are_found(energy, chi, kappa, dim):
    found = Virial.of(energy, dim)
    assert (found.chi, found.kappa) == pytest.approx((chi, kappa), abs=1e-8)


OTHERS = {
    "no kernel": WELL + mf.Entropy(),
    "smooth kernel": mf.Interaction(lambda dz: -np.exp(-(dz**2).sum(-1))),
    "quadratic kernel": mf.Interaction(WELL.function),
    "another well": LOG + mf.Potential(lambda z: (z**4).sum(-1)),
    "off the middle": LOG + mf.Potential(lambda z: 0.5 * ((z - 1) ** 2).sum(-1)),
    "power": mf.Interaction(lambda dz: -((dz**2).sum(-1) ** -0.25)),
}


@pytest.mark.parametrize("energy", OTHERS.values(), ids=OTHERS)
def test_other_energies_have_no_such_law(energy):
    assert Virial.of(energy, 2) is None


# -- when shells arrive


@pytest.mark.parametrize("chi", [1.2, 1.5, 4.0])
@pytest.mark.parametrize("kappa", [0.0, 1.0])
def test_shells_arrive_when_the_equation_of_their_mass_says(chi, kappa):
    """Shells that move, against the mass inside circles that stand: within a thousandth."""
    rho = mf.Density.gaussian(mf.Grid.box((-4, -4), (4, 4), (128, 128)), (0.1, 0.05), 0.5)
    found = Virial(chi, kappa).collapse(rho, 0.25, 20.0)
    assert found == pytest.approx(collapse_time(chi, 0.25, 0.5, kappa), rel=2e-3)
    assert Virial(chi, kappa).collapse(rho, 0.25, 0.9 * found) is None


def test_shells_of_a_disc():
    """Without diffusion all arrive at radius^2 / (2 chi); on the radius and in the plane."""
    plane = mf.Grid.box((-1.5, -1.5), (1.5, 1.5), (120, 120))
    for grid in (plane, mf.Grid.box(0, 1.5, 300, mf.Chart.radius(2))):
        jacobian = 1.0 if grid is plane else grid.points[..., 0]
        inside = 1.0 * ((grid.places**2).sum(-1) < 1) * jacobian
        disc = mf.Density(grid, inside).normalised()
        assert Virial(2.0, 0.0).collapse(disc, 0.0, 1.0) == pytest.approx(0.25, rel=0.01)


def test_below_critical_none_arrives():
    rho = BELOW.problem.initial
    assert Virial(0.999, 0.0).collapse(rho, 0.25, 100.0) is None
    assert Virial(-1.0, 0.0).collapse(rho, 0.25, 100.0) is None
    assert Virial(1.2, 0.0).critical(0.25, 2) == pytest.approx(1 / 1.2)
    assert Virial(0.4, 0.0).critical(0.25, 1) == pytest.approx(0.5 / 0.4)


# -- the claims


def test_claims_hold_where_they_are_stated():
    assert verdicts(ABOVE, {"collapses": True}) == {"collapses": True}
    found = verdicts(BELOW, {"collapses": False, "second-moment-law": True})
    assert found == {"collapses": True, "second-moment-law": True}


def test_claims_stated_the_wrong_way_fail():
    assert verdicts(ABOVE, {"collapses": False}) == {"collapses": False}
    found = verdicts(BELOW, {"collapses": True, "second-moment-law": False})
    assert found == {"collapses": False, "second-moment-law": False}


def test_a_collapse_that_is_missed_or_invented_fails(monkeypatch):
    monkeypatch.setattr(solving, "watch", lambda *given: None)
    assert verdicts(ABOVE, {"collapses": True}) == {"collapses": False}
    monkeypatch.undo()
    honest = Setting.flow

    def alarmed(setting, *given, **named):
        solution = honest(setting, *given, **named)
        object.__setattr__(solution.statistics, "concentrated", 0.5)
        return solution

    monkeypatch.setattr(Setting, "flow", alarmed)
    assert verdicts(BELOW, {"collapses": False}) == {"collapses": False}


def test_a_wrong_kernel_breaks_the_law_of_the_second_moment(monkeypatch):
    """One whose force is a fiftieth too strong on the grid, and right for particles."""
    kernel = mf.Interaction
    honest = kernel._differences
    monkeypatch.setattr(kernel, "_differences", lambda *given: 1.02 * honest(*given))
    fresh = mf.load_case("keller-segel-below")
    assert verdicts(fresh, {"second-moment-law": True}) == {"second-moment-law": False}


def test_on_the_line_and_on_the_radius():
    line = mf.Density.gaussian(mf.Grid.box(-6, 6, 400), 0.0, 0.25)
    energy = LOG + WELL + mf.Entropy()
    problem = mf.Problem(mf.GradientFlow(energy), line, 1.0)
    assert verdicts(problem, ["second-moment-law"]) == {"second-moment-law": True}
    refuses(lambda: mf.validate(problem, claims=["collapses"]), "collapses", "plane", "drop")
    radius = mf.Density.gaussian(mf.Grid.box(0, 4, 200, mf.Chart.radius(2)), 0.0, 0.5)
    problem = mf.Problem(mf.GradientFlow(1.5 * LOG + 0.25 * mf.Entropy()), radius, 1.5)
    assert verdicts(problem, ["collapses"], collapse="stop") == {"collapses": True}


def test_no_radial_equation_without_a_radial_start():
    grid = mf.Grid.box((-4, -4), (4, 4), (64, 64))
    start = mf.Density.gaussian(grid, (0, 0), (0.5, 0.3))
    problem = mf.Problem(mf.GradientFlow(2.0 * LOG + 0.25 * mf.Entropy()), start, 1.0)
    report = mf.validate(problem, claims=["collapses"], options={"collapse": "stop"})
    assert not report.passed
    assert "not radial" in report.rows[0]["because of"]


def test_walls_and_other_energies_are_refused():
    torus = mf.Density.uniform(mf.Grid.torus((0, 0), (1, 1), (8, 8)))
    power = mf.Problem(mf.GradientFlow(OTHERS["power"]), BELOW.problem.initial, 1.0)
    for problem in (mf.Problem(mf.GradientFlow(LOG), torus, 1.0), power):
        refuses(
            lambda p=problem: mf.validate(p, claims=["second-moment-law"]),
            *("second-moment-law", "quadratic and log kernel", "drop"),
        )


def test_charges_without_diffusion_fill_the_unit_disc():
    """At rest the potential is constant where charges are: its Laplacian 2 - 2 pi rho vanishes.

    So rho = 1 / pi, on the disc that holds mass 1, with M2 = 1/2 and energy 1/4 + 1/8: the mean of
    log|x - y| over two points of the disc is -1/4.
    """
    errors = []
    for cells in (32, 64):
        grid = mf.Grid.box((-2, -2), (2, 2), (cells, cells))
        start = mf.Density.gaussian(grid, (0, 0), 0.1)
        problem = mf.Problem(mf.GradientFlow(WELL - LOG), start, 8.0)
        solution = mf.solve(problem, reduce=mf.Group.dihedral(4), tolerance=1e-2)
        rest, squares = solution.densities[-1], (grid.points**2).sum(-1)
        disc = mf.Density(grid, 1.0 * (squares < 1)).normalised()
        errors.append(mf.distance.l1(rest, disc))
        flat = (WELL - LOG).potential(rest)[squares < 0.7]
        assert np.ptp(flat) < 2e-3
        assert solution.energy[-1] == pytest.approx(0.375, abs=2e-3)
        assert rest.expect(lambda z: (z**2).sum(-1)) == pytest.approx(0.5, rel=2e-3)
    assert errors[1] < 0.75 * errors[0] < 0.2
