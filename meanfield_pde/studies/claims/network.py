"""Claims about the network before it moves: unit, data and risk are symmetric."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from meanfield_pde.energies.risk import Risk
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.studies.claims.claim import ROUNDING, STATIC, Claim, Finding
from meanfield_pde.studies.setting import Setting


def unit_equivariant(setting: Setting) -> Finding:
    """Compare ``sigma(rho_g x; M_g z)`` with ``rhohat_g sigma(x; z)``."""
    risk, group = plain(setting), setting.symmetry
    z = random_points(setting, 40)
    x = risk.data.x
    on_x, on_y = group.on_x(x.shape[1]), group.on_y(risk.unit.outputs)
    here = risk.unit.features(x, z)

    def defect(matrices: Array) -> float:
        worst = 0.0
        for g in range(group.order):
            moved = risk.unit.features(x @ on_x[g].T, z @ matrices[g].T)
            worst = max(worst, float(np.abs(moved - here @ on_y[g].T).max()))
        return worst

    on_z = group.on_z(z.shape[1])
    fault = "M_g replaced by the identity"
    identity = np.broadcast_to(np.eye(z.shape[1]), on_z.shape)
    tolerance = STATIC * (1 + float(np.abs(here).max()))
    return Finding(defect(on_z), tolerance, ROUNDING, defect(identity), fault)


def loss_invariant(setting: Setting) -> Finding:
    """Compare ``l(rhohat_g yhat, rhohat_g y)`` with ``l(yhat, y)`` around the targets."""
    risk, group = plain(setting), setting.symmetry
    y = risk.data.y
    outputs = y + 2 * np.random.default_rng(0).standard_normal(y.shape)
    here = risk.loss.value(outputs, y)

    def defect(matrices: Array) -> float:
        moved = (risk.loss.value(outputs @ m.T, y @ m.T) for m in matrices)
        return max(float(np.abs(values - here).max()) for values in moved)

    on_y = group.on_y(risk.unit.outputs)
    tolerance = STATIC * (1 + float(np.abs(here).max()))
    return Finding(defect(on_y), tolerance, ROUNDING, defect(1.3 * on_y), "outputs scaled by 1.3")


def data_invariant(setting: Setting) -> Finding:
    """Compare the law of (rho_g X, rhohat_g Y) with that of (X, Y)."""
    data = plain(setting).data
    number = max(data.invariance_defect(setting.symmetry))
    control = max(setting.tilted_data(data).invariance_defect(setting.symmetry))
    scale = 1 + float(np.abs(data.x).max() + np.abs(data.y).max())
    return Finding(number, STATIC * scale, ROUNDING, control, "targets tilted")


def risk_invariant(setting: Setting) -> Finding:
    """Compare R(M_g # mu) with R(mu) on random clouds."""
    risk, group = plain(setting), setting.symmetry
    clouds = np.split(random_points(setting, 60), 6)

    def defect(tested: Risk) -> float:
        worst = 0.0
        for points in clouds:
            value = tested.value(Cloud(points))
            for matrix in group.on_z(points.shape[1]):
                worst = max(worst, abs(tested.value(Cloud(points @ matrix.T)) - value))
        return worst

    tolerance = STATIC * (1 + max(risk.value(Cloud(points)) for points in clouds))
    tilted = replace(risk, data=setting.tilted_data(risk.data))
    return Finding(defect(risk), tolerance, ROUNDING, defect(tilted), "targets tilted")


CLAIMS: dict[str, Claim] = {
    "unit-equivariant": Claim(
        "the unit is jointly equivariant: sigma(rho_g x; M_g z) = rhohat_g sigma(x; z)",
        "Maass and Fontbona 2024, Assumption 1",
        ("group", "risk"),
        unit_equivariant,
    ),
    "loss-invariant": Claim(
        "the loss is invariant: l(rhohat_g yhat, rhohat_g y) = l(yhat, y)",
        "Maass and Fontbona 2024, Assumption 1",
        ("group", "risk"),
        loss_invariant,
    ),
    "data-invariant": Claim(
        "the law of the data is invariant: (rho_g X, rhohat_g Y) ~ (X, Y)",
        "Maass and Fontbona 2024, Assumption 1",
        ("group", "risk"),
        data_invariant,
    ),
    "risk-invariant": Claim(
        "the risk is invariant: R(M_g # mu) = R(mu)",
        "Maass and Fontbona 2024, Proposition 2",
        ("group", "risk"),
        risk_invariant,
    ),
}


def plain(setting: Setting) -> Risk:
    """Return the plain risk of a setting that has one."""
    assert setting.risk is not None
    return setting.risk


def random_points(setting: Setting, n: int) -> Array:
    """Points z all over the grid's box (of its size where it has a chart), always the same."""
    grid = setting.grid
    share = np.random.default_rng(0).random((n, grid.ambient_dim))
    if grid.chart is not None:
        reach = max(np.abs(grid.lower).max(), np.abs(grid.upper).max())
        return np.asarray(reach * (2 * share - 1))
    return np.asarray(grid.lower + share * np.subtract(grid.upper, grid.lower))
