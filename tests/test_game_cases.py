"""Games from case files and on the command line: what tables build, what is written and refused."""

import json

import numpy as np
import pytest
from games import payoff_b, payoff_c
from test_case import write
from test_cli import call, names, require_message

import meanfield_pde as mf
from meanfield_pde.case import case_folder
from meanfield_pde.case.payoff import BumpTable, MonomialTable, OwnTable, WaveTable, payoff_of

GAME = (case_folder() / "game-langevin.toml").read_text()
CIRCLE = mf.Grid.torus(0, 2 * np.pi, 24)
TORUS = mf.Grid.torus((0, 0), (2 * np.pi, 2 * np.pi), (6, 6))
BOX = mf.Grid.box(-2, 2, 20)
PLANE = mf.Grid.box((-2, -2), (2, 2), (6, 6))
SINE = -0.5 * np.pi


def wave(strength, first, second, phase=0.0):
    given = {"strength": strength, "first": first, "second": second, "phase": phase}
    return WaveTable(kind="wave", **given)


def values(tables, grids, rng, n=7):
    """The payoff of tables at random points, one each, and the points."""
    x, y = (rng.uniform(-2, 2, (n, grid.dim)) for grid in grids)
    payoff = payoff_of(tables, grids)
    found = [payoff.variations(mf.Cloud(x[[k]]), mf.Cloud(y[[k]]))[0][0] for k in range(n)]
    return payoff, np.array(found), x, y


@pytest.mark.parametrize(
    ("tables", "function", "rank"),
    [
        ([wave(1.0, 1.0, -1.0), wave(0.5, 2.0, 0.0), wave(0.3, 0.0, 1.0, SINE)], payoff_b, 4),
        (
            [
                wave(1.0, 2.0, -1.0, SINE),
                wave(0.6, 1.0, 2.0),
                wave(0.4, 1.0, 0.0),
                wave(-0.5, 0.0, 2.0, SINE),
            ],
            payoff_c,
            6,
        ),
        ([wave(2.0, 0.0, 0.0, 1.0)], lambda x, y: np.full(len(x), 2 * np.cos(1.0)), 1),
    ],
    ids=["b", "c", "constant"],
)
def test_waves_of_the_circle(tables, function, rank):
    payoff, found, x, y = values(tables, (CIRCLE, CIRCLE), np.random.default_rng(0))
    np.testing.assert_allclose(found, function(x, y), atol=1e-14)
    assert len(payoff.terms) == rank


def test_waves_of_two_axes():
    tables = [wave(1.5, [1.0, 2.0], [-1.0, 0.0], 0.3), wave(1.0, [0.0, 1.0], 0.0)]
    _, found, x, y = values(tables, (TORUS, TORUS), np.random.default_rng(1))
    expected = 1.5 * np.cos(x @ [1, 2] - y[:, 0] + 0.3) + np.cos(x[:, 1])
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_monomials_and_potentials_of_one_player():
    tables = [
        MonomialTable(kind="monomial", strength=2.0, first=[1, 2], second=3),
        OwnTable(kind="potential", player="first", name="double-well", centre=[0.5, 0.0]),
        OwnTable(kind="potential", player="second", name="quadratic", strength=-3.0, width=2.0),
    ]
    payoff, found, x, y = values(tables, (PLANE, BOX), np.random.default_rng(2))
    square = ((x - [0.5, 0]) ** 2).sum(-1)
    expected = 2 * x[:, 0] * x[:, 1] ** 2 * y[:, 0] ** 3 + square**2 / 4 - square / 2
    np.testing.assert_allclose(found, expected - 1.5 * (y[:, 0] / 2) ** 2, atol=1e-12)
    assert len(payoff.terms) == 3


@pytest.mark.parametrize("grid", [BOX, PLANE, CIRCLE])
def test_bumps(grid):
    tables = [BumpTable(kind="bump", strength=-1.5, shift=0.2, width=0.7)]
    tables.append(OwnTable(kind="potential", player="second", name="cosine"))
    payoff, found, x, y = values(tables, (grid, grid), np.random.default_rng(3))
    assert isinstance(payoff, mf.KernelPayoff)
    gap = x - y - 0.2
    squares = 2 * (1 - np.cos(gap)) if grid.periodic else gap**2  # the chord, for radius 1
    expected = -1.5 * np.exp(-0.5 * squares.sum(-1) / 0.49) - np.cos(y).sum(-1)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_initial_laws_of_von_mises():
    settings = ["player.0.grid.cells=40"]
    rho = mf.load_case("game-langevin").with_settings(settings).problem.initial[0]
    angle = 2 * np.pi * np.arange(4000) / 4000
    law = np.exp(1.5 * np.cos(angle - 1.0))
    assert rho.mass == pytest.approx(1, abs=1e-14)
    exact = (law * np.exp(1j * angle)).sum() / law.sum()
    h = rho.grid.spacing[0]
    found = rho.expect(lambda z: np.cos(z[..., 0])) + 1j * rho.expect(lambda z: np.sin(z[..., 0]))
    assert found / np.sinc(0.5 * h / np.pi) == pytest.approx(exact, rel=1e-9)
    wide = mf.load_case("game-plane").problem.initial[1]
    assert wide.expect(lambda z: np.sin(z[..., 0] - 3.0)) == pytest.approx(0, abs=1e-10)
    assert wide.expect(lambda z: np.sin(z[..., 1] - 1.0)) == pytest.approx(0, abs=1e-10)


BAD = {
    "both": ("[simulate]", '[[energy]]\nkind = "entropy"\n[simulate]', ("energy", "drop one")),
    "a grid": ("[simulate]", '[grid]\nkind = "box"\n[simulate]', ("a game and grid", "drop one")),
    "one player": ("[[player]]", "[player]", ("declare", "no valid TOML")),
    "kind": ('"wave"', '"waev"', ("game.payoff.0.kind", "bump, got 'waev'", "'wave'?")),
    "frequency": ("second = -1", "second = 0.5", ("game.payoff", "period")),
    "entries": ("first = 2", "first = [2, 1]", ("game: first", "1 entries", "[2.0, 1.0]")),
    "box": ('"torus"', '"box"', ("player.0: kind 'von-mises'", "a box", "normal law")),
    "beta": ("beta = 0.3", "beta = -1", ("game.beta", "greater than or equal to 0", "-1")),
    "entropy": ("beta = 0.3", "entropic = true", ("game: entropic", "reaction=1.0")),
    "claim": ("zero-sum", "zero-smu", ("claims.zero-smu", "'zero-sum'?")),
    "other claim": ("zero-sum", "wi-preserved", ("claims.wi-preserved", "is no claim")),
    "symmetry": ("[simulate]", "[solve]\nreduced = true\n[simulate]", ("solve must not",)),
    "data": ("dt = 0.02", 'dynamics = "sgd"', ("simulate must not have", "no data")),
    "late": ("save = [0.0, 1.0, 2.0]", "save = [99.0]", ("simulate: save", "raise t1")),
    "no payoff": ("beta = 0.3", "beta = 0.3\npayoff = []", ("no valid TOML",)),
    "group": ("[simulate]", '[group]\nkind = "swap"\n[simulate]', ("group is no key here",)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_error_names_file_key_and_remedy(tmp_path, bad):
    old, new, says = bad
    assert old in GAME
    path = write(tmp_path, GAME.replace(old, new))
    with pytest.raises(mf.CaseError) as caught:
        mf.load_case(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in says[:1] if "TOML" in message else says:
        assert part in message or "no valid TOML" in message


def test_players_come_in_pairs(tmp_path):
    alone = GAME[: GAME.rindex("[[player]]")] + GAME[GAME.index("[simulate]") :]
    with pytest.raises(mf.CaseError, match="player must have 2 entries, got 1$"):
        mf.load_case(write(tmp_path, alone))
    third = GAME[GAME.rindex("[[player]]") : GAME.index("[simulate]")]
    crowd = GAME.replace("[simulate]", third + "[simulate]")
    with pytest.raises(mf.CaseError, match="player must have 2 entries, got 3$"):
        mf.load_case(write(tmp_path, crowd))

    none = GAME[: GAME.index("[[player]]")] + GAME[GAME.index("[simulate]") :]
    with pytest.raises(mf.CaseError, match=r"player is missing; give two \[\[player\]\]"):
        mf.load_case(write(tmp_path, none))


def test_what_a_case_lacks_names_both_kinds(tmp_path):
    with pytest.raises(mf.CaseError, match=r"energy is missing; give it, or a \[game\]"):
        mf.load_case(write(tmp_path, 'title = "Nothing"\nt1 = 1.0\n'))


def test_bumps_need_grids_of_one_kind():
    tables = [BumpTable(kind="bump")]
    with pytest.raises(ValueError, match="same kind and dimension"):
        payoff_of(tables, (BOX, CIRCLE))
    with pytest.raises(ValueError, match="needs a box for the second player"):
        payoff_of([MonomialTable(kind="monomial", first=1, second=1)], (BOX, CIRCLE))


def test_settings_reach_players_and_terms():
    case = mf.load_case("game-langevin").with_settings(
        ["player.1.grid.cells=16", "game.beta=0.7", "game.payoff.2.strength=0.0", "game.reaction=2"]
    )
    assert case.problem.initial[1].grid.cells == (16,)
    assert (case.problem.flow.beta, case.problem.flow.reaction) == (0.7, 2.0)
    assert case.group is None
    assert case.simulate_options()["save"] == [0.0, 1.0, 2.0]
    assert case.solve_options()["save"] == 41


# -- the command line


SETTINGS = [
    *("player.0.grid.cells=24", "player.1.grid.cells=24", "t1=10.0", "save=6"),
    *("simulate.particles=60", "simulate.seeds=4", "simulate.save=[0, 0.5]"),
]
ARGUMENTS = [word for line in SETTINGS for word in ("--set", line)]


@pytest.mark.parametrize(
    ("verb", "files"),
    [
        ("solve", ["density.png", "gap.png", "phase.png", "solution.nc"]),
        ("simulate", ["particles.png", "run.nc"]),
        ("validate", ["validation.json", "validation.png", "validation.txt"]),
    ],
)
def test_commands(tmp_path, verb, files):
    extra = ["--set", "claims={gap-closes=false, zero-sum=true}"] if verb == "validate" else []
    result = call(verb, "game-fisher-rao", "-o", tmp_path, *ARGUMENTS, *extra)
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == files
    head = result.stdout.splitlines()[0]
    if verb == "solve":
        assert head.split("  ")[0].strip() == "time"
        assert all(word in head for word in ("mass x", "mass y", "payoff", "gap of averages"))
        assert "entropic" not in head
        loaded = mf.load_solution(tmp_path / "solution.nc")
        assert isinstance(loaded, mf.GameSolution)
        assert "# --set t1=10.0" in loaded.attributes["case"]
    if verb == "simulate":
        assert "mean cos x" in head
        assert "mean sin y" in head


def test_compare_writes_both_players(tmp_path):
    few = ["--set", 'compare.distances=["w1"]']
    result = call("compare", "game-fisher-rao", "-o", tmp_path, *ARGUMENTS, *few, "--json")
    assert result.exit_code == 0, result.output
    assert names(tmp_path) == ["comparison.json", "comparison.png", "run.nc", "solution.nc"]
    told = json.loads(result.stdout)
    assert {row["player"] for row in told["rows"]} == {"first", "second", "both"}


@pytest.mark.parametrize("verb", ["convergence", "discover", "fluctuations", "sweep"])
def test_commands_of_one_law_refuse_games(tmp_path, verb):
    over = ["--over", "particles=10,20"] if verb == "sweep" else []
    result = call(verb, "game-cycle", "-o", tmp_path, *over)
    require_message(result, 2, "game-cycle.toml", f"{verb} is for the gradient flow of one law")
    assert len(result.stderr.splitlines()) == 1


def test_show_says_what_claims_of_games_mean():
    result = call("show", "game-fisher-rao")
    assert result.exit_code == 0
    assert "# gap-closes: FALSE" in result.stdout
    assert "Nikaido-Isoda gap of the last laws" in result.stdout
