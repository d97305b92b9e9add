"""torch: the particles in double precision, gradients written out."""

import os

import numpy as np

from .problems import NETWORK_PENALTY, teaching_data

PACKAGES = ("torch",)
SETTINGS = {"network-particles": [{"dt": 0.01}]}


def prepare(problem, dt):
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    x, weights, y = map(torch.from_numpy, teaching_data())
    size = np.sqrt(2 * problem.beta * dt)

    @torch.no_grad()
    def solve():
        generator = torch.Generator().manual_seed(1)

        def normal():
            shape = (2, problem.particles)
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        points = np.sqrt(problem.variance) * normal()
        for _ in range(round(problem.end / dt)):
            a, b = points
            units = torch.tanh(b[:, None] * x)
            residual = weights * (a @ units / problem.particles - y)
            slopes = torch.stack([units @ residual, a * ((1 - units**2) @ (residual * x))])
            points = points - dt * (slopes + NETWORK_PENALTY * points) + size * normal()
        return points.numpy().T

    return solve
