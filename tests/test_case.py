"""Case files: what they build, and errors that name the file, the key and the remedy."""

from dataclasses import dataclass

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.case import case_folder
from meanfield_pde.case.energy import INTERACTIONS, POTENTIALS
from meanfield_pde.energies.low_rank import TOLERANCE
from meanfield_pde.energies.variants import plain_risk

NETWORK = (case_folder() / "swap-invariant.toml").read_text()
CIRCLE = (case_folder() / "kuramoto.toml").read_text()


@dataclass(frozen=True)
class Bad:
    """A wrong file: what to change in a good one, and what the error must say."""

    old: str
    new: str
    says: tuple[str, ...]
    base: str = NETWORK

    @property
    def text(self) -> str:
        assert self.old in self.base
        return self.base.replace(self.old, self.new)


ENTROPY = '[[energy]]\nkind = "entropy"'
BAD = {
    "misspelt key": Bad("cells =", "cels =", ("grid.cels", "did you mean 'cells'", "known: kind")),
    "misspelt table": Bad("[group]", "[gruop]", ("gruop", "did you mean 'group'")),
    "key at the top": Bad("title =", "titel =", ("titel", "did you mean 'title'")),
    "unknown grid": Bad('"box"', '"bix"', ("grid.kind", "one of box, torus", "'bix'", "'box'?")),
    "unknown energy": Bad('"penalty"', '"penalti"', ("energy.1.kind", "'penalti'", "'penalty'?")),
    "unknown group": Bad('"swap"', '"sawp"', ("group.kind", "reflection", "'sawp'", "'swap'?")),
    "unknown unit": Bad('"ridge",', '"rigde",', ("energy.0.unit.kind", "bump", "'rigde'")),
    "no kind": Bad('kind = "ridge", ', "", ("energy.0.unit.kind is missing", "one of ridge")),
    "no kind at all": Bad('{ kind = "ridge", activation = "tanh" }', "3", ("energy.0.unit", "3")),
    "unknown activation": Bad('"tanh"', '"tahn"', ("unit.activation", "'tahn'", "'tanh'?")),
    "missing key": Bad("t1 = 5.0", "", ("t1 is missing",)),
    "missing table": Bad("[initial]", "[initials]", ("initials", "'initial'")),
    "negative time": Bad("t1 = 5.0", "t1 = -5.0", ("t1 must be greater than 0", "-5.0")),
    "infinite time": Bad("t1 = 5.0", "t1 = inf", ("t1 must be a finite number", "inf")),
    "not a number": Bad("t1 = 5.0", "t1 = nan", ("t1 must be a finite number", "nan")),
    "boolean": Bad("t1 = 5.0", "t1 = true", ("t1 must be a valid number", "True")),
    "text": Bad(
        "[64, 64]", '"64"', ("grid.cells must be a valid integer or must be a list", "'64'")
    ),
    "no cells": Bad(
        "[64, 64]", "[64, 0]", ("grid.cells.1 must be greater than or equal to 1", "0")
    ),
    "too many cells": Bad("[64, 64]", "[64000, 64000]", ("cells must be at most", "use fewer")),
    "three dimensions": Bad("[64, 64]", "[64, 64, 64]", ("grid: lower, upper and cells", "64, 64")),
    "corners swapped": Bad("upper = [4, 4]", "upper = [4, -9]", ("grid: lower", "-9", "swap them")),
    "late save": Bad("2.0, 5.0]", "2.0, 9.0]", ("save must lie in [0, t1 = 5]", "9", "raise t1")),
    "unsorted save": Bad("[0.0, 1.0, 2.0", "[1.0, 0.0, 2.0", ("save must be rising", "sort them")),
    "one save": Bad("[0.0, 1.0, 2.0, 5.0]", "1", ("save must be greater than or equal to 2", "1")),
    "weights": Bad(
        "weight = 0.5, mean = [1.0", "weight = 0.7, mean = [1.0", ("initial: weights", "0.7")
    ),
    "mean too short": Bad("[1.0, 0.0]", "[1.0]", ("initial: mean must have 2 entries", "(1,)")),
    "mass outside": Bad("[1.0, 0.0]", "[7.0, 0.0]", ("initial: grid", "enlarge the grid")),
    "negative variance": Bad("cov = 0.25", "cov = -1.0", ("initial: cov", "-1.0", "above 0")),
    "group in 2D": Bad(
        '"reflection"', '"swap"', ("group.kind", "dimension 1", "'swap'", "reflection"), CIRCLE
    ),
    "initial law": Bad(
        '"torus"', '"box"', ("initial: kind 'cosine'", "a box", "use a mixture"), CIRCLE
    ),
    "period": Bad("upper = 3.14", "upper = 2.14", ("energy.0 (interaction)", "period"), CIRCLE),
    "one energy": Bad(
        "[[energy]]",
        "[energy]",
        ("energy must be a list", "double brackets"),
        CIRCLE.replace(ENTROPY, ""),
    ),
    "unit and grid": Bad('"ridge",', '"scaled-ridge",', ("energy.0 (risk)", "z = (a, b)")),
    "teacher": Bad("[[2, 0], [0, 2]]", "[[2, 0], [2]]", ("points must all have one length",)),
    "teacher's weights": Bad("[0.5, 0.5]", "[0.5]", ("weights must have one entry", "2 points")),
    "too many nodes": Bad("nodes = 8", "nodes = 2000", ("nodes**dim", "2000**2", "use fewer")),
    "rank tolerance": Bad(
        'kind = "risk"',
        'kind = "risk"\nrank_tolerance = 0.5',
        ("energy.0.rank_tolerance", "less than or equal to 0.1", "0.5"),
    ),
    "variant without a group": Bad(
        'kind = "risk"',
        'kind = "risk"\nvariant = "data-augmented"',
        ("energy.0 (risk)", "'data-augmented' needs a group", "add a [group] table"),
        NETWORK.replace('[group]\nkind = "swap"', ""),
    ),
    "unknown claim": Bad(
        "wi-preserved", "wi-perserved", ("claims.wi-perserved", "'wi-preserved'?")
    ),
    "claim neither way": Bad(
        "positive = true", "positive = 3", ("claims.positive", "boolean", "3")
    ),
    "unknown flux": Bad(
        "[group]", '[solve]\nflux = "sgg"\n[group]', ("solve.flux", "'sgg'", "'sg'?")
    ),
    "unknown distance": Bad('"mmd"', '"mdm"', ("compare.distances", "w1, w2", "'mdm'")),
    "batch of no SGD": Bad("dt = 0.02", "batch = 20", ("simulate must not have batch", "drop it")),
    "syntax": Bad('"swap"', '"swap', ("no valid TOML", "line", "strings need quotes")),
}


def write(folder, text):
    path = folder / "bad-case.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_error_names_file_key_and_remedy(tmp_path, bad):
    path = write(tmp_path, bad.text)
    with pytest.raises(mf.CaseError) as caught:
        mf.load_case(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in bad.says:
        assert part in message
    assert "pydantic" not in message


def test_every_error_is_listed(tmp_path):
    path = write(tmp_path, NETWORK.replace("factor = 0.02", 'factor = "big"'))
    with pytest.raises(mf.CaseError, match="2 errors:\n  energy.1.factor .*\n  energy.2.factor"):
        mf.load_case(path)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("kuramotto", "did you mean 'kuramoto'?"),
        ("", "known: attraction-repulsion"),
        ("no/such/file.toml", "no/such/file.toml cannot be read: No such file"),
        (".", "cannot be read"),
    ],
)
def test_cases_that_are_not_there(name, says):
    with pytest.raises(mf.CaseError, match=says):
        mf.load_case(name)


def test_a_file_that_is_no_text(tmp_path):
    path = tmp_path / "case.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(mf.CaseError, match="no text in UTF-8"):
        mf.load_case(path)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("grid.cells", "must read key=value"),
        ("=3", "must read key=value"),
        ("grid..cells=3", "must read key=value"),
        ("t1=1 2", "must be TOML, got '1 2'"),
        ("t1=1\nsave=3", "must be TOML"),
        ("grid.cels=3", "grid.cels is no key here; did you mean 'cells'"),
        ("slove.tolerance=1", "did you mean 'solve'"),
        ("energy.7.factor=1", "names no entry of a list by '7'; known: 0, 1, interaction, entropy"),
        ("energy.entropi.factor=1", "did you mean 'entropy'"),
        ("grid.cells.x=3", "asks for 'x' inside of 256"),
        ("energy.entropy.factor=-1", "energy.1.factor must be greater than or equal to 0, got -1"),
        ("initial.kind=uniform", "initial.amplitude is no key here"),
    ],
)
def test_settings_that_are_wrong(setting, says):
    with pytest.raises(mf.CaseError) as caught:
        mf.load_case("kuramoto").with_settings([setting])
    assert says in str(caught.value)
    assert "kuramoto.toml" in str(caught.value)


def test_settings_change_the_problem_and_the_text():
    case = mf.load_case("kuramoto")
    settings = [
        "grid.cells=64",
        "energy.entropy.factor=0.5",
        "energy.0.factor=2",
        "solve.stepper=b1",
    ]
    changed = case.with_settings([*settings, "simulate.dt=0.5"])
    assert changed.problem.initial.grid.cells == (64,)
    assert changed.problem.flow.energy.beta == 0.5
    assert changed.solve_options()["stepper"] == "b1"
    assert changed.simulate_options()["dynamics"].dt == 0.5
    assert changed.text.startswith(case.text.rstrip())
    assert "# --set solve.stepper=b1\n" in changed.text
    assert case.problem.initial.grid.cells == (256,)
    assert case.with_settings([]) is case


def test_a_case_from_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(CIRCLE)
    case = mf.load_case(str(path))
    assert case.name == "mine"
    assert case.origin == str(path)
    assert case.title.startswith("Noisy Kuramoto")


def test_options_go_to_solvers_as_they_are():
    case = mf.load_case("reflection-arbitrary").with_settings(
        ["grid.cells=40", "t1=0.1", "save=2", "simulate.particles=9", "simulate.seeds=2"]
    )
    case = case.with_settings(["simulate.dynamics=sgd", "simulate.batch=3"])
    solution = mf.solve(case.problem, **case.solve_options())
    run = mf.simulate(case.problem, **case.simulate_options())
    assert solution.times.tolist() == run.times.tolist() == [0.0, 0.1]
    assert run.points.shape == (2, 2, 9, 1)
    assert run.dynamics == mf.SGD(dt=0.02, batch=3)


def test_births_and_deaths_of_a_case():
    case = mf.load_case("ornstein-uhlenbeck-1d").with_settings(
        ["t1=0.1", "save=2", "simulate.particles=50", "simulate.seeds=2", "reaction.rate=2"]
    )
    run = mf.simulate(case.problem, **case.simulate_options())
    assert run.dynamics == mf.BirthDeath(dt=0.005)
    assert run.problem.flow.reaction == 2.0
    case = case.with_settings(
        [
            "simulate.dynamics=birth-death",
            "simulate.reservoir={kind='gaussian', mean=-5.0, cov=0.01}",
        ]
    )
    options = case.simulate_options()
    assert options["dynamics"].reservoir.mean()[0] == pytest.approx(-5.0)
    assert (mf.simulate(case.problem, **options).points[-1] < -3).any()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["simulate.reservoir={kind='uniform'}"], "without dynamics = 'birth-death'"),
        (["simulate.dynamics=birth-death", "simulate.augmentation=orbit"], "or a batch"),
        (["simulate.batch=3"], "must not have batch without dynamics = 'sgd'"),
        (["simulate.dynamics=birthdeath"], "birth-death"),
    ],
)
def test_settings_of_other_dynamics_are_refused(settings, says):
    with pytest.raises(mf.CaseError, match=says):
        mf.load_case("ornstein-uhlenbeck-1d").with_settings(settings)


@pytest.mark.parametrize("variant", ["vanilla", "data-augmented", "feature-averaged"])
def test_variants_share_the_risk_of_invariant_laws(variant):
    case = mf.load_case("reflection-invariant").with_settings([f'energy.risk.variant="{variant}"'])
    plain = mf.load_case("reflection-invariant")
    values = [c.problem.flow.energy.value(c.problem.initial) for c in (case, plain)]
    assert values[0] == pytest.approx(values[1], abs=1e-13)


@pytest.mark.parametrize("variant", ["vanilla", "data-augmented", "feature-averaged"])
def test_the_tolerance_of_the_rank(variant):
    settings = [f'energy.risk.variant="{variant}"', "energy.risk.rank_tolerance=1e-6"]
    for chosen, tolerance in ((settings, 1e-6), (settings[:1], TOLERANCE)):
        case = mf.load_case("reflection-invariant").with_settings(chosen)
        leaf = case.problem.flow.energy.terms[0][1]
        assert plain_risk(leaf).rank_tolerance == tolerance


def test_other_tables_build_what_they_say(tmp_path):
    text = """
title = "A logistic network in the plane"
t1 = 1.0
rate = { kind = "inverse", value = 2.0, time = 3.0 }
grid = { kind = "box", lower = [-2, -2], upper = [2, 2], cells = [8, 8] }
initial = { kind = "uniform" }
group = { kind = "dihedral", n = 4 }

[[energy]]
kind = "risk"
loss = "logistic"
unit = { kind = "scaled-ridge", activation = "erf" }
data = { kind = "gauss-legendre", nodes = 4, lower = -1, upper = 1, target = { kind = "sign" } }

[[energy]]
kind = "potential"
name = "quadratic"
centre = [1, 0]
width = 2.0
factor = 3.0

[[energy]]
kind = "interaction"
name = "gaussian"
width = 0.5
factor = -1.0
"""
    path = tmp_path / "case.toml"
    path.write_text(text)
    case = mf.load_case(path)
    flow = case.problem.flow
    assert flow.speed(3.0) == 1.0
    assert flow.energy.beta == 0.0
    assert case.group is not None
    assert case.group.order == 8
    potential, interaction = (leaf for _, leaf in flow.energy.terms[1:])
    assert potential.value(mf.Cloud([[3.0, 0.0]])) == pytest.approx(0.5)
    pair = mf.Cloud([[0.0, 0.0], [0.5, 0.0]])
    assert interaction.value(pair) == pytest.approx(-0.25 * (1 + np.exp(-0.5)))
    assert case.problem.save_times(case.solve_options()["save"]).size == 5


def test_groups_that_act_on_outputs():
    case = mf.load_case("swap-vector")
    assert case.group.on_y(2).tolist() == case.group.matrices.tolist()
    risk = plain_risk(case.problem.flow.energy.terms[0][1])
    assert risk.unit == mf.Unit.separate_ridge("tanh")
    np.testing.assert_allclose(risk.predict(mf.Cloud([[1.0, 2.0], [2.0, 1.0]])), risk.data.y)
    alone = case.with_settings(["group.outputs=false"])
    assert alone.group.on_y(2).tolist() == [[[1, 0], [0, 1]]] * 2
    report = mf.validate(alone.problem, alone.group, {"data-invariant": False})
    assert report.passed


@pytest.mark.parametrize("name", POTENTIALS)
@pytest.mark.parametrize("dim", [1, 2])
def test_gradients_of_named_potentials(name, dim):
    # A wrong gradient is an error of the first drift: it is compared with differences.
    points = np.random.default_rng(0).normal(size=(20, dim))
    mf.Potential(*POTENTIALS[name]).drift(mf.Cloud(points))


@pytest.mark.parametrize("name", INTERACTIONS)
@pytest.mark.parametrize("dim", [1, 2])
def test_gradients_of_named_interactions(name, dim):
    points = np.random.default_rng(0).normal(size=(20, dim))
    mf.Interaction(*INTERACTIONS[name]).drift(mf.Cloud(points))


def test_a_wrong_gradient_would_be_seen():
    value, gradient = POTENTIALS["double-well"]
    wrong = mf.Potential(value, lambda z: 1.001 * gradient(z))
    with pytest.raises(ValueError, match="gradient of potential is wrong"):
        wrong.drift(mf.Cloud([[1.7]]))


@pytest.mark.parametrize("order", [1, 2])
def test_cosine_law_by_exact_cell_averages(order):
    settings = ["grid.cells=32", f"initial.order={order}"]
    rho = mf.load_case("kuramoto").with_settings(settings).problem.initial
    faces = rho.grid.faces[0]
    primitive = (faces + 0.5 * np.sin(order * faces) / order) / (2 * np.pi)
    np.testing.assert_allclose(rho.values, np.diff(primitive) / rho.grid.spacing[0], rtol=1e-13)
    assert (rho.values == rho.values[::-1]).all()
    assert rho.mass == pytest.approx(1.0, abs=1e-14)


def test_symmetric_solves_take_the_group():
    case = mf.load_case("reflection-invariant").with_settings(["solve.symmetric=true"])
    assert case.solve_options()["symmetry"] is case.group
    assert mf.load_case("reflection-invariant").solve_options()["symmetry"] is None


@pytest.mark.parametrize(
    ("name", "got", "remedy"),
    [
        ("ornstein-uhlenbeck-1d", "got true", "[group]"),
        ("reflection-arbitrary", "solve.symmetric", "data_augmented"),
    ],
)
def test_symmetric_solves_need_a_group_and_an_invariant_energy(name, got, remedy):
    with pytest.raises(mf.CaseError) as caught:
        mf.load_case(name).with_settings(["solve.symmetric=true"])
    assert got in str(caught.value)
    assert remedy in str(caught.value)


def test_a_share_of_a_mixture_may_be_uniform():
    case = mf.load_case("birth-death-double-well")
    rho, plain = (c.problem.initial for c in (case, case.with_settings(["initial.uniform=0.0"])))
    expected = 0.999 * plain.values + 0.001 * mf.Density.uniform(rho.grid).values
    np.testing.assert_allclose(rho.values, expected, rtol=1e-12)
    assert plain.values.min() < 1e-300 < 1e-5 < rho.values.min()
    with pytest.raises(mf.CaseError, match=r"initial.uniform must be less than 1"):
        case.with_settings(["initial.uniform=1.0"])
