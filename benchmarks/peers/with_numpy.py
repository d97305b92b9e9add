"""numpy and scipy: fluxes written out by hand, `solve_ivp`; particles as a loop over arrays."""

import numpy as np

from .problems import NETWORK_PENALTY, teaching_data

PACKAGES = ("numpy", "scipy")
SETTINGS = {
    "ornstein-uhlenbeck-2d": [
        {"cells": 128, "flux": "central"},
        {"cells": 144, "flux": "exponential"},
    ],
    "ornstein-uhlenbeck-2d-fine": [
        {"cells": 256, "flux": "central"},
        {"cells": 288, "flux": "exponential"},
    ],
    "quartic-well-quadratic": [{"cells": 128, "flux": "exponential"}],
    "quartic-well-gaussian": [{"cells": 128, "flux": "exponential"}],
    "network-drift": [{"cells": 128, "flux": "central"}],
    "network-particles": [{"dt": 0.01}],
}


def prepare(problem, **setting):
    return (particles if problem.particles else density)(problem, **setting)


def density(problem, cells, flux):
    from scipy.integrate import solve_ivp

    potential = problem.potential(cells)
    scale = problem.beta / problem.width(cells) ** 2

    def weights(rise):
        """Return what a face passes up and down, by Scharfetter and Gummel or by averages."""
        if flux == "central":
            return 1 - rise / 2, 1 + rise / 2
        small = np.abs(rise) < 1e-5
        safe = np.where(small, 1.0, rise)
        up = np.where(small, 1 - rise / 2, safe / np.expm1(safe))
        return up, up + rise

    def weights_on(phi):
        return [weights(np.diff(p, axis=0) / problem.beta) for p in (phi, phi.T)]

    fixed = weights_on(potential(None)) if problem.linear else None

    def rate(t, flat):
        u = flat.reshape(cells, cells)
        gain = np.zeros_like(u)
        faces = fixed or weights_on(potential(u))
        for v, g, (up, down) in zip((u, u.T), (gain, gain.T), faces, strict=True):
            passed = scale * (up * v[:-1] - down * v[1:])
            g[:-1] -= passed
            g[1:] += passed
        return gain.ravel()

    def solve():
        start = problem.start(cells).ravel()
        run = solve_ivp(rate, (0, problem.end), start, "RK23", [problem.end], rtol=1e-4, atol=1e-7)
        return run.y[:, -1].reshape(cells, cells)

    return solve


def particles(problem, dt):
    x, weights, y = teaching_data()

    def solve():
        rng = np.random.default_rng(1)
        a, b = np.sqrt(problem.variance) * rng.standard_normal((2, problem.particles))
        for _ in range(round(problem.end / dt)):
            units = np.tanh(np.outer(b, x))
            residual = weights * (a @ units / problem.particles - y)
            slopes = a * ((1 - units**2) @ (residual * x))
            noise = np.sqrt(2 * problem.beta * dt) * rng.standard_normal((2, problem.particles))
            a, b = (
                a - dt * (units @ residual + NETWORK_PENALTY * a) + noise[0],
                b - dt * (slopes + NETWORK_PENALTY * b) + noise[1],
            )
        return np.stack([a, b], axis=-1)

    return solve
