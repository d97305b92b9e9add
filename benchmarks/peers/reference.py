"""Compute the references that have no closed form: ``python -m benchmarks.peers.reference``.

Scharfetter-Gummel fluxes and the classical Runge-Kutta method, in plain numpy, on three grids,
each of half the width of the one before. Steps are so short, for stability, that errors in time do
not count. Those in space are even powers of the width; Richardson extrapolation of the averages
over the reference's cells removes the second power from the two finer grids. What it gives for the
two coarser grids is compared and printed: the stored error is about a sixteenth of that
difference. Takes ten minutes; nothing is shared with `meanfield_pde`.
"""

from __future__ import annotations

import numpy as np

from .problems import PROBLEMS, REFERENCES, Problem, restrict

LEVELS = {
    "quartic-well-quadratic": (64, 128, 256),
    "quartic-well-gaussian": (64, 128, 256),
    "network-drift": (128, 256, 512),
}


def bernoulli(z: np.ndarray) -> np.ndarray:
    small = np.abs(z) < 1e-5
    safe = np.where(small, 1.0, z)
    return np.where(small, 1 - z / 2, safe / np.expm1(safe))


def coefficients(phi: np.ndarray, axis: int, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """Return what carries mass up and down through the inner faces across an axis."""
    rise = np.diff(phi, axis=axis) / beta
    up = bernoulli(rise)
    return up, up + rise


def rate(problem: Problem, u: np.ndarray, potential) -> tuple[np.ndarray, float]:
    """Return du/dt and the largest rate at which a cell empties."""
    phi, scale = potential(u), problem.beta / problem.width(len(u)) ** 2
    change, leaving = np.zeros_like(u), np.zeros_like(u)
    for axis in range(u.ndim):
        lower = tuple(slice(None, -1) if k == axis else slice(None) for k in range(u.ndim))
        upper = tuple(slice(1, None) if k == axis else slice(None) for k in range(u.ndim))
        up, down = coefficients(phi, axis, problem.beta)
        flux = scale * (up * u[lower] - down * u[upper])
        change[lower] -= flux
        change[upper] += flux
        leaving[lower] += scale * up
        leaving[upper] += scale * down
    return change, float(leaving.max())


def march(problem: Problem, cells: int) -> np.ndarray:
    """Cell averages at the end, by the classical Runge-Kutta method."""
    potential, u, t = problem.potential(cells), problem.start(cells), 0.0
    while t < problem.end:
        k1, leaving = rate(problem, u, potential)
        dt = min(0.8 / leaving, problem.end - t)
        k2, k3, k4 = k1, k1, k1
        k2, _ = rate(problem, u + dt / 2 * k1, potential)
        k3, _ = rate(problem, u + dt / 2 * k2, potential)
        k4, _ = rate(problem, u + dt * k3, potential)
        u, t = u + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4), t + dt
    return u


def extrapolate(coarse: np.ndarray, fine: np.ndarray, cells: int) -> np.ndarray:
    """Remove the second power of the width from averages on a grid and one of half its width."""
    return (4 * restrict(fine, cells) - restrict(coarse, cells)) / 3


def main() -> None:
    references = {}
    for name, levels in LEVELS.items():
        problem = PROBLEMS[name]
        first, second, third = (march(problem, cells) for cells in levels)
        u = extrapolate(second, third, problem.cells)
        shared = min(levels[0], problem.cells)
        before = extrapolate(first, second, shared)
        change = np.abs(restrict(u, shared) - before).sum() * problem.width(shared) ** 2
        print(f"{name}: the last grid changed the extrapolated law by {change:.1e} in L1")
        references[name] = u
    np.savez(REFERENCES, **references)


if __name__ == "__main__":
    main()
