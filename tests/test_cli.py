"""The command line: what it prints and writes, its exit codes, and its errors."""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from numpy.linalg import LinAlgError
from test_case import BAD, write
from typer.testing import CliRunner

import meanfield_pde as mf
from meanfield_pde import cli
from meanfield_pde.studies.claims import CLAIMS

QUICK = {
    "kuramoto": ["grid.cells=24", "t1=0.2", "save=3"],
    "reflection-arbitrary": ["grid.cells=40", "t1=0.5", "save=2"],
    "swap-invariant": ["grid.cells=[12, 12]", "t1=0.5", "save=2", 'compare.distances=["model"]'],
}
SIMULATE = ["simulate.particles=60", "simulate.seeds=3", "simulate.dt=0.02"]


def call(*words):
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def quick(verb, name, folder, *more):
    settings = [word for line in [*QUICK[name], *SIMULATE] for word in ("--set", line)]
    given = without_particles(name) if verb == "validate" else name
    return call(verb, given, "-o", folder, *settings, *more)


def without_particles(name):
    """Copy a case, less the claims for which so coarse an instance is too small."""
    dropped = {claim for claim, stated in CLAIMS.items() if "particles" in stated.needs}
    lines = mf.load_case(name).text.splitlines()
    kept = [line for line in lines if line.partition(" = ")[0] not in dropped]
    path = Path(tempfile.mkdtemp()) / f"{name}.toml"
    path.write_text("\n".join(line for line in kept if not line.startswith("one-drift")))
    return path


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


def require_message(result, code, *parts):
    """A message on stderr, the right code, and no traceback."""
    assert result.exit_code == code, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize("words", [["--help"], ["solve", "--help"], ["list"], ["--version"]])
def test_answers_without_heavy_imports(words):
    heavy = ["numba", "scipy", "numpy", "matplotlib", "xarray", "ot", "findiff"]
    code = f"""
import sys
sys.argv = ["meanfield-pde", *{words!r}]
from meanfield_pde.cli import main
try:
    main()
except SystemExit as done:
    assert done.code == 0, done.code
print("IMPORTED", [name for name in {heavy!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "IMPORTED []"


def test_help_names_the_commands_and_the_codes():
    result = call("--help")
    assert result.exit_code == 0
    for word in (
        "solve",
        "simulate",
        "compare",
        "validate",
        "convergence",
        "fluctuations",
        "bifurcation",
        "discover",
        "students",
        "sweep",
        "list",
        "show",
        "Exit codes",
        "130",
    ):
        assert word in result.stdout


def test_public_names_are_all_there():
    for name in mf.__all__:
        assert getattr(mf, name) is not None
    assert set(mf.__all__) <= set(dir(mf))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = mf.nonsense


def test_list():
    assert call("list").stdout.splitlines()[0].startswith("attraction-repulsion ")
    listed = json.loads(call("list", "--json").stdout)
    assert {entry["name"]: entry["title"] for entry in listed} == mf.list_cases()


def test_show():
    result = call("show", "reflection-arbitrary")
    assert result.exit_code == 0
    assert mf.load_case("reflection-arbitrary").text.rstrip() in result.stdout
    assert "# wi-preserved: FALSE\n#   the plain flow" in result.stdout
    shown = json.loads(call("show", "kuramoto", "--json").stdout)
    assert shown["claims"]["wi-preserved"] is True
    assert "[grid]" in shown["text"]


@pytest.mark.parametrize("name", QUICK)
def test_solve(tmp_path, name):
    result = quick("solve", name, tmp_path / "out")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "free energy" in lines[0]
    assert "asymmetry" in lines[0]
    assert lines[-1].startswith("wrote ")
    assert names(tmp_path / "out") == ["asymmetry.png", "density.png", "energy.png", "solution.nc"]
    solution = mf.load_solution(tmp_path / "out" / "solution.nc")
    assert f"# --set {QUICK[name][0]}" in solution.attributes["case"]


def test_results_go_to_a_folder_named_after_the_case(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert quick("solve", "kuramoto", "elsewhere").exit_code == 0
    settings = [word for line in QUICK["kuramoto"] for word in ("--set", line)]
    assert call("solve", "kuramoto", "--quiet", *settings).stdout == ""
    assert names(tmp_path / "results" / "kuramoto") == names(tmp_path / "elsewhere")


@pytest.mark.parametrize("name", QUICK)
def test_simulate(tmp_path, name):
    result = quick("simulate", name, tmp_path, "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["case"] == name
    assert [row["time"] for row in told["rows"]][0] == 0.0
    assert names(tmp_path) == ["particles.png", "run.nc"]
    assert mf.load_run(tmp_path / "run.nc").points.shape[1:3] == (3, 60)


@pytest.mark.parametrize("name", QUICK)
def test_compare(tmp_path, name):
    result = quick("compare", name, tmp_path)
    assert result.exit_code == 0, result.output
    assert "holds" in result.stdout
    assert names(tmp_path) == ["comparison.json", "comparison.png", "run.nc", "solution.nc"]
    assert json.loads((tmp_path / "comparison.json").read_text())["passed"] is True


@pytest.mark.parametrize("name", QUICK)
def test_validate(tmp_path, name):
    result = quick("validate", name, tmp_path)
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == ["validation.json", "validation.png", "validation.txt"]
    data = json.loads((tmp_path / "validation.json").read_text())
    assert data["passed"] is True
    text = (tmp_path / "validation.txt").read_text()
    table = text[: text.index("\n\n")]
    assert result.stdout.startswith(table)
    assert "statement" not in result.stdout
    assert max(len(line) for line in table.splitlines()) <= 100
    for row in data["rows"]:
        block = text[text.index(f"\n{row['claim']}: holds\n") :].split("\n\n")[0]
        words = " ".join(block.split())
        for key in ("statement", "source", "instance", "theory says", "reason", "because of"):
            assert row[key] == "" or f"{key} {row[key]}" in words, (row["claim"], key)
        for key in ("number", "tolerance", "control"):
            assert row[key] == "" or f"{key} {row[key]:.10g}" in words


def test_validate_in_full(tmp_path):
    result = quick("validate", "reflection-arbitrary", tmp_path, "--verbose")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "validation.txt").read_text() in result.stdout


def test_validate_tells_failures_in_full(tmp_path):
    words = ["--set", "claims.wi-preserved=true"]
    result = quick("validate", "reflection-arbitrary", tmp_path, *words)
    assert result.exit_code == 1
    assert "wi-preserved: FAILS\n  statement" in result.stdout
    assert "da-preserves-wi: holds" not in result.stdout


def test_a_check_that_fails_is_code_1(tmp_path):
    words = ["--set", "claims.wi-preserved=true", "--json"]
    result = quick("validate", "reflection-arbitrary", tmp_path, *words)
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert told["passed"] is False
    assert [row["claim"] for row in told["rows"] if row["verdict"] == "FAILS"] == ["wi-preserved"]
    # Particles of another noise than the density's are found out.
    case = mf.load_case("ornstein-uhlenbeck-1d").with_settings(["simulate.particles=500"])
    hotter = case.with_settings(["energy.entropy.factor=0.8"])
    run = mf.simulate(hotter.problem, **hotter.simulate_options())
    assert not mf.compare(mf.solve(case.problem, **case.solve_options()), run).passed


def test_convergence(tmp_path):
    words = ["--set", "grid.cells=64", "--set", "t1=0.2", "--set", "save=[0, 0.1, 0.2]"]
    result = call("convergence", "kuramoto", "-o", tmp_path, *words, "--levels", 3)
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == ["convergence.json", "convergence.png", "convergence.txt"]
    assert (tmp_path / "convergence.txt").read_text() in result.stdout
    told = json.loads((tmp_path / "convergence.json").read_text())
    assert told["details"]["space"]["order"] == pytest.approx(2.0, abs=0.2)
    assert [row["cells"] for row in told["rows"][:3]] == ["16", "32", "fit"]
    assert told["title"].endswith("16 to 64 cells")
    as_json = call("convergence", "kuramoto", "-o", tmp_path, *words, "--levels", 3, "--json")
    assert json.loads(as_json.stdout) == {"case": "kuramoto", **told, "files": [*files(tmp_path)]}
    assert call("convergence", "kuramoto", "-o", tmp_path, *words, "-q").stdout == ""


def files(folder):
    return (str(folder / f"convergence.{ending}") for ending in ("json", "txt", "png"))


def test_errors_that_do_not_fall_are_code_1(tmp_path, monkeypatch):
    case = mf.load_case("kuramoto").with_settings([*QUICK["kuramoto"], "save=[0.1, 0.2]"])
    report = mf.convergence(case, levels=3)
    failing = replace(report, verdicts=(None, False, *report.verdicts[2:]))
    monkeypatch.setattr(mf, "convergence", lambda *args, **kwargs: failing)
    result = quick("convergence", "kuramoto", tmp_path)
    assert result.exit_code == 1
    assert "FAILS" in result.stdout
    assert "convergence.txt" in names(tmp_path)


@pytest.mark.parametrize("module", ["meanfield_pde", "meanfield_pde.cli"])
def test_as_a_module(module):
    words = [sys.executable, "-m", module, "--version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout == f"meanfield-pde {mf.__version__}\n"


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_bad_case_is_code_2(tmp_path, bad):
    path = write(tmp_path, bad.text)
    result = call("solve", path, "-o", tmp_path / "out")
    require_message(result, 2, str(path), *bad.says)
    assert result.stdout == ""
    assert names(tmp_path) == [path.name]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["solve", "kuramotto"], "did you mean 'kuramoto'?"),
        (["validate", "none.toml"], "none.toml cannot be read"),
        (["show", "nothing"], "known: attraction-repulsion"),
        (["frobnicate"], "No such command"),
        (["solve"], "Missing argument"),
        (["solve", "kuramoto", "--frob"], "No such option"),
        (["solve", "kuramoto", "--set", "t1"], "must read key=value, got 't1'"),
        (["solve", "kuramoto", "--set", "t1=soon"], "t1 must be a valid number, got 'soon'"),
        (["solve", "kuramoto", "--set", "grid.cells=0"], "greater than or equal to 1, got 0"),
        (["solve", "kuramoto", "--set", "solve.dt=0"], "solve.dt must be greater than 0, got 0"),
        (["convergence", "kuramoto", "--levels", "2"], "levels must be a whole number >= 3, got 2"),
        (["convergence", "kuramoto", "--levels", "many"], "Invalid value for '--levels'"),
        (["simulate", "kuramoto", "--set", "simulate.dynamics=sgd"], "SGD needs an energy with"),
        (
            ["compare", "kuramoto", "--set", 'compare.distances=["model"]'],
            "distances must be among mmd, w1, w2",
        ),
        (["validate", "ornstein-uhlenbeck-1d", "--set", "claims.wi-preserved=true"], "needs group"),
    ],
)
def test_bad_usage_is_code_2(tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    quicker = ["--set", "grid.cells=24"] if words[0] == "compare" else []
    small = [word for line in SIMULATE for word in ("--set", line)] if quicker else []
    result = call(*words, *quicker, *small)
    require_message(result, 2)
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert names(tmp_path) == []


def test_a_case_without_claims_has_nothing_to_validate(tmp_path):
    text = mf.load_case("kuramoto").text
    path = write(tmp_path, text[: text.index("[claims]")])
    require_message(call("validate", path), 2, "states no claims; add a table [claims]")


@pytest.mark.parametrize(
    ("verb", "name", "error"),
    [
        ("convergence", "convergence", lambda: LinAlgError("singular matrix")),
        ("simulate", "simulate", lambda: mf.SimulationError("make dt smaller")),
        ("validate", "validate", lambda: mf.GibbsError("give a start=")),
    ],
)
def test_numerics_that_fail_are_code_3(tmp_path, monkeypatch, verb, name, error):
    def fail(*args, **kwargs):
        raise error()

    monkeypatch.setattr(mf, name, fail)
    require_message(quick(verb, "kuramoto", tmp_path / "out"), 3, str(error()))
    assert names(tmp_path) == []


def test_a_solve_that_gets_stuck_is_code_3(tmp_path, monkeypatch):
    case = mf.load_case("kuramoto").with_settings(QUICK["kuramoto"])
    solution = mf.solve(case.problem, **case.solve_options())

    def fail(*args, **kwargs):
        raise mf.SolveError(solution)

    monkeypatch.setattr(mf, "solve", fail)
    require_message(quick("solve", "kuramoto", tmp_path / "out"), 3, solution.result)


def test_places_that_cannot_be_written_are_code_4(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    result = quick("solve", "kuramoto", tmp_path / "file" / "out")
    require_message(result, 4, "cannot be written to", "is no folder", "give another one by -o")
    assert (tmp_path / "file").read_text() == "mine"

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    result = quick("solve", "kuramoto", tmp_path / "out")
    require_message(result, 4, "density.png", "No space left on device")
    # What was complete is kept; nothing is there by halves.
    assert names(tmp_path / "out") == ["solution.nc"]
    mf.load_solution(tmp_path / "out" / "solution.nc")


def test_interrupted_is_code_130(tmp_path, monkeypatch):
    def interrupt(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(mf, "solve", interrupt)
    require_message(quick("solve", "kuramoto", tmp_path / "out"), 130, "interrupted")
    assert names(tmp_path) == []


def test_our_own_faults_are_not_hidden(tmp_path, monkeypatch):
    def fault(*args, **kwargs):
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(mf, "solve", fault)
    result = quick("solve", "kuramoto", tmp_path / "out")
    assert isinstance(result.exception, RuntimeError)
