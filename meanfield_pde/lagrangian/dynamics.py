r"""Dynamics of particles: how a cloud moves in one step.

``Langevin``: the Euler-Maruyama step of the interacting system with the population drift,
:math:`z_i \leftarrow z_i - s\,dt\,\nabla\Phi_{\mu_N}(z_i) + \sqrt{2 \beta s\,dt}\,\xi_i`.

``SGD``: the step of training, with the gradient of the loss on a mini-batch, step sizes eps s(k
eps), penalty and noise: :math:`z_i \leftarrow z_i - s_k (\hat g_i + \tau \nabla r(z_i)) +
\sqrt{2 \beta s_k}\,\xi_i` (Maass and Fontbona, arXiv 2405.19995, with s_k = eps s(k eps); the
gradient is N times that in z_i of the batch's loss). Its time is k eps, the time of the flow.

Where the flow reacts, births and deaths follow each step: see `birth_death`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from meanfield_pde.energies.energy import Batch, Energy
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.variants import DataAugmented
from meanfield_pde.measures import check


class Dynamics(ABC):
    """How particles move; make one with `Langevin`, `SGD` or `BirthDeath`."""

    name: str
    dt: float

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What a file holds of it; the class's ``from_settings`` reads it."""

    @abstractmethod
    def prepare(self, energy: Energy) -> None:
        """Raise ValueError if the dynamics cannot run this energy."""

    @abstractmethod
    def draw(self, energy: Energy, rng: np.random.Generator) -> Batch | None:
        """Draw the data of one step; None for all data."""


@dataclass(frozen=True)
class Langevin(Dynamics):
    """Interacting Langevin particles with the population drift.

    Parameters
    ----------
    dt : float
        Time step, in the flow's time.
    """

    dt: float = 0.01
    name = "langevin"

    def __post_init__(self) -> None:
        check.number("dt", self.dt, "0.01 is a good number", above=0)

    @property
    def settings(self) -> dict[str, Any]:
        """What a file holds of it."""
        return asdict(self)

    @staticmethod
    def from_settings(**settings: Any) -> Langevin:
        """Make the dynamics whose `settings` these are."""
        return Langevin(**settings)

    def prepare(self, energy: Energy) -> None:
        """Any energy will do."""

    def draw(self, energy: Energy, rng: np.random.Generator) -> None:
        """All data, always."""


@dataclass(frozen=True)
class SGD(Dynamics):
    """Stochastic gradient descent on mini-batches drawn from the data law.

    Parameters
    ----------
    dt : float
        Step size eps: step k has length eps s(k eps).
    batch : int
        Samples a step, drawn with replacement by the weights of the data.
    augmentation : str
        For a data-augmented risk: ``orbit`` (each sample with its whole orbit) or ``sampled``
        (one random group element a sample).
    """

    dt: float = 0.01
    batch: int = 20
    augmentation: str = "orbit"
    name = "sgd"

    def __post_init__(self) -> None:
        check.number("dt", self.dt, "0.01 is a good number", above=0)
        check.count("batch", self.batch, "20 is a good number")
        if self.augmentation not in ("orbit", "sampled"):
            raise ValueError(
                f"augmentation must be orbit or sampled, got {self.augmentation!r}; orbit averages "
                "the loss over the orbit of each sample"
            )

    @property
    def settings(self) -> dict[str, Any]:
        """What a file holds of it."""
        return asdict(self)

    @staticmethod
    def from_settings(**settings: Any) -> SGD:
        """Make the dynamics whose `settings` these are."""
        return SGD(**settings)

    def prepare(self, energy: Energy) -> None:
        """Require exactly one risk, whose data are sampled."""
        if len(_risks(energy)) != 1:
            raise ValueError(
                f"SGD needs an energy with exactly one risk, got {len(_risks(energy))}; use "
                "dynamics='langevin' for energies without data"
            )

    def draw(self, energy: Energy, rng: np.random.Generator) -> Batch:
        """Draw a batch; energies other than the risk ignore it."""
        leaf = _risks(energy)[0]
        data = leaf.risk.data if isinstance(leaf, DataAugmented) else leaf.data
        indices = data.draw(self.batch, rng)
        elements = None
        if isinstance(leaf, DataAugmented) and self.augmentation == "sampled":
            elements = rng.choice(leaf.group.order, size=self.batch, p=leaf.group.weights)
        return Batch(indices, elements)


def _risks(energy: Energy) -> list[Risk | DataAugmented]:
    return [leaf for _, leaf in energy.terms if isinstance(leaf, Risk | DataAugmented)]
