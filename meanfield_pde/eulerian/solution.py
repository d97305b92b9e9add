"""What the density solver returns."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.chart import Polar
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.density import Density

if TYPE_CHECKING:
    from xarray import Dataset


@dataclass(frozen=True)
class Statistics:
    """How a solve went.

    ``mass_drift`` (largest relative change of the mass since the start), ``energy_rise``
    (largest rise of the free energy in a step, relative to max(1, |F|), 0 if it never rose) and
    ``smallest`` (smallest density) are over all accepted steps, not only over the saved times;
    ``dt`` holds the smallest and largest step in the flow's own clock. ``symmetry_defect`` is the
    largest part of the mass that a step moved off its mean over the group and that was put back (0
    without ``symmetry``), ``stationary`` the time from which on the density was kept as it was,
    ``concentrated`` the time at which it collapses into a point, None for never.
    """

    flux: str
    stepper: str
    reason: str
    steps: int
    rejected: int
    dt: tuple[float, float]
    mass_drift: float
    energy_rise: float
    smallest: float
    symmetry_defect: float = 0.0
    stationary: float | None = None
    concentrated: float | None = None


@dataclass(frozen=True, eq=False)
class Solution:
    """Densities at the saved times, with what is conserved and what falls.

    Parameters
    ----------
    problem : Problem or None
        None for a solution that was read from a file.
    times : array (n,)
    densities : tuple of Density
    energy, mass, dissipation : array (n,)
        Free energy, mass, and the rate at which the scheme dissipates free energy, per unit of
        the flow's own clock; it is negative where a reaction that leaves out the entropy raises it.
    statistics : Statistics
    result : str
        What happened, in a sentence.
    ok : bool
        Whether the end time was reached, or a collapse at which to stop.
    """

    problem: Problem | None = field(repr=False)
    times: Array
    densities: tuple[Density, ...] = field(repr=False)
    energy: Array = field(repr=False)
    mass: Array = field(repr=False)
    dissipation: Array = field(repr=False)
    statistics: Statistics
    result: str
    ok: bool = True
    attributes: dict[str, Any] = field(default_factory=dict, repr=False)

    def at(self, t: float) -> Density:
        """Density at a saved time.

        Raises
        ------
        ValueError
            If t was not saved.
        """
        self._require_states()
        index = int(np.abs(self.times - t).argmin())
        if abs(self.times[index] - t) > 1e-12 * max(1.0, abs(t)):
            raise ValueError(
                f"t = {t:g} was not saved, only {self.times.tolist()}; pass it in save="
            )
        return self.densities[index]

    def _require_states(self) -> None:
        if not self.densities:
            raise ValueError(
                f"solution must hold a density, got none saved: it {self.result}; save at 0 as well"
            )

    def to_dataset(self) -> Dataset:
        """Return an xarray Dataset with dims time, x (and y); r and phi on a polar grid."""
        self._require_states()
        from xarray import Dataset

        grid = self.densities[0].grid
        names = ("r", "phi") if isinstance(grid.chart, Polar) else ("x", "y")[: grid.dim]
        values = np.stack([rho.values for rho in self.densities])
        data = {
            "density": (("time", *names), values),
            "energy": ("time", self.energy),
            "mass": ("time", self.mass),
            "dissipation": ("time", self.dissipation),
        }
        coordinates = {"time": self.times, **dict(zip(names, grid.axes, strict=True))}
        statistics = self.statistics
        attributes = {
            "kind": "solution",
            "result": self.result,
            "lower": grid.lower,
            "upper": grid.upper,
            "periodic": int(grid.periodic),
            "chart": "" if grid.chart is None else json.dumps(grid.chart.entries),
            "flux": statistics.flux,
            "stepper": statistics.stepper,
            "reason": statistics.reason,
            "steps": statistics.steps,
            "rejected": statistics.rejected,
            "smallest_dt": statistics.dt[0],
            "largest_dt": statistics.dt[1],
            "mass_drift": statistics.mass_drift,
            "energy_rise": statistics.energy_rise,
            "smallest_density": statistics.smallest,
            "symmetry_defect": statistics.symmetry_defect,
            **self.attributes,
        }
        return Dataset(data, coords=coordinates, attrs=attributes)
