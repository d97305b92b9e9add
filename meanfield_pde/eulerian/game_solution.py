"""What the density solver returns for a game."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield_pde.eulerian.solution import Statistics
from meanfield_pde.flows.problem import Game
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density

if TYPE_CHECKING:
    from xarray import Dataset

Pair = tuple[Density, Density]
PLAYERS = ("first", "second")


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
        ``mass_drift`` and ``smallest`` are over both players, the former also of what single steps
        lost before it was put back; no energy falls, and ``energy_rise`` is 0.
    result : str
        What happened, in a sentence.
    ok : bool
        Whether the end time was reached.
    """

    problem: Game | None = field(repr=False)
    times: Array
    densities: tuple[Pair, ...] = field(repr=False)
    averages: tuple[Pair, ...] = field(repr=False)
    payoff: Array = field(repr=False)
    gap: Array = field(repr=False)
    average_gap: Array = field(repr=False)
    entropic_gap: Array = field(repr=False)
    mass: Array = field(repr=False)
    statistics: Statistics
    result: str
    ok: bool = True
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)

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

    def to_dataset(self) -> Dataset:
        """Return an xarray Dataset with dims time, x and y; in the plane x1, x2, y1 and y2.

        Densities are ``first`` and ``second``, their averages ``first_average`` and so on; masses
        have a dim player, in this order.

        Raises
        ------
        ValueError
            If nothing was saved.
        """
        if not self.densities:
            raise ValueError(
                f"solution must hold densities, got none saved: it {self.result}; save at 0 as well"
            )
        from xarray import Dataset

        data: dict[str, Any] = {
            "payoff": ("time", self.payoff),
            "gap": ("time", self.gap),
            "average_gap": ("time", self.average_gap),
            "entropic_gap": ("time", self.entropic_gap),
            "mass": (("time", "player"), self.mass),
        }
        coordinates: dict[str, Any] = {"time": self.times}
        attributes: dict[str, Any] = {"kind": "game-solution", "result": self.result}
        for k, (player, letter) in enumerate(zip(PLAYERS, "xy", strict=True)):
            grid = self.densities[0][k].grid
            dims = [letter] if grid.dim == 1 else [f"{letter}{a + 1}" for a in range(grid.dim)]
            for name, pairs in ((player, self.densities), (f"{player}_average", self.averages)):
                data[name] = (("time", *dims), np.stack([pair[k].values for pair in pairs]))
            coordinates.update(zip(dims, grid.axes, strict=True))
            attributes[f"{player}_lower"] = grid.lower
            attributes[f"{player}_upper"] = grid.upper
            attributes[f"{player}_periodic"] = int(grid.periodic)
        attributes |= {**_told(self.statistics), **self.attributes}
        return Dataset(data, coords=coordinates, attrs=attributes)


def _told(statistics: Statistics) -> dict[str, Any]:
    """Return what files say of how a solve went."""
    return {
        "flux": statistics.flux,
        "stepper": statistics.stepper,
        "reason": statistics.reason,
        "steps": statistics.steps,
        "rejected": statistics.rejected,
        "smallest_dt": statistics.dt[0],
        "largest_dt": statistics.dt[1],
        "mass_drift": statistics.mass_drift,
        "smallest_density": statistics.smallest,
    }
