"""Points of a sweep: a case with its settings, what tells its tasks apart, and their seeds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np

from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.check import Array
from meanfield_pde.studies.axes import PARTICLES
from meanfield_pde.studies.files import versions

FORMAT = 1
"""Changes when what a task measures does, so that older files are left alone."""
SILENT = ("title", "source", "about", "claims")
"""Tables of a case that no number depends on."""


class Stated(Protocol):
    """What a sweep asks of a case."""

    @property
    def name(self) -> str:
        """Name of the case."""

    @property
    def text(self) -> str:
        """Its TOML."""

    @property
    def tables(self) -> dict[str, Any]:
        """Its tables, as read."""

    @property
    def problem(self) -> Problem:
        """Flow, initial density and end time."""

    def with_settings(self, settings: Sequence[str]) -> Stated:
        """Return the case with values changed."""

    def solve_options(self) -> dict[str, Any]:
        """Arguments of `solve`."""

    def simulate_options(self) -> dict[str, Any]:
        """Arguments of `simulate`."""

    def compare_options(self) -> dict[str, Any]:
        """Arguments of `compare`."""


@dataclass(frozen=True, eq=False)
class Point:
    """Coordinates of a run but its seed, and the case there."""

    at: tuple[tuple[str, Any], ...]
    case: Stated

    @property
    def name(self) -> str:
        """Coordinates, for people."""
        return ", ".join(f"{key}={value}" for key, value in self.at)

    @property
    def particles(self) -> int:
        """Number of particles."""
        return int(self.case.simulate_options()["particles"])

    def digest(self, *more: Any, without: Sequence[str] = ()) -> str:
        """Letters that change with the case, with versions and with what else is given."""
        left_out = {*SILENT, *without}
        tables = {k: v for k, v in self.case.tables.items() if k not in left_out}
        if "simulate" in tables:
            tables["simulate"] = {k: v for k, v in tables["simulate"].items() if k != "seeds"}
        text = json.dumps([FORMAT, versions(), tables, *more], sort_keys=True)
        return sha256(text.encode()).hexdigest()[:20]

    def seeds(self, replica: int) -> tuple[int, int]:
        """Seeds of the run and of the samples beside it: no two coordinates share one.

        That of the case and a digest of the coordinates are the entropy, the replica the spawn key.
        """
        at = {**dict(self.at), PARTICLES: self.particles}
        words = np.frombuffer(sha256(json.dumps(at, sort_keys=True).encode()).digest(), np.uint32)
        entropy = [int(self.case.simulate_options()["seed"]), *words.tolist()]
        sequence = np.random.SeedSequence(entropy, spawn_key=(replica,))
        run, floor = (int(seed >> 1) for seed in sequence.generate_state(2, np.uint64).tolist())
        return run, floor


@dataclass(frozen=True, eq=False)
class DensityTask:
    """A density to solve for, of all points that share it."""

    point: Point
    digest: str


@dataclass(frozen=True, eq=False)
class RunTask:
    """A run to simulate and to measure against a density, at the saved times."""

    point: Point
    replica: int
    digest: str
    times: Array
    densities: Array

    @property
    def name(self) -> str:
        """Coordinates, for people."""
        return f"{self.point.name}, seed={self.replica}"
