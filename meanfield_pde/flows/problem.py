"""A problem: a flow, an initial measure and an end time, for both solvers alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

Sampler = Callable[[int, np.random.Generator], Array]


@dataclass(frozen=True, eq=False)
class Problem:
    """What is to be solved.

    Parameters
    ----------
    flow : GradientFlow
    initial : Density, Cloud or callable
        Initial law. Particles are drawn from it: from a density; from a cloud (its own points where
        the numbers agree and weights are equal); or by a function ``(n, rng) -> points (n, d)``,
        for laws in high dimension. The density solver needs a Density.
    t1 : float
        End time; the flow starts at 0.

    Raises
    ------
    ValueError
        If the initial law or the end time is unusable.
    """

    flow: GradientFlow
    initial: Density | Cloud | Sampler
    t1: float

    def __post_init__(self) -> None:
        if not isinstance(self.flow, GradientFlow):
            raise ValueError(
                f"flow must be a mf.GradientFlow, got {type(self.flow).__name__}; "
                "write mf.GradientFlow(energy)"
            )
        if not isinstance(self.initial, Density | Cloud) and not callable(self.initial):
            raise ValueError(
                f"initial must be a Density, a Cloud or a sampler, got "
                f"{type(self.initial).__name__}; for example mf.Density.gaussian(grid, 0, 1)"
            )
        if isinstance(self.initial, Density | Cloud) and self.initial.mass <= 0:
            raise ValueError("initial must have positive mass, got 0; put mass somewhere")
        if isinstance(self.initial, Density | Cloud):
            law = self.initial.grid if isinstance(self.initial, Density) else self.initial
            self.flow.moving(law.dim)
            if getattr(law, "chart", None) is not None and self.flow.frozen:
                raise ValueError(
                    f"frozen must be left out on a chart, got {list(self.flow.frozen)}; there "
                    "coordinates of the grid are none of the parameters"
                )
        t1 = check.number("t1", self.t1, "give a positive end time", above=0)
        object.__setattr__(self, "t1", t1)

    def save_times(self, save: Sequence[float] | int | None) -> Array:
        """Check the times to save at: given, equispaced from 0 (a count), or 0 and t1.

        Raises
        ------
        ValueError
            If times are not rising or lie outside [0, t1].
        """
        if save is None:
            return np.array([0.0, self.t1])
        if np.ndim(save) == 0:
            n = check.count("save", save, "give times, or a count of at least 2", least=2)
            return np.linspace(0.0, self.t1, n)
        times = check.array("save", save, "give times between 0 and t1")
        if times.ndim != 1 or times.size == 0 or (np.diff(times) <= 0).any():
            raise ValueError(f"save must be rising times, got {times.tolist()}; sort them")
        if times[0] < 0 or times[-1] > self.t1 * (1 + 1e-12):
            raise ValueError(
                f"save must lie in [0, t1 = {self.t1:g}], got {times[0]:g} to {times[-1]:g}; "
                "drop the others or raise t1"
            )
        return np.minimum(times, self.t1)

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw the initial positions of n particles, shape (n, d).

        Raises
        ------
        ValueError
            If the initial mass is not 1, which the particles share among them.
        """
        if isinstance(self.initial, Density | Cloud) and abs(self.initial.mass - 1) > 1e-5:
            raise ValueError(
                f"initial must have mass 1 for particles, got {self.initial.mass:g}; "
                "divide by the mass, as Density.normalised() does"
            )
        if isinstance(self.initial, Cloud):
            equal = np.ptp(self.initial.weights) == 0
            if equal and self.initial.size == n:
                return self.initial.points.copy()
        if isinstance(self.initial, Density | Cloud):
            return self.initial.sample(n, rng)
        points = check.array("initial(n, rng)", self.initial(n, rng), "return points (n, d)")
        if points.ndim != 2 or len(points) != n:
            raise ValueError(
                f"initial(n, rng) must return points of shape ({n}, d), got {points.shape}; "
                "return one row a particle"
            )
        return points
