"""Densities on a grid: one cell average a cell.

A `Density` stands for the piecewise constant measure ``sum_K rho_K 1_K(z) dz``. Integrals of
functions are taken with the function at the cell centre (`Grid.nodes`), ``sum_K |K| rho_K f(z_K)``:
the same second-order rule by which the solver couples potentials to densities, so that energies and
moments are consistent with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import scipy

from meanfield_pde.measures import check
from meanfield_pde.measures._kernels import normal_tails
from meanfield_pde.measures.chart import Mirrors, Polar, Radius
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.order_free import order_free_sum

LOST = 1e-6
"""Mass of an initial law that may lie outside its grid before it is refused."""


class LostMassError(ValueError):
    """The grid is too small for the mass that was to be put on it."""


@dataclass(frozen=True, eq=False)
class Density:
    """A nonnegative density by its cell averages.

    Parameters
    ----------
    grid : Grid
    values : array of grid.shape
        Cell averages (mass per volume; per dr dphi on a polar grid), finite and nonnegative.
    remap_error : float
        L1 size of the smearing by a conservative remap, 0 for a density that was never remapped.

    Raises
    ------
    ValueError
        If the shape is not the grid's, or a value is negative, NaN or infinite.

    Examples
    --------
    >>> grid = Grid.box(lower=-6, upper=6, cells=400)
    >>> rho = Density.gaussian(grid, mean=1.0, cov=0.04)
    >>> round(rho.mass, 12), round(float(rho.mean()[0]), 12)
    (1.0, 1.0)
    """

    grid: Grid
    values: Array = field(repr=False)
    remap_error: float = 0.0

    def __post_init__(self) -> None:
        values = check.array("values", self.values, "give one finite cell average a cell")
        if values.shape != self.grid.shape:
            raise ValueError(
                f"values must have the grid's shape {self.grid.shape}, got {values.shape}; "
                "give one cell average a cell"
            )
        if values.min() < 0:
            raise ValueError(
                f"values must be nonnegative, got {values.min():g} at cell "
                f"{np.unravel_index(values.argmin(), values.shape)}; a density has no negative mass"
            )
        values = values.copy()
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    @classmethod
    def gaussian(
        cls, grid: Grid, mean: float | Sequence[float], cov: Any, lost: float = LOST
    ) -> Density:
        """Cell averages of a normal density; wrapped on a torus.

        Exact (differences of the normal distribution function) in 1D and for a diagonal covariance;
        for a full 2D covariance exact in y and by Gauss quadrature, to 1e-13, in x. On E^G it is a
        normal law of the coordinates, behind mirrors the image of the law with this mean, on the
        radius the law of |z| for z normal with mean 0 and the same variance in every direction. On
        a polar grid by `from_function`.

        Parameters
        ----------
        grid : Grid
        mean : float or sequence of float
        cov : float, sequence or matrix
            Variance (the same in every dimension), variances, or covariance matrix.
        lost : float
            Largest mass that may lie outside a box. It is left out, not put back: `mass` shows it.

        Raises
        ------
        LostMassError
            If more than ``lost`` lies outside.
        ValueError
            If mean or covariance do not fit the grid, or the covariance is not positive definite.
        """
        check.instance("grid", grid, Grid, "make one with Grid.box or Grid.torus")
        centre = np.atleast_1d(check.array("mean", mean, "give one number a dimension"))
        if centre.shape != (grid.dim,):
            raise ValueError(
                f"mean must have {grid.dim} entries for this grid, got shape {centre.shape}; "
                "give one number a dimension"
            )
        if isinstance(grid.chart, Radius):
            return cls(grid, _refuse_lost(grid, _normal_radius(grid, centre, cov), lost))
        matrix = _covariance(cov, grid.dim)
        if isinstance(grid.chart, Mirrors):
            flat = replace(grid, chart=None)
            images = [
                (signs * centre, matrix * np.outer(signs, signs)) for signs in grid.chart.signs
            ]
            parts = [cls.gaussian(flat, place, spread, lost=1.0).values for place, spread in images]
            return cls(grid, _refuse_lost(grid, np.asarray(sum(parts)), lost))
        if isinstance(grid.chart, Polar):
            values = cls.from_function(grid, partial(_normal_2d, centre, matrix)).values
        elif np.count_nonzero(matrix - np.diag(np.diag(matrix))):
            values = _correlated(grid, centre, matrix)
        else:
            one = [_normal_1d(grid, a, centre[a], matrix[a, a]) for a in range(grid.dim)]
            values = one[0] if grid.dim == 1 else np.multiply.outer(one[0], one[1])
        return cls(grid, _refuse_lost(grid, values, lost))

    @classmethod
    def mixture(cls, components: Sequence[Density], weights: Sequence[float]) -> Density:
        """Weighted sum of densities on one grid; the weights are positive and sum to 1.

        Raises
        ------
        ValueError
            If numbers differ, grids differ, or the weights are not a probability.
        """
        share = check.array("weights", weights, "give one positive number a component")
        if not components or share.shape != (len(components),):
            raise ValueError(
                f"weights must have one entry for each of the {len(components)} components, got "
                f"shape {share.shape}; give one positive number a component"
            )
        if share.min() < 0 or abs(share.sum() - 1) > 1e-12:
            raise ValueError(
                f"weights must be nonnegative and sum to 1, got {share.tolist()}; divide by the sum"
            )
        grid = components[0].grid
        if any(part.grid != grid for part in components):
            raise ValueError("components must live on one grid, got several; build all on one Grid")
        parts = list(zip(share, components, strict=True))
        smearing = float(sum(w * part.remap_error for w, part in parts))
        return cls(grid, sum(w * part.values for w, part in parts), smearing)

    @classmethod
    def from_function(cls, grid: Grid, function: Function, nodes: int = 5) -> Density:
        """Cell averages of ``function(z)``, z of shape (..., dim), by Gauss-Legendre rules a cell.

        The function is taken as it is: nothing is normalised (see `normalised`). With a chart it is
        a function of the coordinates, and the density one per volume of these; but on a polar grid
        a density in the plane, a function of its points. One node a cell is `Grid.nodes`, with the
        volume of the orbit at the centre: on the radius p = J rho as J at r_K times rho at n_K.

        Raises
        ------
        ValueError
            If the function returns the wrong shape, a negative or a non-finite value.
        """
        check.instance("grid", grid, Grid, "make one with Grid.box or Grid.torus")
        if not callable(function):
            raise ValueError(f"function must be callable, got {function!r}; give a function of z")
        nodes = check.count("nodes", nodes, "5 a dimension is a good number")
        if nodes == 1 and isinstance(grid.chart, Radius):
            volume, its = (grid.chart.log_volume(s) for s in (grid.points, grid.nodes))
            values = check.evaluate("function", function, grid.nodes)
            return cls(grid, values * np.exp(volume - its))
        x, w = np.polynomial.legendre.leggauss(nodes)
        values = np.zeros(grid.shape)
        half = 0.5 * np.array(grid.spacing)
        for index in np.ndindex(*(nodes,) * grid.dim):
            shifted = grid.points + half * x[list(index)]
            weight = float(np.prod(0.5 * w[list(index)]))
            if isinstance(grid.chart, Polar):
                density = check.evaluate("function", function, grid.chart.place(shifted))
                values += weight * shifted[..., 0] * density
            else:
                values += weight * check.evaluate("function", function, shifted)
        return cls(grid, values)

    @classmethod
    def uniform(cls, grid: Grid) -> Density:
        """Constant density of mass 1: in the coordinates of a chart, or in the polar plane."""
        if isinstance(grid.chart, Polar):
            return cls(grid, grid.points[..., 0]).normalised()
        return cls(grid, np.full(grid.shape, 1.0 / (grid.size * grid.volume)))

    @cached_property
    def mass(self) -> float:
        """Total mass."""
        return order_free_sum(self.values) * self.grid.volume

    @property
    def masses(self) -> Array:
        """Mass of each cell, of grid shape."""
        return self.values * self.grid.volume

    def normalised(self) -> Density:
        """Return the density divided by its mass.

        Raises
        ------
        ValueError
            If the mass is zero.
        """
        if self.mass <= 0:
            raise ValueError("a density of mass 0 cannot be normalised; give it some mass")
        return Density(self.grid, self.values / self.mass, self.remap_error / self.mass)

    def expect(self, function: Function) -> Any:
        """Integral of ``function`` (of points z (..., d), with values (...) or (..., k)).

        On the radius a few points stand for each sphere: only for functions of the second degree,
        or of |z|, is that its mean; for others draw a cloud by `sample`.
        """
        values = self.grid.average(function, self.grid.nodes)
        result = np.tensordot(self.masses, values, axes=self.grid.dim)
        return float(result) if result.ndim == 0 else result

    def mean(self) -> Array:
        """Centre of mass in the space of z, shape (d,)."""
        return np.asarray(self.expect(lambda z: z)) / self.mass

    def cov(self) -> Array:
        """Covariance matrix in the space of z, shape (d, d)."""
        if self.grid.chart is not None:
            mean = self.mean()
            pairs = self.expect(lambda z: _pairs(z - mean))
            return np.asarray(pairs).reshape(len(mean), len(mean)) / self.mass
        centred = (self.grid.points - self.mean()).reshape(-1, self.grid.dim)
        return (centred.T * self.masses.ravel()) @ centred / self.mass

    def moment(self, order: int | Sequence[int]) -> float:
        """Raw moment: ``int z^k`` in 1D; ``int |z|^k`` (scalar order) or ``int x^j y^k`` in 2D."""
        return float(self.expect(lambda z: monomial(z, order)))

    def sample(self, n: int, rng: np.random.Generator) -> Array:
        """Draw n independent points z, shape (n, d), from the piecewise constant law.

        With a chart, points of Z: on E^G, or uniform on the orbits.
        """
        n = check.count("n", n, "ask for at least one point")
        check.instance("rng", rng, np.random.Generator, "pass numpy.random.default_rng(seed)")
        share = self.masses.ravel()
        cells = rng.choice(self.grid.size, size=n, p=share / share.sum())
        corner = np.stack(np.unravel_index(cells, self.grid.shape), axis=-1)
        jitter = rng.random((n, self.grid.dim)) - 0.5
        axes = self.grid.axes
        centre = np.stack([axes[a][corner[:, a]] for a in range(self.grid.dim)], axis=-1)
        drawn = np.asarray(centre + jitter * np.array(self.grid.spacing))
        return drawn if self.grid.chart is None else self.grid.chart.scatter(drawn, rng)


def monomial(z: Array, order: int | Sequence[int]) -> Array:
    """Monomial of points (..., d): z^k, |z|^k for d > 1 and scalar k, or prod z_a^k_a."""
    if np.ndim(order) == 0:
        k = check.count("order", order, "moments have whole orders", least=0)
        power = z[..., 0] ** k if z.shape[-1] == 1 else np.sqrt((z * z).sum(-1)) ** k
        return np.asarray(power)
    given = list(np.asarray(order, dtype=object))
    powers = [check.count("order", k, "moments have whole orders", least=0) for k in given]
    if len(powers) != z.shape[-1]:
        raise ValueError(
            f"order must be a number or have {z.shape[-1]} entries, got {tuple(powers)}; "
            "give one power a dimension"
        )
    return np.asarray(np.prod(z ** np.array(powers), axis=-1))


def _pairs(z: Array) -> Array:
    """Products ``z_a z_b``, shape (..., d^2)."""
    return np.asarray((z[..., :, None] * z[..., None, :]).reshape(*z.shape[:-1], -1))


def _covariance(cov: Any, dim: int) -> Array:
    given = check.array("cov", cov, "give a variance, variances or a covariance matrix")
    if given.ndim == 0:
        given = np.full(dim, given)
    if given.shape == (dim,):
        given = np.diag(given)
    if given.shape != (dim, dim):
        raise ValueError(
            f"cov must be a number, {dim} variances or a ({dim}, {dim}) matrix, got shape "
            f"{given.shape}; give a variance, variances or a covariance matrix"
        )
    if not np.allclose(given, given.T) or np.linalg.eigvalsh(given).min() <= 0:
        raise ValueError(
            f"cov must be symmetric positive definite, got {given.tolist()}; "
            "variances are squares of standard deviations, and above 0"
        )
    return given


def _between(a: Array, b: Array) -> Array:
    """Return the normal probability of [a, b], accurate in both tails, even to the last bit."""
    right = a + b > 0
    return np.asarray(np.where(right, _above(a) - _above(b), _above(-b) - _above(-a)))


def _above(z: Array) -> Array:
    """Return the normal probability of [z, infinity).

    Compiled: importing scipy.special takes longer than most solves that start from such a law.
    """
    tails = np.array(z, dtype=np.float64, order="C")
    normal_tails(tails)
    return tails


def _normal_1d(grid: Grid, axis: int, mean: Any, variance: Any) -> Array:
    deviation = np.sqrt(variance)
    period = grid.upper[axis] - grid.lower[axis]

    def share(shift: float) -> Array:
        scaled = (grid.faces[axis] - (mean + shift)) / deviation
        return _between(scaled[:-1], scaled[1:])

    total = share(0.0)
    reach = int(np.ceil((abs(mean - grid.middle[axis]) + 9 * deviation) / period)) + 1
    for k in range(1, reach + 1) if grid.periodic else ():
        total = total + (share(k * period) + share(-k * period))  # in pairs: even under reflection
    return total / grid.spacing[axis]


def _normal_2d(mean: Array, cov: Array, z: Array) -> Array:
    offset = z - mean
    exponent = np.einsum("...i,ij,...j->...", offset, np.linalg.inv(cov), offset)
    return np.asarray(np.exp(-0.5 * exponent) / (2 * np.pi * np.sqrt(np.linalg.det(cov))))


def _normal_radius(grid: Grid, mean: Array, cov: Any) -> Array:
    """Law of |z| for z ~ N(0, cov I): |z|^2 / cov has a chi-squared law."""
    variance = check.number("cov", cov, "the radius needs one variance for all directions", above=0)
    if mean.any():
        raise ValueError(
            f"mean must be 0 for a law on the radius, got {mean.tolist()}; rotations would move it"
        )
    half = 0.5 * grid.faces[0] ** 2 / variance
    order = 0.5 * grid.ambient_dim
    special = scipy.special
    below, above = special.gammainc(order, half), special.gammaincc(order, half)
    share = np.where(below[:-1] < 0.5, np.diff(below), -np.diff(above))  # accurate in both tails
    return np.asarray(share / grid.spacing[0])


def _correlated(grid: Grid, mean: Array, cov: Array) -> Array:
    """2D normal with correlation: Gauss-Legendre in x, exact in y given x."""
    if grid.periodic:
        raise ValueError(
            "cov must be diagonal on a torus, got a full matrix; use Density.from_function"
        )
    slope = cov[0, 1] / cov[0, 0]
    conditional = np.sqrt(cov[1, 1] - slope * cov[0, 1])
    deviation = np.sqrt(cov[0, 0])
    h = grid.spacing[0]
    scale = min(deviation, conditional / max(abs(slope), 1e-300))
    pieces = max(1, int(np.ceil(2 * h / scale)))
    x, w = np.polynomial.legendre.leggauss(10)
    values = np.zeros(grid.shape)
    for piece in range(pieces):
        for node, weight in zip(x, w, strict=True):
            offset = ((piece + 0.5 + 0.5 * node) / pieces - 0.5) * h
            place = grid.axes[0] + offset - mean[0]
            marginal = np.exp(-0.5 * (place / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
            scaled = (grid.faces[1] - mean[1] - slope * place[:, None]) / conditional
            inner = _between(scaled[:, :-1], scaled[:, 1:]) / grid.spacing[1]
            values += 0.5 * weight / pieces * marginal[:, None] * inner
    return values


def _refuse_lost(grid: Grid, values: Array, lost: float) -> Array:
    outside = 1.0 - float(values.sum() * grid.volume)
    if outside > check.number("lost", lost, "it is a mass, such as 1e-6", least=0, most=1):
        raise LostMassError(
            f"grid [{grid.lower}, {grid.upper}] is too small for the mass: {outside:.2g} lies "
            f"outside (allowed: {lost:g}); enlarge the grid, or pass lost= and use normalised()"
        )
    return values
