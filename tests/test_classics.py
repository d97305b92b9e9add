"""The classics of McKean and Vlasov on a line: closed forms, claims that use them, and faults."""

from functools import partial

import numpy as np
import pytest
from problems import box, circle, half_square
from scipy.integrate import quad
from scipy.special import wofz
from scipy.stats import norm

import meanfield_pde as mf
from meanfield_pde.case.energy import INTERACTIONS
from meanfield_pde.energies.energy import SumFunctional
from meanfield_pde.studies.claims.classics import wave_rates
from meanfield_pde.studies.closed_forms import classic, convexity, crossover, known

WELL = mf.Potential(half_square, lambda z: z)
LOG = mf.Interaction(*INTERACTIONS["log"])
ABSOLUTE = mf.Interaction(*INTERACTIONS["absolute"])
ATTRACTION = mf.Interaction(half_square, lambda z: z)


def problem(energy, grid, mean=0.0, cov=0.25, t1=1.0, **flow):
    return mf.Problem(mf.GradientFlow(energy, **flow), mf.Density.gaussian(grid, mean, cov), t1)


def averages(grid, quantile):
    """Exact cell averages of the law with a quantile function, by a fine table."""
    u = np.linspace(0, 1, 400_001)[1:-1]
    below = np.interp(grid.faces[0], quantile(u), u, left=0, right=1)
    return mf.Density(grid, np.diff(below) / grid.volume)


def apart(mu, nu):
    return float(mf.distance.l1(mu, nu))


# -- known answers, typed from formulas of their own


@pytest.mark.parametrize(("cells", "reached"), [(100, 1.5e-3), (200, 4.3e-4)])
def test_attraction_and_repulsion_by_quantiles(cells, reached):
    """W = x^2/2 - |x|: X = X_0 e^-t + (2u - 1)(1 - e^-t), from N(0, 1/16)."""
    energy = ATTRACTION - ABSOLUTE
    given = problem(energy, box(2.0)(cells), cov=0.0625)
    late = mf.solve(given).at(1.0)
    decay = np.exp(-1.0)
    exact = averages(late.grid, lambda u: 0.25 * norm.ppf(u) * decay + (2 * u - 1) * (1 - decay))
    assert apart(late, exact) <= 1.02 * reached
    middle = 1 / (0.25 * np.sqrt(2 * np.pi) * decay + 2 * (1 - decay))
    assert late.values[cells // 2] == pytest.approx(middle, rel=2e-3)
    # The closed form starts from cells, and moves them exactly.
    assert apart(classic(given).law(1.0), exact) <= 10 * given.initial.grid.spacing[0] ** 2


def test_attraction_and_repulsion_at_rest():
    energy = ATTRACTION - ABSOLUTE
    late = mf.solve(problem(energy, box(2.0)(200), cov=0.0625, t1=12.0)).densities[-1]
    inside = np.abs(late.grid.axes[0]) < 1
    assert np.abs(late.values - 0.5 * inside).sum() * late.grid.volume < 1e-3
    assert energy.value(late) == pytest.approx(-1 / 6, abs=1e-4)


def test_second_moment_under_logarithmic_attraction():
    """M2' = 2 beta - chi - 2 M2, to 1e-4 on 400 cells; loose tolerances cost what they say."""
    exact = 0.5 + (0.25 - 0.5) * np.exp(-2.0)
    given = problem(WELL + LOG + 1.0 * mf.Entropy(), box(6.0)(400))
    tight, loose = (mf.solve(given, tolerance=tol).at(1.0) for tol in (1e-4, 1e-3))
    assert tight.moment(2) == pytest.approx(exact, abs=1e-4)
    assert abs(loose.moment(2) - exact) < 2e-4
    assert apart(tight, loose) < 1e-3
    late = mf.gibbs(given.flow.energy, given.initial.grid)
    assert late.moment(2) == pytest.approx(0.5, abs=1e-4)


def test_a_kernel_averaged_at_zero_alone_is_caught(monkeypatch):
    """Planted: the singular kernel by its values at the centres, but for the cell at 0."""
    averaged = mf.Interaction._averaged

    def careless(self, offsets, spacing):
        kernel = averaged(self, offsets, spacing)
        away = np.abs(offsets).max(axis=-1) > 0
        kernel[away] = self.function(offsets[away] * spacing)
        return kernel

    monkeypatch.setattr(mf.Interaction, "_averaged", careless)
    fresh = mf.Interaction(*INTERACTIONS["log"])  # functionals are kept with their energy
    given = problem(WELL + fresh + 1.0 * mf.Entropy(), box(6.0)(400))
    exact = 0.5 + (0.25 - 0.5) * np.exp(-2.0)
    assert abs(mf.solve(given, tolerance=1e-4).at(1.0).moment(2) - exact) > 3e-4


def test_contraction_of_two_solutions():
    """V = x^2/2 without diffusion: e^t rho_0(e^t x), and W2 falls as e^-t."""
    grid = box(3.0)(400)
    first, other = (mf.solve(problem(WELL, grid, mean, cov=0.04)) for mean in (1.0, -0.5))
    late = first.at(1.0)
    assert late.mean()[0] == pytest.approx(np.exp(-1), abs=1e-4)
    assert late.cov()[0, 0] == pytest.approx(0.04 * np.exp(-2), rel=0.02)
    before, after = (mf.distance.w2(first.at(t), other.at(t)) for t in (0.0, 1.0))
    assert float(after) == pytest.approx(np.exp(-1) * float(before), rel=1e-3)
    point = np.exp(-1) * np.sqrt(1 + 0.04)
    assert np.sqrt(late.moment(2)) == pytest.approx(point, rel=1e-3)


def test_semicircle():
    """W = x^2/2 - log|x|: radius sqrt 2, since int rho(y) / (x - y) dy = 2 x / R^2."""
    late = mf.solve(problem(ATTRACTION - LOG, box(2.0)(160), cov=0.04, t1=8.0)).densities[-1]
    faces = np.clip(late.grid.faces[0], -np.sqrt(2), np.sqrt(2))
    exact = [
        quad(lambda x: np.sqrt(2 - x * x) / np.pi, a, b)[0]
        for a, b in zip(faces, faces[1:], strict=False)
    ]
    assert np.abs(late.masses - exact).sum() < 2e-3
    assert late.cov()[0, 0] == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("nu", [-2.0, -1.0, -0.3, 0.5])
def test_the_law_between_normal_and_semicircle(nu):
    profile = crossover(nu)
    moments = [quad(lambda x, k=k: x**k * profile(np.array(x)), -15, 15)[0] for k in (0, 2)]
    np.testing.assert_allclose(moments, [1.0, 1 - nu], rtol=1e-9)
    energy = WELL + 2 * nu * LOG + 1.0 * mf.Entropy()
    given = problem(energy, box(9.0)(300))
    assert apart(classic(given).rest(), mf.gibbs(energy, given.initial.grid)) < 1e-3


def test_the_law_at_minus_one_is_a_faddeeva_function():
    x = np.linspace(-6, 6, 101)
    closed = np.exp(-0.5 * x * x) / (np.sqrt(np.pi**3 / 2) * np.abs(wofz(x / np.sqrt(2))) ** 2)
    np.testing.assert_allclose(crossover(-1.0)(x), closed, rtol=1e-12)


# -- what is recognised


def test_coefficients_are_those_of_the_energy():
    pulled = mf.Potential(lambda z: 1.5 * z[..., 0] ** 2 - 0.6 * z[..., 0] + 4.0)
    energy = pulled + mf.Penalty() + 0.3 * ATTRACTION - 0.2 * ABSOLUTE + 0.5 * LOG
    flow = classic(problem(energy, box(5.0)(100)))
    assert flow.well == pytest.approx(5.0)
    assert flow.pull == pytest.approx([-0.6])
    assert flow.kernel == pytest.approx((0.3, -0.2, 0.5))
    assert flow.mean(50.0)[0] == pytest.approx(0.12)


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (WELL + LOG + mf.Entropy(), {"quadratic and log kernel", "known rest"}),
        (ATTRACTION - ABSOLUTE, {"known quantiles", "known rest"}),
        (ATTRACTION + ABSOLUTE, set()),  # quantiles meet
        (WELL + 3 * LOG + mf.Entropy(), {"quadratic and log kernel"}),  # collapses
        (WELL + mf.Interaction(*INTERACTIONS["cubic"]), {"convex on a line"}),
        (mf.Potential(lambda z: z[..., 0] ** 4 - z[..., 0] ** 2), None),
    ],
)
def test_classes(energy, expected):
    found = {name for name, there in known(problem(energy, box(4.0)(80))).items() if there}
    always = set() if expected is None else {"quadratic well"}
    assert found - {"convex on a line"} == (expected or set()) - {"convex on a line"} | always


def test_what_is_no_such_flow():
    assert classic(problem(WELL, box(4.0)(50), reaction=1.0)) is None
    cosine = mf.Interaction(lambda dz: -np.cos(dz[..., 0]))
    turning = mf.Problem(mf.GradientFlow(cosine), mf.Density.uniform(circle(32)), 1.0)
    assert classic(turning) is None
    assert convexity(turning) is None


def test_constant_of_convexity():
    quartic = mf.Potential(lambda z: 0.25 * z[..., 0] ** 4)
    at = partial(problem, grid=box(4.0)(81))
    assert convexity(at(WELL + quartic)) == pytest.approx(1.0, abs=0.01)
    assert convexity(at(WELL - LOG)) == pytest.approx(1.0)  # order is kept on a line
    assert convexity(at(2 * WELL - 0.5 * ATTRACTION)) == pytest.approx(1.5)
    assert convexity(at(WELL + LOG)) < 0


# -- opinions


def opinion(beta, radius=0.15, cells=200, pull=1.0):
    case = mf.load_case("opinion").with_settings(
        [
            f"grid.cells={cells}",
            f"energy.interaction.width={radius!r}",
            f"energy.interaction.factor={pull * radius**2!r}",
            f"energy.entropy.factor={beta!r}",
        ]
    )
    return case.problem


def test_opinions_cluster_below_a_known_noise():
    """int W cos(q z) = 2 (qR cos qR - sin qR) / q^3 for W = min(z^2 - R^2, 0) / 2."""
    radius = 0.15
    q = 2 * np.pi * np.arange(1, 5)
    g = 2 * (np.sin(q * radius) - q * radius * np.cos(q * radius)) / q**3
    np.testing.assert_allclose(wave_rates(opinion(2e-4), 4), q**2 * (g - 2e-4), rtol=1e-4)
    report = mf.validate(opinion(5e-4), claims=["modes-grow"])
    assert report.passed, report.text()
    grid = mf.Grid.torus(-0.5, 0.5, 100)
    critical = mf.critical_value(lambda b: opinion(b).flow.energy, (1e-3, 3e-3), grid)
    assert critical == pytest.approx(g.max(), rel=2e-3)


def test_confidence_ends_at_the_width_and_goes_round():
    energy = mf.load_case("opinion").problem.flow.energy.smooth
    cloud = mf.Cloud([[-0.45], [0.45], [0.2]])
    drift = energy.drift(cloud)[:, 0]
    np.testing.assert_allclose(drift, [-2 / 3, 2 / 3, 0.0], atol=1e-12)
    with pytest.raises(mf.CaseError, match=r"width must be at most half of the torus, 0\.5, got 2"):
        mf.load_case("opinion").with_settings(["energy.interaction.width=2.0"])


# -- particles with singular kernels


def test_a_core_bounds_forces_and_leaves_far_pairs_alone():
    cored = mf.Interaction(*INTERACTIONS["log"], core=0.1)
    for distance, force in ((1e-9, 1e-7), (0.05, 5.0), (0.1, 10.0), (0.5, 2.0)):
        drift = cored.drift(mf.Cloud([[0.0], [distance]]))
        assert drift[0, 0] == pytest.approx(0.5 * force)
        assert drift.sum() == pytest.approx(0.0, abs=1e-12)
    with pytest.raises(ValueError, match="core must be"):
        mf.Interaction(half_square, core=-1.0)


def test_pairs_that_meet_are_thrown_apart_without_a_core():
    """The tail of leaps 1/z does not end with smaller steps: it is refused, or spoils M2."""
    energy = WELL + LOG + 1.0 * mf.Entropy()
    run = partial(mf.simulate, problem(energy, box(6.0)(100)), 300, seeds=2)
    for dt in (0.02, 0.005):
        with pytest.raises(mf.SimulationError):
            run(dt=dt)
    cored = WELL + mf.Interaction(*INTERACTIONS["log"], core=0.02) + 1.0 * mf.Entropy()
    points = mf.simulate(problem(cored, box(6.0)(100)), 300, seeds=4, dt=0.02).points[-1]
    assert (points**2).mean() == pytest.approx(0.466, abs=0.06)


def test_energies_of_clouds_with_a_singular_kernel_inform():
    """Repelling particles keep apart: their energy is off by log N / N, which is no fault."""
    repelled = ATTRACTION - mf.Interaction(*INTERACTIONS["log"], core=0.01)
    given = problem(repelled, box(2.0)(80), cov=0.04)
    run = mf.simulate(given, 100, seeds=8, dt=0.01, save=[1.0])
    report = mf.compare(mf.solve(given, save=[1.0]), run)
    judged = dict(zip((row["quantity"] for row in report.rows), report.verdicts, strict=True))
    assert judged.pop("energy") is None
    assert "not judged" in report.notes[-1]
    assert set(judged.values()) == {True}


# -- claims, and solvers with planted faults

PROVED = {
    "mean-law": WELL + mf.Interaction(*INTERACTIONS["cubic"]) + 0.2 * mf.Entropy(),
    "second-moment-law": WELL - LOG,
    "exact-quantiles": WELL + ATTRACTION - ABSOLUTE,
    "known-rest": WELL - 2 * LOG + 1.0 * mf.Entropy(),
    "contracts": WELL - LOG + 0.1 * mf.Entropy(),
    "energy-decays": WELL + mf.Interaction(*INTERACTIONS["cubic"]) + 0.2 * mf.Entropy(),
}


@pytest.mark.parametrize("name", PROVED)
def test_claims_hold_and_a_faulty_solver_fails(name, monkeypatch):
    given = problem(PROVED[name], box(6.0)(240), mean=0.8)
    report = mf.validate(given, claims=[name])
    assert report.passed, report.text()
    # Planted: a well of less than half the curvature, in whatever potential the solver sees.
    potential = SumFunctional.potential

    def sums(self, rho):
        return potential(self, rho) - 0.3 * self.grid.axes[0] ** 2

    monkeypatch.setattr(SumFunctional, "potential", sums)
    monkeypatch.setattr(
        SumFunctional, "value_and_potential", lambda self, rho: (self.value(rho), sums(self, rho))
    )
    monkeypatch.setattr(
        SumFunctional, "secant", lambda self, a, b, sign=1.0: sums(self, 0.5 * (a + b))
    )
    assert not mf.validate(given, claims=[name]).passed


def test_quantiles_of_a_law_that_starts_near_its_rest():
    """A clock 10 % fast moves it by less than the tolerance; the control has to fail."""
    given = problem(ATTRACTION - 0.5 * ABSOLUTE, box(2.0)(160), cov=0.0625)
    report = mf.validate(given, claims=["exact-quantiles"])
    assert report.passed, report.text()


def test_claims_need_their_class():
    double = mf.Potential(lambda z: z[..., 0] ** 4 - z[..., 0] ** 2) + 0.2 * mf.Entropy()
    for name in (*PROVED, "modes-grow"):
        with pytest.raises(ValueError, match=f"claim {name} needs"):
            mf.validate(problem(double, box(4.0)(50)), claims=[name])
