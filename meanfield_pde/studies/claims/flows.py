"""Claims about flows: what stays invariant, and which variants of training follow one flow."""

from __future__ import annotations

from collections.abc import Callable

from meanfield_pde.eulerian.solution import Solution
from meanfield_pde.measures.distance import l1
from meanfield_pde.measures.symmetry import asymmetry, symmetrise
from meanfield_pde.studies.claims.claim import FLOW, ROUNDING_FLOW, Claim, Finding
from meanfield_pde.studies.setting import Setting


def _stays_invariant(variant: str) -> Callable[[Setting], Finding]:
    def check(setting: Setting) -> Finding:
        solution = setting.flow(variant)
        number = max(asymmetry(rho, setting.symmetry) for rho in solution.densities)
        tolerance, reason = invariance_tolerance(setting, solution)
        tilted = setting.flow(variant, fault="potential")
        control = max(asymmetry(rho, setting.symmetry) for rho in tilted.densities)
        return Finding(number, tolerance, reason, control, "a potential that tilts the flow")

    return check


def da_equals_fa(setting: Setting) -> Finding:
    """L1 distance between the flows with data augmentation and with feature averaging."""
    flows = ("data-augmented", "feature-averaged")
    number = apart(*(setting.flow(name) for name in flows))
    control = apart(*(setting.flow(name, "tilted") for name in flows))
    tolerance, reason = invariance_tolerance(setting, setting.flow(flows[0]))
    return Finding(number, tolerance, reason, control, "an initial law that is not invariant")


def vanilla_equals_da(setting: Setting) -> Finding:
    """L1 distance between the plain flow and that with data augmentation."""
    flows = ("vanilla", "data-augmented")
    number = apart(*(setting.flow(name) for name in flows))
    control = apart(*(setting.flow(name, fault="targets") for name in flows))
    tolerance, reason = invariance_tolerance(setting, setting.flow(flows[0]))
    return Finding(number, tolerance, reason, control, "targets tilted")


CLAIMS: dict[str, Claim] = {
    "wi-preserved": Claim(
        "the plain flow keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3",
        ("group", "grid of Z"),
        _stays_invariant("vanilla"),
    ),
    "da-preserves-wi": Claim(
        "the flow with data augmentation keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3",
        ("group", "risk", "grid of Z"),
        _stays_invariant("data-augmented"),
    ),
    "fa-preserves-wi": Claim(
        "the flow with feature averaging keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3",
        ("group", "risk", "grid of Z"),
        _stays_invariant("feature-averaged"),
    ),
    "ea-preserves-wi": Claim(
        "the flow of equivariant architectures keeps a weakly invariant law weakly invariant",
        "Maass and Fontbona 2024, Theorem 3: R(P # mu) is an invariant risk",
        ("group", "risk", "periodic projection", "grid of Z"),
        _stays_invariant("equivariant-architecture"),
    ),
    "da-equals-fa": Claim(
        "from a weakly invariant law, data augmentation and feature averaging give one flow",
        "Maass and Fontbona 2024, Theorem 4",
        ("group", "risk", "grid of Z"),
        da_equals_fa,
    ),
    "vanilla-equals-da": Claim(
        "from a weakly invariant law, plain training and data augmentation give one flow",
        "Maass and Fontbona 2024, Theorem 4",
        ("group", "risk", "grid of Z"),
        vanilla_equals_da,
    ),
}


def invariance_tolerance(setting: Setting, solution: Solution) -> tuple[float, str]:
    """Allow rounding where the group permutes the cells, else the smearing of the remap."""
    if setting.symmetry.cell_images(setting.grid) is not None:
        return FLOW, ROUNDING_FLOW
    smear = max(symmetrise(rho, setting.symmetry).remap_error for rho in solution.densities)
    return smear, "smearing by the remap, measured there and back"


def apart(first: Solution, second: Solution) -> float:
    """Largest L1 distance of two solutions at their saved times."""
    pairs = zip(first.densities, second.densities, strict=True)
    return max(float(l1(mu, nu)) for mu, nu in pairs)
