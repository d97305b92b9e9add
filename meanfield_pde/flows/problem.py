"""A problem: a flow, an initial measure and an end time, for both solvers alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from meanfield_pde.flows.game import ZeroSumGame
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density

Sampler = Callable[[int, np.random.Generator], Array]
Law = Density | Cloud | Sampler

if TYPE_CHECKING:  # a type variable with a default; Python has them from 3.13 on
    from typing_extensions import TypeVar

    Flow = TypeVar("Flow", GradientFlow, ZeroSumGame, default=GradientFlow)
    Initial = TypeVar("Initial", Law, tuple[Law, Law], default=Law)
else:
    from typing import TypeVar

    Flow, Initial = TypeVar("Flow"), TypeVar("Initial")


@dataclass(frozen=True, eq=False)
class Problem(Generic[Flow, Initial]):
    """What is to be solved.

    Parameters
    ----------
    flow : GradientFlow or ZeroSumGame
    initial : Density, Cloud or callable, or a pair of these for a game
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

    flow: Flow
    initial: Initial
    t1: float

    def __post_init__(self) -> None:
        if isinstance(self.flow, ZeroSumGame):
            _require_pair(self.initial)
        elif isinstance(self.flow, GradientFlow):
            _require_law("initial", self.initial)
            _require_movable(self.flow, self.initial)
        else:
            raise ValueError(
                f"flow must be a mf.GradientFlow or a mf.ZeroSumGame, got "
                f"{type(self.flow).__name__}; write mf.GradientFlow(energy)"
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
        """Draw the initial positions of n particles, shape (n, d); of a game, see `drawn`.

        Raises
        ------
        ValueError
            If the initial mass is not 1, which the particles share among them.
        """
        assert not isinstance(self.initial, tuple)
        return drawn(self.initial, n, rng)


Game = Problem[ZeroSumGame, tuple[Law, Law]]
"""A problem of two players."""


def drawn(law: Law, n: int, rng: np.random.Generator) -> Array:
    """Draw n particles of an initial law, shape (n, d).

    Raises
    ------
    ValueError
        If its mass is not 1, which the particles share among them.
    """
    if isinstance(law, Density | Cloud):
        require_shared(law)
    if isinstance(law, Cloud) and np.ptp(law.weights) == 0 and law.size == n:
        return law.points.copy()
    if isinstance(law, Density | Cloud):
        return law.sample(n, rng)
    points = check.array("initial(n, rng)", law(n, rng), "return points (n, d)")
    if points.ndim != 2 or len(points) != n:
        raise ValueError(
            f"initial(n, rng) must return points of shape ({n}, d), got {points.shape}; "
            "return one row a particle"
        )
    return points


def require_shared(law: Density | Cloud) -> None:
    """Refuse initial laws of a mass other than 1, which particles share among them.

    Raises
    ------
    ValueError
        If the mass is off by more than 1e-5.
    """
    if abs(law.mass - 1) > 1e-5:
        raise ValueError(
            f"initial must have mass 1 for particles, got {law.mass:g}; "
            "divide by the mass, as Density.normalised() does"
        )


def require_gradient_flow(study: str, problem: Any) -> None:
    """Refuse games where a study is of the flow of one law.

    Raises
    ------
    ValueError
        If the problem, its flow or what stands in for it is a game's.
    """
    flow = getattr(problem, "flow", problem)
    if isinstance(flow, ZeroSumGame):
        raise ValueError(
            f"{study} is for the gradient flow of one law, got a game; games have solve, "
            "simulate, compare and validate"
        )


def _require_pair(initial: Any) -> None:
    if not isinstance(initial, tuple | list) or len(initial) != 2:
        raise ValueError(
            f"initial must be a pair of laws in a game, got {_counted(initial)}; "
            "write initial=(p0, q0)"
        )
    for name, law in zip(("initial[0]", "initial[1]"), initial, strict=True):
        _require_law(name, law)
        chart = law.grid.chart if isinstance(law, Density) else None
        if chart is not None:
            raise ValueError(
                f"{name} must be on a grid without a chart in a game, got "
                f"{type(chart).__name__}; use Grid.box or Grid.torus"
            )


def _counted(initial: Any) -> str:
    kind = type(initial).__name__
    return f"a {kind} of {len(initial)}" if isinstance(initial, tuple | list) else f"a {kind}"


def _require_law(name: str, law: Any) -> None:
    if not isinstance(law, Density | Cloud) and not callable(law):
        raise ValueError(
            f"{name} must be a Density, a Cloud or a sampler, got "
            f"{type(law).__name__}; for example mf.Density.gaussian(grid, 0, 1)"
        )
    if isinstance(law, Density | Cloud) and law.mass <= 0:
        raise ValueError(f"{name} must have positive mass, got 0; put mass somewhere")


def _require_movable(flow: GradientFlow, law: Any) -> None:
    """Raise where a law's dimension or chart does not fit the coordinates that are frozen."""
    if not isinstance(law, Density | Cloud):
        return
    space = law.grid if isinstance(law, Density) else law
    flow.moving(space.dim)
    if getattr(space, "chart", None) is not None and flow.frozen:
        raise ValueError(
            f"frozen must be left out on a chart, got {list(flow.frozen)}; there "
            "coordinates of the grid are none of the parameters"
        )
