"""Figures of solutions, runs and reports.

Each function returns a matplotlib `Figure` of its own, outside of pyplot: nothing is shown, no
global state is touched, and no display is needed. `save_figure` writes one as PNG.
"""

from meanfield_pde.plot.games import (
    game_comparison_figure,
    game_particles_figure,
    gap_figure,
    phase_figure,
    players_figure,
)
from meanfield_pde.plot.reports import (
    bifurcation_figure,
    comparison_figure,
    convergence_figure,
    fluctuations_figure,
    validation_figure,
)
from meanfield_pde.plot.results import (
    asymmetry_figure,
    density_figure,
    energy_figure,
    particles_figure,
)
from meanfield_pde.plot.students import discover_figure, students_figure
from meanfield_pde.plot.style import save_figure
from meanfield_pde.plot.sweeps import rates_figure, sweep_figure

__all__ = [
    "asymmetry_figure",
    "bifurcation_figure",
    "comparison_figure",
    "convergence_figure",
    "density_figure",
    "discover_figure",
    "energy_figure",
    "fluctuations_figure",
    "particles_figure",
    "rates_figure",
    "game_comparison_figure",
    "game_particles_figure",
    "gap_figure",
    "particles_figure",
    "phase_figure",
    "players_figure",
    "save_figure",
    "students_figure",
    "sweep_figure",
    "validation_figure",
]
