"""Theorems 3 and 4 on densities: what the flows do, beside an independent solver of them.

The other solver knows nothing of the package: potentials by matrices written out for each variant,
the rates of Scharfetter and Gummel face by face, and scipy's BDF in time.
"""

from functools import cache

import numpy as np
import pytest
from problems import (
    REFLECTION,
    TAU,
    VARIANTS,
    arbitrary_target,
    bump_energy,
    bump_start,
    even_target,
)
from scipy.integrate import solve_ivp

import meanfield_pde as mf

TARGETS = {"even": even_target, "arbitrary": arbitrary_target}
T1 = 5.0


def potential_of(variant, target, z, volume):
    """First variation of the risk and the penalty, as a function of the density."""
    x, w = np.polynomial.legendre.leggauss(40)
    x, w = 3 * x, w / 2
    here = np.exp(-0.5 * (x[:, None] - z) ** 2)
    there = np.exp(-0.5 * (x[:, None] + z) ** 2)
    y = target(x[:, None])

    def pull(features, of_outputs):
        return lambda rho: 2 * features.T @ (w * (of_outputs @ rho * volume - y))

    mean = 0.5 * (here + there)
    parts = {
        "vanilla": [(1.0, pull(here, here))],
        "data-augmented": [(0.5, pull(here, here)), (0.5, pull(there, there))],
        "feature-averaged": [(1.0, pull(mean, mean))],
    }[variant]
    return lambda rho: sum(f * part(rho) for f, part in parts) + TAU * z**2


@cache
def independent(variant, target, invariant, cells=100):
    """Density at T1 by Scharfetter-Gummel and BDF."""
    grid = mf.Grid.box(-4, 4, cells)
    z, h = grid.axes[0], grid.spacing[0]
    potential = potential_of(variant, TARGETS[target], z, h)

    def rhs(t, rho):
        q = np.diff(potential(rho)) / TAU
        q[q == 0] = 1e-12
        forward, backward = (s * q / np.expm1(s * q) for s in (1, -1))
        flow = TAU / h**2 * (forward * rho[:-1] - backward * rho[1:])
        return np.append(-flow, 0.0) + np.insert(flow, 0, 0.0)

    start = bump_start(cells, invariant).values
    found = solve_ivp(rhs, (0, T1), start, "BDF", rtol=1e-8, atol=1e-10)
    return found.y[:, -1]


@cache
def ours(variant, target, invariant, cells=100):
    flow = mf.GradientFlow(bump_energy(TARGETS[target], variant))
    problem = mf.Problem(flow, bump_start(cells, invariant), T1)
    return mf.solve(problem, save=[0.0, 1.0, T1]).densities[-1]


def apart(first, second):
    return float(np.abs(first - second).sum() * 8 / len(first))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_both_solvers_agree(variant, target):
    assert apart(ours(variant, target, True).values, independent(variant, target, True)) < 5e-4


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("target", TARGETS)
def test_weak_invariance(variant, target):
    """Theorem 3, T = 5: kept unless plain training meets an arbitrary target."""
    asymmetry = float(mf.asymmetry(ours(variant, target, True), REFLECTION))
    if (variant, target) == ("vanilla", "arbitrary"):
        other = independent(variant, target, True)
        assert asymmetry == pytest.approx(apart(other, other[::-1]), abs=5e-3)
        assert asymmetry == pytest.approx(0.5, abs=0.01)
    else:
        assert asymmetry <= 1e-12


@pytest.mark.parametrize("target", TARGETS)
def test_augmentation_is_averaging(target):
    """Theorem 4: one flow from an invariant law, T = 5; and plain training if R is invariant."""
    augmented, averaged, plain = (
        ours(name, target, True).values
        for name in ("data-augmented", "feature-averaged", "vanilla")
    )
    assert apart(augmented, averaged) <= 1e-12
    assert (apart(plain, augmented) <= 1e-12) is (target == "even")


CONTROLS = [
    ("even", False, "data-augmented", "feature-averaged", 0.498),
    ("arbitrary", False, "data-augmented", "feature-averaged", 0.514),
    ("arbitrary", True, "vanilla", "data-augmented", 0.268),
]


@pytest.mark.parametrize(("target", "invariant", "first", "second", "expected"), CONTROLS)
def test_flows_that_differ(target, invariant, first, second, expected):
    """Controls: from a law that is not invariant, or for a target that is not."""
    pair = [independent(name, target, invariant) for name in (first, second)]
    assert apart(*pair) == pytest.approx(expected, abs=3e-3)
    fine = [ours(name, target, invariant, cells=400).values for name in (first, second)]
    assert apart(*fine) == pytest.approx(expected, abs=5e-4)


def test_the_shipped_case_says_so():
    """The claims of `reflection-arbitrary` have these numbers, largest over the saved times."""
    names = ["wi-preserved", "vanilla-equals-da", "da-equals-fa", "ea-preserves-wi"]
    case = mf.load_case("reflection-arbitrary")
    report = mf.validate(case, claims={name: case.claims[name] for name in names})
    assert report.passed, report.table()
    numbers = {row["claim"]: row["number"] for row in report.rows}
    assert numbers["wi-preserved"] == pytest.approx(0.5, abs=0.01)
    assert numbers["vanilla-equals-da"] == pytest.approx(0.268, abs=5e-4)
    assert max(numbers["da-equals-fa"], numbers["ea-preserves-wi"]) <= 1e-12


def test_a_confined_network_moves_by_its_penalty_alone():
    """E^G = {0}: R(P # mu) is constant, so that the flow is that of penalty and entropy."""
    start = bump_start(200, invariant=False)
    risk = mf.Risk(mf.Unit.bump(), mf.Data.gauss_legendre(40, -3, 3, arbitrary_target))
    rest = TAU * mf.Penalty() + TAU * mf.Entropy()
    confined = mf.equivariant_architecture(risk, REFLECTION) + rest
    problems = [mf.Problem(mf.GradientFlow(energy), start, 1.0) for energy in (confined, rest)]
    options = {"save": [0.0, 1.0], "stepper": "mprk22", "dt": 0.05}
    pair = [mf.solve(problem, **options).densities[-1].values for problem in problems]
    assert apart(*pair) < 1e-12
