"""Tables ``[[game.payoff]]`` of a case file: terms of f(x, y), which the first player lowers.

Each is a sum of products of functions of x and of y, but for the bump, which has no low rank.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from meanfield_pde.case.energy import POTENTIALS
from meanfield_pde.case.table import Natural, Numbers, Positive, Table
from meanfield_pde.energies.payoff import KernelPayoff, Payoff, ProductPayoff
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.grid import Grid

Grids = tuple[Grid, Grid]
Product = tuple[Function | None, Function | None]
"""Functions of x and of y; None is the constant 1."""


class WaveTable(Table):
    """``strength cos(first . x + second . y + phase)``, a number a coordinate in each."""

    kind: Literal["wave"]
    strength: float = 1.0
    first: Numbers = 0.0
    second: Numbers = 0.0
    phase: float = 0.0

    def products(self, grids: Grids) -> list[Product]:
        """Take the sum of angles apart: cos cos - sin sin, one product where a side is constant."""
        k = _along("first", self.first, grids[0])
        m = _along("second", self.second, grids[1])
        if not k.any():
            return [(None, _wave(np.cos, m, self.strength, self.phase))]
        cosine = _wave(np.cos, k, self.strength, self.phase)
        if not m.any():
            return [(cosine, None)]
        sine = _wave(np.sin, k, -self.strength, self.phase)
        return [(cosine, _wave(np.cos, m)), (sine, _wave(np.sin, m))]


class MonomialTable(Table):
    """``strength prod x_a^p_a prod y_a^q_a``, a power a coordinate in each."""

    kind: Literal["monomial"]
    strength: float = 1.0
    first: Natural | list[Natural] = 0
    second: Natural | list[Natural] = 0

    def products(self, grids: Grids) -> list[Product]:
        """Make the one product."""
        p = _along("first", _numbers(self.first), grids[0])
        q = _along("second", _numbers(self.second), grids[1])
        _refuse_torus("monomial", grids, (p, q))
        if not p.any():
            return [(None, _power(q, self.strength))]
        return [(_power(p, self.strength), _power(q) if q.any() else None)]


class OwnTable(Table):
    """``strength V((z - centre) / width)`` for a named V, z the parameters of one player."""

    kind: Literal["potential"]
    player: Literal["first", "second"]
    name: Literal["linear", "quadratic", "quartic", "double-well", "cosine"]
    strength: float = 1.0
    centre: Numbers = 0.0
    width: Positive = 1.0

    def products(self, grids: Grids) -> list[Product]:
        """Make the one product."""
        value, _ = POTENTIALS[self.name]
        own = ("first", "second").index(self.player)
        centre = _along("centre", self.centre, grids[own])

        def function(z: Array) -> Array:
            return np.asarray(self.strength * value((z - centre) / self.width))

        return [(function, None) if own == 0 else (None, function)]


class BumpTable(Table):
    """``strength exp(-|x - y - shift|^2 / (2 width^2))``; on a torus that of the chord."""

    kind: Literal["bump"]
    strength: float = 1.0
    shift: Numbers = 0.0
    width: Positive = 1.0

    def kernel(self, grids: Grids) -> Function:
        """Make the function of x and y."""
        first, second = grids
        if first.dim != second.dim or first.periodic != second.periodic:
            raise ValueError(
                "kind 'bump' needs players on grids of the same kind and dimension, got "
                f"{first.dim} and {second.dim}; use a wave or a monomial"
            )
        shift = _along("shift", self.shift, first)
        if not first.periodic:
            return lambda x, y: (
                self.strength * np.exp(-0.5 * ((x - y - shift) ** 2).sum(-1) / self.width**2)
            )
        period = np.subtract(first.upper, first.lower)
        if not np.allclose(period, np.subtract(second.upper, second.lower)):
            raise ValueError("kind 'bump' needs circles of one length, got others; use a wave")
        turn = 2 * np.pi / period
        depth = 1.0 / (turn * self.width) ** 2
        return lambda x, y: (
            self.strength * np.exp(((np.cos(turn * (x - y - shift)) - 1.0) * depth).sum(-1))
        )


AnyPayoff = Annotated[
    WaveTable | MonomialTable | OwnTable | BumpTable,
    Field(discriminator="kind"),
]


def payoff_of(tables: list[AnyPayoff], grids: Grids) -> Payoff:
    """Payoff of all terms: products, or one kernel where one of them is no sum of products."""
    kernels: list[Function] = []
    products: list[Product] = []
    for table in tables:
        if isinstance(table, BumpTable):
            kernels.append(table.kernel(grids))
        else:
            products += table.products(grids)
    factors = _gathered(products)
    if not kernels:
        return ProductPayoff(factors)

    def function(x: Array, y: Array) -> Array:
        total = sum(kernel(x, y) for kernel in kernels)
        for a, b in factors:
            total = total + a(x) * b(y)
        return np.asarray(total)

    return KernelPayoff(function)


def _gathered(products: list[Product]) -> list[tuple[Function, Function]]:
    """Products with all functions of one player alone in one term each."""
    found = [(a, b) for a, b in products if a is not None and b is not None]
    own = [a for a, b in products if a is not None and b is None]
    others = [b for a, b in products if b is not None and a is None]
    found += [(_sum(own), _one)] if own else []
    return found + ([(_one, _sum(others))] if others else [])


def _sum(functions: list[Function]) -> Function:
    return lambda z: sum(function(z) for function in functions)


def _one(z: Array) -> Array:
    return np.ones(z.shape[:-1], dtype=z.dtype)


def _numbers(powers: int | list[int]) -> Numbers:
    return [float(power) for power in powers] if isinstance(powers, list) else float(powers)


def _along(name: str, given: Numbers, grid: Grid) -> Array:
    """Return a number a coordinate; one alone is that of all."""
    numbers = np.atleast_1d(np.asarray(given, dtype=np.float64))
    if numbers.shape not in ((1,), (grid.dim,)):
        raise ValueError(
            f"{name} must be a number or have {grid.dim} entries for this player's grid, got "
            f"{given}; give one number a dimension"
        )
    return np.broadcast_to(numbers, (grid.dim,))


def _refuse_torus(kind: str, grids: Grids, powers: tuple[Array, Array]) -> None:
    for name, grid, power in zip(("first", "second"), grids, powers, strict=True):
        if grid.periodic and power.any():
            raise ValueError(
                f"kind {kind!r} needs a box for the {name} player, got a torus; use a wave, which "
                "has its period"
            )


def _wave(
    wave: Callable[[Array], Array], k: Array, factor: float = 1.0, phase: float = 0.0
) -> Function:
    return lambda z: factor * wave(z @ k + phase)


def _power(powers: Array, factor: float = 1.0) -> Function:
    whole = powers.astype(np.int64)
    return lambda z: factor * (z**whole).prod(-1)
