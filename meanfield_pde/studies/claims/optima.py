"""Claims about minimisers: what invariant laws can reach, and what variants of a risk are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Energy
from meanfield_pde.energies.loss import Squared
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import (
    data_augmented,
    equivariant_architecture,
    feature_averaged,
)
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.symmetry import symmetrise
from meanfield_pde.studies.claims.claim import ROUNDING, STATIC, Claim, Finding
from meanfield_pde.studies.claims.network import plain, random_points
from meanfield_pde.studies.optima import Optimum, infimum, searched
from meanfield_pde.studies.setting import Setting

SEARCH = 1e-9
"""Gap asked of each infimum."""
EQUAL = 1e-8
WORSE = 1e-6
"""A strict gap is at least this."""
CERTIFIED = "infima lie between certified bounds"
LEFT_GAP = "the bounds of the infima are too far apart: refine the grid"


def wi_infimum(setting: Setting) -> Finding:
    """Width of an interval that holds the three infima."""
    risk, group, grid = plain(setting), setting.symmetry, setting.grid

    def optimum(energy: Energy, over: str = "all") -> Optimum:
        return infimum(energy, grid, group, over, SEARCH)

    variants = data_augmented(risk, group), feature_averaged(risk, group)
    found = [optimum(risk, "weakly-invariant"), *map(optimum, variants)]
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    control = _width([optimum(tilted, "weakly-invariant"), optimum(tilted)])
    unsure = LEFT_GAP if max(one.gap for one in found) > EQUAL else ""
    if not _keeps_box(group, setting):
        unsure = "the group does not map the box to itself, so that laws on it have images off it"
    fault = "augmentation left out, targets tilted"
    return Finding(_width(found), EQUAL, CERTIFIED, control, fault, unsure)


def risk_of_invariant_models(setting: Setting) -> Finding:
    """Spread of ``R(mu^G) - |Phi_{mu^G} - Q_G f*|^2`` over random clouds."""
    risk, group = plain(setting), setting.symmetry
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    place, _ = risk.data.invariance_defect(group)
    if place > STATIC * (1 + float(np.abs(risk.data.x).max())):
        unsure = "the group does not map the nodes of the data to themselves"
        return Finding(place, STATIC, ROUNDING, None, "", unsure)
    clouds = [Cloud(points) for points in np.split(random_points(setting, 60), 6)]

    def rest(tested: Risk, averaged: Callable[[Cloud], Cloud]) -> list[float]:
        assert isinstance(tested.loss, Squared)
        target, weights = averaged_target(tested.data, group), tested.data.weights
        values = []
        for cloud in map(averaged, clouds):
            square = ((tested.predict(cloud) - target) ** 2).sum(axis=-1)
            values.append(tested.value(cloud) - tested.loss.factor * float(weights @ square))
        return values

    number = float(np.ptp(rest(risk, lambda cloud: symmetrise(cloud, group))))
    control = float(np.ptp(rest(tilted, lambda cloud: cloud)))
    tolerance = STATIC * (1 + max(risk.value(cloud) for cloud in clouds))
    return Finding(number, tolerance, ROUNDING, control, "laws left as they are, targets tilted")


def si_is_worse(setting: Setting) -> Finding:
    """Best risk of weakly invariant laws, and 1e-6, less a lower bound of strongly invariant ones.

    Not above 0 where the latter are worse by at least 1e-6.
    """
    risk, group, grid = plain(setting), setting.symmetry, setting.grid
    strong = infimum(risk, grid, group, "strongly-invariant", SEARCH)

    def excess(tested: Risk) -> float:
        weak = infimum(tested, grid, group, "weakly-invariant", SEARCH)
        return weak.value + WORSE - strong.lower_bound

    control = excess(equivariant_architecture(risk, group))
    fault = "the network confined to the fixed subspace both times"
    reason = f"certified bounds, {WORSE:g} apart"
    return Finding(excess(risk), 0.0, reason, control, fault)


def si_suffices(setting: Setting) -> Finding:
    """Best risk of strongly invariant laws, less a lower bound of that of weakly invariant ones."""
    risk, group, grid = plain(setting), setting.symmetry, setting.grid
    strong = infimum(risk, grid, group, "strongly-invariant", SEARCH)
    weak = infimum(risk, grid, group, "weakly-invariant", SEARCH)
    at_origin = risk.value(Cloud(np.zeros((1, grid.dim))))
    number, control = (value - weak.lower_bound for value in (strong.value, at_origin))
    return Finding(number, EQUAL, CERTIFIED, control, "laws confined to the origin")


def variants_convex(setting: Setting) -> Finding:
    """Largest violation of convexity, of invariance, and of Jensen's inequality."""
    risk, group = plain(setting), setting.symmetry
    clouds = [Cloud(points) for points in np.split(random_points(setting, 60), 6)]
    makers = data_augmented, feature_averaged, equivariant_architecture
    variants = [make(risk, group) for make in makers]
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    tolerance = STATIC * (1 + max(v.value(cloud) for v in variants for cloud in clouds))
    control = _violation([tilted] * 3, group, clouds)
    fault = "means over the group left out, targets tilted"
    return Finding(_violation(variants, group, clouds), tolerance, ROUNDING, control, fault)


CLAIMS: dict[str, Claim] = {
    "wi-infimum": Claim(
        "weakly invariant laws reach the infimum of R^DA and of R^FA, and nothing lower",
        "Maass and Fontbona 2024, Theorem 2",
        ("group", "risk", "grid of Z"),
        wi_infimum,
    ),
    "risk-of-invariant-models": Claim(
        "the risk of a weakly invariant law is a constant and its distance from Q_G f*",
        "Maass and Fontbona 2024, Corollary 1",
        ("group", "risk", "squared loss"),
        risk_of_invariant_models,
    ),
    "si-is-worse": Claim(
        "the infimum over strongly invariant laws is above that over weakly invariant ones",
        "Maass and Fontbona 2024, Proposition 4",
        ("group", "risk", "asked", "grid of Z"),
        si_is_worse,
    ),
    "si-suffices": Claim(
        "the infimum over strongly invariant laws is that over weakly invariant ones",
        "Maass and Fontbona 2024, Proposition 5",
        ("group", "risk", "asked", "grid of Z"),
        si_suffices,
    ),
    "variants-convex": Claim(
        "R^DA, R^FA and R^EA are convex and invariant, and R^FA <= R^DA",
        "Maass and Fontbona 2024, Proposition 2",
        ("group", "risk"),
        variants_convex,
    ),
}


def averaged_target(data: Data, group: Group) -> Array:
    """Return ``Q_G f*(x_i) = int rhohat_g^-1 f*(rho_g x_i) dlambda_G(g)``.

    Parameters
    ----------
    data : Data
        With a law of x that is invariant; f* is the mean of y given x.
    group : Group

    Returns
    -------
    array (n, outputs)
    """
    places = data.embedded(data.x)
    tree = cKDTree(places)
    same: Any = tree.query_ball_point(places, 1e-9)  # nodes may be repeated
    mean = np.stack([np.average(data.y[near], axis=0, weights=data.weights[near]) for near in same])
    total = np.zeros_like(mean)
    actions = zip(group.weights, group.on_x(data.dim), group.on_y(data.outputs), strict=True)
    for share, on_x, on_y in actions:
        nearest = tree.query(data.embedded(data.x @ on_x.T))[1]
        total += share * mean[nearest] @ on_y
    return total


def _width(optima: Sequence[Optimum]) -> float:
    return max(found.value for found in optima) - min(found.lower_bound for found in optima)


def _keeps_box(group: Group, setting: Setting) -> bool:
    """Whether the corners of the box stay in it."""
    grid = searched(setting.grid)
    low, high = np.array(grid.lower), np.array(grid.upper)
    corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, len(low))
    moved = np.concatenate([corners @ matrix.T for matrix in group.on_z(len(low))])
    slack = 1e-9 * (high - low)
    return bool(((moved >= low - slack) & (moved <= high + slack)).all())


def _violation(variants: Sequence[Energy], group: Group, clouds: Sequence[Cloud]) -> float:
    """Largest excess over a chord, change by an element of the group, and excess of FA over DA."""
    augmented, averaged, _ = values = [[v.value(cloud) for cloud in clouds] for v in variants]
    worst = max(fa - da for da, fa in zip(augmented, averaged, strict=True))
    shares = np.random.default_rng(1).random(len(clouds))
    for variant, known in zip(variants, values, strict=True):
        for k, (cloud, share) in enumerate(zip(clouds, shares, strict=True)):
            points = np.concatenate([cloud.points, clouds[k - 1].points])
            parts = [share * cloud.weights, (1 - share) * clouds[k - 1].weights]
            middle = variant.value(Cloud(points, np.concatenate(parts)))
            worst = max(worst, middle - share * known[k] - (1 - share) * known[k - 1])
            for matrix in group.on_z(cloud.dim):
                moved = variant.value(Cloud(cloud.points @ matrix.T, cloud.weights))
                worst = max(worst, abs(moved - known[k]))
    return worst
