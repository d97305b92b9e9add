"""What flows with birth and death have in common."""

from __future__ import annotations

from meanfield_pde.measures import check


def require_reaction(reaction: float, entropic: bool, transport: bool) -> float:
    """Return the rate of birth and death as a number.

    Raises
    ------
    ValueError
        If it is negative or not finite, nothing moves, there is no reaction to be entropic, or one
        of the two is neither True nor False.
    """
    for name, value in (("entropic", entropic), ("transport", transport)):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r}; give one of them")
    remedy = "give a rate of birth and death, 0 for none"
    reaction = check.number("reaction", reaction, remedy, least=0)
    if not reaction and not transport:
        raise ValueError("reaction must be positive without transport, got 0; nothing would move")
    if not reaction and entropic:
        raise ValueError("entropic must be False without a reaction, got True; give reaction=1.0")
    return reaction
