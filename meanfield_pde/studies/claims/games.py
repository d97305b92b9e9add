"""Claims about zero-sum games: what the scheme keeps, where the players end, and what averages do.

No energy falls along a game, and its flow may cycle: that it converges is a claim that a case may
state as false.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.eulerian.game_nash import nash
from meanfield_pde.eulerian.game_solution import GameSolution, Pair
from meanfield_pde.eulerian.polar import fluxes_on
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Game, Problem
from meanfield_pde.lagrangian.game import play
from meanfield_pde.lagrangian.game_run import GameRun
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import l1
from meanfield_pde.measures.grid import Grid
from meanfield_pde.studies.claims.claim import STATIC, Claim, Finding
from meanfield_pde.studies.claims.scheme import leak, overshoot
from meanfield_pde.studies.claims.slope import falls_as
from meanfield_pde.studies.game_setting import GameSetting

ENTROPIC = "Domingo-Enrich, Jelassi, Mensch, Rotskoff and Bruna, arXiv 2002.06277"
CYCLES = "Mourrat and Pillaud-Vivien, arXiv 2604.11134"
REPLICATOR = "Hofbauer, J. Math. Biol. 34, 675 (1996); " + ENTROPIC

AT_REST = 1e-6
"""L1 distance from the entropic equilibrium at which a flow counts as converged."""
DOUBLINGS = 4
CLOSED = 0.01
"""Part of the first gap up to which the last one counts as closed."""
OPEN = 0.1
"""Part of the first gap from which on it counts as open."""
CONSERVED = 1e-3
"""Relative change of the distance to an equilibrium that steps may cause."""
SIZES = {50: 160, 800: 60}
"""Numbers of particles of each player, and of replicas."""
STEPS = 30
"""Most steps of particles."""
LONGEST = 0.02
"""Longest step of particles: its error must stay below that of the largest clouds."""


# -- what the scheme keeps


def mass_conserved(setting: GameSetting) -> Finding:
    """Largest relative drift of either mass over all accepted steps."""
    number = setting.flow().statistics.mass_drift
    p, q = setting.initial
    if setting.problem.flow.transport:
        fault = "a cell that keeps what it gives away"
        return Finding(
            number, 1e-13, "rounding of sums", leak(_generator(setting), p.values), fault
        )
    potential, _ = setting.potentials(p, q)
    control = float((p.masses * (potential - potential.min())).sum()) / setting.size
    fault = "births and deaths without the mean taken off"
    return Finding(number, 1e-13, "rounding of sums", control, fault)


def positive(setting: GameSetting) -> Finding:
    """How far below 0 a density went at any accepted step."""
    number = max(0.0, -setting.flow().statistics.smallest)
    reason, p = "no density is negative", setting.initial[0]
    if setting.problem.flow.transport:
        control, fault = overshoot(_generator(setting)), "an explicit step of twice the bound"
        return Finding(number, 0.0, reason, control, fault)
    excess = setting.potentials(*setting.initial)[0]
    excess = excess - float((p.masses * excess).sum())
    beyond = p.values * (1.0 - 2.0 * excess / excess.max())
    fault = "an explicit step of birth and death of twice the bound"
    return Finding(number, 0.0, reason, float(-beyond.min()), fault)


def swap_symmetric(setting: GameSetting) -> Finding:
    """Largest difference of the flow of the exchanged game from the flow, exchanged."""
    until = setting.problem.t1 / 8  # bits that differ later differ early, as the control's do
    faults = ("", "exchanged", "mistaken")
    given, right, wrong = (setting.flow(fault, until) for fault in faults)
    number, control = _apart(given, right), _apart(given, wrong)
    return Finding(number, 0.0, "bit for bit", control, "players exchanged, the payoff's sign not")


def _apart(one: GameSolution, other: GameSolution) -> float:
    pairs = zip(one.densities, other.densities, strict=True)
    return max(
        float(np.abs(a.values - b.values).max())
        for (p, q), (second, first) in pairs
        for a, b in ((p, first), (q, second))
    )


def particles_swap_symmetric(setting: GameSetting) -> Finding:
    """Largest difference of the exchanged game's particles from the particles, exchanged."""
    dt = min(setting.dynamics.dt, setting.problem.t1 / 10)

    def run(fault: str, streams: tuple[int, int]) -> GameRun:
        game = setting.game(fault)
        problem = Problem(game.flow, game.initial, 10 * dt)
        dynamics = replace(setting.dynamics, dt=dt)  # type: ignore[type-var]
        return play(problem, 50, setting.seed, dynamics, None, 1, False, streams)

    given = run("", (0, 1))

    def apart(other: GameRun) -> float:
        pairs = zip(given.points, other.points[::-1], strict=True)
        return max(float(np.abs(a - b).max()) for a, b in pairs)

    number, control = (apart(run("exchanged", streams)) for streams in ((1, 0), (0, 1)))
    return Finding(number, 0.0, "bit for bit", control, "streams of noise that are not exchanged")


def zero_sum(setting: GameSetting) -> Finding:
    """Largest sum of both players' expected potentials, on densities and on clouds."""
    rng, payoff = np.random.default_rng(setting.seed), setting.problem.flow.payoff
    faulty = setting.game("tilted").flow.payoff
    defects, wrong = [], []
    for _ in range(5):
        p, q = (_random(rho, rng) for rho in setting.initial)
        loss, gain = setting.potentials(p, q)
        defects.append((p.masses * loss).sum() + (q.masses * gain).sum())
        mu, nu = (Cloud(rho.sample(20, rng)) for rho in (p, q))
        loss, gain = payoff.variations(mu, nu)
        defects.append(mu.weights @ loss - nu.weights @ gain)
        wrong.append(mu.weights @ loss - nu.weights @ faulty.variations(mu, nu)[1])
    number, control = (float(np.abs(d).max()) / setting.size for d in (defects, wrong))
    fault = "a payoff of the second player's own"
    return Finding(number, STATIC, "rounding of sums, relative to the payoff", control, fault)


def _random(rho: Density, rng: np.random.Generator) -> Density:
    values = rng.exponential(size=rho.grid.shape)
    return Density(rho.grid, values).normalised()


# -- where the players end


def reaches_entropic_nash(setting: GameSetting) -> Finding:
    """Largest L1 distance of a player from the entropic equilibrium, at ever later times."""
    flow, laws = setting.problem.flow, setting.initial
    goal = nash(flow, setting.grids)
    number, before = _distance(laws, goal), np.inf
    for k in range(DOUBLINGS):
        if number <= AT_REST or number > 0.5 * before:
            break
        problem: Game = Problem(replace(flow, rate=None), laws, setting.problem.t1 * 2**k)
        laws, before = solve(problem, **setting.options).densities[-1], number
        number = _distance(laws, goal)
    # Another beta would not do: uniform equilibria are those of every beta.
    control = _distance(laws, nash(setting.game("tilted").flow, setting.grids))
    reason = "relaxation that is left when twice the time no longer halves it"
    fault = "a potential of its own for the first player"
    return Finding(number, AT_REST, reason, control, fault)


def _distance(one: Pair, other: Pair) -> float:
    return max(float(l1(a, b)) for a, b in zip(one, other, strict=True))


def gap_closes(setting: GameSetting) -> Finding:
    """Gap of the laws at the end, with entropies where beta > 0, as a part of the largest."""
    solution = setting.flow()
    gap = solution.entropic_gap if setting.problem.flow.beta > 0 else solution.gap
    number = float(gap[-1] / gap.max())
    reason = f"of a gap of {gap.max():.4g}"
    return Finding(number, CLOSED, reason, 1.0, "the largest gap on the way", "", OPEN)


def gap_of_averages(setting: GameSetting) -> Finding:
    """Largest gap of the averages as a part of its bound, over all saved times."""
    solution, flow = setting.flow(), setting.problem.flow
    ratios: list[list[float]] = []
    for index, t in enumerate(solution.times):
        if t == 0:
            continue
        bound = _bound(setting, solution.averages[index]) / (flow.reaction * flow.clock(0.0, t))
        pairs = solution.averages[index], solution.densities[index]
        ratios.append([_gap(setting, pair) / bound for pair in pairs])
    number, control = (float(part) for part in np.max(ratios, axis=0))
    reason = "the bound; by best answers to the averages, which carry the mass of one cell at first"
    return Finding(number, 1.0, reason, control, "the last laws in place of the averages")


def _gap(setting: GameSetting, pair: Pair) -> float:
    """Gap over the cells, where the laws are."""
    return -sum(float(potential.min()) for potential in setting.potentials(*pair))


def _bound(setting: GameSetting, averages: Pair) -> float:
    """Sum of the relative entropies, in the initial laws, of both best answers to the averages."""
    total = 0.0
    for start, potential in zip(setting.initial, setting.potentials(*averages), strict=True):
        total -= float(np.log(start.masses.ravel()[potential.argmin()]))
    return total


def last_iterate_cycles(setting: GameSetting) -> Finding:
    """Largest relative change of the relative entropies of the uniform equilibrium in the laws."""
    number, control = (_drift(setting.flow(fault)) for fault in ("", "damped"))
    reason = "errors of the steps in time"
    return Finding(number, CONSERVED, reason, control, "an entropy with beta = 0.1 that reacts")


def _drift(solution: GameSolution) -> float:
    apart = [sum(_entropy_of_uniform(rho) for rho in pair) for pair in solution.densities]
    return float(np.abs(np.array(apart) / apart[0] - 1.0).max())


def _entropy_of_uniform(rho: Density) -> float:
    """KL(uniform, rho)."""
    return float(-np.log(rho.masses * rho.grid.size / rho.mass).mean())


# -- particles


def particles_follow(setting: GameSetting) -> Finding:
    """Slope in N of the mean squared distance of moments of both players from the density's."""
    dt = min(setting.dynamics.dt, LONGEST, setting.problem.t1 / 10)
    until = min(setting.problem.t1, STEPS * dt)
    right, wrong = (setting.flow(fault, until).densities[-1] for fault in ("", "tilted"))
    errors, control = {}, {}
    for n, seeds in SIZES.items():
        points = [z[-1] for z in setting.run(n, seeds, until, dt).points]
        errors[n] = _squared_errors(right, points)
        control[n] = _squared_errors(wrong, points)
    return falls_as(errors, control, until, "a potential of its own for the first player")


def _squared_errors(pair: Pair, points: list[Array]) -> Array:
    """Squared distances of first harmonics or means over axes and players, one a replica."""
    total = np.zeros(points[0].shape[0])
    for rho, z in zip(pair, points, strict=True):
        cells = _moments(rho.grid, rho.grid.points.reshape(-1, rho.grid.dim))
        found = _moments(rho.grid, z).mean(axis=1)
        total += ((found - rho.masses.ravel() @ cells) ** 2).sum(-1)
    return total


def _moments(grid: Grid, z: Array) -> Array:
    """Coordinates of points (..., d); on a torus their cosines and sines."""
    if not grid.periodic:
        return z
    angle = 2 * np.pi * (z - np.array(grid.lower)) / np.subtract(grid.upper, grid.lower)
    return np.concatenate([np.cos(angle), np.sin(angle)], axis=-1)


CLAIMS: dict[str, Claim] = {
    "mass-conserved": Claim("both masses are conserved", "finite volumes", (), mass_conserved),
    "positive": Claim("both densities are nonnegative", "M-matrix structure", (), positive),
    "swap-symmetric": Claim(
        "with the players exchanged, f(x, y) to -f(y, x), the flow is the flow exchanged",
        "both move from one and the same state",
        ("known payoff",),
        swap_symmetric,
    ),
    "zero-sum": Claim(
        "what one player expects to lose the other expects to win",
        "definition; densities and clouds",
        ("known payoff",),
        zero_sum,
    ),
    "reaches-entropic-nash": Claim(
        "the flow converges to the entropic equilibrium, which is unique",
        f"near it, arXiv 2602.01564; from afar it may cycle: {CYCLES}",
        ("entropic equilibrium", "known payoff", "asked"),
        reaches_entropic_nash,
    ),
    "gap-closes": Claim(
        "the Nikaido-Isoda gap of the last laws falls below 1 % of its largest value",
        f"not guaranteed: {CYCLES}",
        ("asked",),
        gap_closes,
    ),
    "gap-of-averages-below-bound": Claim(
        "pure birth and death: the gap of the averages over time t is at most (KL(p', p_0) + "
        "KL(q', q_0)) / (alpha t), with p' and q' the best answers to them",
        REPLICATOR,
        ("Fisher-Rao",),
        gap_of_averages,
    ),
    "last-iterate-cycles": Claim(
        "pure birth and death: the relative entropies of an equilibrium of full support in the two "
        "laws add up to a constant, so that these neither near it nor leave it",
        REPLICATOR,
        ("Fisher-Rao", "uniform equilibrium"),
        last_iterate_cycles,
    ),
    "particles-swap-symmetric": Claim(
        "particles of the exchanged game, with exchanged streams of noise, are those exchanged",
        "both clouds move from one and the same state",
        ("known payoff",),
        particles_swap_symmetric,
    ),
    "particles-follow-density": Claim(
        "the squared distance of N particles of each player from their densities falls as 1/N",
        f"propagation of chaos; {ENTROPIC}",
        ("known payoff", "particles"),
        particles_follow,
    ),
}


def _generator(setting: GameSetting) -> Generator:
    """Transport of the first player at the start."""
    grid, beta = setting.grids[0], setting.problem.flow.beta
    potential, _ = setting.potentials(*setting.initial)
    transport = fluxes_on(grid, None, "sg")["sg"].transport(grid, potential, beta)
    assert isinstance(transport, Generator)
    return transport
