r"""Birth and death for a fixed potential, solved exactly.

:math:`\partial_t \rho = -\alpha (\Phi - \langle \Phi \rangle) \rho` tilts a density, :math:`\rho_t
\propto \rho_0 e^{-\alpha t \Phi}`; where :math:`\beta \log \rho` reacts with the potential the law
is a geometric mean of the start and the Gibbs law, :math:`\rho_t \propto \rho_0^w (e^{-\Phi /
\beta})^{1 - w}` with :math:`w = e^{-\alpha \beta t}`. What is empty stays so.
"""

from __future__ import annotations

import numpy as np

from meanfield_pde.measures.check import Array
from meanfield_pde.measures.order_free import folded_sum


def tilt(rho: Array, potential: Array, amount: float, total: float, beta: float = 0.0) -> Array:
    """Density after birth and death for the time ``amount / alpha``, of the sum ``total``.

    ``beta`` > 0: with ``beta log rho`` in the reacting potential.
    """
    there = rho > 0
    lowest = potential.min(where=there, initial=np.inf)  # no exponent is positive where mass is
    rise = np.maximum(potential - lowest, 0.0)
    if beta > 0:
        rise *= -np.expm1(-amount * beta) / beta
        tilted = rho ** np.exp(-amount * beta) * np.exp(-rise)
    else:
        tilted = rho * np.exp(-amount * rise)
    tilted[~there] = 0.0
    return np.asarray(tilted / folded_sum(tilted) * total)
