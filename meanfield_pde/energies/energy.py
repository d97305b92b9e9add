r"""Energies: functionals of a measure that add and scale.

An energy E has, for each measure mu, a value and a first variation (its potential)
:math:`\Phi_\mu = \delta E / \delta\mu`, fixed up to a constant by
:math:`\frac{d}{d\epsilon} E(\mu + \epsilon \nu) = \int \Phi_\mu d\nu` at :math:`\epsilon = 0`.
Particles drift by :math:`-\nabla\Phi_\mu`. On a grid an energy becomes a `Functional` of the cell
averages: that is where matrices and transforms are prepared, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Real
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import folded_sum, order_free_sum


@dataclass(frozen=True, eq=False)
class Batch:
    """A random sample of the data: indices of nodes and, for augmentation, of group elements."""

    indices: npt.NDArray[np.int64]
    elements: npt.NDArray[np.int64] | None = None


class Functional(ABC):
    """An energy on a fixed grid, as a function of the cell averages rho (of grid shape)."""

    @property
    @abstractmethod
    def constant(self) -> bool:
        """Whether the potential does not depend on rho."""

    @property
    def remark(self) -> str:
        """What a solution should say of how the energy was computed; empty for nothing."""
        return ""

    @abstractmethod
    def value(self, rho: Array) -> float:
        """Energy."""

    @abstractmethod
    def potential(self, rho: Array) -> Array:
        """First variation at the cell centres, of grid shape."""

    def value_and_potential(self, rho: Array) -> tuple[float, Array]:
        """Both at once, for functionals that can share the work."""
        return self.value(rho), self.potential(rho)

    @abstractmethod
    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Potential averaged over a step, for which energy cannot rise unnoticed.

        ``sign * (value(end) - value(start)) <= sign * sum |K| secant (end - start)``, with equality
        for a quadratic energy (the mid-point); a convex one takes the end (or, for a negative sign,
        the start). With it an implicit step dissipates for every step size: Schlichting and Seis,
        "The Scharfetter-Gummel scheme for aggregation-diffusion equations",
        IMA J. Numer. Anal. 2022.
        """


class QuadraticFunctional(Functional):
    """A functional ``1/2 <rho, W rho>`` with W symmetric: its potential says all of it."""

    grid: Grid

    @property
    def constant(self) -> bool:
        """Always false."""
        return False

    def value(self, rho: Array) -> float:
        """Energy."""
        return self.value_and_potential(rho)[0]

    def value_and_potential(self, rho: Array) -> tuple[float, Array]:
        """Both from one product with W."""
        potential = self.potential(rho)
        return 0.5 * float(np.vdot(potential, rho)) * self.grid.volume, potential

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Potential of the mid-point: exact, the energy being quadratic."""
        return self.potential(0.5 * (start + end))


class Energy(ABC):
    """A functional of a measure; energies add and are scaled by numbers.

    Examples
    --------
    >>> from meanfield_pde import Density, Entropy, Grid, Potential
    >>> energy = Potential(lambda z: 0.5 * (z**2).sum(-1)) + 0.5 * Entropy()
    >>> rho = Density.gaussian(Grid.box(-6, 6, 400), mean=1.0, cov=0.04)
    >>> round(energy.value(rho), 3), energy.beta
    (0.615, 0.5)
    """

    @abstractmethod
    def discretise(self, grid: Grid) -> Functional:
        """Prepare the energy for a grid."""

    @abstractmethod
    def cloud_value(self, cloud: Cloud) -> float:
        """Energy of a cloud."""

    @abstractmethod
    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Velocity ``-grad Phi_mu(z_i)`` of each point, shape (n, d).

        With a batch, risks use its data alone (an unbiased estimate); other energies ignore it.
        Entropy has no drift: it acts through noise.
        """

    @abstractmethod
    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """First variation at each point of a cloud, shape (n,).

        ``Phi(z_i) - sum_j w_j Phi(z_j)`` is the derivative of the energy along ``delta_{z_i} -
        mu``. With a batch, as `drift`.
        """

    @property
    def terms(self) -> tuple[tuple[float, Energy], ...]:
        """Leaves of the sum with their factors."""
        return ((1.0, self),)

    def on(self, grid: Grid) -> Functional:
        """Functional of this energy on a grid, kept for the next call with the same grid."""
        kept = _functionals.get(self)
        if kept is None or kept[0] != grid:
            kept = (grid, self.discretise(grid))
            _functionals[self] = kept
        return kept[1]

    def value(self, mu: Measure) -> float:
        """Energy of a density or a cloud.

        Raises
        ------
        ValueError
            For the entropy of a cloud, which is infinite.
        """
        if isinstance(mu, Density):
            return self.on(mu.grid).value(mu.values)
        return self.cloud_value(mu)

    def potential(self, mu: Measure) -> Array:
        """First variation at the cell centres of a density (of grid shape) or a cloud's points.

        The entropy's part is ``log rho + 1``, minus infinity where there is no mass.

        Raises
        ------
        ValueError
            For the entropy of a cloud, which has no density to take the logarithm of.
        """
        if isinstance(mu, Cloud):
            return self.cloud_potential(mu)
        if not isinstance(mu, Density):
            raise ValueError(
                f"mu must be a Density or a Cloud, got {type(mu).__name__}; make one of them"
            )
        return np.array(self.on(mu.grid).potential(mu.values))  # a copy: it may be the field itself

    @cached_property
    def beta(self) -> float:
        """Factor of the entropy in this energy: the diffusion of its flow."""
        return sum(factor for factor, leaf in self.terms if isinstance(leaf, Entropy))

    @property
    def smooth(self) -> Energy:
        """Return the energy without its entropy."""
        rest = tuple((f, leaf) for f, leaf in self.terms if not isinstance(leaf, Entropy))
        return rest[0][1] if len(rest) == 1 and rest[0][0] == 1.0 else Sum(rest)

    def smooth_on(self, grid: Grid) -> Functional:
        """Functional of all but the diffusion, on a grid.

        The entropy is relative to Lebesgue measure on Z. On a chart that is
        ``sum |K| p log p`` beside the potential ``-beta log J`` of the orbits' volume, which is
        part of what is returned.
        """
        functional = self.smooth.on(grid)
        if grid.chart is None or not self.beta:
            return functional
        volume = FixedFunctional(grid, grid.chart.log_volume(grid.points))
        return SumFunctional(grid, ((1.0, functional), (-self.beta, volume)))

    def __add__(self, other: Any) -> Energy:
        """Sum of two energies."""
        if not isinstance(other, Energy):
            return NotImplemented
        return Sum(self.terms + other.terms)

    def __sub__(self, other: Any) -> Energy:
        """Difference of two energies."""
        return self + (-1.0) * other if isinstance(other, Energy) else NotImplemented

    def __mul__(self, factor: Any) -> Energy:
        """Multiple of an energy."""
        if not isinstance(factor, Real):
            return NotImplemented
        scale = check.number("factor", factor, "energies are scaled by finite numbers")
        return Sum(tuple((scale * f, leaf) for f, leaf in self.terms))

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Energy:
        """Multiple of an energy by the inverse of a number."""
        if not isinstance(divisor, Real):
            return NotImplemented
        return self * (1.0 / check.number("divisor", divisor, "divide by a number that is not 0"))

    def __neg__(self) -> Energy:
        """Negative of an energy."""
        return -1.0 * self

    def __radd__(self, other: Any) -> Energy:
        """Let ``sum([...])`` work, which starts at 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented


_functionals: WeakKeyDictionary[Energy, tuple[Grid, Functional]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Sum(Energy):
    """Weighted sum of energies; made by ``+`` and ``*``."""

    parts: tuple[tuple[float, Energy], ...]

    @property
    def terms(self) -> tuple[tuple[float, Energy], ...]:
        """Leaves of the sum with their factors."""
        return self.parts

    def discretise(self, grid: Grid) -> Functional:
        """Prepare every term for a grid."""
        return SumFunctional(grid, tuple((factor, leaf.on(grid)) for factor, leaf in self.parts))

    def cloud_value(self, cloud: Cloud) -> float:
        """Energy of a cloud."""
        return float(sum(factor * leaf.cloud_value(cloud) for factor, leaf in self.parts if factor))

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Velocity of each point, shape (n, d)."""
        total = None
        for factor, leaf in self.parts:
            share = factor * leaf.drift(cloud, batch)
            total = share if total is None else np.add(total, share, out=total)
        return np.zeros_like(cloud.points) if total is None else total

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """First variation at each point, shape (n,)."""
        total = np.zeros(cloud.size)
        for factor, leaf in self.parts:
            total += factor * leaf.cloud_potential(cloud, batch) if factor else 0.0
        return total


@dataclass(frozen=True, eq=False)
class SumFunctional(Functional):
    """Weighted sum of functionals; what does not depend on rho is added up once."""

    grid: Grid
    parts: tuple[tuple[float, Functional], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(_leaves(self.parts)))
        zero = np.zeros(self.grid.shape)
        parts = [(f, part) for f, part in self.parts if f]  # 0 times minus infinity is no number
        fixed = sum((f * part.potential(zero) for f, part in parts if part.constant), zero)
        moving = tuple((f, part) for f, part in parts if not part.constant)
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_moving", moving)

    @property
    def constant(self) -> bool:
        """Whether no potential depends on rho."""
        return not self._moving

    @property
    def remark(self) -> str:
        """Remarks of all terms."""
        return "; ".join(part.remark for _, part in self.parts if part.remark)

    def value(self, rho: Array) -> float:
        """Energy."""
        return float(sum(factor * part.value(rho) for factor, part in self.parts))

    def potential(self, rho: Array) -> Array:
        """First variation at the cell centres."""
        return self._added([part.potential(rho) for _, part in self._moving])

    def value_and_potential(self, rho: Array) -> tuple[float, Array]:
        """Both at once."""
        value, potentials = folded_sum(self._fixed * rho) * self.grid.volume, []
        for factor, part in self._moving:
            its, potential = part.value_and_potential(rho)
            value += factor * its
            potentials.append(potential)
        return value, self._added(potentials)

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Potential averaged over a step."""
        return self._added([part.secant(start, end, sign * f) for f, part in self._moving])

    def _added(self, potentials: list[Array]) -> Array:
        """Weighted sum of the moving terms' potentials and what is fixed, without temporaries."""
        total = None
        for (factor, _), potential in zip(self._moving, potentials, strict=True):
            share = potential if factor == 1.0 else factor * potential
            total = np.add(self._fixed if total is None else total, share, out=total)
        return self._fixed.copy() if total is None else total

    _fixed: Array = None  # type: ignore[assignment]
    _moving: tuple[tuple[float, Functional], ...] = ()


def _leaves(
    parts: tuple[tuple[float, Functional], ...],
) -> Iterator[tuple[float, Functional]]:
    """Parts that are no sums themselves, each with its factor."""
    for factor, part in parts:
        if isinstance(part, SumFunctional):
            yield from ((factor * inner, leaf) for inner, leaf in part.parts)
        else:
            yield factor, part


@dataclass(frozen=True, eq=False)
class FixedFunctional(Functional):
    """``sum_K |K| V_K rho_K``: a potential that does not depend on the measure."""

    grid: Grid
    field: Array

    @property
    def constant(self) -> bool:
        """Always true."""
        return True

    def value(self, rho: Array) -> float:
        """Energy."""
        return folded_sum(self.field * rho) * self.grid.volume

    def potential(self, rho: Array) -> Array:
        """Return the field itself."""
        return self.field

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Return the field itself."""
        return self.field


@dataclass(frozen=True, eq=False)
class Entropy(Energy):
    """Entropy ``int rho log rho``; its factor in a flow's energy is the diffusion beta."""

    def discretise(self, grid: Grid) -> Functional:
        """Prepare the entropy for a grid."""
        return EntropyFunctional(grid)

    def cloud_value(self, cloud: Cloud) -> float:
        """Raise: the entropy of a cloud is infinite."""
        raise ValueError(
            "the entropy of a cloud is infinite, got a Cloud; use energy.smooth.value(cloud)"
        )

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Zero: entropy acts through noise."""
        return np.zeros_like(cloud.points)

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Raise: a cloud has no density to take the logarithm of."""
        raise ValueError(
            "the entropy has no first variation at a cloud, got a Cloud; use "
            "energy.smooth.potential(cloud)"
        )


@dataclass(frozen=True, eq=False)
class EntropyFunctional(Functional):
    """``sum_K |K| rho_K log(rho_K / J_K)`` with ``0 log 0 = 0``; J = 1 without a chart."""

    grid: Grid
    _log_volume: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        grid = self.grid
        flat = np.zeros(grid.shape)
        volume = flat if grid.chart is None else grid.chart.log_volume(grid.points)
        object.__setattr__(self, "_log_volume", volume)

    @property
    def constant(self) -> bool:
        """Always false."""
        return False

    def value(self, rho: Array) -> float:
        """Energy."""
        there = rho > 0
        terms = np.log(rho[there]) - self._log_volume[there]
        return order_free_sum(rho[there] * terms) * self.grid.volume

    def potential(self, rho: Array) -> Array:
        """``log rho + 1``, minus infinity where rho = 0."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(rho) - self._log_volume + 1.0)

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Potential at the end (convex), or at the start for a negative sign."""
        return self.potential(end if sign >= 0 else start)
