"""Claims on long-time fluctuations: their limit, a bound for them, and none at interpolation.

They are judged by ends of an interval, each beyond the truth with probability `ALARM`. The control
replaces the particles by independent samples of their law, whose fluctuations are the
resampling bound.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from meanfield_pde.lagrangian.dynamics import Langevin
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.claims.network import plain
from meanfield_pde.studies.fluctuations import SMALL, limit_in_numbers, mean_square, shift
from meanfield_pde.studies.mean_field import Limit, limit_of, replica_outputs
from meanfield_pde.studies.setting import Setting

PARTICLES, REPLICAS = 128, 48
ALARM = 1e-3
VANISHED = 3e-3
"""Share of the first fluctuations below which they count as gone."""
SAMPLED = "independent samples of the law"
SOURCE = "Chen, Rotskoff, Bruna and Vanden-Eijnden, arXiv 2008.09623"


@dataclass(frozen=True)
class Measured:
    """N E|f_N - f|^2 at the end, its interval, that of samples of the law, and its limit."""

    limit: Limit
    ends: tuple[float, float, float]
    of_samples: tuple[float, float, float]
    tends: float | None
    crude: str

    @property
    def reason(self) -> str:
        """What was run."""
        number, low, high = self.ends
        return (
            f"N E|f_N - f|^2 = {number:.3g} ({low:.3g} to {high:.3g} at {1 - 2 * ALARM:.1%}), "
            f"{REPLICAS} replicas of {PARTICLES} particles to t = {self.limit.times[-1]:g}, for "
            f"{self.limit.resampling[-1]:.3g} of samples; {self.limit.law}, outputs wrong by "
            f"{self.limit.errors[-1]:.1e}; false alarm with probability {ALARM:g}"
        )


def below_resampling(setting: Setting) -> Finding:
    """Upper end of the interval of the fluctuations at the end, over those of samples."""
    found = _measured(setting)
    bound = float(found.limit.resampling[-1])
    _, low, high = found.ends
    weak = found.crude
    if not weak and low <= bound <= high:
        weak = f"too few replicas: from {low / bound:.3g} to {high / bound:.3g} of the bound"
    control = found.of_samples[2] / bound
    return Finding(high / bound, 1.0, found.reason, control, SAMPLED, weak, high / low)


def central_limit(setting: Setting) -> Finding:
    """Distance of the fluctuations at the end from their limit, in half widths of the interval."""
    found = _measured(setting)
    if found.tends is None:
        weak = "no limit is known here, or none that is settled: see meanfield-pde fluctuations"
        return Finding(float("nan"), 1.0, found.reason, None, SAMPLED, weak)
    reason = f"{found.reason}; limit {found.tends:.4g} by the linearised flow"
    far, control = (_half_widths(found.tends, ends) for ends in (found.ends, found.of_samples))
    return Finding(far, 1.0, reason, control, SAMPLED, found.crude, false_from=1.0)


def _half_widths(truth: float, ends: tuple[float, float, float]) -> float:
    """Distance from a number to the truth, as a share of the side of its interval that it is on."""
    number, low, high = ends
    side = high - number if truth > number else number - low
    return abs(truth - number) / side


def vanish(setting: Setting) -> Finding:
    """Upper end of the interval of the fluctuations at the end, over those at the start."""
    found = _measured(setting)
    start = float(found.limit.resampling[0])
    number, low, high = (value / start for value in found.ends)
    weak = found.crude
    if not weak and low <= VANISHED <= high:
        weak = f"too few replicas: from {low:.3g} to {high:.3g} of the first"
    control = found.of_samples[2] / start
    least = VANISHED * high / low
    return Finding(high, VANISHED, found.reason, control, SAMPLED, weak, least)


@lru_cache(maxsize=1)
def _measured(setting: Setting) -> Measured:
    """Fluctuations at the end; kept for the second claim on the same setting."""
    until, risk, dt = setting.problem.t1, plain(setting), setting.dynamics.dt
    limit = limit_of(setting.problem, risk, np.array([0.0, until]), dt, setting.options)
    run = setting.run("stated", PARTICLES, REPLICAS, until, Langevin(dt), "given")
    gaps = replica_outputs(risk, run.points[-1]) - limit.outputs[-1]
    rng = np.random.default_rng([setting.seed, PARTICLES, REPLICAS, 2])
    drawn = np.array([limit.last.sample(PARTICLES, rng) for _ in range(REPLICAS)])
    of_samples = replica_outputs(risk, drawn) - limit.outputs[-1]
    ends = mean_square(risk, PARTICLES, gaps, 1 - 2 * ALARM)
    moved = shift(risk, PARTICLES, gaps, float(limit.errors[-1]))
    crude = ""
    if moved > SMALL * 0.5 * (ends[2] - ends[1]):
        crude = (
            f"the reference, {limit.law}, is too crude: its error moves the number by up to "
            f"{moved:.2g}; use a finer grid"
        )
    tends = limit_in_numbers(setting.problem, risk, limit, dt)
    sampled = mean_square(risk, PARTICLES, of_samples, 1 - 2 * ALARM)
    last = None if tends is None or np.isnan(tends[-1]) else float(tends[-1])
    return Measured(limit, ends, sampled, last, crude)


CLAIMS: dict[str, Claim] = {
    "fluctuations-below-resampling": Claim(
        "in the end the outputs of N particles are nearer to those of their law than those of N "
        "independent samples of it",
        SOURCE,
        ("risk", "particles", "grid of Z"),
        below_resampling,
    ),
    "central-limit": Claim(
        "in the end the outputs of many particles fluctuate as the flow linearised about its limit "
        "has it",
        SOURCE,
        ("risk", "particles", "grid of Z"),
        central_limit,
    ),
    "fluctuations-vanish": Claim(
        "where the network interpolates, the fluctuations of its outputs vanish in time",
        SOURCE,
        ("risk", "particles", "grid of Z"),
        vanish,
    ),
}
