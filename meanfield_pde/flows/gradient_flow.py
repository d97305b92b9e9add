r"""Wasserstein gradient flows: :math:`\partial_t \mu = s(t) \nabla \cdot (\mu \nabla \Phi_\mu)`.

With :math:`\Phi_\mu` the first variation of the energy. In a metric other than the Euclidean one
the gradient is multiplied by its inverse, the mobility; the entropy stays relative to volume in
Euclidean space. The entropy's factor beta is the diffusion:
its part of the equation is :math:`s \beta \Delta \mu`. The rate s(t), a learning-rate schedule, is
a change of clock: the flow at time t is the flow of rate 1 at time :math:`\int_0^t s`.

A reaction adds :math:`-s(t)\, \alpha\, (V_\mu - \bar V_\mu)\, \mu`, birth and death, with V the
first variation of the energy without its entropy, or with it (``entropic``), and :math:`\bar V_\mu`
its mean over the law, whatever the mass. With both terms this is the gradient flow of the
Wasserstein-Fisher-Rao metric, without transport that of Fisher and Rao.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.flows.reaction import require_reaction
from meanfield_pde.flows.schedule import Rate, clock, require_rate, speed
from meanfield_pde.measures import check
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.lazy import LazyMetric


@dataclass(frozen=True, eq=False)
class GradientFlow:
    """Gradient flow of an energy.

    Parameters
    ----------
    energy : Energy
        Its entropy's factor, the diffusion beta, must be nonnegative.
    rate : float or callable, optional
        Learning-rate schedule s(t) >= 0; 1 where it is left out.
    reaction : float
        Rate alpha >= 0 of birth and death: mass is moved, at once, from where the first variation
        is above its mean to where it is below (Rotskoff, Jelassi, Bruna and Vanden-Eijnden, arXiv
        1902.01843).
    entropic : bool
        Whether the first variation that reacts is that of the whole energy, ``beta log rho``
        included, and not of the energy without its entropy. Only then (or without diffusion) is the
        flow with a reaction a gradient flow of the free energy, which else need not fall.
    transport : bool
        Whether mass is also transported. Without it there is neither drift nor diffusion: beta
        acts in an entropic reaction alone.
    noise : Group, optional
        Where it is given the noise of particles is projected on the fixed subspace E^G, sqrt(2 s
        beta) P dB, and a law that lives on E^G stays there (Maass and Fontbona, arXiv 2405.19995,
        Theorem 5). The density of such a law is solved on a grid of E^G.
    frozen : sequence of int
        Coordinates of the parameters, from 0, that do not move: neither drift nor diffusion acts
        along them, and their law stays as it was but for a reaction. So one layer of a network is
        frozen.
    metric : LazyMetric, optional
        Lazy quotient metric of the plane, for densities on a `Grid.polar` and for particles;
        Euclidean where it is left out.

    Raises
    ------
    ValueError
        If the energy is none, its diffusion is negative, the rate or the reaction is negative or
        not finite, nothing moves, the frozen coordinates are no coordinates, or the noise would mix
        them with others.

    Examples
    --------
    >>> from meanfield_pde import Entropy
    >>> GradientFlow(Entropy(), rate=lambda t: 1 / (1 + t)).clock(0.0, 1.0).__round__(12)
    0.69314718056
    """

    energy: Energy
    rate: Rate = None
    reaction: float = 0.0
    entropic: bool = False
    transport: bool = True
    noise: Group | None = None
    frozen: Sequence[int] = ()
    metric: LazyMetric | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.energy, Energy):
            raise ValueError(
                f"energy must be an energy such as mf.Potential(...) + 0.1 * mf.Entropy(), got "
                f"{type(self.energy).__name__}; add energies with + and scale them with *"
            )
        if self.energy.beta < 0:
            raise ValueError(
                f"energy must have a nonnegative factor of the entropy, got {self.energy.beta:g}; "
                "negative diffusion is ill-posed"
            )
        require_rate(self.rate)
        if self.noise is not None:
            check.instance("noise", self.noise, Group, "the noise is projected on its E^G")
        reaction = require_reaction(self.reaction, self.entropic, self.transport)
        object.__setattr__(self, "reaction", reaction)
        object.__setattr__(self, "frozen", _coordinates(self.frozen))
        if self.metric is not None:
            self._check_metric(self.metric)
        if self.noise is not None and self.frozen:
            _require_unmixed(self.noise, self.frozen)

    @property
    def dissipative(self) -> bool:
        """Whether the free energy falls along the flow, as it does along gradient flows."""
        return self.reaction == 0 or self.energy.beta == 0 or self.entropic

    def _check_metric(self, metric: LazyMetric) -> None:
        check.instance("metric", metric, LazyMetric, "write mf.LazyMetric(scale=0.5)")
        if self.noise is not None:
            raise ValueError(
                f"noise must be left out in a lazy metric, got {self.noise.name}; its "
                "rotations leave every fixed subspace but the origin"
            )
        if self.frozen:
            raise ValueError(
                f"frozen must be left out in a lazy metric, got {list(self.frozen)}; its "
                "rotations move all coordinates"
            )

    def moving(self, dim: int) -> tuple[int, ...]:
        """Coordinates that move, of parameters of dimension ``dim``.

        Raises
        ------
        ValueError
            If a frozen coordinate is none of them, or none is left to move.
        """
        if self.frozen and (max(self.frozen) >= dim or len(self.frozen) == dim):
            raise ValueError(
                f"frozen must leave at least one of the {dim} coordinates, counted from 0, got "
                f"{list(self.frozen)}; drop the others"
            )
        return tuple(a for a in range(dim) if a not in self.frozen)

    def speed(self, t: float) -> float:
        """Rate s(t).

        Raises
        ------
        ValueError
            If the schedule is negative or not finite at t.
        """
        return speed(self.rate, t)

    def clock(self, t0: float, t1: float) -> float:
        """Time of the flow of rate 1 that passes from t0 to t1: ``int s dt``.

        Raises
        ------
        ValueError
            If the schedule is negative, not integrable, or jumps between the two.
        """
        return clock(self.rate, t0, t1)


def _coordinates(frozen: Sequence[int]) -> tuple[int, ...]:
    remedy = "give coordinates from 0, such as frozen=(1,)"
    if not isinstance(frozen, Sequence) or isinstance(frozen, str):
        raise ValueError(f"frozen must be a sequence of coordinates, got {frozen!r}; {remedy}")
    found = tuple(check.count("frozen", axis, remedy, least=0) for axis in frozen)
    if len(set(found)) < len(found):
        raise ValueError(f"frozen must name each coordinate once, got {list(found)}; {remedy}")
    return tuple(sorted(found))


def _require_unmixed(noise: Group, frozen: Sequence[int]) -> None:
    projection, kept = noise.projection(), list(frozen)
    if kept[-1] >= len(projection):
        return  # `moving` says what is wrong
    if np.abs(np.delete(projection[kept], kept, axis=1)).max(initial=0.0) > 1e-12:
        raise ValueError(
            f"noise must not mix frozen coordinates with others, got {noise.name} and frozen "
            f"{kept}; a law on E^G would leave it"
        )
