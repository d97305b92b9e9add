"""The problems that every package is given, and the laws that are right.

A density u is an array of cell averages on the box [-half_width, half_width]^d and moves by

    d_t u = div(u grad phi[u]) + beta lap u,        no flux through the walls,

from a normal law cut at the walls. Potentials are written against a namespace ``xp`` (numpy or
jax.numpy), so that every package computes the same one; they also compile with numba, unless they
contain an FFT. Nothing here imports `meanfield_pde`: the packages may live in an environment of
their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.polynomial.legendre import leggauss
from scipy.special import erf

REFERENCES = Path(__file__).parent / "references.npz"


@dataclass(frozen=True)
class Problem:
    """An equation, a start, an end time, a grid and the error that counts as solved."""

    name: str
    potential_on: Callable[[np.ndarray, Any], Callable]
    half_width: float
    beta: float
    mean: tuple[float, ...]
    variance: float
    end: float
    cells: int
    target: float
    slope: Callable[[np.ndarray], list[np.ndarray]] | None = None  # of a potential without u
    exact: Callable[[Problem, int], np.ndarray] | None = None
    particles: int = 0

    @property
    def dimension(self) -> int:
        return len(self.mean)

    @property
    def linear(self) -> bool:
        return self.slope is not None

    def width(self, cells: int) -> float:
        return 2 * self.half_width / cells

    def axis(self, cells: int) -> np.ndarray:
        return self.width(cells) * (np.arange(cells) + 0.5) - self.half_width

    def potential(self, cells: int, xp: Any = np) -> Callable:
        """Return the function that takes a density to phi, the potential at the cells' centres."""
        return self.potential_on(self.axis(cells), xp)

    def start(self, cells: int) -> np.ndarray:
        u = normal(self, cells, self.mean, self.variance)
        return u / (u.sum() * self.width(cells) ** self.dimension)

    def solution(self, cells: int) -> np.ndarray:
        """Cell averages at the end: in closed form, or a stored reference on its own grid."""
        if self.exact is not None:
            return self.exact(self, cells)
        with np.load(REFERENCES) as stored:
            return stored[self.name]


def normal(problem: Problem, cells: int, mean: tuple[float, ...], variance: float) -> np.ndarray:
    """Cell averages of a normal law with independent coordinates of equal variance."""
    faces = np.linspace(-problem.half_width, problem.half_width, cells + 1)
    u = np.ones(())
    for centre in mean:
        line = np.diff(erf((faces - centre) / np.sqrt(2 * variance))) / 2 / np.diff(faces)
        u = np.multiply.outer(u, line)
    return u


def restrict(u: np.ndarray, cells: int) -> np.ndarray:
    """Averages over larger cells, ``cells`` along each axis."""
    for axis in range(u.ndim):
        shape = u.shape[:axis] + (cells, u.shape[axis] // cells) + u.shape[axis + 1 :]
        u = u.reshape(shape).mean(axis + 1)
    return u


def ornstein_uhlenbeck_law(problem: Problem, cells: int) -> np.ndarray:
    decay = np.exp(-problem.end)
    variance = problem.variance * decay**2 + problem.beta * (1 - decay**2)
    return normal(problem, cells, tuple(decay * m for m in problem.mean), variance)


def double_well(x: np.ndarray) -> np.ndarray:
    return x**4 / 4 - x**2 / 2


def double_well_gibbs(problem: Problem, cells: int, points: int = 8) -> np.ndarray:
    """Cell averages of exp(-V / beta) / Z by quadrature; 1 point gives the discrete Gibbs state."""
    nodes, weights = leggauss(points)
    h = problem.width(cells)
    z = problem.axis(cells)[:, None] + h / 2 * nodes
    u = np.exp(-double_well(z) / problem.beta) @ weights
    return u / (u.sum() * h)


def fixed(values: np.ndarray, xp: Any) -> Callable:
    values = xp.asarray(values)
    return lambda u: values


def half_square(axis: np.ndarray) -> np.ndarray:
    return (axis[:, None] ** 2 + axis**2) / 2


def quartic_well(axis: np.ndarray) -> np.ndarray:
    """V(z) = |z|^4 / 4 - |z|^2 / 2 in the plane."""
    return half_square(axis) ** 2 - half_square(axis)


def quadratic_kernel(axis: np.ndarray, xp: Any) -> Callable:
    """phi = V + W * u with W(z) = |z|^2 / 2, through the moments of u."""
    area = (axis[1] - axis[0]) ** 2
    well, bowl, x = xp.asarray(quartic_well(axis)), xp.asarray(half_square(axis)), xp.asarray(axis)
    ones = xp.ones(len(axis))

    def potential(u):
        along = xp.outer(x @ u.sum(1) * x, ones) + xp.outer(ones, x @ u.sum(0) * x)
        spread = 0.5 * (x**2 @ u.sum(1) + x**2 @ u.sum(0))
        return well + area * (u.sum() * bowl - along + spread)

    return potential


def gaussian_kernel(axis: np.ndarray, xp: Any) -> Callable:
    """phi = V + W * u with W(z) = -exp(-|z|^2 / (2 * 0.25)), by FFT on a grid twice as wide."""
    n, area = len(axis), (axis[1] - axis[0]) ** 2
    offsets = (axis[1] - axis[0]) * np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n))
    kernel = -np.exp(-(offsets[:, None] ** 2 + offsets**2) / 0.5)
    transform = xp.asarray(np.fft.rfft2(kernel) * area)
    well = xp.asarray(quartic_well(axis))

    def potential(u):
        spectrum = xp.fft.rfft2(u, (2 * n, 2 * n)) * transform
        return well + xp.fft.irfft2(spectrum, (2 * n, 2 * n))[:n, :n]

    return potential


def teacher(x: np.ndarray) -> np.ndarray:
    """Return what the network learns: the mean of a tanh(b x) over +-(1, 2) and +-(3/2, 1/2)."""
    return np.tanh(2 * x) / 2 + 0.75 * np.tanh(x / 2)


def teaching_data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs of a standard normal law (64 Gauss-Hermite nodes), their weights and the outputs."""
    x, weights = hermegauss(64)
    return x, weights / weights.sum(), teacher(x)


NETWORK_PENALTY = 0.01


def network(axis: np.ndarray, xp: Any) -> Callable:
    """phi(a, b) = E[(f_u(x) - y) a tanh(b x)] + 0.01 (a^2 + b^2) / 2, f_u = int a tanh(b x) du."""
    area = (axis[1] - axis[0]) ** 2
    x, weights, y = teaching_data()
    a, features = xp.asarray(axis), xp.asarray(np.tanh(np.outer(x, axis)))
    weights, y = xp.asarray(weights), xp.asarray(y)
    penalty = xp.asarray(NETWORK_PENALTY * half_square(axis))

    def potential(u):
        residual = weights * (features @ (a @ u) * area - y)
        return xp.outer(a, residual @ features) + penalty

    return potential


def _ornstein_uhlenbeck(name: str, cells: int, target: float) -> Problem:
    return Problem(
        name,
        lambda axis, xp: fixed(half_square(axis), xp),
        half_width=6,
        beta=0.5,
        mean=(1.5, -1.0),
        variance=0.25,
        end=1.0,
        cells=cells,
        target=target,
        slope=lambda x: np.meshgrid(x, x, indexing="ij"),
        exact=ornstein_uhlenbeck_law,
    )


def _quartic_well(name: str, potential: Callable, target: float) -> Problem:
    return Problem(
        name,
        potential,
        half_width=3,
        beta=0.1,
        mean=(0.5, 0.25),
        variance=0.25,
        end=1.0,
        cells=128,
        target=target,
    )


def _network(name: str, target: float, particles: int = 0) -> Problem:
    return Problem(
        name,
        network,
        half_width=4,
        beta=0.01,
        mean=(0.0, 0.0),
        variance=0.5,
        end=5.0,
        cells=128,
        target=target,
        particles=particles,
    )


_ALL = (
    _ornstein_uhlenbeck("ornstein-uhlenbeck-2d", 128, 2e-3),
    _ornstein_uhlenbeck("ornstein-uhlenbeck-2d-fine", 256, 5e-4),
    Problem(
        "double-well",
        lambda axis, xp: fixed(double_well(axis), xp),
        half_width=3,
        beta=0.1,
        mean=(0.0,),
        variance=0.25,
        end=50.0,
        cells=256,
        target=4e-4,
        slope=lambda x: [x**3 - x],
        exact=double_well_gibbs,
    ),
    _quartic_well("quartic-well-quadratic", quadratic_kernel, 2e-3),
    _quartic_well("quartic-well-gaussian", gaussian_kernel, 3e-3),
    _network("network-drift", 4.1e-3),
    _network("network-particles", np.inf, particles=100_000),
)
PROBLEMS = {problem.name: problem for problem in _ALL}
