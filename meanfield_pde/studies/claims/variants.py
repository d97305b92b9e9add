"""Claims about drifts on strongly invariant laws, those on the fixed subspace E^G."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np

from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.potential import Potential
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import with_variant
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.studies.claims.claim import ROUNDING, STATIC, Claim, Finding
from meanfield_pde.studies.claims.network import plain, random_points
from meanfield_pde.studies.setting import TILT, Setting


def variants_agree(setting: Setting) -> Finding:
    """Compare the drifts with augmentation, averaging and equivariant architecture on E^G."""
    names = ("data-augmented", "feature-averaged", "equivariant-architecture")

    def defect(cloud: Cloud) -> tuple[float, float]:
        drifts = [_drift(setting, plain(setting), name, cloud) for name in names]
        apart = max(float(np.abs(a - b).max()) for a, b in combinations(drifts, 2))
        return apart, max(float(np.abs(drift).max()) for drift in drifts)

    number, size = defect(fixed_cloud(setting))
    control, _ = defect(Cloud(random_points(setting, 60)))
    return Finding(number, STATIC * (1 + size), ROUNDING, control, "a cloud off E^G")


def vanilla_equals_ea(setting: Setting) -> Finding:
    """Largest entry of the difference of the plain drift and the architecture's on E^G."""
    cloud, risk = fixed_cloud(setting), plain(setting)

    def drifts(risk: Risk) -> tuple[Array, Array]:
        names = ("vanilla", "equivariant-architecture")
        first, second = (_drift(setting, risk, name, cloud) for name in names)
        return first, second

    plainly, confined = drifts(risk)
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    control = float(np.abs(np.subtract(*drifts(tilted))).max())
    number, size = float(np.abs(plainly - confined).max()), float(np.abs(plainly).max())
    return Finding(number, STATIC * (1 + size), ROUNDING, control, "targets tilted")


def tangent(setting: Setting) -> Finding:
    """Largest Euclidean norm of the part of the plain drift that is normal to E^G."""
    cloud, energy = fixed_cloud(setting), setting.energy
    leaving = np.eye(cloud.dim) - setting.symmetry.projection()

    def normal(energy: Energy) -> float:
        drift = _drift(setting, energy, "vanilla", cloud)
        return float(np.linalg.norm(drift @ leaving, axis=1).max())

    size = float(np.abs(_drift(setting, energy, "vanilla", cloud)).max())
    control = normal(energy + Potential(lambda z: TILT * setting.tilt(z)))
    fault = "a potential that tilts the flow"
    return Finding(normal(energy), STATIC * (1 + size), ROUNDING, control, fault)


CLAIMS: dict[str, Claim] = {
    "da-fa-ea-agree-on-si": Claim(
        "on strongly invariant laws data augmentation, feature averaging and equivariant "
        "architectures have one drift",
        "Maass and Fontbona 2024, Theorem 6",
        ("group", "risk"),
        variants_agree,
    ),
    "vanilla-equals-ea-on-si": Claim(
        "on strongly invariant laws plain training and equivariant architectures have one drift",
        "Maass and Fontbona 2024, Theorems 5 and 6",
        ("group", "risk"),
        vanilla_equals_ea,
    ),
    "si-tangent": Claim(
        "the plain drift is tangent to E^G on strongly invariant laws: projected noise keeps them",
        "Maass and Fontbona 2024, Theorem 5",
        ("group",),
        tangent,
    ),
}


def fixed_cloud(setting: Setting) -> Cloud:
    """Return random points and the grid's middle, projected on E^G."""
    grid = setting.grid
    middle = grid.middle if grid.chart is None else np.zeros(grid.ambient_dim)
    points = np.vstack([middle, random_points(setting, 59)])
    return Cloud(points @ setting.symmetry.projection())


def _drift(setting: Setting, energy: Energy, variant: str, cloud: Cloud) -> Array:
    return with_variant(energy, variant, setting.symmetry).drift(cloud)
