"""Claims that particles follow the density: its outputs, and its law in W2."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
from scipy.stats import norm

from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.distance import sliced_w2, w2
from meanfield_pde.studies.claims import particles
from meanfield_pde.studies.claims.claim import Claim, Finding
from meanfield_pde.studies.claims.network import plain
from meanfield_pde.studies.claims.particles import span, square
from meanfield_pde.studies.claims.slope import falls_as, undecided
from meanfield_pde.studies.mean_field import replica_outputs
from meanfield_pde.studies.setting import Setting

CHAOS = 0.06
LIKE = 2.0
SETS, SAMPLES = 16, 1024
ERRORS = 3.5
"""Standard errors that a mean may be off. One normal number is beyond with probability 5e-4, with
the scatter of 96 replicas 7e-4, and several with the same sum of variances less often."""
TILTED = "the density of a tilted potential"


def propagation(setting: Setting) -> Finding:
    """Slope in N of the root mean square error of the outputs against those of the density."""
    until, _ = span(setting)
    outputs = {n: _outputs(setting, n, particles.COARSE) for n in particles.SIZES}

    def errors(fault: str) -> dict[int, Array]:
        limit = _limit(setting, fault)
        return {n: square(setting, found - limit) for n, found in outputs.items()}

    return falls_as(errors(""), errors("potential"), until, TILTED, 0.5, CHAOS)


def average_to_density(setting: Setting) -> Finding:
    """Distance of the mean outputs of replicas from the density's, in standard errors."""
    n = max(particles.SIZES)
    outputs, coarse = (_outputs(setting, n, steps) for steps in (1, particles.COARSE))
    mean = outputs.mean(axis=0)
    scatter = _size(setting, outputs - mean) / math.sqrt(len(outputs) * (len(outputs) - 1))
    number, control = (
        _size(setting, mean - _limit(setting, fault)) / scatter for fault in ("", "potential")
    )
    cells = _unresolved(setting) / scatter
    # Euler steps err by a multiple of their length, so the longer ones show what the others do.
    steps = _size(setting, mean - coarse.mean(axis=0)) / (particles.COARSE - 1) / scatter
    reason = (
        f"{ERRORS} standard errors of {len(outputs)} replicas of {n} particles at t = "
        f"{span(setting)[0]:g}, {cells:.2g} by cells and {steps:.2g} by steps of finite size; "
        "false alarm with probability 1e-3 at most"
    )
    tolerance = ERRORS + cells + steps
    return Finding(number, tolerance, reason, control, TILTED, false_from=2 * tolerance)


def _outputs(setting: Setting, n: int, coarse: int) -> Array:
    """Find the outputs of all replicas of n particles, shape (replicas, data, outputs)."""
    until, dynamics = span(setting, coarse)
    variant, start = _unmoved(setting)
    run = setting.run(variant, n, particles.SIZES[n], until, dynamics, start)
    return replica_outputs(plain(setting), run.points[-1])


def _size(setting: Setting, gap: Array) -> float:
    """L2 norm of a function at the data, or of several together."""
    return float(np.sqrt(square(setting, gap).sum()))


def _limit(setting: Setting, fault: str) -> Array:
    return plain(setting).predict(_law(setting, fault))


def _law(setting: Setting, fault: str) -> Density:
    variant, start = _unmoved(setting)
    return setting.flow(variant, start, fault, span(setting)[0]).densities[-1]


def _unresolved(setting: Setting) -> float:
    """Error of order 2 of the outputs, by cells of this size: twice by what halves differ."""
    law, grid = _law(setting, ""), setting.grid
    corners = np.array(list(product((-0.25, 0.25), repeat=grid.dim))) * grid.spacing
    points = (grid.nodes.reshape(-1, 1, grid.dim) + corners).reshape(-1, grid.dim)
    points = points if grid.chart is None else grid.chart.place(points)
    halves = Cloud(points, np.repeat(law.masses.ravel(), len(corners)) / len(corners))
    gap = plain(setting).predict(halves) - _limit(setting, "")
    return 2 * _size(setting, gap)


def _unmoved(setting: Setting) -> tuple[str, str]:
    """Variant and start; those of other claims where there is a group, whose runs are kept."""
    return ("vanilla", "invariant") if setting.group else ("stated", "given")


def like_samples(setting: Setting) -> Finding:
    """Ratio of the W2 distance between particles and density to that of independent samples."""
    until, dynamics = span(setting, particles.COARSE)
    n = SAMPLES
    clouds = setting.run("stated", n, SETS, until, dynamics, "given").at(until)
    sequence = np.random.SeedSequence([setting.seed, n, SETS, 1])
    rngs = [np.random.default_rng(child) for child in sequence.spawn(SETS)]
    law = setting.flow("stated", "given", until=until).densities[-1]
    samples = [Cloud(law.sample(n, rng)) for rng in rngs]
    floor = np.array([_distance(setting, law, cloud) for cloud in samples])
    found = np.array([_distance(setting, law, cloud) for cloud in clouds])
    wrong = setting.flow("stated", "given", "potential", until).densities[-1]
    far = np.array([_distance(setting, wrong, cloud) for cloud in clouds])
    ratio, scatter = float(found.mean() / floor.mean()), _ratio_scatter(found, floor)
    low, high = ratio * np.exp(np.array([-1.96, 1.96]) * scatter)
    alarm = float(norm.sf(abs(np.log(LIKE / ratio)) / scatter))
    reason = (
        f"interaction widens fluctuations by a factor of order 1; 95 % interval {low:.2f} to "
        f"{high:.2f}, {SETS} replicas of {n} particles to t = {until:g}; wrong with probability "
        f"{alarm:.0e}"
    )
    weak = undecided(alarm)
    control = float(far.mean() / floor.mean())
    return Finding(ratio, LIKE, reason, control, TILTED, weak, 2 * LIKE)


def _distance(setting: Setting, law: Measure, cloud: Cloud) -> float:
    grid = setting.grid
    if grid.dim == 2:
        return float(sliced_w2(law, cloud, 16))
    return float(w2(law, cloud, period=(grid.lower, grid.upper) if grid.periodic else None))


def _ratio_scatter(found: Array, floor: Array) -> float:
    """Find the standard error of the log of a ratio of means."""
    parts = [values.std(ddof=1) / values.mean() / np.sqrt(len(values)) for values in (found, floor)]
    return float(np.hypot(*parts))


CLAIMS: dict[str, Claim] = {
    "propagation-of-chaos": Claim(
        "the outputs of N particles are those of the density up to 1/sqrt(N)",
        "Sznitman 1991; Mei, Montanari and Nguyen 2018",
        ("risk", "particles"),
        propagation,
    ),
    "particles-average-to-density": Claim(
        "the mean outputs of many particles are those of the density",
        "Sznitman 1991",
        ("risk", "particles"),
        average_to_density,
    ),
    "particles-like-samples": Claim(
        "particles are about as far from the density, in W2, as independent samples of it",
        "Sznitman 1991; Fournier and Guillin 2015",
        ("particles", "grid of Z"),
        like_samples,
    ),
}
