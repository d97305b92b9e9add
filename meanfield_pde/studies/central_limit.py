r"""What :math:`N\, E |f_N - f|^2` tends to as N grows, by the flow linearised about its limit.

Without diffusion the particles err by their random start alone. To first order the outputs at time
t err by the mean of a function :math:`K_t(z)` over the N first places, the influence that a little
more mass at z has on the outputs, so that

.. math:: N\, E |f_N(t) - f(t)|^2 \to \operatorname{Var}_{z \sim \mu_0} K_t(z)

(the dynamical central limit theorem: Chen, Rotskoff, Bruna and Vanden-Eijnden, arXiv 2008.09623,
section 3; there the influence solves a Volterra equation). Here it is the derivative of the
particles' own Euler steps, found for all z at once by going back from t through a weighted cloud:
for the output o the adjoint :math:`a_k(z)` of the place at step k and the influence obey

.. math:: a_k = a_{k+1} - \tau D^2 V_k\, a_{k+1} + \sum_i b_{k,i} \nabla \sigma_*(x_i; z), \quad
   b_{k,i} = - \tau \pi_i l''_i \int \nabla \sigma_*(x_i; z) \cdot a_{k+1}(z)\, d\mu_k(z), \quad
   K = \sigma_*(x_o; z) + \sum_k \sum_i b_{k,i} \sigma_*(x_i; z)

with the potential :math:`V_k` and the law :math:`\mu_k` of step k, and :math:`\tau` its length.

Where places part ways the adjoints between them grow without end, in ever thinner layers. A cloud
that misses these gives a wrong limit, the same one for other clouds that miss them, too, once all
their points have left. So a limit counts as settled only up to the first time at which two clouds
differ, and steps between the times asked for are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from meanfield_pde.energies.risk import Risk
from meanfield_pde.flows.problem import Problem
from meanfield_pde.lagrangian import _kernels
from meanfield_pde.lagrangian.steps import equal_steps, walls_of
from meanfield_pde.lagrangian.transport import transport
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.studies.mean_field import quadrature

Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]

MAX_NUMBERS = 4e7
"""Coordinates kept along the way, and numbers of an adjoint (320 MB of either)."""
WATCHED = 8
"""Times at least at which two clouds are compared, evenly spread over the steps."""
SETTLED = 0.05
"""Relative difference of two clouds up to which a limit is settled."""
DIFFERENCE = 1e-5
"""Step of the central differences for second derivatives of the potential."""


def is_linearised(problem: Problem, risk: Risk) -> bool:
    """Whether nothing is random but the start, and the law is felt by the risk's outputs alone."""
    if not isinstance(problem.initial, Density):
        return False
    flow, grid = problem.flow, problem.initial.grid
    if flow.energy.beta or flow.reaction or flow.metric is not None or grid.chart is not None:
        return False
    return all(leaf is risk or leaf.on(grid).constant for _, leaf in flow.energy.terms)


def limiting_fluctuations(
    problem: Problem, risk: Risk, cloud: Cloud, times: Array, dt: float
) -> Array | None:
    """Find the limit of ``N E|f_N - f|^2`` at some times, for the particles' own Euler steps.

    Parameters
    ----------
    problem : Problem
        One for which `is_linearised`.
    risk : Risk
        Its outputs at the data are what fluctuates.
    cloud : Cloud
        A rule of quadrature for the initial law.
    times : array (n_times,)
        Rising times, 0 the first.
    dt : float
        Longest step.

    Returns
    -------
    array (n_times,), or None where this would take arrays of more than `MAX_NUMBERS` numbers.
    """
    clock = _clock(times, dt)
    return _limits(problem, risk, cloud, clock, np.isin(clock, times))


def settled_fluctuations(problem: Problem, risk: Risk, times: Array, dt: float) -> Array | None:
    """Find the limit as `limiting_fluctuations` does, by clouds of one and 2^d points a cell.

    Returns
    -------
    array (n_times,) or None
        NaN from the first time on, of those asked for and some between, at which the clouds differ
        by more than `SETTLED`; else by the finer cloud. None where there is no room.
    """
    assert isinstance(problem.initial, Density)
    clock = _clock(times, dt)
    asked, looked = np.isin(clock, times), np.zeros(len(clock), dtype=bool)
    looked[:: max(1, len(clock) // WATCHED)] = True
    chosen = asked | looked
    fine = _limits(problem, risk, quadrature(problem.initial, 2), clock, chosen)
    if fine is None:
        return None
    coarse = _limits(problem, risk, quadrature(problem.initial, 1), clock, chosen)
    assert coarse is not None  # it has fewer points
    apart = np.abs(coarse - fine) > SETTLED * np.abs(fine)
    return np.where(np.logical_or.accumulate(apart), np.nan, fine)[asked[chosen]]


def _limits(
    problem: Problem, risk: Risk, cloud: Cloud, clock: Array, chosen: Flags
) -> Array | None:
    """Limits at the chosen ones of the ends of all steps, None where there is no room."""
    size, count = risk.data.size * risk.data.outputs, int(chosen.sum())
    if max(len(clock), count * size, size**2) * cloud.points.size > MAX_NUMBERS:
        return None
    step = float(np.diff(clock, prepend=clock[0]).max())  # from one of these times to the next
    way = transport(problem, cloud, step or 1.0, clock.tolist())
    adjoint = np.zeros((0, size, *cloud.points.shape))
    influence = np.zeros((0, size, cloud.size))
    for k in reversed(range(len(clock))):
        features, slopes = _features_and_slopes(risk, way[k].points)
        if k + 1 < len(clock):
            leg = _Leg(problem, risk, way[k], clock[k], clock[k + 1] - clock[k])
            adjoint, weights = leg.back(adjoint, slopes)
            influence += weights @ features
        if chosen[k]:  # one more adjoint starts here, from the outputs of this time
            adjoint = np.concatenate([adjoint, slopes[None]])
            influence = np.concatenate([influence, features[None]])
    centred = influence[::-1] - (influence[::-1] @ cloud.weights)[..., None]
    return np.asarray((centred**2 @ cloud.weights) @ _weights(risk))


@dataclass(frozen=True, eq=False)
class _Leg:
    """An Euler step of a weighted cloud from a time, and how it looks from its end."""

    problem: Problem
    risk: Risk
    cloud: Cloud
    start: float
    length: float

    def back(self, adjoint: Array, slopes: Array) -> tuple[Array, Array]:
        """Take adjoints (n_times, outputs, m, d) to the start of the step.

        Returns them, and the derivatives (n_times, outputs, outputs) in the outputs at the start.
        """
        adjoint = adjoint * self._sides()
        pushed = self._share * adjoint
        # What a change of each output does to the drift, at all places together.
        pull = np.einsum("tjma,kma,m->tjk", pushed, slopes, self.cloud.weights, optimize=True)
        weights = pull @ -self._curvature()
        bent = np.einsum("tjma,mab->tjmb", pushed, self._drift_slopes(), optimize=True)
        return adjoint + bent + np.einsum("tjk,kma->tjma", weights, slopes, optimize=True), weights

    @cached_property
    def _outputs(self) -> Array:
        """Outputs of the cloud at the data."""
        return self.risk.predict(self.cloud)

    @cached_property
    def _share(self) -> Array:
        """What the step multiplies the drift with, coordinate by coordinate."""
        flow, dim = self.problem.flow, self.cloud.dim
        moving = np.isin(range(dim), flow.moving(dim)).astype(np.float64)
        return self.length * flow.speed(self.start) * moving

    def _curvature(self) -> Array:
        """Second derivatives of the loss in the outputs, (outputs, outputs), by the data's law."""
        data, loss = self.risk.data, self.risk.loss
        blocks = loss.hessian(self._outputs, data.y)
        places = np.arange(data.size * data.outputs).reshape(data.size, data.outputs)
        whole = np.zeros((places.size, places.size))
        whole[places[:, :, None], places[:, None, :]] = data.weights[:, None, None] * blocks
        return self._factor * whole

    @property
    def _factor(self) -> float:
        """How often the risk is in the energy."""
        return sum(factor for factor, leaf in self.problem.flow.energy.terms if leaf is self.risk)

    def _drift_slopes(self) -> Array:
        """Differentiate the drift in the place, the law held still: (m, d, d)."""
        points = self.cloud.points
        slopes = np.empty((*points.shape, points.shape[1]))
        for axis in range(points.shape[1]):
            step = DIFFERENCE * np.eye(points.shape[1])[axis]
            ahead, behind = self._drift(points + step), self._drift(points - step)
            slopes[:, :, axis] = (ahead - behind) / (2 * DIFFERENCE)
        return slopes

    def _drift(self, points: Array) -> Array:
        """Drift at other places, by the cloud's outputs."""
        data = self.risk.data
        residual = data.weights[:, None] * self.risk.loss.gradient(self._outputs, data.y)
        drift = -self._factor * self.risk.unit.pullback(data.x, points, residual)
        others = Cloud(points, self.cloud.weights)
        for factor, leaf in self.problem.flow.energy.smooth.terms:
            if leaf is not self.risk:
                drift += factor * leaf.drift(others)
        return drift

    def _sides(self) -> Array:
        """-1 for coordinates that a wall turned back in the step, else 1."""
        lower, upper, kind = walls_of(self.problem, self.cloud.dim)
        if kind != _kernels.REFLECT:
            return np.ones(self.cloud.points.shape)
        drift = self.problem.flow.energy.smooth.drift(self.cloud)
        free = self.cloud.points + self._share * drift
        return np.where((lower <= free) & (free < upper), 1.0, -1.0)


def _clock(times: Array, dt: float) -> Array:
    """Return the ends of equal steps that meet all of some times, the first of them included."""
    legs = [times[:1]]
    for start, end in pairwise(times):
        steps, length = equal_steps(start, end, dt)
        legs.append(np.append(start + length * np.arange(1, steps), end))
    return np.concatenate(legs)


def _weights(risk: Risk) -> Array:
    """Weights of the outputs, (data * outputs,)."""
    return np.repeat(risk.data.weights, risk.data.outputs)


def _features_and_slopes(risk: Risk, points: Array) -> tuple[Array, Array]:
    """Features (data * outputs, m) and their gradients (data * outputs, m, d)."""
    data, units = risk.data, np.eye(risk.data.outputs)
    features = risk.unit.features(data.x, points).transpose(0, 2, 1).reshape(-1, len(points))
    slopes = [
        risk.unit.pullback(data.x[i : i + 1], points, units[o : o + 1])
        for i in range(data.size)
        for o in range(data.outputs)
    ]
    return features, np.array(slopes)
