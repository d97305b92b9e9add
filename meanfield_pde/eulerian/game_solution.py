"""What the density solver returns for a game."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from meanfield_pde.eulerian.solution import Statistics
from meanfield_pde.flows.problem import Game
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density

Pair = tuple[Density, Density]


@dataclass(frozen=True, eq=False)
class GameSolution:
    """Densities of both players at the saved times.

    Parameters
    ----------
    problem : Problem or None
        None for a solution that was read from a file.
    times : array (n,)
    densities : tuple of pairs of Density
    averages : tuple of pairs of Density
        Means of both densities over the time, in the flow's own clock, from 0 to each saved one,
        by the trapezoidal rule on the steps taken.
    payoff : array (n,)
        Expected payoff, without entropies.
    gap, average_gap : array (n,)
        Nikaido-Isoda gap of the densities and of their averages in the payoff alone: what the two
        players could win together, each by the best answer to the other.
    entropic_gap : array (n,)
        The gap of the densities with the game's entropies, 0 at the entropic equilibrium; that of
        the payoff alone where beta = 0.
    mass : array (n, 2)
    statistics : Statistics
        ``mass_drift`` and ``smallest`` are over both players; no energy falls, and ``energy_rise``
        is 0.
    result : str
        What happened, in a sentence.
    ok : bool
        Whether the end time was reached.
    """

    problem: Game | None
    times: Array
    densities: tuple[Pair, ...]
    averages: tuple[Pair, ...]
    payoff: Array
    gap: Array
    average_gap: Array
    entropic_gap: Array
    mass: Array
    statistics: Statistics
    result: str
    ok: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)

    def at(self, t: float) -> Pair:
        """Densities of both players at a saved time.

        Raises
        ------
        ValueError
            If t was not saved.
        """
        index = int(np.abs(self.times - t).argmin()) if len(self.times) else 0
        if not len(self.times) or abs(self.times[index] - t) > 1e-12 * max(1.0, abs(t)):
            raise ValueError(
                f"t = {t:g} was not saved, only {self.times.tolist()}; pass it in save="
            )
        return self.densities[index]
