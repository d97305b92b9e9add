"""Mean-field limits of wide neural networks: densities and particles, side by side.

Names are imported from their modules when they are first used, so that a program pays only for what
it asks for: numba, scipy and matplotlib take longer to import than many a case takes to solve.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from meanfield_pde.case import Case as Case
    from meanfield_pde.case import CaseError as CaseError
    from meanfield_pde.case import list_cases as list_cases
    from meanfield_pde.case import load_case as load_case
    from meanfield_pde.energies.data import Data as Data
    from meanfield_pde.energies.energy import Energy as Energy
    from meanfield_pde.energies.energy import Entropy as Entropy
    from meanfield_pde.energies.gaussian_classes import GaussianClasses as GaussianClasses
    from meanfield_pde.energies.interaction import Interaction as Interaction
    from meanfield_pde.energies.loss import CustomLoss as CustomLoss
    from meanfield_pde.energies.loss import Huber as Huber
    from meanfield_pde.energies.loss import Loss as Loss
    from meanfield_pde.energies.payoff import KernelPayoff as KernelPayoff
    from meanfield_pde.energies.payoff import ProductPayoff as ProductPayoff
    from meanfield_pde.energies.potential import Penalty as Penalty
    from meanfield_pde.energies.potential import Potential as Potential
    from meanfield_pde.energies.risk import Network as Network
    from meanfield_pde.energies.risk import Risk as Risk
    from meanfield_pde.energies.unit import Unit as Unit
    from meanfield_pde.energies.variants import data_augmented as data_augmented
    from meanfield_pde.energies.variants import equivariant_architecture as equivariant_architecture
    from meanfield_pde.energies.variants import feature_averaged as feature_averaged
    from meanfield_pde.eulerian.flux import ScharfetterGummel as ScharfetterGummel
    from meanfield_pde.eulerian.game_nash import GameValue as GameValue
    from meanfield_pde.eulerian.game_nash import game_value as game_value
    from meanfield_pde.eulerian.game_nash import nash as nash
    from meanfield_pde.eulerian.game_solution import GameSolution as GameSolution
    from meanfield_pde.eulerian.gibbs import GibbsError as GibbsError
    from meanfield_pde.eulerian.gibbs import gibbs as gibbs
    from meanfield_pde.eulerian.solution import Solution as Solution
    from meanfield_pde.eulerian.solve import SolveError as SolveError
    from meanfield_pde.eulerian.solve import solve as solve
    from meanfield_pde.eulerian.stepper import B1 as B1
    from meanfield_pde.eulerian.stepper import Heun as Heun
    from meanfield_pde.flows.game import ZeroSumGame as ZeroSumGame
    from meanfield_pde.flows.gap import nikaido_isoda as nikaido_isoda
    from meanfield_pde.flows.gradient_flow import GradientFlow as GradientFlow
    from meanfield_pde.flows.problem import Problem as Problem
    from meanfield_pde.flows.quantiles import QuantileFlow as QuantileFlow
    from meanfield_pde.flows.quantiles import quantile_flow as quantile_flow
    from meanfield_pde.lagrangian.birth_death import BirthDeath as BirthDeath
    from meanfield_pde.lagrangian.dynamics import SGD as SGD
    from meanfield_pde.lagrangian.dynamics import Langevin as Langevin
    from meanfield_pde.lagrangian.game_run import GameRun as GameRun
    from meanfield_pde.lagrangian.simulate import Run as Run
    from meanfield_pde.lagrangian.simulate import simulate as simulate
    from meanfield_pde.lagrangian.steps import SimulationError as SimulationError
    from meanfield_pde.measures import distance as distance
    from meanfield_pde.measures.chart import Chart as Chart
    from meanfield_pde.measures.cloud import Cloud as Cloud
    from meanfield_pde.measures.density import Density as Density
    from meanfield_pde.measures.grid import Grid as Grid
    from meanfield_pde.measures.group import Group as Group
    from meanfield_pde.measures.group_law import GroupLaw as GroupLaw
    from meanfield_pde.measures.lazy import LazyMetric as LazyMetric
    from meanfield_pde.measures.lazy import lazy_distance as lazy_distance
    from meanfield_pde.measures.symmetry import asymmetry as asymmetry
    from meanfield_pde.measures.symmetry import lift as lift
    from meanfield_pde.measures.symmetry import project as project
    from meanfield_pde.measures.symmetry import symmetrise as symmetrise
    from meanfield_pde.storage import load_run as load_run
    from meanfield_pde.storage import load_solution as load_solution
    from meanfield_pde.storage import load_sweep as load_sweep
    from meanfield_pde.storage import save_bifurcation as save_bifurcation
    from meanfield_pde.storage import save_run as save_run
    from meanfield_pde.storage import save_solution as save_solution
    from meanfield_pde.storage import save_sweep as save_sweep
    from meanfield_pde.studies.approximate import SymmetryGap as SymmetryGap
    from meanfield_pde.studies.approximate import symmetry_gap as symmetry_gap
    from meanfield_pde.studies.assumptions import assumptions as assumptions
    from meanfield_pde.studies.bifurcation import bifurcation as bifurcation
    from meanfield_pde.studies.bifurcation import critical_value as critical_value
    from meanfield_pde.studies.compare import compare as compare
    from meanfield_pde.studies.convergence import convergence as convergence
    from meanfield_pde.studies.discover import discover as discover
    from meanfield_pde.studies.ensemble import SweepError as SweepError
    from meanfield_pde.studies.ensemble import sweep as sweep
    from meanfield_pde.studies.files import StorageError as StorageError
    from meanfield_pde.studies.fluctuations import fluctuations as fluctuations
    from meanfield_pde.studies.optima import Optimum as Optimum
    from meanfield_pde.studies.optima import infimum as infimum
    from meanfield_pde.studies.rates import rates as rates
    from meanfield_pde.studies.regression import linear_regression_gap as linear_regression_gap
    from meanfield_pde.studies.report import Report as Report
    from meanfield_pde.studies.residual import residual as residual
    from meanfield_pde.studies.students import TeacherStudent as TeacherStudent
    from meanfield_pde.studies.students import students as students
    from meanfield_pde.studies.validate import validate as validate

    __version__: str

_HOMES = {
    "assumptions": "studies.assumptions",
    "asymmetry": "measures.symmetry",
    "B1": "eulerian.stepper",
    "bifurcation": "studies.bifurcation",
    "BirthDeath": "lagrangian.birth_death",
    "Case": "case",
    "CaseError": "case",
    "Chart": "measures.chart",
    "Cloud": "measures.cloud",
    "compare": "studies.compare",
    "convergence": "studies.convergence",
    "critical_value": "studies.bifurcation",
    "CustomLoss": "energies.loss",
    "Data": "energies.data",
    "data_augmented": "energies.variants",
    "Density": "measures.density",
    "discover": "studies.discover",
    "distance": "measures.distance",
    "Energy": "energies.energy",
    "Entropy": "energies.energy",
    "equivariant_architecture": "energies.variants",
    "feature_averaged": "energies.variants",
    "fluctuations": "studies.fluctuations",
    "game_value": "eulerian.game_nash",
    "GameRun": "lagrangian.game_run",
    "GameSolution": "eulerian.game_solution",
    "GameValue": "eulerian.game_nash",
    "GaussianClasses": "energies.gaussian_classes",
    "gibbs": "eulerian.gibbs",
    "GibbsError": "eulerian.gibbs",
    "GradientFlow": "flows.gradient_flow",
    "Grid": "measures.grid",
    "Group": "measures.group",
    "GroupLaw": "measures.group_law",
    "Heun": "eulerian.stepper",
    "Huber": "energies.loss",
    "infimum": "studies.optima",
    "Interaction": "energies.interaction",
    "KernelPayoff": "energies.payoff",
    "Langevin": "lagrangian.dynamics",
    "lazy_distance": "measures.lazy",
    "LazyMetric": "measures.lazy",
    "lift": "measures.symmetry",
    "linear_regression_gap": "studies.regression",
    "list_cases": "case",
    "load_case": "case",
    "load_run": "storage",
    "load_solution": "storage",
    "load_sweep": "storage",
    "Loss": "energies.loss",
    "nash": "eulerian.game_nash",
    "Network": "energies.risk",
    "nikaido_isoda": "flows.gap",
    "Optimum": "studies.optima",
    "Penalty": "energies.potential",
    "Potential": "energies.potential",
    "Problem": "flows.problem",
    "ProductPayoff": "energies.payoff",
    "project": "measures.symmetry",
    "quantile_flow": "flows.quantiles",
    "QuantileFlow": "flows.quantiles",
    "rates": "studies.rates",
    "Report": "studies.report",
    "residual": "studies.residual",
    "Risk": "energies.risk",
    "Run": "lagrangian.simulate",
    "save_bifurcation": "storage",
    "save_run": "storage",
    "save_solution": "storage",
    "save_sweep": "storage",
    "ScharfetterGummel": "eulerian.flux",
    "SGD": "lagrangian.dynamics",
    "simulate": "lagrangian.simulate",
    "SimulationError": "lagrangian.steps",
    "Solution": "eulerian.solution",
    "solve": "eulerian.solve",
    "SolveError": "eulerian.solve",
    "StorageError": "studies.files",
    "students": "studies.students",
    "sweep": "studies.ensemble",
    "SweepError": "studies.ensemble",
    "symmetrise": "measures.symmetry",
    "symmetry_gap": "studies.approximate",
    "SymmetryGap": "studies.approximate",
    "TeacherStudent": "studies.students",
    "Unit": "energies.unit",
    "validate": "studies.validate",
    "ZeroSumGame": "flows.game",
}
"""Where each public name lives: a module of this package."""

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        module = import_module(f"{__name__}.{_HOMES[name]}")
        value = module if name == "distance" else getattr(module, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; see dir({__name__})")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)


def _version() -> str:
    """Version of the installed package, or of a source tree that was never installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("meanfield-pde")
    except PackageNotFoundError:
        return "0+unknown"
