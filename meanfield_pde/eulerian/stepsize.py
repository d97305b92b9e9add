"""Step sizes: a proportional-integral controller on the error per step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAFETY = 0.9
GROWTH = (0.2, 2.0)
FIRST_GROWTH = 10.0
"""Most growth after the first step, whose size was a guess."""


@dataclass(frozen=True)
class Controller:
    """Choose the next dt from the errors of the last two steps (Gustafsson's PI controller).

    ``factor = 0.9 (tol/e)^{0.7/(p+1)} (e_prev/tol)^{0.4/(p+1)}``, kept in [0.2, 2], with p the
    order of the method whose error e is. After the first step it is ``0.9 (tol/e)^{1/(p+1)}``, and
    may be larger.
    """

    order: int
    previous: float | None = None

    def accept(self, ratio: float) -> tuple[Controller, float]:
        """After an accepted step with ``ratio = error / tolerance``: the new state and factor."""
        ratio = max(ratio, 1e-10)
        power = self.order + 1.0
        if self.previous is None:
            factor, most = SAFETY * ratio ** (-1.0 / power), FIRST_GROWTH
        else:
            factor = SAFETY * ratio ** (-0.7 / power) * self.previous ** (0.4 / power)
            most = GROWTH[1]
        return Controller(self.order, ratio), min(max(factor, GROWTH[0]), most)

    def reject(self, ratio: float) -> float:
        """Factor to repeat a step with whose error was too large."""
        return float(np.clip(SAFETY * ratio ** (-1.0 / (self.order + 1.0)), GROWTH[0], SAFETY))
