r"""Zero-sum games of two laws: :math:`\mu` lowers and :math:`\nu` raises the expected payoff.

Langevin descent-ascent (Domingo-Enrich, Jelassi, Mensch, Rotskoff and Bruna, arXiv 2002.06277):

.. math:: \partial_t \mu = \nabla \cdot (\mu \nabla \Phi_\mu) + \beta \Delta \mu, \qquad
          \partial_t \nu = -\nabla \cdot (\nu \nabla \Phi_\nu) + \beta \Delta \nu,

with the payoff's first variations :math:`\Phi_\mu(x) = \int f(x, y) \nu(dy)` and :math:`\Phi_\nu(y)
= \int f(x, y) \mu(dx)`; a reaction adds birth and death, as in a `GradientFlow`. No energy falls
along it, and convergence is not guaranteed: it may cycle without end where noise is small and the
coupling strong (Mourrat and Pillaud-Vivien, arXiv 2604.11134), although there is one equilibrium
with entropies and it is stable. Two double wells, :math:`f = x^4/4 - x^2/2 - y^4/4 + y^2/2 + 1.5
xy`, settle on a cycle of period 4.55 at beta = 0.03 from narrow laws at 1 and 0, and at rest at
beta = 0.1. What tells is the Nikaido-Isoda gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from meanfield_pde.energies.payoff import KernelPayoff, Payoff
from meanfield_pde.flows.reaction import require_reaction
from meanfield_pde.flows.schedule import Rate, clock, require_rate, speed
from meanfield_pde.measures import check


@dataclass(frozen=True, eq=False)
class ZeroSumGame:
    """Game in which the first law lowers and the second raises the expected payoff.

    Parameters
    ----------
    payoff : Payoff or callable
        A function f(x, y) of points (..., d) and (..., e) is wrapped in a `KernelPayoff`.
    beta : float
        Factor of each player's own entropy, so that diffusion is beta for both.
    reaction : float
        Rate alpha >= 0 of birth and death of both players.
    entropic : bool
        Whether the reacting first variation includes ``beta log`` of the player's own density.
    transport : bool
        Whether mass is also transported; without it this is the Fisher-Rao (replicator) flow.
    rate : float or callable, optional
        Schedule s(t) >= 0 of both players; 1 where it is left out.

    Raises
    ------
    ValueError
        If the payoff is none, a number is negative or not finite, or nothing moves.

    Examples
    --------
    >>> import numpy as np
    >>> game = ZeroSumGame(lambda x, y: np.cos(x - y)[..., 0], beta=0.3)
    >>> type(game.payoff).__name__, game.beta
    ('KernelPayoff', 0.3)
    """

    payoff: Payoff
    beta: float = 0.0
    reaction: float = 0.0
    entropic: bool = False
    transport: bool = True
    rate: Rate = None

    def __post_init__(self) -> None:
        if callable(self.payoff) and not isinstance(self.payoff, Payoff):
            object.__setattr__(self, "payoff", KernelPayoff(self.payoff))
        check.instance("payoff", self.payoff, Payoff, "write lambda x, y: ... of points (..., d)")
        remedy = "beta multiplies the entropy of each player, 0 for none"
        object.__setattr__(self, "beta", check.number("beta", self.beta, remedy, least=0))
        reaction = require_reaction(self.reaction, self.entropic, self.transport)
        object.__setattr__(self, "reaction", reaction)
        require_rate(self.rate)

    def speed(self, t: float) -> float:
        """Rate s(t); errors as in `GradientFlow.speed`."""
        return speed(self.rate, t)

    def clock(self, t0: float, t1: float) -> float:
        """Time of the flow of rate 1 that passes from t0 to t1; errors as in `GradientFlow`."""
        return clock(self.rate, t0, t1)
