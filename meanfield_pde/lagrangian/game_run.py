"""What the particle solver returns for a game."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield_pde.flows.problem import Game
from meanfield_pde.lagrangian.dynamics import Dynamics
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud

if TYPE_CHECKING:
    from xarray import Dataset


@dataclass(frozen=True, eq=False)
class GameRun:
    """Particles of both players at the saved times.

    Parameters
    ----------
    problem : Problem or None
        None for a run that was read from a file.
    times : array (n_times,)
    points : pair of arrays (n_times, seeds, particles, d)
    seed : int
        Player k of replica r was driven by ``numpy.random.default_rng([seed, r, k])``.
    dynamics : Dynamics
    result : str
        What happened, in a sentence.
    """

    problem: Game | None = field(repr=False)
    times: Array
    points: tuple[Array, Array] = field(repr=False)
    seed: int
    dynamics: Dynamics
    result: str
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def particles(self) -> int:
        """Number of particles of each player in each replica."""
        return int(self.points[0].shape[2])

    @property
    def seeds(self) -> int:
        """Number of replicas."""
        return int(self.points[0].shape[1])

    def at(self, t: float) -> list[tuple[Cloud, Cloud]]:
        """Clouds of both players, of all replicas, at a saved time.

        Raises
        ------
        ValueError
            If t was not saved.
        """
        index = int(np.abs(self.times - t).argmin())
        if abs(self.times[index] - t) > 1e-12 * max(1.0, abs(t)):
            raise ValueError(
                f"t = {t:g} was not saved, only {self.times.tolist()}; pass it in save="
            )
        first, second = (points[index] for points in self.points)
        return [(Cloud(x), Cloud(y)) for x, y in zip(first, second, strict=True)]

    def to_dataset(self) -> Dataset:
        """Return an xarray Dataset of ``first`` and ``second``: time, seed, particle, coordinate.

        The last dim has a name of its own for each player, ``x`` and ``y``.
        """
        from xarray import Dataset

        data = {
            player: (("time", "seed", "particle", axis), points)
            for player, axis, points in zip(("first", "second"), "xy", self.points, strict=True)
        }
        attributes = {
            "kind": "game-run",
            "result": self.result,
            "seed": self.seed,
            "dynamics": self.dynamics.name,
            "dt": self.dynamics.dt,
            **self.attributes,
        }
        return Dataset(data, coords={"time": self.times}, attrs=attributes)
