r"""Exponentials of generators, made of nonnegative numbers alone.

With a step :math:`\delta` short enough, :math:`P = I + \delta A` has no negative entry, and its
columns sum to 1. So do its powers and their averages, and stationary laws of A are theirs:

- :math:`e^{tA} = \sum_k e^{-t/\delta} \frac{(t/\delta)^k}{k!} P^k` (uniformisation; Jensen 1953);
- along lines with the compact flux, :math:`P^n` with :math:`n = t/\delta` and :math:`\delta`
  twice the lag. As :math:`P^n = \exp(t (A - \delta A^2 / 2 + \dots))`, the error in time of Euler
  steps takes away the error of that flux in space, and what is left is of fourth order in h.
  Where the outflow, or a short t, asks for a shorter :math:`\delta`, second order remains.

A power acts on a density step by step or, where that is cheaper, through repeated squaring of a
line's dense matrix. In the plane the latter needs a potential that is a sum of a function of x
and one of y: then the axes commute, and all lines of an axis share one matrix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.eulerian import _kernels
from meanfield_pde.eulerian.flux import Generator
from meanfield_pde.measures.check import Array

TAIL = 9.0
"""Standard deviations of a Poisson law beyond which its weights are left out."""
MOST_WEIGHTS = 1_000_000
"""Mean number of jumps beyond which a time is cut into pieces, for the length of their weights."""
ROOM = 1e-14
"""Relative room below the largest step without negative entries: P rho is rounded."""
EMPTY = 1e-300
"""Density that underflows: it has no digits left, and its rounding no sign."""
NOTHING = 1e-18
"""Weights that are left out, relative to the largest."""
FIRST = 1 / 16
"""Mean number of jumps in the matrix that is squared: a short sum gives it to rounding."""
FEW = 0.6
"""Products with a matrix, for a column and a row, that cost less than the next squaring."""
SHORTEST = 32
"""Rows of the smallest block of a matrix near its diagonal: products of smaller ones are slow."""
STEP_COST, PRODUCT_COST = 1.0e-9, 0.06e-9
"""Seconds, about: for a cell in a step, and for a multiplication in a product of matrices."""
SAME = 1e-11
"""Relative difference up to which lines have the same rates: that of rounded potentials."""


@dataclass(frozen=True, eq=False)
class Line:
    """Rates (n,) along a line of cells, down and up each face, and the lag of its fluxes."""

    down: Array
    up: Array
    lag: float

    @property
    def outflow(self) -> float:
        """Largest rate of loss."""
        return float((self.down + np.roll(self.up, 1)).max())

    def highest(self, t: float) -> int:
        """Highest power of P in the exponential."""
        if self.lag > 0.0:
            return max(1, round(t / (2.0 * self.lag)), int(np.ceil(t * self.outflow * (1 - ROOM))))
        return highest(t * self.outflow)

    def euler(self, t: float) -> tuple[float, int]:
        """Step and number of the Euler steps that make up the exponential with a lag.

        Where they are as long as the outflow allows, their sum is t but for `ROOM`.
        """
        n = self.highest(t)
        return min(t / n, (1 - ROOM) / self.outflow), n

    def powers(self, t: float) -> tuple[float, Array]:
        """Step delta, and weights of the powers of P that make up the exponential."""
        if self.lag > 0.0:
            step, n = self.euler(t)
            weights = np.zeros(n + 1)
            weights[n] = 1.0
            return step, weights
        return poisson(t, self.outflow)

    def matrix(self, step: float) -> Array:
        """``I + step A``, dense."""
        n = len(self.down)
        matrix, here = np.zeros((n, n)), np.arange(n)
        there = np.roll(here, -1)
        np.add.at(matrix, (there, here), step * self.down)
        np.add.at(matrix, (here, there), step * self.up)
        matrix[here, here] = 1.0 - step * (self.down + np.roll(self.up, 1)) if n > 1 else 1.0
        return matrix

    def act(self, rho: Array, t: float) -> Array:
        """Exponential times the columns of rho (n, m), by repeated squaring."""
        reach = 1  # entries of a power are this far from the diagonal, at most
        if self.lag > 0.0:
            step, count = self.euler(t)
            power = self.matrix(step)
        else:
            doublings = max(0, int(np.ceil(np.log2(max(t * self.outflow / FIRST, 1.0)))))
            count = 2**doublings
            step, weights = poisson(t / count, self.outflow)
            once = self.matrix(step)
            power = weights[-1] * np.eye(len(self.down))
            for weight in weights[-2::-1]:
                power = once @ power
                power[np.diag_indices_from(power)] += weight
            reach = len(weights) - 1
        if self.up[-1] or self.down[-1]:
            reach = len(self.down)  # a circle has no ends
        # A product with a few columns costs so much less than a squaring that many may remain.
        few = FEW * len(self.down) / rho.shape[1]
        squarings = 0
        while count > max(few, 1.0):
            if count % 2:
                rho = power @ rho
            count //= 2
            power = squared(power, reach)
            reach *= 2
            squarings += 1
            if squarings % 4 == 0:
                power /= power.sum(axis=0)  # rounding of the sums doubles with every squaring
        power /= power.sum(axis=0)
        for _ in range(count):
            rho = power @ rho
        return rho


def squared(power: Array, reach: int) -> Array:
    """Square of a matrix whose entries are no further from the diagonal than ``reach``.

    Rows of a block see few columns, and these few more: a fifth of the work and less.
    """
    n, block = len(power), max(SHORTEST, 2 * reach)
    if 4 * block > n:
        return np.asarray(power @ power)
    out = np.zeros_like(power)
    for first in range(0, n, block):
        rows = slice(first, first + block)
        inner = slice(max(0, first - reach), first + block + reach)
        outer = slice(max(0, first - 2 * reach), first + block + 2 * reach)
        out[rows, outer] = power[rows, inner] @ power[inner, outer]
    return out


def highest(mean: float) -> int:
    """Return the number beyond which Poisson weights of that mean vanish."""
    return int(mean + TAIL * np.sqrt(mean) + 20.0) if mean > 0 else 0


def poisson(t: float, outflow: float) -> tuple[float, Array]:
    """Step 1 / outflow, and Poisson weights of mean t * outflow, cut off where they vanish."""
    if not outflow > 0.0:
        return t, np.ones(1)
    outflow *= 1 + ROOM
    mean = t * outflow
    if not mean > 0.0:
        return 1.0 / outflow, np.ones(1)
    most = highest(mean)
    least = max(0, int(2 * mean) - most)
    logarithms = np.cumsum(np.log(mean / np.arange(least + 1, most + 1)))
    logarithms = np.concatenate([[0.0], logarithms])
    weights = np.zeros(most + 1)
    weights[least:] = np.exp(logarithms - logarithms.max())
    weights = weights[: np.flatnonzero(weights > NOTHING)[-1] + 1]
    return 1.0 / outflow, weights / weights.sum()


def lines_of(generator: Generator) -> list[Line] | None:
    """One line for each axis, or None where lines along an axis differ."""
    lines = []
    for axis in range(generator.grid.dim):
        down, up = generator.forward[axis], generator.backward[axis]
        means = [rates.mean(axis=1 - axis, keepdims=True) for rates in (down, up)]
        for rates, mean in zip((down, up), means, strict=True):
            if not np.abs(rates - mean).max() <= SAME * np.abs(mean).max():
                return None
        lag = 0.0 if generator.lag is None else float(generator.lag[axis].max())
        lag = max(lag, generator.mirror_lag[axis])
        lines.append(Line(means[0].ravel(), means[1].ravel(), lag))
    return lines


def cost(generator: Generator, t: float) -> float:
    """Seconds, about, that `exponential` takes."""
    lines = lines_of(generator)
    if lines is None:
        return STEP_COST * generator.grid.size * (highest(t * generator.outflow) + 1)
    if len(lines) == 1:
        return min(_costs(lines[0], t))
    return sum(_costs(line, t)[1] * 2 for line in lines)


def _costs(line: Line, t: float) -> tuple[float, float]:
    """Seconds, about, step by step and by repeated squaring."""
    steps, cells = line.highest(t) + 1.0, len(line.down)
    return STEP_COST * (cells + 200) * steps, PRODUCT_COST * cells**3 * (np.log2(steps) + 4)


def exponential(generator: Generator, rho: Array, t: float) -> Array:
    """``exp(t A) rho``, of the shape of the grid: nonnegative, and of the same mass."""
    lines = lines_of(generator)
    if lines is None:
        pieces = 1 + int(t * generator.outflow / MOST_WEIGHTS)
        step, weights = poisson(t / pieces, generator.outflow)
        for _ in range(pieces):
            rho = _by_steps(rho, generator.forward, generator.backward, step, weights)
        return rho
    if len(lines) == 2:
        return np.ascontiguousarray(lines[1].act(lines[0].act(rho, t).T, t).T)
    line = lines[0]
    by_steps, by_squaring = _costs(line, t)
    if by_squaring < by_steps:
        return line.act(rho[:, None], t)[:, 0]
    # The line is laid out along the last axis, where the kernel's loops are fast.
    none = np.zeros_like(line.down)
    down, up = (np.stack([none, rates])[:, None, :] for rates in (line.down, line.up))
    return _by_steps(rho[None, :], down, up, *line.powers(t)).reshape(rho.shape)


def _by_steps(rho: Array, forward: Array, backward: Array, step: float, weights: Array) -> Array:
    out = np.empty_like(rho)
    _kernels.polynomial(np.ascontiguousarray(rho), forward, backward, step, weights, out)
    out[(out < 0.0) & (out > -EMPTY)] = 0.0
    return out
