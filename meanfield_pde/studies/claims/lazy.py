"""Claims about lazy quotient metrics, of problems whose flow is in one."""

from __future__ import annotations

import numpy as np

from meanfield_pde.measures.check import Array
from meanfield_pde.measures.group_law import GroupLaw
from meanfield_pde.measures.lazy import LazyMetric
from meanfield_pde.studies.claims.claim import STATIC, Claim, Finding
from meanfield_pde.studies.setting import Setting

TRIANGLES = 10_000
TURNS = (0.05, 0.5, 2.0)


def lazy_distance_is_metric(setting: Setting) -> Finding:
    """Largest excess of a side of triangles, drawn from the law, over the sum of the other two."""
    metric = _metric(setting)
    size = np.sqrt(setting.initial.moment(2) / setting.initial.mass)
    rng = np.random.default_rng(0)
    x, y, z = (setting.initial.sample(TRIANGLES, rng) for _ in range(3))

    def ways(a: Array, b: Array) -> Array:
        """Distance by the best of two rotations alone: none, and the one that aligns the points."""
        long, short = np.linalg.norm(a, axis=-1), np.linalg.norm(b, axis=-1)
        angle = np.arccos(np.clip((a * b).sum(-1) / (long * short), -1.0, 1.0))
        aligned = np.hypot(long - short, np.sqrt(2) * metric.scale * angle)
        return np.asarray(np.minimum(np.linalg.norm(a - b, axis=-1), aligned))

    excess, planted = (
        float((d(x, z) - d(x, y) - d(y, z)).max() / size) for d in (metric.distance, ways)
    )
    reason = "rounding of one evaluation"
    return Finding(max(0.0, excess), STATIC, reason, planted, "two rotations in place of all")


def lazy_average_bound(setting: Setting) -> Finding:
    """Largest excess of the defect of S_pi f over its bound, relative, for f = coordinates.

    The arc is as long as the standard deviation of the angles by which the flow turns.
    """
    flow, t1 = setting.problem.flow, setting.problem.t1
    spread = np.sqrt(flow.energy.beta * flow.clock(0.0, t1)) / _metric(setting).scale
    law = GroupLaw.arc(float(min(spread, 0.9 * np.pi)))
    x = setting.initial.sample(1000, np.random.default_rng(0))
    ratios = []
    for turn in TURNS:
        cosine, sine = np.cos(turn), np.sin(turn)
        g = np.array([[cosine, -sine], [sine, cosine]])
        bound = law.displacement(g)
        unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
        ratios += [law.defect(lambda z, a=a: z[..., a], g, unit) / bound for a in (0, 1)]
    worst = float(max(ratios))
    reason = "rounding of the rule on the arc"
    return Finding(max(0.0, worst - 1), 1e-12, reason, 2 * worst - 1, "half the bound")


CLAIMS: dict[str, Claim] = {
    "lazy-distance-is-metric": Claim(
        "the lazy quotient distance satisfies the triangle inequality",
        "Tonelli-Cueto, Lazy quotient metrics",
        ("lazy metric",),
        lazy_distance_is_metric,
    ),
    "lazy-average-bound": Claim(
        "lazy averages lack no more invariance than |x| W_1(pi g, pi)",
        "Tonelli-Cueto, Lazy quotient metrics; Kantorovich and Rubinstein's duality",
        ("lazy metric", "diffusion"),
        lazy_average_bound,
    ),
}


def _metric(setting: Setting) -> LazyMetric:
    metric = setting.problem.flow.metric
    assert metric is not None
    return metric
