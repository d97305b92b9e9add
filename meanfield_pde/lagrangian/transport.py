"""Transport of a weighted cloud by the drift alone: quadrature of a law that has no diffusion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from meanfield_pde.flows.problem import Problem
from meanfield_pde.lagrangian import _kernels
from meanfield_pde.lagrangian.steps import equal_steps, refuse_leaps, walls_of
from meanfield_pde.measures.cloud import Cloud


def transport(problem: Problem, cloud: Cloud, dt: float, save: Sequence[float]) -> list[Cloud]:
    """Move a weighted cloud along a flow without diffusion, in the steps that `simulate` takes.

    Without diffusion the law at time t is the image of the first one under the flow of its own
    drift, so that a rule of quadrature for the one becomes, moved, a rule for the other. Euler
    steps are those of the particles: what these err by, this errs by, too.

    Parameters
    ----------
    problem : Problem
        Its flow must have neither diffusion nor a reaction nor a metric.
    cloud : Cloud
        In place of the problem's initial law.
    dt : float
        Longest step.
    save : sequence of float
        Rising times, 0 perhaps among them.

    Returns
    -------
    list of Cloud

    Raises
    ------
    ValueError
        If the flow has a diffusion, a reaction or a metric.
    SimulationError
        If a step crosses a quarter of the grid.

    Examples
    --------
    >>> import meanfield_pde as mf
    >>> well = mf.Potential(lambda z: 0.5 * (z**2).sum(-1), gradient=lambda z: z)
    >>> problem = mf.Problem(mf.GradientFlow(well), mf.Cloud([[1.0]]), t1=1.0)
    >>> transport(problem, mf.Cloud([[1.0], [2.0]], [0.9, 0.1]), 0.5, [1.0])[0].points.tolist()
    [[0.25], [0.5]]
    """
    flow = problem.flow
    if flow.energy.beta or flow.reaction or flow.metric is not None:
        raise ValueError(
            "problem must have neither diffusion nor a reaction nor a metric, got one of them; "
            "use solve or simulate"
        )
    moving = np.isin(range(cloud.dim), flow.moving(cloud.dim)).astype(np.float64)
    energy, walls = flow.energy.smooth, walls_of(problem, cloud.dim)
    points, still, clock, clouds = cloud.points.copy(), np.zeros(cloud.points.shape), 0.0, []
    for t in save:
        steps, length = equal_steps(clock, t, dt)
        for k in range(steps):
            start = clock + k * length
            velocity = moving * energy.drift(Cloud(points, cloud.weights))
            time = length * flow.speed(start)
            share = _kernels.move(points, velocity, still, time, 0.0, *walls, points)
            refuse_leaps(share if walls[2] != _kernels.FREE else 0.0, start, length)
        clouds.append(Cloud(points.copy(), cloud.weights))
        clock = t
    return clouds
