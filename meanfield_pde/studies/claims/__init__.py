"""Claims: statements of theory as numbers, each with a control that must not meet it.

A control is the same number after a planted fault; where it stays within the tolerance the
check could not have failed, and counts for nothing. To add a claim, write a function from a
`Setting` to a `Finding` and register it in the `CLAIMS` of its module. The source of most is Maass
and Fontbona, "Symmetries in Overparametrized Neural Networks: A Mean-Field View" (NeurIPS 2024,
arXiv 2405.19995).
"""

from meanfield_pde.studies.claims import (
    averages,
    chaos,
    classics,
    concentration,
    dynamics,
    flows,
    fluctuations,
    games,
    lazy,
    network,
    optima,
    particles,
    reaction,
    scheme,
    sets,
    variants,
)
from meanfield_pde.studies.claims.claim import Claim as Claim
from meanfield_pde.studies.claims.claim import Finding as Finding

CLAIMS: dict[str, Claim] = {
    **network.CLAIMS,
    **optima.CLAIMS,
    **averages.CLAIMS,
    **variants.CLAIMS,
    **flows.CLAIMS,
    **scheme.CLAIMS,
    **lazy.CLAIMS,
    **dynamics.CLAIMS,
    **particles.CLAIMS,
    **chaos.CLAIMS,
    **fluctuations.CLAIMS,
    **sets.CLAIMS,
    **reaction.CLAIMS,
    **concentration.CLAIMS,
    **classics.CLAIMS,
}
"""All claims by name."""

GAME_CLAIMS: dict[str, Claim] = games.CLAIMS
"""Claims about zero-sum games by name."""
