"""Fluctuations about the mean-field limit: Lyapunov's equation, the known table, planted bugs."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from problems import grow
from reference import refuses
from typer.testing import CliRunner

import meanfield_pde as mf
from meanfield_pde import cli, plot
from meanfield_pde.lagrangian.dynamics import Langevin
from meanfield_pde.lagrangian.transport import transport
from meanfield_pde.studies import fluctuations as study
from meanfield_pde.studies.claims import CLAIMS
from meanfield_pde.studies.claims import fluctuations as claims
from meanfield_pde.studies.fluctuations import NUMBER, mean_square
from meanfield_pde.studies.mean_field import limit_of, quadrature, resampled, split
from meanfield_pde.studies.setting import Setting
from meanfield_pde.studies.validate import _verdict

X = np.array([[1.0, 0.0], [0.6, 0.8], [-0.5, 1.0], [0.2, -0.3]])
WEIGHTS = np.array([0.4, 0.3, 0.2, 0.1])
TAU = 0.1
SAVE = [0.0, 0.4, 2.0]


def linear_risk():
    """Linear units: outputs are x . m with the mean m of the law."""
    return mf.Risk(mf.Unit.ridge("linear"), mf.Data(X, X @ [1.0, -0.5], WEIGHTS))


def linear_problem(beta, cells=40):
    energy = linear_risk() + TAU * mf.Penalty() + beta * mf.Entropy()
    start = mf.Density.gaussian(mf.Grid.box((-6, -6), (6, 6), (cells, cells)), (1, 1), [0.8, 0.4])
    return mf.Problem(mf.GradientFlow(energy), start, SAVE[-1])


def lyapunov(problem, t):
    """N E|f_N - f|^2 and that of samples, from S' = -AS - SA + 2 beta I for both covariances.

    Particles have drift -(2 E[x x^T] (m_N - m_*) + 2 tau z). Their mean m_N is normal with N times
    its covariance S, A = 2 E[x x^T] + 2 tau; the law itself has one with A = 2 tau.
    """
    second, beta = X.T @ (WEIGHTS[:, None] * X), problem.flow.energy.beta
    found = []
    for rate in (2 * second + 2 * TAU * np.eye(2), 2 * TAU * np.eye(2)):
        start = quadrature(problem.initial, 2).cov()

        def rhs(s, rate=rate):
            s = s.reshape(2, 2)
            return (2 * beta * np.eye(2) - rate @ s - s @ rate).ravel()

        end = grow(rhs, start.ravel(), t).reshape(2, 2) if t else start
        found.append(float((second * end).sum()))
    return found


def signed(*settings):
    return mf.load_case("signed-weights").with_settings(["simulate.dt=0.2", *settings])


# -- the closed form


@pytest.fixture(scope="module", params=[0.0, 0.3], ids=["no noise", "noise"])
def linear(request):
    """A problem and what the study says of it, at several N."""
    problem = linear_problem(request.param, cells=24)
    options = {"dt": 0.02, "save": SAVE, "seeds": 120}
    return problem, mf.fluctuations(problem, [4, 16, 64], **options)


def require_lyapunov(problem, report):
    """Every number within its interval of the closed form, widened to 99.9 %, and to the point."""
    assert len(report.rows) == 9
    for row in report.rows:
        exact, bound = lyapunov(problem, row["time"])
        low, high = (row[NUMBER] * (row[end] / row[NUMBER]) ** 1.7 for end in ("low", "high"))
        assert low < exact < high, (row, exact)
        assert high - low < 1.2 * exact
        # Cells smear the law by h^2 / 12 twice, Euler steps shrink it by one in fifty.
        assert row["resampling"] == pytest.approx(bound, rel=0.04)


def test_linear_network_fluctuates_as_lyapunovs_equation_says(linear):
    problem, report = linear
    require_lyapunov(problem, report)
    assert report.passed, report.table()
    assert [v for v in report.verdicts if v is not None] == [True] * 3
    assert all(row["ratio"] < 0.9 for row in report.rows if row["time"] == SAVE[-1])


def test_noise_needs_the_density(linear):
    problem, report = linear
    noisy = problem.flow.energy.beta > 0
    assert report.details["reference"].startswith(
        "density on 48 x 48" if noisy else "cloud of 2304 "
    )
    assert ("density off" in report.details) is not noisy
    assert "Euler" in report.notes[-1] if noisy else "own grid is off by" in report.notes[-1]


def test_a_reaction_needs_the_density():
    """Outputs m x of linear units; V = 2 (m - 2) z tilts: m' = -2 (1 + alpha var) (m - 2)."""
    data = mf.Data.gauss_hermite(dim=1, nodes=2, target=lambda x: 2 * x[..., 0])
    start = mf.Density.gaussian(mf.Grid.box(-4, 6, 160), 0.0, 0.5)
    flow = mf.GradientFlow(mf.Risk(mf.Unit.ridge("linear"), data), reaction=0.5)
    problem = mf.Problem(flow, start, 0.5)
    limit = limit_of(problem, flow.energy, np.array([0.0, 0.5]), 0.05, {})
    mean = 2 - 2 * np.exp(-2 * (1 + 0.5 * 0.5) * 0.5)
    np.testing.assert_allclose(limit.outputs[1], mean * data.x, atol=2e-3)
    report = mf.fluctuations(problem, particles=[50], seeds=8)
    assert report.passed
    assert report.details["reference"] == "density on 320 cells"
    refuses(lambda: mf.fluctuations(problem, reference="cloud"), "reference", "'cloud'", "use auto")


PLANTED = {
    "N left out": lambda risk, n, gaps, level=0.95: right(risk, 1, gaps, level),
    "root of N": lambda risk, n, gaps, level=0.95: right(risk, int(n**0.5), gaps, level),
    "mean before the square": lambda risk, n, gaps, level=0.95: right(
        risk, n, np.broadcast_to(gaps.mean(axis=0), gaps.shape), level
    ),
    "data not weighted": lambda risk, n, gaps, level=0.95: right(
        replace(risk, data=replace(risk.data, weights=np.full(4, 0.25))), n, gaps, level
    ),
}
right = mean_square


@pytest.mark.parametrize("wrong", PLANTED.values(), ids=PLANTED)
def test_planted_squares_are_caught(monkeypatch, wrong):
    monkeypatch.setattr(study, "mean_square", wrong)
    problem = linear_problem(0.0)
    report = mf.fluctuations(problem, [4, 16, 64], dt=0.1, save=SAVE, seeds=400)
    with pytest.raises(AssertionError):
        require_lyapunov(problem, report)


def test_planted_start_fails_the_report(monkeypatch):
    """Particles from a law twice as wide are not what the limit starts from."""
    simulate = study.simulate

    def wider(problem, *args, **kwargs):
        grid = problem.initial.grid
        start = mf.Density.gaussian(grid, (1, 1), [1.6, 0.8], lost=1e-3).normalised()
        return simulate(replace(problem, initial=start), *args, **kwargs)

    monkeypatch.setattr(study, "simulate", wider)
    report = mf.fluctuations(linear_problem(0.0), [16], dt=0.2, seeds=64)
    assert report.verdicts == (False, None)


def test_mean_square_by_hand():
    risk, rng = linear_risk(), np.random.default_rng(0)
    gaps = rng.standard_normal((6, 4, 1))
    squares = [
        math.fsum(w * gap**2 for w, gap in zip(WEIGHTS, one[:, 0], strict=True)) for one in gaps
    ]
    number, low, high = mean_square(risk, 7, gaps)
    assert number == pytest.approx(7 * math.fsum(squares) / 6, rel=1e-13)
    assert low < number < high
    assert mean_square(risk, 7, 0 * gaps) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("spread", [[1, 0, 0, 0], [1, 0.5, 0.3, 0.2], [1, 1, 1, 1]])
def test_intervals_cover_what_they_say(spread):
    """95 % of them, to three standard errors of 600 trials; never less, for few replicas."""
    risk, rng = linear_risk(), np.random.default_rng(1)
    scale = np.sqrt(np.array(spread) / WEIGHTS)[:, None]
    exact, covered = sum(spread), 0
    for _ in range(600):
        _, low, high = mean_square(risk, 1, scale * rng.standard_normal((24, 4, 1)))
        covered += low <= exact <= high
    assert 0.95 - 3 * np.sqrt(0.05 * 0.95 / 600) < covered / 600


# -- the limit


def test_transport_takes_the_steps_of_particles():
    problem, points = linear_problem(0.0), np.random.default_rng(0).normal(size=(50, 2))
    run = mf.simulate(replace(problem, initial=mf.Cloud(points)), 50, dt=0.03, save=SAVE)
    # `simulate` knows no walls for a cloud; none is reached.
    clouds = transport(problem, mf.Cloud(points), 0.03, SAVE)
    assert np.array_equal(run.points[:, 0], [cloud.points for cloud in clouds])


def test_transport_keeps_weights_walls_and_frozen_coordinates():
    start = mf.Density.uniform(mf.Grid.box((0, 0), (1, 1), (4, 4)))
    push = mf.Potential(lambda z: z.sum(-1), gradient=np.ones_like)
    problem = mf.Problem(mf.GradientFlow(push, rate=2.0, frozen=(1,)), start, 1.0)
    cloud = mf.Cloud([[0.25, 0.5], [0.75, 0.5]], [0.9, 0.1])
    end = transport(problem, cloud, 0.1, [0.2])[0]
    # The first has turned back at the wall: .25 - .2 = .05, -.15 folded.
    np.testing.assert_allclose(end.points, [[0.15, 0.5], [0.35, 0.5]], atol=1e-14)
    assert end.weights.tolist() == [0.9, 0.1]
    with pytest.raises(mf.SimulationError, match="make dt smaller"):
        transport(problem, cloud, 0.5, [1.0])
    noisy = replace(problem, flow=mf.GradientFlow(push + mf.Entropy()))
    refuses(lambda: transport(noisy, cloud, 0.1, [1.0]), "problem", "one of them", "use solve")


def test_quadrature_is_of_the_law_that_particles_are_drawn_from():
    rho = linear_problem(0.0, cells=24).initial
    cloud, h = quadrature(rho, 2), 0.5
    assert cloud.mass == pytest.approx(1, abs=1e-13)
    inside = rho.normalised().cov()
    np.testing.assert_allclose(cloud.cov(), inside + h**2 / 12 * np.eye(2), atol=1e-12)
    np.testing.assert_allclose(quadrature(rho, 1).cov(), inside, atol=1e-12)
    half = split(rho)
    assert half.mass == pytest.approx(rho.mass, abs=1e-14)
    np.testing.assert_allclose(half.normalised().cov(), inside + h**2 / 16 * np.eye(2), atol=1e-12)


def test_resampling_bound_is_a_variance():
    risk, rho = linear_risk(), linear_problem(0.0).initial
    second = X.T @ (WEIGHTS[:, None] * X)
    for mu in (rho.normalised(), quadrature(rho, 3)):
        assert resampled(risk, mu) == pytest.approx((second * mu.cov()).sum(), rel=1e-12)


def test_errors_of_the_limit_bound_what_finer_ones_show():
    case = signed("grid.cells=[40, 30]", "t1=5", "save=2")
    problem, risk = case.problem, case.problem.flow.energy.terms[0][1]
    times = np.array([0.0, 1.0, 5.0])
    options = {"flux": "rl", "stepper": "heun"}
    cloud, density = (
        limit_of(problem, risk, times, 0.05, options, by) for by in ("cloud", "density")
    )
    finest = transport(problem, quadrature(problem.initial, 4), 0.05, times.tolist())
    for k, mu in enumerate(finest):
        gap = cloud.outputs[k] - risk.predict(mu)
        assert np.sqrt((gap**2).sum(-1) @ risk.data.weights) <= cloud.errors[k] + 1e-15
        off = density.outputs[k] - risk.predict(mu)
        # Their steps are Euler's, worth 2e-3.
        assert np.sqrt((off**2).sum(-1) @ risk.data.weights) <= density.errors[k] + 2e-3
    assert density.errors[-1] > 10 * cloud.errors[-1]


def test_a_crude_reference_fails_and_says_so():
    case = signed("grid.cells=[24, 18]", "t1=5", "save=[5]", "solve.flux=sg")
    report = mf.fluctuations(case, [2000], seeds=32, reference="density")
    assert not report.passed
    last = report.rows[-1]
    assert report.verdicts[-1] is False
    assert last["of reference"] > study.SMALL
    assert mf.fluctuations(case, [200], seeds=32).passed


# -- the network of the table

TABLE = {0.0: 0.257, 1.0: 0.160, 5.0: 0.068, 10.0: 0.014}
"""Known numbers at N = 512 without a penalty, from a program of its own."""


def test_known_table_of_signed_weights():
    """Particles agree with their limit, and the limit with the known numbers to 15 %.

    The replicas have a standard error of 7 %, the known numbers some 15; their last is 1e-4, to one
    digit.
    """
    case = signed("energy.penalty.factor=0.0", "save=[0, 1, 5, 10, 30]")
    report = mf.fluctuations(case, [512], seeds=128)
    assert report.passed, report.table()
    found = {row["time"]: row for row in report.rows}
    for time, known in TABLE.items():
        assert found[time]["limit"] == pytest.approx(known, rel=0.15), time
    for row in report.rows:
        low, high = (row[NUMBER] * (row[end] / row[NUMBER]) ** 1.7 for end in ("low", "high"))
        assert low < row["limit"] < high, row
    assert found[0]["limit"] == pytest.approx(0.2858, rel=5e-3)  # exact: the variance of the start
    assert found[0]["resampling"] == pytest.approx(0.2858, rel=0.01)
    assert 1e-4 < found[30.0][NUMBER] < 2e-4
    assert found[30.0]["ratio"] < 1e-3


def test_known_resampling_bound_takes_a_penalty_on_the_weights_alone():
    case = signed("grid.cells=[60, 45]")
    risk = case.problem.flow.energy.terms[0][1]

    def bound(problem):
        cloud = quadrature(problem.initial, 1)
        return resampled(risk, transport(problem, cloud, 0.25, [200.0])[0])

    assert bound(case.problem) == pytest.approx(0.379, abs=1.5e-3)
    on_all = case.with_settings(["energy.penalty.along=[0, 1]"])
    assert bound(on_all.problem) > 0.44


# -- claims

PENALTY = {"penalty": [], "none": ["energy.penalty.factor=0.0"]}


@pytest.fixture(scope="module", params=PENALTY)
def setting(request):
    case = signed("grid.cells=[60, 45]", *PENALTY[request.param])
    return request.param, Setting(case.problem, None, {}, Langevin(0.2))


def test_claims_and_their_controls(setting):
    name, made = setting
    below, limit, gone = (CLAIMS[claim].check(made) for claim in claims.CLAIMS)
    assert _verdict(limit, True, asked=True), limit
    assert _verdict(limit, False, asked=True) is False
    assert "limit 0.00" in limit.reason
    assert limit.control > 1
    assert _verdict(below, True, asked=True), below
    assert _verdict(below, False, asked=True) is False
    assert below.number < 0.05
    assert below.control > below.tolerance
    assert _verdict(gone, name == "none", asked=True), gone
    assert _verdict(gone, name != "none", asked=True) is False, gone
    assert gone.control > 100 * gone.tolerance
    for word in ("48 replicas of 128 particles to t = 30", "cloud of", "false alarm"):
        assert word in below.reason


def resampled_at(setting, number=1.0):
    """Particles in place of which independent samples of the law are taken."""
    run = Setting.run

    def planted(self, *args, **kwargs):
        found = run(self, *args, **kwargs)
        law = claims.limit_of(
            self.problem, claims.plain(self), found.times, self.dynamics.dt, self.options
        ).last
        rng = np.random.default_rng(5)
        drawn = [[law.sample(found.particles, rng) for _ in range(found.seeds)]]
        return replace(found, points=np.array(drawn))

    return planted


@pytest.mark.parametrize("claim", claims.CLAIMS)
def test_samples_in_place_of_particles_are_caught(monkeypatch, claim):
    case = signed("grid.cells=[36, 27]", "t1=10", "save=2", "energy.penalty.factor=0.0")
    monkeypatch.setattr(Setting, "run", resampled_at(Setting))
    found = CLAIMS[claim].check(Setting(case.problem, None, {}, Langevin(0.2)))
    assert _verdict(found, True, asked=True) is False


def test_claims_say_when_they_cannot_tell(monkeypatch):
    """At once after the start particles are samples; on few cells the density is none."""
    problem = replace(signed("grid.cells=[36, 27]").problem, t1=0.05)
    found = CLAIMS["fluctuations-below-resampling"].check(
        Setting(problem, None, {}, Langevin(0.05))
    )
    assert "too few replicas" in found.inconclusive
    limit = claims.limit_of
    wrong = np.array([0.0, 0.1])
    monkeypatch.setattr(claims, "limit_of", lambda *args: replace(limit(*args), errors=wrong))
    problem = replace(problem, t1=2.0)
    found = CLAIMS["fluctuations-vanish"].check(Setting(problem, None, {}, Langevin(0.2)))
    assert "too crude" in found.inconclusive
    assert _verdict(found, True, asked=True) is False


def test_claim_with_noise():
    problem = linear_problem(0.3, cells=24)
    setting = Setting(problem, None, {}, Langevin(0.02))
    found = CLAIMS["fluctuations-below-resampling"].check(setting)
    exact, bound = lyapunov(problem, SAVE[-1])
    assert "density on 48 x 48 cells" in found.reason
    assert _verdict(found, True, asked=True), found
    assert 1 / found.false_from < exact / bound / found.number < 1
    unknown = CLAIMS["central-limit"].check(setting)
    assert "no limit is known" in unknown.inconclusive
    assert _verdict(unknown, True, asked=True) is False


# -- arguments, command, figure, tables of a case


def test_wrong_arguments():
    problem = linear_problem(0.3, cells=12)

    def call(**changes):
        return lambda: mf.fluctuations(**{"problem": problem, **changes})

    refuses(call(particles=[]), "particles", "[]", "try [64, 256]")
    refuses(call(particles=[0]), "particles", "0", "good numbers")
    refuses(call(seeds=1), "seeds", "1", "intervals")
    refuses(call(dt=0.0), "dt", "0", "0.01")
    refuses(call(reference="exact"), "reference", "'exact'", "auto")
    refuses(call(reference="cloud"), "reference", "'cloud'", "use auto")
    refuses(call(problem=3), "problem", "int", "load_case")
    entropy = replace(problem, flow=mf.GradientFlow(mf.Entropy()))
    refuses(call(problem=entropy), "risk", "none", "add a mf.Risk")
    cloud = replace(problem, initial=mf.Cloud([[0.0, 0.0]]))
    refuses(call(problem=cloud), "initial", "Cloud", "Grid.box")
    rho = problem.initial
    double = replace(problem, initial=mf.Density(rho.grid, 2 * rho.values))
    refuses(call(problem=double), "initial must have mass 1", "got 2", "normalised()")


def test_same_seed_same_numbers():
    tell = [mf.fluctuations(linear_problem(0.0, 16), [5], 4, dt=0.5).rows for _ in range(2)]
    assert tell[0] == tell[1]
    other = mf.fluctuations(linear_problem(0.0, 16), [5], 4, dt=0.5, seed=1).rows
    assert other[0][NUMBER] != tell[0][0][NUMBER]


def test_command_writes_report_and_figure(tmp_path):
    settings = ["grid.cells=[36, 27]", "t1=2", "save=3", "simulate.dt=0.2"]
    words = [word for line in settings for word in ("--set", line)]
    call = ["fluctuations", "signed-weights", "-o", str(tmp_path), *words]
    result = CliRunner().invoke(cli.app, [*call, "--particles", "16", "--particles", "32"])
    assert result.exit_code == 0, result.output
    assert {path.name for path in tmp_path.iterdir()} == {
        f"fluctuations.{ending}" for ending in ("json", "txt", "png")
    }
    told = json.loads((tmp_path / "fluctuations.json").read_text())
    assert [row["particles"] for row in told["rows"]] == [16] * 3 + [32] * 3
    assert (tmp_path / "fluctuations.txt").read_text() in result.stdout
    failed = CliRunner().invoke(cli.app, ["fluctuations", "kuramoto", "-o", str(tmp_path)])
    assert failed.exit_code == 2
    assert "must have a risk" in failed.stderr
    assert "fluctuations" in CliRunner().invoke(cli.app, ["--help"]).stdout


def test_figure_has_a_line_for_each_number_and_the_bound():
    report = mf.fluctuations(linear_problem(0.0, 16), [5, 9, 17], 8, save=SAVE, dt=0.2)
    axes = plot.fluctuations_figure(report).axes[0]
    assert [line.get_label() for line in axes.lines] == [
        *(f"$N$ = {n}" for n in (5, 9, 17)),
        "independent samples of the law",
    ]
    assert len(axes.collections) == 3
    assert axes.get_yscale() == "log"
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [row[NUMBER] for row in report.rows[3:6]])


def test_product_law_has_exact_masses():
    rho = signed().problem.initial
    c, y = (rho.masses.sum(axis=1 - axis) for axis in (0, 1))
    edges = rho.grid.faces[0] / math.sqrt(2)
    exact = [0.5 * (math.erf(b) - math.erf(a)) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    np.testing.assert_allclose(c, exact, atol=1e-15)
    assert y[rho.grid.axes[1] ** 2 > 9].max() == 0
    np.testing.assert_allclose(y[rho.grid.axes[1] ** 2 < 9], 1 / 40, rtol=1e-8)
    # Ends inside of cells are shared out.
    cut = signed("initial.factors.uniform.lower=-0.05", "initial.factors.uniform.upper=0.2")
    masses = cut.problem.initial.masses.sum(axis=0)
    np.testing.assert_allclose(masses[masses > 0], [0.2, 0.6, 0.2], rtol=1e-8)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("initial.factors.uniform.lower=4.0", "initial: lower and upper must rise"),
        ('initial.factors=[{ kind = "normal" }]', "initial: factors must be one for each of the 2"),
        ("energy.penalty.along=[2]", "along must name coordinates from 0 to 1, each once, got [2]"),
        ("energy.penalty.along=[0, 0]", "each once, got [0, 0]"),
        ("energy.0.data.y=[1.0]", "energy.0 (risk): y must have shape (5,)"),
        ("grid.kind=torus", "needs a box without a chart, got a torus"),
        ('energy.0.unit.unit={ kind = "on-sets" }', "energy.0.unit"),
    ],
)
def test_wrong_tables_are_told(setting, says):
    with pytest.raises(mf.CaseError) as caught:
        signed(setting)
    assert says in str(caught.value)


def test_penalty_along_some_coordinates():
    energy = signed().problem.flow.energy
    factor, penalty = energy.terms[1]
    cloud = mf.Cloud([[1.5, -2.0], [0.5, 1.0]])
    assert factor == 0.02
    assert penalty.cloud_value(cloud) == pytest.approx((1.5**2 + 0.5**2) / 2, rel=1e-14)
    np.testing.assert_allclose(penalty.drift(cloud), [[-3.0, 0.0], [-1.0, 0.0]], rtol=1e-14)


def test_scaled_unit_wants_a_weight_and_a_unit():
    refuses(lambda: mf.Unit.scaled("bump"), "unit", "str", "Unit.scaled")
    unit = mf.Unit.scaled(mf.Unit.bump())
    refuses(lambda: unit.check_dimensions(1, 1), "scaled", "1", "add a coordinate")
    refuses(lambda: unit.check_dimensions(1, 3), "bump", "dimension 2", "change the data")
    assert unit.amplitudes == 1
    assert mf.Unit.scaled(unit).amplitudes is None
