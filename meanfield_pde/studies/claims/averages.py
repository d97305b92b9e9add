"""Claims about averages over the group: of laws, of networks, and what they cost in risk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.loss import Squared
from meanfield_pde.energies.risk import Risk
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import LOST, Density
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import asymmetry, symmetrise
from meanfield_pde.studies.approximate import symmetry_gap
from meanfield_pde.studies.claims.claim import ROUNDING, STATIC, Claim, Finding
from meanfield_pde.studies.claims.network import plain, random_points
from meanfield_pde.studies.setting import Setting

NETWORKS = 4
"""Random networks that stand for all."""
FEW_CELLS = 1_000_000
"""Cells times elements up to which a density is averaged as a cloud of its cells."""
POINTS = 200
"""Cells, about, that carry the laws of which the largest gap is looked for."""
UNEVEN = "uneven weights of the data"


def law_averaged(setting: Setting) -> Finding:
    """Mass, sign and symmetry of mu^G, for a rough density and a cloud."""
    group = setting.symmetry
    rho, cloud = _rough(setting), _clouds(setting)[0]
    averaged = symmetrise(rho, group)
    permuted = group.cell_images(setting.grid) is not None
    off = max(abs(averaged.mass / rho.mass - 1), abs(symmetrise(cloud, group).mass - cloud.mass))
    number = max(off, -float(averaged.values.min()), asymmetry(averaged, group) if permuted else 0)
    total = group.order * averaged.mass / rho.mass  # the mass of a sum over the group
    fault = "the sum over the group, without its 1/|G|"
    if permuted:
        return Finding(number, STATIC, ROUNDING, abs(total - 1), fault)
    return Finding(number, LOST, "mass that may leave the grid", abs(total - 1), fault)


def averages_commute(setting: Setting) -> Finding:
    """Compare Q_G Phi_mu, moved as a function, with Phi of mu^G, moved as a law."""
    risk, group = plain(setting), setting.symmetry
    number = control = size = 0.0
    for mu in _laws(setting):
        function = average_outputs(risk, group, mu)
        number = max(number, _largest(function - risk.predict(symmetrise(mu, group))))
        control = max(control, _largest(function - risk.predict(mu)))
        size = max(size, _largest(function))
    return Finding(number, STATIC * (1 + size), ROUNDING, control, "mu in place of mu^G")


def average_is_closest(setting: Setting) -> Finding:
    """Inner products in L^2(pi) of Phi_mu - Q_G Phi_mu with equivariant networks."""
    risk, group = plain(setting), setting.symmetry
    clouds = _clouds(setting)
    outputs = [risk.predict(mu) for mu in clouds]
    equivariant = [average_outputs(risk, group, mu) for mu in clouds]

    def defect(weights: Array) -> float:
        return max(
            abs(float(weights @ ((f - q) * h).sum(-1)))
            for f, q in zip(outputs, equivariant, strict=True)
            for h in equivariant
        )

    tolerance = STATIC * (1 + max(_largest(f) for f in outputs) ** 2)
    control = defect(_uneven(risk.data))
    return Finding(defect(risk.data.weights), tolerance, ROUNDING, control, UNEVEN)


def risk_gap(setting: Setting) -> Finding:
    """Compare R(f) - R(Q_G f) with -2 <f_*, f_perp> + |f_perp|^2, for networks f."""
    risk, group = plain(setting), setting.symmetry
    pairs = [(risk.predict(mu), average_outputs(risk, group, mu)) for mu in _clouds(setting)]

    def defect(weights: Array) -> float:
        gaps = (risk_gaps(risk, weights, f, q) for f, q in pairs)
        return max(abs(direct - formula) for direct, formula in gaps)

    size = max(float(risk.data.weights @ risk.loss.value(f, risk.data.y)) for f, _ in pairs)
    control = defect(_uneven(risk.data))
    return Finding(defect(risk.data.weights), STATIC * (1 + size), ROUNDING, control, UNEVEN)


def symmetry_gap_bounded(setting: Setting) -> Finding:
    """Compare the largest |R - R^G| found with C int W_1(g # pi, pi), for two laws of the data."""
    risk, group, grid = plain(setting), setting.symmetry, setting.grid
    points = grid.places.reshape(-1, grid.ambient_dim)[:: max(1, grid.size // POINTS)]
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    gaps = [symmetry_gap(one, group, points) for one in (risk, tilted)]
    number = max(0.0, *(gap.found - gap.bound for gap in gaps))
    fault = "targets tilted, and taken for invariant"
    return Finding(number, STATIC * (1 + gaps[1].bound), ROUNDING, gaps[1].found, fault)


CLAIMS: dict[str, Claim] = {
    "law-averaged": Claim(
        "mu^G is an invariant law: of the same mass, nonnegative, and its own image",
        "Maass and Fontbona 2024, section 3",
        ("group", "grid of Z"),
        law_averaged,
    ),
    "averages-commute": Claim(
        "averaging the network is averaging the law: Q_G Phi_mu = Phi_{mu^G}",
        "Maass and Fontbona 2024, Proposition 1",
        ("group", "risk", "grid of Z"),
        averages_commute,
    ),
    "average-is-closest": Claim(
        "Q_G Phi_mu is the equivariant function closest to Phi_mu in L^2(pi), for inputs of an "
        "invariant law: what it drops is orthogonal to every equivariant one",
        "Maass and Fontbona 2024, Proposition 1; Elesedy and Zaidi 2021",
        ("group", "risk"),
        average_is_closest,
    ),
    "risk-gap": Claim(
        "R(f) - R(Q_G f) = -2 <f_*, f_perp> + |f_perp|^2 for networks f and inputs of an invariant "
        "law, f_perp = f - Q_G f",
        "Villar 2024, Exact and approximate symmetries in machine learning models",
        ("group", "risk", "squared loss"),
        risk_gap,
    ),
    "symmetry-gap-bounded": Claim(
        "the risk is as far from invariant as its data at most: "
        "sup |R - R^G| <= C int W_1(g # pi, pi)",
        "Maass and Fontbona 2024, Proposition 44",
        ("group", "risk", "few data"),
        symmetry_gap_bounded,
    ),
}


def average_outputs(risk: Risk, group: Group, mu: Measure) -> Array:
    """``(Q_G Phi_mu)(x_i)``, the mean of ``rhohat_g^-1 Phi_mu(rho_g x_i)``, shape (n, outputs)."""
    data = risk.data
    total = np.zeros((data.size, risk.unit.outputs))
    actions = group.on_x(data.dim), group.on_y(risk.unit.outputs)
    for weight, on_x, on_y in zip(group.weights, *actions, strict=True):
        moved = replace(risk, data=replace(data, x=data.x @ on_x.T))
        total += weight * (moved.predict(mu) @ on_y)
    return total


def risk_gaps(risk: Risk, weights: Array, f: Array, averaged: Array) -> tuple[float, float]:
    """R(f) - R(Q_G f) by its definition and by the formula, for outputs f at the data."""
    assert isinstance(risk.loss, Squared)
    lost, y = f - averaged, risk.data.y
    before, after = risk.loss.value(f, y), risk.loss.value(averaged, y)
    formula = risk.loss.factor * (lost * lost - 2 * y * lost).sum(-1)
    return float(weights @ (before - after)), float(weights @ formula)


def _rough(setting: Setting) -> Density:
    """Return the initial density times noise, which a remap that is no share of cells would see."""
    noise = np.random.default_rng(0).random(setting.grid.shape)
    return Density(setting.grid, setting.initial.values * noise)


def _clouds(setting: Setting) -> list[Cloud]:
    shares = np.random.default_rng(1).dirichlet(np.ones(10), NETWORKS)
    points = np.split(random_points(setting, 10 * NETWORKS), NETWORKS)
    return [Cloud(z, w) for z, w in zip(points, shares, strict=True)]


def _laws(setting: Setting) -> list[Measure]:
    """Clouds, and a density; as a cloud where averages of densities smear."""
    rho, group = _rough(setting), setting.symmetry
    if group.cell_images(setting.grid) is not None:
        return [*_clouds(setting), rho]
    if setting.grid.size * group.order > FEW_CELLS:
        return [*_clouds(setting)]
    points = setting.grid.places.reshape(-1, setting.grid.ambient_dim)
    return [*_clouds(setting), Cloud(points, rho.masses.ravel())]


def _uneven(data: Data) -> Array:
    """Weights that no group keeps: a planted fault."""
    weights = data.weights * (0.1 + np.random.default_rng(2).random(data.size))
    return np.asarray(weights / weights.sum())


def _largest(values: Array) -> float:
    return float(np.abs(values).max())
