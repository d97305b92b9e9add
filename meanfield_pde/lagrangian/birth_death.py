r"""Birth and death of particles: the clocks of a flow with a reaction.

Each particle has an exponential clock of rate :math:`s \alpha |V(z_i) - \bar V|`, with V the first
variation of the energy without entropy at the cloud, and its mean over the particles. When it rings
above the mean, the particle is replaced by a copy of one drawn uniformly from all; below, it is
copied over one drawn uniformly from all (Rotskoff, Jelassi, Bruna and Vanden-Eijnden, "Global
convergence of neuron birth-death dynamics", arXiv 1902.01843). Every death is a birth: their number
never changes. The mean of an observable moves, but for noise of order :math:`N^{-1/2}`, by
:math:`-\alpha \int f (V - \bar V)\, d\mu_N`, the reaction of the limit.

With a reservoir nu, a particle that dies is replaced by one drawn from nu in place of a copy, so
that places without particles are found. The limit then is no gradient flow: to the flow is added
:math:`s \alpha A (\nu - \mu)` with :math:`A = \int (V - \bar V)_+ d\mu`, which vanishes only where
V is constant on the support of mu.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from meanfield_pde.energies.energy import Batch, Energy
from meanfield_pde.energies.interaction import Interaction
from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Sampler
from meanfield_pde.lagrangian import _kernels
from meanfield_pde.lagrangian.dynamics import SGD, Dynamics, Langevin
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Chart
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

FASTEST = 1.0
"""Largest rate of a clock times the step. Beyond, most that ring should have rung twice."""


@dataclass(frozen=True)
class BirthDeath(Dynamics):
    """Birth and death of particles after each step of their transport.

    A step moves the particles as `Langevin` or `SGD` do, where the flow transports, and lets each
    clock ring with probability ``1 - exp(-s alpha |V - mean V| dt)``. Those that ring do so in the
    order of their times, and a particle that was replaced meanwhile does not ring any more. Rates
    and the splitting are those at one end of the step: the law is right to order 1 in dt.

    Parameters
    ----------
    dt : float
        Time step, in the flow's time.
    reservoir : Density, Cloud or callable, optional
        Law of mass 1, or function ``(n, rng) -> points (n, d)``, from which those who replace the
        dead are drawn in place of copies. What `solve` gives is not its limit.
    batch : int, optional
        Samples of the data a step, for the drift, and others for the rates, as in `SGD`; all data
        where it is left out.
    augmentation : str
        As in `SGD`.

    Raises
    ------
    ValueError
        If a number is out of range, or the reservoir is no law of mass 1.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> V = mf.Potential(lambda z: 0.5 * (z**2).sum(-1))
    >>> flow = mf.GradientFlow(V, reaction=2.0, transport=False)
    >>> start = mf.Density.gaussian(mf.Grid.box(-6, 6, 400), 1.0, 0.25)
    >>> run = mf.simulate(mf.Problem(flow, start, 1.0), 20_000, dynamics=BirthDeath(dt=0.01))
    >>> run.at(1)[0].mean().round(1).tolist()  # exactly 2/3
    [0.7]
    """

    dt: float = 0.01
    reservoir: Density | Cloud | Sampler | None = None
    batch: int | None = None
    augmentation: str = "orbit"
    name = "birth-death"

    def __post_init__(self) -> None:
        _ = self.transport, SGD(self.dt, augmentation=self.augmentation)
        law = self.reservoir
        if law is not None and not isinstance(law, Density | Cloud) and not callable(law):
            raise ValueError(
                f"reservoir must be a Density, a Cloud or a sampler, got {type(law).__name__}; "
                "for example mf.Density.uniform(grid)"
            )
        if isinstance(law, Density | Cloud) and abs(law.mass - 1) > 1e-5:
            raise ValueError(
                f"reservoir must have mass 1, got {law.mass:g}; divide by the mass, as "
                "Density.normalised() does"
            )

    @staticmethod
    def beside(dynamics: Dynamics) -> BirthDeath:
        """Birth and death beside the transport of Langevin or SGD."""
        if isinstance(dynamics, SGD):
            return BirthDeath(dynamics.dt, None, dynamics.batch, dynamics.augmentation)
        return dynamics if isinstance(dynamics, BirthDeath) else BirthDeath(dynamics.dt)

    @property
    def transport(self) -> Dynamics:
        """How particles move between births and deaths."""
        if self.batch is None:
            return Langevin(self.dt)
        return SGD(self.dt, self.batch, self.augmentation)

    @property
    def settings(self) -> dict[str, Any]:
        """What a file holds of it."""
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "reservoir"}
        return {**plain, "reservoir": _entries(self.reservoir)}

    @staticmethod
    def from_settings(**settings: Any) -> BirthDeath:
        """Make the dynamics whose `settings` these are."""
        law = settings.pop("reservoir")
        return BirthDeath(**settings, reservoir=None if law is None else _law(law))

    def prepare(self, energy: Energy) -> None:
        """Require what the transport requires."""
        self.transport.prepare(energy)

    def draw(self, energy: Energy, rng: np.random.Generator) -> Batch | None:
        """Draw the data of one step."""
        return self.transport.draw(energy, rng)

    def react(
        self, points: Array, potential: Array, strength: float, rng: np.random.Generator
    ) -> float:
        """Let clocks ring for a step, and change the points in place.

        Parameters
        ----------
        points : array (n, d)
        potential : array (n,)
            First variation at the points.
        strength : float
            ``s alpha dt``.
        rng : Generator
            As many numbers are drawn whichever clocks ring, so that runs can share them; only
            reservoirs are asked for as many points as particles die.

        Returns
        -------
        float
            The largest rate of a clock times the step; above `FASTEST` nothing was changed.
        """
        n, rates = len(points), strength * (potential - potential.mean())
        fastest = float(np.abs(rates).max())
        if not fastest <= FASTEST:
            return fastest
        clocks, others = rng.standard_exponential(n), rng.integers(n, size=n)
        ringing = np.flatnonzero(clocks < np.abs(rates))
        ringing = ringing[np.argsort(clocks[ringing] / np.abs(rates[ringing]), kind="stable")]
        dies = rates[ringing] > 0
        born = self._born(int(dies.sum()), points.shape[1], rng)
        replaced = np.zeros(len(points), dtype=np.bool_)
        _kernels.replace(ringing, dies, others[ringing], born, replaced, points)
        return fastest

    def _born(self, n: int, dim: int, rng: np.random.Generator) -> Array:
        """Draw n points from the reservoir; none where there is none."""
        law = self.reservoir
        if law is None or n == 0:
            return np.empty((0, dim))
        drawn = law.sample(n, rng) if isinstance(law, Density | Cloud) else law(n, rng)
        points = check.array("reservoir(n, rng)", drawn, "return points (n, d)")
        if points.shape != (n, dim):
            raise ValueError(
                f"reservoir must give points of shape ({n}, {dim}), got {points.shape}; take a law "
                "in the space of the particles"
            )
        return points


def reacting(flow: GradientFlow | ZeroSumGame, dynamics: Dynamics) -> Dynamics:
    """Return dynamics with births and deaths where the flow reacts; refuse them where it does not.

    Raises
    ------
    ValueError
        Also where particles cannot follow the reaction, for it has entropy in it.
    """
    if not flow.reaction:
        if isinstance(dynamics, BirthDeath):
            raise ValueError(
                "dynamics must be langevin or sgd for a flow without a reaction, got birth-death; "
                "give the flow one by reaction=1.0"
            )
        return dynamics
    beta = flow.beta if isinstance(flow, ZeroSumGame) else flow.energy.beta
    if flow.entropic and beta:
        raise ValueError(
            "entropic must be False for particles, got True: its rates need the logarithm of a "
            "density, which a cloud lacks; use mf.solve, or let the energy without entropy react"
        )
    return BirthDeath.beside(dynamics)


def require_apart(flow: GradientFlow, dim: int) -> None:
    """Refuse copies that would stay where a kernel is infinite."""
    if not flow.reaction or (flow.transport and flow.energy.beta):
        return
    for _, leaf in flow.energy.terms:
        if isinstance(leaf, Interaction) and leaf.singular(dim):
            raise ValueError(
                "interaction must be finite at 0 for births without noise, got a singular kernel: "
                "copies would stay together; add mf.Entropy() with a factor, or smooth the kernel"
            )


def _entries(law: Density | Cloud | Sampler | None) -> dict[str, Any] | None:
    """Return what a file holds of a reservoir."""
    if law is None:
        return None
    if isinstance(law, Cloud):
        return {"points": law.points.tolist(), "weights": law.weights.tolist()}
    if not isinstance(law, Density):
        raise ValueError(
            f"reservoir must be a Density or a Cloud to be saved, got {type(law).__name__}; a file "
            "holds no functions, so put its law on a grid or draw a Cloud from it"
        )
    grid, chart = law.grid, law.grid.chart
    return {
        **{name: list(getattr(grid, name)) for name in ("lower", "upper", "cells")},
        "periodic": grid.periodic,
        "chart": None if chart is None else chart.entries,
        "values": law.values.tolist(),
    }


def _law(entries: dict[str, Any]) -> Density | Cloud:
    """Make the reservoir whose entries these are."""
    if "points" in entries:
        return Cloud(np.array(entries["points"]), np.array(entries["weights"]))
    lower, upper, cells = (tuple(entries[name]) for name in ("lower", "upper", "cells"))
    chart = None if entries["chart"] is None else Chart.from_entries(entries["chart"])
    grid = Grid(lower, upper, cells, entries["periodic"], chart)
    return Density(grid, np.array(entries["values"]))


DYNAMICS: dict[str, type[Langevin] | type[SGD] | type[BirthDeath]] = {
    "langevin": Langevin,
    "sgd": SGD,
    "birth-death": BirthDeath,
}
