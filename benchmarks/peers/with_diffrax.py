"""diffrax: the method of lines with Scharfetter-Gummel fluxes in jax.numpy, explicit steps."""

import numpy as np

PACKAGES = ("diffrax", "jax")
SETTINGS = {
    "ornstein-uhlenbeck-2d": [{"cells": 128}, {"cells": 144}],
    "ornstein-uhlenbeck-2d-fine": [{"cells": 256}, {"cells": 288}],
    "quartic-well-quadratic": [
        {"cells": 128, "solver": "Heun", "rtol": 1e-2},
        {"cells": 128, "solver": "Tsit5", "rtol": 1e-4},
    ],
    "quartic-well-gaussian": [
        {"cells": 128, "solver": "Heun", "rtol": 1e-2},
        {"cells": 128, "solver": "Tsit5", "rtol": 1e-4},
    ],
    "network-drift": [{"cells": 128}, {"cells": 256}],
}


def prepare(problem, cells, solver="Heun", rtol=1e-3):
    import diffrax
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    potential = problem.potential(cells, jnp)
    scale = problem.beta / problem.width(cells) ** 2

    def bernoulli(z):
        small = jnp.abs(z) < 1e-5
        safe = jnp.where(small, 1.0, z)
        return jnp.where(small, 1 - z / 2, safe / jnp.expm1(safe))

    def gain(u, phi):
        """Return the gain of the cells from their neighbours along the first axis."""
        rise = (phi[1:] - phi[:-1]) / problem.beta
        up = bernoulli(rise)
        flux = jnp.pad(scale * (up * u[:-1] - (up + rise) * u[1:]), ((1, 1), (0, 0)))
        return flux[:-1] - flux[1:]

    def rate(t, u, args):
        phi = potential(u)
        return gain(u, phi) + gain(u.T, phi.T).T

    @jax.jit
    def solve(u):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(rate),
            getattr(diffrax, solver)(),
            t0=0.0,
            t1=problem.end,
            dt0=1e-4,
            y0=u,
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol * 1e-2),
            max_steps=200_000,
        ).ys[-1]

    start = jnp.asarray(problem.start(cells))
    return lambda: np.asarray(solve(start))
