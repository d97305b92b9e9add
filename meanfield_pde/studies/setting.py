"""What claims are checked on: a problem, its group, all its flows and runs, and planted faults."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Energy, Sum
from meanfield_pde.energies.loss import Squared
from meanfield_pde.energies.potential import Potential
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.set_unit import SetUnit
from meanfield_pde.energies.variants import plain_risk, with_variant
from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.eulerian.solve import solve
from meanfield_pde.flows.problem import Problem, Sampler
from meanfield_pde.lagrangian.dynamics import Dynamics, Langevin
from meanfield_pde.lagrangian.simulate import Run, simulate
from meanfield_pde.measures.chart import FixedSubspace, Polar, Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import symmetrise
from meanfield_pde.studies.approximate import MAX_IMAGES
from meanfield_pde.studies.closed_forms import known
from meanfield_pde.studies.virial import Virial

SAVES = 6
TILT = 0.3
"""Size of planted faults: of a tilt of the potential, of the targets, of an initial law."""


@dataclass(frozen=True, eq=False)
class Setting:
    """A problem to check claims on.

    Parameters
    ----------
    problem : Problem
        With a Density as its initial law.
    group : Group or None
    options : dict
        Arguments for `solve` besides ``save``.
    dynamics : Dynamics
        Of the particles; claims take its step, shorter where they say so.
    seed : int
        From which the seeds of all runs are derived.
    """

    problem: Problem
    group: Group | None
    options: dict[str, Any] = field(default_factory=dict)
    dynamics: Dynamics = field(default_factory=Langevin)
    seed: int = 0
    _solutions: dict[str, Solution] = field(default_factory=dict, init=False, repr=False)
    _runs: dict[str, Run] = field(default_factory=dict, init=False, repr=False)

    @property
    def initial(self) -> Density:
        """Initial density."""
        assert isinstance(self.problem.initial, Density)
        return self.problem.initial

    @property
    def grid(self) -> Grid:
        """Grid of the problem."""
        return self.initial.grid

    @property
    def energy(self) -> Energy:
        """Energy of the flow, of the variant in which it was stated."""
        return self.problem.flow.energy

    @property
    def risk(self) -> Risk | None:
        """Plain risk inside the energy."""
        found = (plain_risk(leaf) for _, leaf in self.energy.terms)
        return next((risk for risk in found if risk is not None), None)

    def has(self) -> dict[str, bool]:
        """Say what there is of all that claims may need."""
        risk, order = self.risk, 1 if self.group is None else self.group.order
        return {
            "group": self.group is not None,
            "risk": risk is not None,
            "diffusion": self.energy.beta > 0 and not self.problem.flow.frozen,
            "frozen": bool(self.problem.flow.frozen),
            "sets": risk is not None and isinstance(risk.unit, SetUnit),
            "fixed subspace": self.group is not None and bool(self.group.fixed_basis().size),
            "squared loss": risk is not None and isinstance(risk.loss, Squared),
            "periodic projection": self._keeps_periods(),
            "few data": risk is not None and risk.data.size * order <= MAX_IMAGES,
            "grid of Z": self.grid.symmetric_chart is None,
            "orbits of few points": not isinstance(self.grid.chart, Radius)
            or self.grid.ambient_dim == 2,
            "lazy metric": self.problem.flow.metric is not None,
            "log kernel": self._free()
            and Virial.of(self.energy, self.grid.ambient_dim) is not None,
            "plane": self.grid.ambient_dim == 2,
            **self._reacts(),
            **known(self.problem),
        }

    def _reacts(self) -> dict[str, bool]:
        """Say what there is of reaction and transport."""
        flow = self.problem.flow
        return {
            "reaction": flow.reaction > 0,
            "no reaction": flow.reaction == 0,
            "transport": flow.transport,
            "gradient flow": flow.dissipative,
        }

    def _free(self) -> bool:
        """Say whether mass moves in all of R^d, by transport alone."""
        flow, chart = self.problem.flow, self.grid.chart
        bound = self.grid.periodic or isinstance(chart, FixedSubspace | Polar)
        return not (bound or flow.frozen or flow.metric or flow.reaction)

    def _keeps_periods(self) -> bool:
        """Say whether the projection on E^G takes a period of the torus to periods."""
        if self.group is None or not self.grid.periodic:
            return True
        projection = self.group.projection()
        return bool(np.abs(projection - np.rint(projection)).max() < 1e-9)

    @property
    def symmetry(self) -> Group:
        """Group of the claims that need one."""
        assert self.group is not None
        return self.group

    def flow(
        self,
        variant: str,
        start: str = "invariant",
        fault: str = "",
        until: float | None = None,
    ) -> Solution:
        """Solution of a variant of the flow, or of the flow as ``stated``; solved once and kept.

        ``start`` is ``given``, ``invariant`` (the given law, symmetrised) or ``tilted`` (not
        invariant). ``fault`` plants one: ``potential`` adds a potential that breaks the
        symmetry (on a chart of the fixed subspace one along it), ``targets`` bends the targets of
        the data. It ends at ``until``, in place of t1.
        """
        end = self.problem.t1 if until is None else until
        key = f"{variant} {start} {fault} {end!r}"
        if key not in self._solutions:
            flow = replace(self.problem.flow, energy=self.variant(variant, fault))
            problem = Problem(flow, self.start(start), end)
            self._solutions[key] = solve(problem, save=SAVES, **self.options)
        return self._solutions[key]

    def run(
        self,
        variant: str,
        particles: int,
        seeds: int,
        until: float,
        dynamics: Dynamics,
        start: str = "invariant",
        fault: str = "",
        push: float = 0.0,
    ) -> Run:
        """Particles of a variant of the flow at 0 and ``until``; simulated once and kept.

        Besides those of `flow`, ``start`` may be ``fixed``: the invariant law pushed to the fixed
        subspace, with noise projected on it (the fault ``noise`` lets it act in all directions).
        Runs of as many particles and replicas share their random numbers. ``push`` is the size of a
        displacement of all particles at the start.
        """
        key = f"{variant} {particles} {seeds} {until!r} {dynamics!r} {start} {fault} {push!r}"
        if key not in self._runs:
            noise = self.symmetry if start == "fixed" else self.problem.flow.noise
            noise = None if fault == "noise" else noise
            flow = replace(self.problem.flow, energy=self.variant(variant, fault), noise=noise)
            initial = self._sampler(start, push) if start == "fixed" or push else self.start(start)
            sequence = np.random.SeedSequence([self.seed, particles, seeds])
            self._runs[key] = simulate(
                Problem(flow, initial, until),
                particles,
                int(sequence.generate_state(1)[0]),
                dynamics,
                seeds=seeds,
            )
        return self._runs[key]

    def variant(self, variant: str, fault: str = "") -> Energy:
        """Energy of a variant, or as ``stated``, with a planted fault where one is named."""
        energy = self._with_tilted_data() if fault == "targets" else self.energy
        if variant != "stated":
            energy = with_variant(energy, variant, self.symmetry)
        if fault == "potential":
            energy = energy + Potential(lambda z: TILT * self._bend(z))
        return energy

    def _bend(self, z: Array) -> Array:
        """Tilt of a potential: along a chart of the fixed subspace, off which no drift may lead."""
        chart = self.grid.chart
        if isinstance(chart, FixedSubspace):
            return np.asarray(np.tanh(chart.reduce(z)[..., 0] + 0.5))
        return self.tilt(z)

    def _sampler(self, start: str, push: float) -> Sampler:
        """Draw from a law and push each particle; off the fixed subspace where it started on it."""
        fixed = start == "fixed"
        law = self.start("invariant" if fixed else start)
        onto = self.symmetry.projection() if fixed else np.eye(self.grid.ambient_dim)

        def sampler(n: int, rng: np.random.Generator) -> Array:
            directions = np.random.default_rng(0).standard_normal((n, self.grid.ambient_dim))
            off = directions - directions @ onto if fixed else directions
            return np.asarray(law.sample(n, rng) @ onto + push * off)

        return sampler

    def _with_tilted_data(self) -> Energy:
        terms: list[tuple[float, Energy]] = []
        for factor, leaf in self.energy.terms:
            risk = plain_risk(leaf)
            tilted = risk and replace(risk, data=self.tilted_data(risk.data))
            terms.append((factor, tilted or leaf))
        return Sum(tuple(terms))

    def start(self, which: str) -> Density:
        """Return the initial density ``given``, ``invariant`` or ``tilted``."""
        if which == "given":
            return self.initial
        invariant = self.initial
        if self.group is not None:
            invariant = symmetrise(self.initial, self.group)
        if which == "invariant":
            return invariant
        values = invariant.values * (1 + 0.9 * self.tilt(self.grid.places))
        return Density(self.grid, values * (invariant.mass / (values.sum() * self.grid.volume)))

    def tilt(self, z: Array) -> Array:
        """Return values in [-1, 1] that change sign along a direction that the group moves.

        Along the first axis where there is no group.
        """
        fixed = np.eye(self.grid.ambient_dim) if self.group is None else self.group.projection()
        direction = moved_direction(fixed)
        if self.grid.periodic:
            period = np.subtract(self.grid.upper, self.grid.lower)
            angle = 2 * np.pi * (z - np.array(self.grid.middle)) / period
            return np.asarray(np.sin(angle + 0.5) @ direction / np.abs(direction).sum())
        middle = np.array(self.grid.middle) if self.grid.chart is None else 0.0
        return np.asarray(np.tanh((z - middle) @ direction + 0.5))

    def tilted_data(self, data: Data) -> Data:
        """Return the data with targets that are not invariant: a planted fault."""
        mean = np.tensordot(self.symmetry.weights, self.symmetry.on_x(data.dim), axes=1)
        along = (data.x @ moved_direction(mean))[:, None]
        if data.period is None:
            bend = np.tanh(along + 0.5)
        else:  # several waves: units may see one of them alone
            turn = 2 * np.pi / data.period * along
            bend = np.asarray(sum(np.sin(k * turn + 0.5) for k in range(1, 5))) / 2
        labels = bool((np.abs(data.y) == 1).all())  # they must stay labels
        y = np.where(bend > 0, -data.y, data.y) if labels else data.y + TILT * bend
        return Data(data.x, y, data.weights, data.period)


def moved_direction(projection: Array) -> Array:
    """Return a unit vector that the group moves, or the first axis if it moves none."""
    values, vectors = np.linalg.eigh(0.5 * (projection + projection.T))
    direction = vectors[:, 0] if values[0] < 0.5 else np.eye(len(values))[0]
    return np.asarray(direction * np.sign(direction[np.abs(direction).argmax()]))
