"""jax: the particles in double precision, one compiled loop over steps."""

import numpy as np

from .problems import NETWORK_PENALTY, teaching_data

PACKAGES = ("jax", "jaxlib")
SETTINGS = {"network-particles": [{"dt": 0.01}]}


def prepare(problem, dt):
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp

    x, weights, y = map(jnp.asarray, teaching_data())
    size = np.sqrt(2 * problem.beta * dt)

    def step(points, key):
        a, b = points
        units = jnp.tanh(b[:, None] * x)
        residual = weights * (a @ units / problem.particles - y)
        slopes = jnp.stack([units @ residual, a * ((1 - units**2) @ (residual * x))])
        noise = size * jax.random.normal(key, points.shape)
        return points - dt * (slopes + NETWORK_PENALTY * points) + noise, None

    @jax.jit
    def run(key):
        first, rest = jax.random.split(key)
        points = np.sqrt(problem.variance) * jax.random.normal(first, (2, problem.particles))
        return jax.lax.scan(step, points, jax.random.split(rest, round(problem.end / dt)))[0]

    return lambda: np.asarray(run(jax.random.key(1))).T
