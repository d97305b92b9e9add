"""Students of Maass and Fontbona: what is kept exactly, what vanishes, and what must not."""

import json
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from reference import refuses
from test_cli import call
from test_plot import require_fitting

import meanfield_pde as mf
from meanfield_pde import plot
from meanfield_pde.energies import variants
from meanfield_pde.energies.moved_unit import AveragedUnit
from meanfield_pde.measures.group import Group
from meanfield_pde.studies import students as module
from meanfield_pde.studies.learnt import Student, between, off_fixed, off_subspace, table_of

PAPER = mf.TeacherStudent.swap_matrices()
SWAP = PAPER.group
# RMD^2 of N = 10 and 50, computed elsewhere (from draws of the normal law, other seeds).
KNOWN = {
    ("arbitrary", "strong", "vanilla to E^G"): {10: 0.095, 50: 0.099},
    ("weak", "strong", "vanilla to E^G"): {10: 3e-3, 50: 5e-5},
    ("weak", "weak", "data-augmented to feature-averaged"): {10: 7e-2, 50: 5e-3},
}


def logistic(u):
    return 1 / (1 + np.exp(-u))


def slow_student(teacher, variant, n, seed, steps, strong):
    """The paper's SGD, matrix by matrix, from the same random numbers as the package."""
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    rng = np.random.default_rng([seed, 0])
    z = 0.25 * rng.standard_normal((n, 2, 2))
    if strong:
        z = 0.5 * (z + swap @ z @ swap)
    points, eps = PAPER.teachers[teacher].points.reshape(-1, 2, 2), 50 / n
    for _ in range(steps):
        x = PAPER.inputs.x[rng.choice(256, size=20, p=PAPER.inputs.weights)]
        noise = rng.standard_normal((n, 2, 2))
        if strong:
            noise = 0.5 * (noise + swap @ noise @ swap)
        pull = np.zeros_like(z)
        for one in x:
            y = np.mean([logistic(p @ one) for p in points], axis=0)
            turns = [(one, y)]
            if variant == "data-augmented":
                turns.append((swap @ one, swap @ y))
            for a, b in turns:
                cloud = list(z)
                if variant == "feature-averaged":
                    cloud += [swap @ q @ swap for q in z]
                error = np.mean([logistic(q @ a) for q in cloud], axis=0) - b
                error = error / len(turns) / 20
                for k, q in enumerate(z):
                    slope = logistic(q @ a) * (1 - logistic(q @ a))
                    if variant != "feature-averaged":
                        pull[k] += np.outer(error * slope, a)
                        continue
                    image = swap @ q @ swap
                    far = logistic(image @ a) * (1 - logistic(image @ a))
                    back = swap @ np.outer(error * far, a) @ swap
                    pull[k] += 0.5 * (np.outer(error * slope, a) + back)
        z = z - eps * (pull + 2e-4 * z) + np.sqrt(2e-6 * eps) * noise
    return z.reshape(n, 4)


def check_student(variant, start="weak", teacher="arbitrary"):
    short = replace(PAPER, rounds=2)
    found = short.train(teacher, start, variant, particles=4, seed=5)[0]
    exact = slow_student(teacher, variant, 4, 5, 8, start == "strong")
    assert np.abs(exact).max() > 0.1
    np.testing.assert_allclose(found, exact, rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", ["weak", "strong"])
@pytest.mark.parametrize("variant", ["vanilla", "data-augmented", "feature-averaged"])
def test_training_is_that_of_the_paper(variant, start):
    check_student(variant, start)


def test_planted_flipped_sign_is_caught(monkeypatch):
    right = AveragedUnit.network

    def flipped(self, x, z, weights):
        outputs, pull = right(self, x, z, weights)
        return outputs, lambda residual: -pull(residual)

    monkeypatch.setattr(AveragedUnit, "network", flipped)
    with pytest.raises(AssertionError):
        check_student("feature-averaged")


@pytest.mark.parametrize("variant", ["data-augmented", "feature-averaged"])
def test_missing_share_of_the_group_is_caught(monkeypatch, variant):
    monkeypatch.setattr(Group, "weights", property(lambda group: np.ones(group.order)))
    with pytest.raises(AssertionError):
        check_student(variant)


def test_planted_factor_of_the_step_is_caught(monkeypatch):
    """The gradient of |.|^2 in place of |.|^2 / 2: a time scale off by 2."""
    twice = mf.Risk(PAPER.unit, PAPER.risk("arbitrary").data, "squared")
    monkeypatch.setattr(mf.TeacherStudent, "risk", lambda self, teacher: twice)
    with pytest.raises(AssertionError):
        check_student("vanilla")


# -- the set-up


def test_the_teachers_are_what_they_are_called():
    moved = {name: teacher.points @ SWAP.on_z(4)[1].T for name, teacher in PAPER.teachers.items()}
    assert np.abs(moved["strong"] - PAPER.teachers["strong"].points).max() == 0
    weak = PAPER.teachers["weak"].points
    np.testing.assert_array_equal(np.sort(moved["weak"], axis=0), np.sort(weak, axis=0))
    assert between(weak, moved["weak"]) < 1e-15
    assert off_fixed(weak, SWAP) > 0.1
    assert between(PAPER.teachers["arbitrary"].points, moved["arbitrary"]) > 0.1
    first = 0.5 * np.array([[-1, 0, 0, 0.5], [0.5, 1, 0, 1]])
    np.testing.assert_allclose(PAPER.teachers["arbitrary"].points[:2], first, atol=1e-15)
    defects = {name: max(PAPER.risk(name).data.invariance_defect(SWAP)) for name in PAPER.teachers}
    assert defects["weak"] < 1e-12
    assert defects["strong"] < 1e-12
    assert defects["arbitrary"] > 0.1


def test_inputs_have_the_law_of_the_paper():
    x, weights = PAPER.inputs.x, PAPER.inputs.weights
    np.testing.assert_allclose((x.T * weights) @ x, 16 * np.eye(2), atol=1e-11)


# -- distances


def test_distance_to_the_fixed_subspace_is_exact_transport():
    points = np.random.default_rng(0).normal(size=(7, 4))
    image = points @ SWAP.projection()
    assert off_fixed(points, SWAP) == pytest.approx(between(points, image), rel=1e-12)
    assert off_subspace(points, np.zeros((4, 4))) == pytest.approx(0.5, rel=1e-15)
    assert off_subspace(0 * points, np.zeros((4, 4))) == 0


def test_distance_between_clouds_by_all_matchings():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 5, 4))
    costs = [((a - b[list(order)]) ** 2).sum() for order in permutations(range(5))]
    exact = min(costs) / (2 * ((a**2).sum() + (b**2).sum()))
    assert between(a, b) == pytest.approx(exact, rel=1e-12)


# -- the experiment


@pytest.fixture(scope="module")
def report():
    wanted = {"starts": ["strong"], "variants": ["vanilla", "data-augmented"]}
    strong = mf.students(particles=[10, 50], teachers=["arbitrary", "weak"], **wanted)
    wanted = {"starts": ["weak"], "variants": ["data-augmented", "feature-averaged"]}
    weak = mf.students(particles=[10, 50], teachers=["weak"], **wanted)
    rows, verdicts = strong.rows + weak.rows, strong.verdicts + weak.verdicts
    return mf.Report("both", strong.columns, rows, verdicts)


def test_published_numbers_lie_within_the_spread(report):
    """Two standard deviations between seeds."""
    seen = 0
    for row in report.rows:
        known = KNOWN.get((row["teacher"], row["start"], row["quantity"]), {})
        if row["particles"] in known:
            assert abs(known[row["particles"]] - row["RMD^2"]) <= 2 * row["spread"], row
            seen += 1
    assert seen == 6


def test_theory_holds(report):
    assert report.passed, report.table()
    kept = [row["RMD^2"] for row in report.rows if row["particles"] == "largest"]
    assert len(kept) == 2
    assert max(kept) < 1e-24


def test_planted_noise_off_the_subspace_is_caught(monkeypatch):
    monkeypatch.setattr(module, "GradientFlow", lambda energy, noise: mf.GradientFlow(energy))
    wanted = {"teachers": ["weak"], "starts": ["strong"], "variants": ["data-augmented"]}
    assert not mf.students(particles=[5], seeds=2, **wanted).passed


def test_planted_plain_training_is_caught(monkeypatch):
    """Called augmented, it leaves E^G, and does not approach what is averaged."""
    monkeypatch.setattr(variants, "data_augmented", lambda risk, group: risk)
    wanted = {"teachers": ["arbitrary"], "variants": ["data-augmented", "feature-averaged"]}
    report = mf.students(particles=[5, 50], seeds=3, **wanted)
    failed = [
        row["quantity"]
        for row, verdict in zip(report.rows, report.verdicts, strict=True)
        if verdict is False
    ]
    assert failed == ["data-augmented to E^G", "data-augmented to feature-averaged"]


def test_a_limit_that_does_not_vanish_fails():
    """Controls of the verdicts: a flat quantity called invariant, a falling one called not."""
    rng = np.random.default_rng(0)
    trained = {
        Student("t", "strong", "vanilla", n, 3, 0): rng.normal(size=(3, n, 4)) for n in (5, 50)
    }
    assert table_of(trained, SWAP, {"t": False}).passed
    assert not table_of(trained, SWAP, {"t": True}).passed
    falling = {k: v @ SWAP.projection() + v / k.particles for k, v in trained.items()}
    assert table_of(falling, SWAP, {"t": True}).passed
    assert not table_of(falling, SWAP, {"t": False}).passed


# -- their law


def gap_in_errors(density, clouds):
    """L2 distance of a density's outputs from the mean of replicas, in its standard errors.

    The error is that of all outputs together: the root of the trace of their covariance over the
    number of replicas. The square of what is returned is 1 in the mean where the density is right.
    """
    risk = PAPER.risk("weak")
    outputs = np.stack([risk.predict(mf.Cloud(points)) for points in clouds])
    mean, weights = outputs.mean(axis=0), risk.data.weights
    scatter = weights @ ((outputs - mean) ** 2).sum(axis=(0, 2)) / (len(clouds) - 1)
    gap = weights @ ((mean - risk.predict(density)) ** 2).sum(axis=1)
    return float(np.sqrt(gap / (scatter / len(clouds))))


def law(setup=PAPER, variant="vanilla", cells=64, save=None, **options):
    return mf.solve(setup.limit("weak", variant, cells), save=save, **options).densities[-1]


@pytest.fixture(scope="module")
def trained():
    variants = ("vanilla", "data-augmented")
    return {v: PAPER.train("weak", "strong", v, 150, seeds=12, seed=1) for v in variants}


def test_the_law_starts_as_students_do():
    problem, fine = (PAPER.limit("weak", "vanilla", cells) for cells in (64, 128))
    exact = 0.25**2 * SWAP.projection()
    gaps = [np.abs(p.initial.cov() - exact).max() for p in (problem, fine)]
    assert gaps[0] < 2e-4
    assert gaps[0] / gaps[1] == pytest.approx(4, rel=1e-3)  # a cell's width
    assert problem.t1 == 50 * 20
    assert problem.flow.energy.beta == 1e-6


@pytest.mark.parametrize("variant", ["vanilla", "data-augmented"])
def test_students_have_the_outputs_of_their_law(trained, variant):
    assert gap_in_errors(law(variant=variant), trained[variant]) < 3


def test_the_case_is_the_limit_of_the_students():
    problem, exact = mf.load_case("swap-matrices").problem, PAPER.limit("weak", "vanilla")
    np.testing.assert_allclose(problem.initial.values, exact.initial.values, rtol=1e-12)
    assert problem.initial.grid.chart == exact.initial.grid.chart
    assert problem.flow.clock(0, problem.t1) == pytest.approx(exact.t1, rel=1e-12)
    assert problem.flow.energy.beta == exact.flow.energy.beta
    cloud = mf.Cloud(np.random.default_rng(0).normal(size=(7, 4)))
    drifts = [p.flow.energy.smooth.drift(cloud) for p in (problem, exact)]
    np.testing.assert_allclose(drifts[0], drifts[1], rtol=0, atol=1e-14)


def test_planted_faults_of_the_law_are_caught(trained):
    """Twice the speed, no penalty, a fifth of the time: each is beyond."""
    short = replace(PAPER, rounds=4)
    for wrong in (replace(PAPER, loss="squared"), replace(PAPER, tau=0.0), short):
        assert gap_in_errors(law(wrong), trained["data-augmented"]) > 4


def test_the_outputs_of_the_law_are_resolved(trained):
    """Half the cells and smaller steps change less than the students' standard error."""
    risk = PAPER.risk("weak")
    found = law()
    error = mf.distance.model(found, mf.Cloud(trained["vanilla"][0]), risk)
    for other in (law(cells=128), law(tolerance=1e-4)):
        assert mf.distance.model(found, other, risk) < 0.1 * error


# -- processes and files


def test_the_same_bits_however_many_processes(tmp_path):
    wanted = {"particles": [5, 10], "seeds": 2, "teachers": ["weak"], "starts": ["weak"]}
    one = mf.students(**wanted)
    two = mf.students(**wanted, processes=2, folder=tmp_path)
    assert one.to_dict() == two.to_dict()
    assert len(list(tmp_path.rglob("*.npz"))) == 8


def test_trained_students_are_kept(tmp_path, monkeypatch):
    wanted = {"particles": [5], "seeds": 2, "teachers": ["weak"], "folder": tmp_path}
    first = mf.students(starts=["strong"], **wanted)
    trained = []
    right = mf.TeacherStudent.train
    monkeypatch.setattr(
        mf.TeacherStudent, "train", lambda *args: trained.append(args[1:4]) or right(*args)
    )
    assert mf.students(starts=["strong"], **wanted).to_dict() == first.to_dict()
    assert trained == []
    mf.students(replace(PAPER, tau=0.0), starts=["strong"], **wanted)
    assert len(trained) == 4


def test_an_interrupt_loses_only_what_was_in_training(tmp_path, monkeypatch):
    right, count = mf.TeacherStudent.train, []

    def interrupted(*args):
        count.append(1)
        if len(count) == 3:
            raise KeyboardInterrupt
        return right(*args)

    monkeypatch.setattr(mf.TeacherStudent, "train", interrupted)
    wanted = {"particles": [5], "seeds": 2, "teachers": ["weak"], "starts": ["strong"]}
    with pytest.raises(KeyboardInterrupt):
        mf.students(**wanted, folder=tmp_path)
    mf.students(**wanted, folder=tmp_path)
    assert len(count) == 5


def test_every_number_changes_the_fingerprint():
    other = mf.TeacherStudent.swap_matrices(nodes=8)
    changed = [
        other,
        *(replace(PAPER, **{name: 0.5}) for name in ("spread", "tau", "beta", "step")),
        replace(PAPER, batch=10),
        replace(PAPER, loss="huber"),
        replace(PAPER, rounds=10),
        replace(PAPER, unit=mf.Unit.matrix_ridge("tanh", 2)),
        replace(PAPER, teachers={"weak": PAPER.teachers["weak"]}),
        replace(PAPER, group=Group.trivial(2).acting(z=[np.eye(4)])),
    ]
    assert mf.TeacherStudent.swap_matrices().fingerprint == PAPER.fingerprint
    assert len({setup.fingerprint for setup in [PAPER, *changed]}) == 12


def test_command(tmp_path):
    words = ["--particles", 5, "--particles", 20, "--seeds", 2, "--processes", 1, "-o", tmp_path]
    result = call("students", *words)
    assert result.exit_code in (0, 1), result.output
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "students.json",
        "students.png",
        "students.txt",
        "trained",
    ]
    assert (tmp_path / "students.txt").read_text() in result.stdout
    told = json.loads(call("students", *words, "--json").stdout)
    assert told["case"] == "students"
    assert {row["particles"] for row in told["rows"]} >= {5, 20}


def spread_out(power, scatter):
    """Students off E^G by about N^power in square, with relative scatter between three seeds."""
    trained = {}
    for n in (10, 100, 1000):
        off = [n**power * (1 + scatter * k) for k in (-1, 0, 1)]
        points = [np.array([[1.0 + np.sqrt(value), 1.0 - np.sqrt(value)]]) for value in off]
        trained[Student("weak", "strong", "vanilla", n, 3, 0)] = np.array(points)
    return table_of(trained, Group.swap(), {"weak": True})


@pytest.mark.parametrize(
    ("power", "scatter", "verdict"),
    [(-1.0, 0.1, True), (-0.3, 0.1, False), (-0.45, 0.6, None), (0.0, 0.6, False)],
)
def test_powers_are_judged_by_their_errors(power, scatter, verdict):
    """Means of three seeds that scatter by .6 leave the power open by .1 over two decades."""
    report = spread_out(power, scatter)
    row = report.rows[-1]
    # RMD^2 = v / (2 + v) for the squared distance v from the diagonal: smaller than v.
    assert row["particles"] == "power of N"
    assert row["RMD^2"] == pytest.approx(power, abs=0.15)
    assert report.verdicts[-1] is verdict
    exact = scatter / np.sqrt(3) / (np.sqrt(2) * np.log(10))
    assert row["spread"] == pytest.approx(exact, rel=0.5)


def test_students_that_cannot_leave_are_not_trained_in_large_numbers(monkeypatch):
    asked = []

    def recorded(setup, every, *_):
        asked.extend(every)
        return {kind: np.ones((kind.seeds, 4, 4)) for kind in every}

    monkeypatch.setattr(module, "_train_all", recorded)
    mf.students(particles=[1000, 5000], seeds=2, teachers=["weak"])
    kinds = {(kind.start, kind.variant, kind.particles) for kind in asked}
    left = [("strong", "vanilla"), *(("weak", variant) for variant in variants.VARIANTS[:3])]
    assert kinds == {(*pair, n) for pair in left for n in (1000, 5000)}
    assert len(asked) == len(kinds)


def test_figure():
    rng = np.random.default_rng(0)
    trained = {
        Student(teacher, start, variant, n, 3, 0): rng.normal(size=(3, 4, 4))
        for teacher in PAPER.teachers
        for start in module.STARTS
        for variant in variants.VARIANTS
        for n in module.MANY
    }
    figure = plot.students_figure(table_of(trained, SWAP, dict.fromkeys(PAPER.teachers, True)))
    require_fitting(figure)
    titles = [axes.get_title("left") for axes in figure.axes]
    assert titles[0] == "vanilla\nto $E^G$, strong start"
    assert len(titles) == 3
    assert [axes.get_yscale() for axes in figure.axes] == ["log"] * 3


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: mf.students(setup=3), "setup", "got int", "swap_matrices"),
        (lambda: mf.students(teachers=["best"]), "teacher", "'best'", "pick one"),
        (lambda: mf.students(starts=["none"]), "start", "'none'", "pick one"),
        (lambda: mf.students(variants=["plain"]), "variant", "'plain'", "pick one"),
        (lambda: mf.students(particles=[0]), "particles", "got 0", "neurons"),
        (lambda: mf.students(seeds=1), "seeds", "got 1", "spread"),
        (lambda: mf.students(seeds={5: 2}, particles=[6]), "seeds", "got None", "spread"),
        (lambda: mf.students(processes=0), "processes", "got 0", "cores"),
        (
            lambda: mf.students(
                particles=[5000], starts=["strong"], variants=["data-augmented"], teachers=["weak"]
            ),
            *("particles", "got [5000]", "nothing to measure"),
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
