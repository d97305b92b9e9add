r"""Claims about particles: what clouds keep exactly, and what in the limit of many.

Exact claims compare runs that share starts, batches and noise. They are allowed rounding, times
what a displacement of 1e-6 grows to in the same time: a cloud may be unstable to what it keeps.

Statistical claims are in the limit of many particles: see `slope`, and `chaos` for the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from meanfield_pde.lagrangian.dynamics import SGD, Dynamics, Langevin
from meanfield_pde.lagrangian.simulate import Run
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.symmetry import symmetrise
from meanfield_pde.studies.claims.claim import FLOW, Claim, Finding
from meanfield_pde.studies.claims.network import plain
from meanfield_pde.studies.claims.slope import falls_as
from meanfield_pde.studies.setting import Setting

STEPS = 100
"""Most steps of a run with a fixed step: it ends earlier than the problem where that has more."""
COARSE = 4
"""Steps of statistical claims in steps of the problem: bias matters little to them."""
SIZES = {16: 384, 128: 128, 512: 96}
"""Particles, and replicas: slopes are sharpest with most of them at the ends, and few are dear."""
TRAINED = {16: 320, 64: 64, 256: 128}
"""The same for steps that shrink as 1/N, `LONGEST` at the least N."""
CONTROLS = 4
"""How many times fewer replicas controls have."""
LONGEST = 0.05
TRAINED_TO = 0.5
SHARED = 64
"""Particles of runs that share their random numbers."""
KEPT = 1e-30
SOURCE = "Maass and Fontbona 2024, "
NETWORK = ("group", "risk", "particles")
ON_FIXED = ("group", "risk", "fixed subspace", "particles")


# -- exact


def _kept_fixed(variant: str, of_training: bool) -> Callable[[Setting], Finding]:
    def check(setting: Setting) -> Finding:
        until, dynamics = span(setting)
        if of_training:
            dynamics = SGD(dynamics.dt)
        arguments = (variant, SHARED, 1, until, dynamics, "fixed")
        number = _off_fixed(setting, setting.run(*arguments))
        growth = _growth(setting, variant, until, dynamics, "fixed")
        control = _off_fixed(setting, setting.run(*arguments, fault="noise"))
        reason = f"rounding squared, {SHARED} particles to t = {until:g}, {_grown(growth)}"
        weak = "rounding grows too much by then" if growth > 1e8 else ""
        return Finding(number, KEPT * growth**2, reason, control, "noise not projected", weak)

    return check


def da_equals_vanilla(setting: Setting) -> Finding:
    """Largest distance of particles with and without data augmentation, on the same noise."""
    until, dynamics = span(setting)
    pair = ("vanilla", "data-augmented")
    number = _apart(setting, pair, until, dynamics, "invariant")
    control = _apart(setting, pair, until, dynamics, "invariant", fault="targets")
    return _same(
        setting, pair[0], until, dynamics, "invariant", (number, control), "targets tilted"
    )


def si_variants_agree(setting: Setting) -> Finding:
    """Largest distance of particles of DA, FA and EA, on the same batches and noise."""
    until, dynamics = span(setting)
    dynamics = SGD(dynamics.dt)
    variants = ("data-augmented", "feature-averaged", "equivariant-architecture")
    number = max(
        _apart(setting, (variants[0], other), until, dynamics, "fixed") for other in variants[1:]
    )
    control = _apart(setting, ("vanilla", variants[2]), until, dynamics, "fixed")
    found = (number, control)
    return _same(setting, variants[0], until, dynamics, "fixed", found, "no augmentation")


def _same(
    setting: Setting,
    variant: str,
    until: float,
    dynamics: Dynamics,
    start: str,
    found: tuple[float, float],
    fault: str,
) -> Finding:
    growth = _growth(setting, variant, until, dynamics, start)
    reason = f"rounding, {SHARED} particles to t = {until:g}, {_grown(growth)}"
    weak = "rounding grows too much by then" if growth > 1e6 else ""
    return Finding(found[0], FLOW * growth, reason, found[1], fault, weak)


def _apart(
    setting: Setting,
    variants: tuple[str, str],
    until: float,
    dynamics: Dynamics,
    start: str,
    fault: str = "",
) -> float:
    runs = [setting.run(v, SHARED, 1, until, dynamics, start, fault) for v in variants]
    return float(np.abs(_turned(setting, runs[0].points[-1] - runs[1].points[-1])).max())


def _turned(setting: Setting, gap: Array) -> Array:
    """Return differences of positions, on a torus the shortest."""
    if not setting.grid.periodic:
        return gap
    period = np.subtract(setting.grid.upper, setting.grid.lower)
    return np.asarray(gap - period * np.round(gap / period))


def _growth(setting: Setting, variant: str, until: float, dynamics: Dynamics, start: str) -> float:
    """Growth, at least 1, of a displacement: off the fixed subspace where particles start on it."""
    runs = [
        setting.run(variant, SHARED, 1, until, dynamics, start, push=sign * 1e-6)
        for sign in (1, -1)
    ]
    gap = runs[0].points - runs[1].points
    return max(1.0, float(np.abs(gap[-1]).max() / np.abs(gap[0]).max()))


def _grown(growth: float) -> str:
    return f"where a displacement grows {growth:.3g} times"


def _off_fixed(setting: Setting, run: Run) -> float:
    """Largest squared RMD of the last clouds to their projections on the fixed subspace."""
    return float(rmd_to_fixed(run.points[-1], setting.symmetry.projection()).max())


def rmd_to_fixed(points: Array, projection: Array) -> Array:
    """Squared RMD of clouds (replicas, n, d) to their projections: E|z - Pz|^2 is W2^2 exactly."""
    near = points @ projection
    off = ((points - near) ** 2).sum(-1).mean(-1)
    size = 2 * ((points**2).sum(-1) + (near**2).sum(-1)).mean(-1)
    return np.asarray(off / size)


# -- in the limit


def keep_wi(setting: Setting) -> Finding:
    """Slope in N of the mean squared distance of the outputs from their symmetrisation."""
    until, dynamics = span(setting, COARSE)

    def errors(fault: str) -> dict[int, Array]:
        found = {}
        for n, seeds in _fewer(SIZES, fault).items():
            clouds = setting.run("vanilla", n, seeds, until, dynamics, fault=fault).at(until)
            found[n] = np.array([_asymmetric_part(setting, cloud) for cloud in clouds])
        return found

    return falls_as(errors(""), errors("potential"), until, "a potential that tilts the flow")


def _asymmetric_part(setting: Setting, cloud: Cloud) -> float:
    risk = plain(setting)
    gap = risk.predict(cloud) - risk.predict(symmetrise(cloud, setting.symmetry))
    return float(square(setting, gap))


def fa_near_da(setting: Setting) -> Finding:
    """Slope in N of the mean squared distance of particles of DA and FA, on the same noise."""
    until, dynamics = span(setting, COARSE)
    until /= 4  # symmetrised units are dear, and both distances and control grow as t

    def errors(start: str) -> dict[int, Array]:
        found = {}
        for n, seeds in _fewer(SIZES, start == "tilted").items():
            runs = [
                setting.run(variant, n, seeds, until, dynamics, start)
                for variant in ("data-augmented", "feature-averaged")
            ]
            gap = _turned(setting, runs[0].points[-1] - runs[1].points[-1])
            found[n] = np.asarray((gap**2).sum(-1).mean(-1))
        return found

    return falls_as(errors("invariant"), errors("tilted"), until, "a start that is not invariant")


def _nears_fixed(variant: str, augmentation: str) -> Callable[[Setting], Finding]:
    def check(setting: Setting) -> Finding:
        until = min(setting.problem.t1, TRAINED_TO)
        dt = min(LONGEST, until / 10)
        least = min(TRAINED)

        def errors(shrink: bool) -> dict[int, Array]:
            found = {}
            for n, seeds in _fewer(TRAINED, not shrink).items():
                step = SGD(dt * least / n if shrink else dt, augmentation=augmentation)
                run = setting.run(variant, n, seeds, until, step, "fixed")
                found[n] = rmd_to_fixed(run.points[-1], setting.symmetry.projection())
            return found

        return falls_as(errors(True), errors(False), until, "steps that do not shrink with N")

    return check


def square(setting: Setting, gap: Array) -> Array:
    """Squared L2 norms of functions at the data (..., data, outputs)."""
    return np.asarray((gap**2).sum(-1) @ plain(setting).data.weights)


def _fewer(sizes: Mapping[int, int], control: object) -> dict[int, int]:
    return {n: seeds // CONTROLS if control else seeds for n, seeds in sizes.items()}


def span(setting: Setting, coarse: int = 1) -> tuple[float, Dynamics]:
    """End time after at most `STEPS` of the problem's steps, and population gradients."""
    dt = setting.dynamics.dt
    until = min(setting.problem.t1, STEPS * dt)
    return until, Langevin(min(coarse * dt, until / 10))


CLAIMS: dict[str, Claim] = {
    "particles-keep-wi": Claim(
        "the outputs of N particles from a weakly invariant law are invariant up to 1/N in square",
        SOURCE + "Theorem 3",
        NETWORK,
        keep_wi,
    ),
    "particles-da-equals-vanilla": Claim(
        "particles move as with data augmentation by orbits, on the same noise",
        SOURCE + "Theorem 4",
        NETWORK,
        da_equals_vanilla,
    ),
    "particles-fa-nears-da": Claim(
        "from a weakly invariant law, feature averaging moves N particles as data augmentation "
        "does up to 1/N in square",
        SOURCE + "Theorem 4",
        (*NETWORK, "transport alone"),  # births that only one run has put particles far apart
        fa_near_da,
    ),
    "particles-keep-si": Claim(
        "population gradients and projected noise keep particles on the fixed subspace",
        SOURCE + "Theorem 5",
        ON_FIXED,
        _kept_fixed("vanilla", of_training=False),
    ),
    "sgd-da-keeps-si": Claim(
        "SGD with data augmentation by orbits and projected noise keeps the fixed subspace",
        SOURCE + "Theorem 5",
        ON_FIXED,
        _kept_fixed("data-augmented", of_training=True),
    ),
    "sgd-nears-si": Claim(
        "SGD with steps of order 1/N leaves the fixed subspace by 1/N in squared RMD",
        SOURCE + "Theorem 5",
        ON_FIXED,
        _nears_fixed("vanilla", "orbit"),
    ),
    "sgd-sampled-da-nears-si": Claim(
        "SGD with sampled augmentation and steps of order 1/N leaves it by 1/N in squared RMD",
        SOURCE + "Theorem 5",
        ON_FIXED,
        _nears_fixed("data-augmented", "sampled"),
    ),
    "sgd-si-variants-agree": Claim(
        "on the fixed subspace augmentation, averaging and equivariant architectures train alike",
        SOURCE + "Theorem 6",
        ON_FIXED,
        si_variants_agree,
    ),
}
