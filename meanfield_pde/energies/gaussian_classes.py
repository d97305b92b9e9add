"""Two classes of normal vectors that differ in size alone, in full and by their radii."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from meanfield_pde.energies.data import Data
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array

MOST_NODES = 100
"""Nodes beyond which the weights of the rule for radii leave the range of numbers."""


@dataclass(frozen=True)
class GaussianClasses:
    """X ~ N(0, (1 + gap)^2 I) with y = 1 or N(0, (1 - gap)^2 I) with y = -1, each half of the time.

    The centred isotropic Gaussians of Mei, Montanari and Nguyen (arXiv 1804.06561), whose law no
    rotation changes: `radii` are data of `Unit.radial`, `draw` is a sampler of the vectors.

    Parameters
    ----------
    dim : int
        Dimension of x.
    gap : float
        Between 0 and 1; 0.8 in 40 dimensions is an example of the paper.

    Raises
    ------
    ValueError
        If the dimension is below 2 or the gap not between 0 and 1.

    Examples
    --------
    >>> data = GaussianClasses(dim=40, gap=0.8).radii(24)
    >>> float(data.weights @ data.x[:, 0] ** 2).__round__(9)  # 40 (1.8^2 + 0.2^2) / 2
    65.6
    """

    dim: int
    gap: float

    def __post_init__(self) -> None:
        check.count("dim", self.dim, "the dimension of x", least=2)
        check.number("gap", self.gap, "0.8 is a wide gap", above=0, most=1 - 1e-12)

    def radii(self, nodes: int = 48) -> Data:
        """Lengths of x, by a Gauss rule in the square of the length with ``nodes`` a class."""
        nodes = check.count("nodes", nodes, "48 is a good number")
        if nodes > MOST_NODES:
            raise ValueError(
                f"nodes must be at most {MOST_NODES}, got {nodes}; 48 is a good number"
            )
        half_squares, weights = scipy.special.roots_genlaguerre(nodes, 0.5 * self.dim - 1.0)
        lengths = np.sqrt(2.0 * half_squares)
        x = np.concatenate([(1.0 + self.gap) * lengths, (1.0 - self.gap) * lengths])
        y = np.repeat([1.0, -1.0], nodes)
        return Data(x, y, np.tile(0.5 * weights / weights.sum(), 2))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """Draw n vectors (n, dim) with their labels (n,): a sampler for `Data.sampled`."""
        y = rng.choice([-1.0, 1.0], n)
        return (1.0 + self.gap * y)[:, None] * rng.standard_normal((n, self.dim)), y
