r"""Interaction energies: ``1/2 int int W(z - z') mu(dz) mu(dz')`` with a symmetric kernel W.

On a grid the potential is the discrete convolution ``Phi_K = sum_L |L| W_{K-L} rho_L`` by FFT,
zero-padded on a box and circular on a torus, or by products of small matrices where W is
smooth (`separable_kernel`). A kernel that is singular at 0 enters by its averages
over the cells, at every offset: averaging the cell at 0 alone would leave an error of order
``h rho(z)`` in the potential. Particles see ``sum_j w_j grad W(z_i - z_j)``. Many of them on the
line do so through `far_field`, where the kernel is smooth; else, for smooth kernels, the sources
are first gathered on Chebyshev nodes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import scipy

from meanfield_pde.energies.derivative import Derivative, DerivativeError
from meanfield_pde.energies.energy import Batch, Energy, Functional, QuadraticFunctional
from meanfield_pde.energies.far_field import FarField, Key, far_field_for
from meanfield_pde.energies.nodes import Nodes
from meanfield_pde.energies.quotient import (
    MatrixFunctional,
    MirroredFunctional,
    radial_matrix,
    require_even,
)
from meanfield_pde.energies.separable_kernel import separable
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Mirrors, Polar, Radius
from meanfield_pde.measures.check import Array, Function
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.grid import Grid

GATHER_TOLERANCE = 1e-9
"""Largest relative error of the force through Chebyshev nodes before pairs are summed directly."""
CHUNK = 2_000_000
"""Pairs handled at once."""
EVEN_SAMPLE = 64
"""Differences along half an axis at which a kernel of the plane is compared with its images."""
WORTH_A_FIELD = 300
"""Points of the line from which a far field is looked for."""


@dataclass(frozen=True, eq=False)
class Interaction(Energy):
    """Energy ``1/2 int int W(z - z') dmu dmu``; its first variation is ``W * mu``.

    Parameters
    ----------
    function : callable
        W: differences (..., d) to values (...), with W(-z) = W(z). On a torus W must be periodic.
        It may be singular (infinite or NaN) at 0 alone, if it is integrable there.
    gradient : callable, optional
        Differences (..., d) to (..., d), for particles; as in `Potential`.
    core : float
        Distance below which the force between two particles falls linearly to 0. Forces like 1/z
        on a line have to be cut off: the leaps of pairs that meet do not become fewer with smaller
        steps. The mean force changes by (4/3) core d rho/dz for log |z|; densities have no core.

    Raises
    ------
    ValueError
        If the core is negative, or when it meets a grid on which W is not symmetric, not periodic
        (torus), or not integrable.

    Examples
    --------
    >>> W = Interaction(lambda dz: 0.5 * (dz**2).sum(-1))
    >>> W.drift(Cloud([[0.0], [2.0]])).tolist()
    [[1.0], [-1.0]]
    """

    function: Function
    gradient: Function | None = None
    core: float = 0.0
    _derivative: Derivative = field(init=False, repr=False)
    _fields: dict[Key, FarField | None] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        check.number("core", self.core, "give a small distance, or 0 for none", least=0)
        if not callable(self.function):
            raise ValueError(
                f"function must be callable, got {self.function!r}; "
                "for example lambda dz: 0.5 * (dz**2).sum(-1)"
            )
        derivative = Derivative("interaction", self.function, self.gradient)
        object.__setattr__(self, "_derivative", derivative)

    def singular(self, dim: int) -> bool:
        """Whether W is not finite at 0."""
        with np.errstate(all="ignore"):
            return not np.isfinite(np.asarray(self.function(np.zeros((1, dim))))).all()

    def discretise(self, grid: Grid) -> Functional:
        """Transform the kernel on the grid's offsets."""
        chart = grid.chart
        if isinstance(chart, Polar):
            raise ValueError(
                "interaction must meet a cartesian grid, got a polar one, whose cells do not "
                "repeat; use Grid.box, or leave the interaction out"
            )
        if isinstance(chart, Radius):
            return MatrixFunctional(grid, radial_matrix(self.function, grid))
        if isinstance(chart, Mirrors):
            whole = grid.whole
            assert whole is not None
            kernel = self._even_differences(whole, chart.axes)
            found = None if self.singular(grid.dim) else separable(grid, kernel, chart.axes)
            lengths = tuple(2 * n for n in whole.cells)
            return found or MirroredFunctional(grid, _wrapped(kernel, lengths))
        if chart is not None:  # differences on E^G are B times those of the coordinates
            flat = Interaction(lambda ds: self.function(chart.place(ds)))
            return flat.discretise(replace(grid, chart=None))
        if grid.periodic:
            return ConvolutionFunctional(grid, self._circular(grid))
        kernel = self._differences(grid)
        found = None if self.singular(grid.dim) else separable(grid, kernel)
        lengths = tuple(scipy.fft.next_fast_len(2 * n - 1, real=True) for n in grid.cells)
        return found or ConvolutionFunctional(grid, _wrapped(kernel, lengths))

    def _differences(self, grid: Grid) -> Array:
        """W at all differences of cell centres, from the most negative."""
        steps = [np.arange(1.0 - n, n) for n in grid.cells]
        kernel = self._at_steps(steps, np.array(grid.spacing))
        return self._even(kernel, np.flip(kernel), steps, grid)

    def _even_differences(self, grid: Grid, axes: tuple[int, ...]) -> Array:
        """As `_differences`, from a quadrant, of a kernel that is even along the axes.

        In the plane one that is symmetric and even along one axis is so along the other.
        """
        self._require_even(grid, axes)
        quadrant = [np.arange(float(n)) for n in grid.cells]
        right = self._at_steps(quadrant, np.array(grid.spacing))
        return np.pad(right, [(n - 1, 0) for n in grid.cells], mode="reflect")

    def _require_even(self, grid: Grid, axes: tuple[int, ...]) -> None:
        """Compare differences with their mirror images.

        On a line all of them; in the plane all of up to 64 cells along both axes, where kernels
        vary most, and of those beyond a sample, which cannot see what is narrower than its stride.
        """
        dense = EVEN_SAMPLE if grid.dim == 2 else max(grid.cells)
        near = tuple(1 for _ in grid.cells)
        far = tuple(max(1, n // dense) for n in grid.cells)
        for strides in dict.fromkeys((near, far)):
            steps = []
            for n, stride in zip(grid.cells, strides, strict=True):
                most = min(dense, (n - 1) // stride)
                steps.append(stride * np.arange(-most, most + 1.0))
            sample = self._at_steps(steps, np.array(grid.spacing))
            require_even(self._even(sample, np.flip(sample), steps, grid), axes)

    def _circular(self, grid: Grid) -> Array:
        """W at all differences on a torus, 0 at index 0 and negative ones from the end."""
        self._require_periodic(grid)
        steps = [np.rint(scipy.fft.fftfreq(n, 1.0 / n)) for n in grid.cells]
        kernel = self._at_steps(steps, np.array(grid.spacing))
        mirrored = np.roll(np.flip(kernel), 1, axis=tuple(range(grid.dim)))
        return self._even(kernel, mirrored, steps, grid)

    def _at_steps(self, steps: list[Array], spacing: Array) -> Array:
        offsets = np.empty((*map(len, steps), len(steps)))
        for axis, along in enumerate(np.ix_(*steps)):
            offsets[..., axis] = along
        if self.singular(len(steps)):
            return self._averaged(offsets, spacing)
        offsets *= spacing
        return check.evaluate("interaction", self.function, offsets)

    @staticmethod
    def _even(kernel: Array, mirrored: Array, steps: list[Array], grid: Grid) -> Array:
        """Mean of a kernel and its mirror image, which may differ by rounding alone."""
        defect = np.abs(kernel - mirrored)
        if defect.max() > 1e-10 * (1 + np.abs(kernel).max()):
            index = np.unravel_index(defect.argmax(), defect.shape)
            at = np.array([s[i] for s, i in zip(steps, index, strict=True)]) * grid.spacing
            raise ValueError(
                f"interaction must be symmetric, got W(z) - W(-z) = {defect.max():.2g} at z = "
                f"{at}; only the even part of a kernel acts in a gradient flow"
            )
        return np.asarray(0.5 * (kernel + mirrored))

    def _require_periodic(self, grid: Grid) -> None:
        generic = 0.1 * np.subtract(grid.upper, grid.lower) * np.array([1.0, 1.7])[: grid.dim]
        base = check.evaluate("interaction", self.function, generic)
        for axis, (low, high) in enumerate(zip(grid.lower, grid.upper, strict=True)):
            moved = generic.copy()
            moved[axis] += high - low
            turned = check.evaluate("interaction", self.function, moved)
            if abs(turned - base) > 1e-9 * (1 + abs(base)):
                raise ValueError(
                    f"interaction must have the torus's period {high - low:g} along axis {axis}, "
                    f"got W = {base:g} and {turned:g} one period apart; write it with sin and cos"
                )

    def _averaged(self, offsets: Array, spacing: Array) -> Array:
        """Cell averages of W: Gauss rules away from 0, graded towards it in the cell at 0."""
        reach = np.abs(offsets).max(axis=-1)
        kernel = np.empty(reach.shape)
        for nodes, chosen in ((16, (reach >= 1) & (reach <= 3)), (4, reach > 3)):
            x, w = np.polynomial.legendre.leggauss(nodes)
            where = offsets[chosen]
            total = np.zeros(len(where))
            for index in product(range(nodes), repeat=offsets.shape[-1]):
                weight = float(np.prod(0.5 * w[list(index)]))
                place = (where + 0.5 * x[list(index)]) * spacing
                total += weight * check.evaluate("interaction", self.function, place)
            kernel[chosen] = total
        kernel[reach == 0] = self._average_at_zero(spacing)
        return kernel

    def _average_at_zero(self, spacing: Array) -> float:
        """Average over the cell at 0, or the half of it that evenness leaves, in dyadic shells."""
        dim = len(spacing)
        x, w = np.polynomial.legendre.leggauss(10)
        local = np.array(list(product(0.25 * (1 + x), repeat=dim)))
        shares = np.array([np.prod(c) for c in product(0.25 * w, repeat=dim)])
        corners = [np.array(c) for c in product((0.0, 0.5), repeat=dim) if any(c)]
        signs = [np.array((1.0, *s)) for s in product((1.0, -1.0), repeat=dim - 1)]
        places = 0.5 * spacing * np.concatenate([(c + local) * s for c in corners for s in signs])
        shares = np.tile(shares, len(corners) * len(signs)) / len(signs)
        total = last = 0.0
        for level in range(1000 // dim):
            with np.errstate(all="ignore"):
                values = np.asarray(self.function(0.5**level * places), dtype=np.float64)
                last = 0.5 ** (dim * level) * float(shares @ values)
            total += last
            if level > 50 and not abs(last) > 1e-15 * abs(total):
                break
        if not np.isfinite(total) or abs(last) > 1e-9 * (1 + abs(total)):
            raise ValueError(
                f"interaction must be integrable at 0, got cell averages that do not settle "
                f"({total:g}); a kernel in dimension {dim} may grow slower than |z|^-{dim} only"
            )
        return total

    def cloud_value(self, cloud: Cloud) -> float:
        """Half the mean of W over pairs; a singular kernel leaves out each point with itself."""
        return float(0.5 * cloud.weights @ self.cloud_potential(cloud))

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """``sum_j w_j W(z_i - z_j)``; a singular kernel leaves out the point itself."""
        found = self._field(cloud)
        if found is not None:
            return found.potential(cloud.points, cloud)
        singular = self.singular(cloud.dim)
        try:
            places, charges = self._sources(cloud)
        except DerivativeError:  # of no matter here: values are all that is asked for
            places, charges = cloud.points, cloud.weights
        potential = np.empty(cloud.size)
        for rows in _row_chunks(cloud.size, len(places)):
            dz = cloud.points[rows, None, :] - places[None, :, :]
            share = _avoid_zero(dz, charges) if singular else charges
            values = check.evaluate("interaction", self.function, dz)
            potential[rows] = (share * values).sum(axis=1)
        return potential

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """``-sum_j w_j grad W(z_i - z_j)``, the point itself left out."""
        found = self._field(cloud)
        if found is not None:
            return -found.slope(cloud.points, cloud)[:, None]
        return self._force(cloud.points, *self._sources(cloud))

    def _field(self, cloud: Cloud) -> FarField | None:
        """Find the far field of a large cloud of the line, None where there is none."""
        if cloud.dim > 1 or cloud.size < WORTH_A_FIELD or self.singular(1):
            return None
        derivative = Derivative("interaction", self.function, self.gradient)
        return far_field_for(
            lambda dz: check.evaluate("interaction", self.function, dz[..., None]),
            lambda dz: derivative(dz[..., None])[..., 0],
            cloud,
            self._fields,
        )

    def _force(self, targets: Array, sources: Array, weights: Array) -> Array:
        """Sum over all pairs; at vanishing distance the force vanishes by symmetry."""
        force = np.empty_like(targets)
        for rows in _row_chunks(len(targets), len(sources)):
            dz = targets[rows, None, :] - sources[None, :, :]
            share = _avoid_zero(dz, weights)
            if self.core:
                near = np.minimum(np.linalg.norm(dz, axis=-1) / self.core, 1.0)
                dz /= near[..., None]
                share = share * near
            force[rows] = -np.einsum("ij,ijd->id", share, self._derivative(dz))
        return force

    def _sources(self, cloud: Cloud) -> tuple[Array, Array]:
        """Points and weights that act like the cloud: Chebyshev nodes, where few are enough.

        They are, if they give the force of the cloud on a few of its points, and the potential of
        sources put around these at all scales (features of W that are narrower than the cloud).
        """
        if cloud.dim > 2 or cloud.size < 2 * 8**cloud.dim or self.singular(cloud.dim):
            return cloud.points, cloud.weights
        low, high = cloud.points.min(axis=0), cloud.points.max(axis=0)
        probes = cloud.points[np.linspace(0, cloud.size - 1, 8).astype(int)]
        around = np.clip(_around(probes, 0.5 * (high - low)), low, high)
        both = np.concatenate([cloud.points, around])  # of the same box
        equal = np.full(len(around), 1.0 / len(around))
        exact = self._force(probes, cloud.points, cloud.weights), self._mean(probes, around, equal)
        for count in (8, 32, 64):
            if count**cloud.dim * 2 > cloud.size:
                break
            nodes = Nodes.of(both, count)
            charges = nodes.charges(np.append(cloud.weights, np.zeros(len(around))))
            trial = nodes.charges(np.append(np.zeros(cloud.size), equal))
            found = (
                self._force(probes, nodes.places, charges),
                self._mean(probes, nodes.places, trial),
            )
            if all(
                np.abs(a - b).max() <= GATHER_TOLERANCE * (1 + np.abs(b).max())
                for a, b in zip(found, exact, strict=True)
            ):
                return nodes.places, charges
        return cloud.points, cloud.weights

    def _mean(self, targets: Array, sources: Array, weights: Array) -> Array:
        """``sum_j w_j W(z - z_j)`` at the targets."""
        dz = targets[:, None, :] - sources[None, :, :]
        return check.evaluate("interaction", self.function, dz) @ weights


def _wrapped(kernel: Array, lengths: tuple[int, ...]) -> Array:
    """Kernel with 0 at index 0, negative differences from the end and zeros between."""
    padded = np.pad(kernel, [(0, n - k) for n, k in zip(lengths, kernel.shape, strict=True)])
    return np.roll(padded, [-(k // 2) for k in kernel.shape], axis=tuple(range(kernel.ndim)))


def _around(points: Array, size: Array) -> Array:
    """Points at distances 2 size, size, size/2, ... from the given ones, in changing directions."""
    turns = np.arange(30 * len(points), dtype=np.float64).reshape(30, len(points), 1)
    direction = np.concatenate([np.cos(turns), np.sin(turns)], axis=-1)[..., : points.shape[1]]
    scale = 2.0 * 0.5 ** np.arange(30)[:, None, None] * size
    return np.asarray((points + scale * direction).reshape(-1, points.shape[1]))


def _row_chunks(rows: int, columns: int | None = None) -> list[slice]:
    size = max(1, CHUNK // (columns or rows))
    return [slice(start, min(start + size, rows)) for start in range(0, rows, size)]


def _avoid_zero(dz: Array, weights: Array) -> Array:
    """Weights of all pairs, 0 where dz vanishes; dz is moved off the origin there, in place."""
    zero = dz[..., 0] == 0
    for axis in range(1, dz.shape[-1]):
        zero &= dz[..., axis] == 0
    dz[zero] = 1.0
    return np.where(zero, 0.0, weights)


@dataclass(frozen=True, eq=False)
class ConvolutionFunctional(QuadraticFunctional):
    """``1/2 sum |K| |L| W_{K-L} rho_K rho_L`` by FFT."""

    grid: Grid
    kernel: Array
    _transform: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_transform", scipy.fft.rfftn(self.kernel) * self.grid.volume)

    def potential(self, rho: Array) -> Array:
        """``sum_L |L| W_{K-L} rho_L``."""
        lengths, cells = self.kernel.shape, self.grid.cells
        # Axis by axis, so that rows of padding are neither transformed nor brought back.
        change = scipy.fft.rfft(rho, lengths[-1])
        if self.grid.dim == 2:
            change = scipy.fft.fft(change, lengths[0], axis=0) * self._transform
            change = scipy.fft.ifft(change, axis=0, overwrite_x=True)[: cells[0]]
        else:
            change = change * self._transform
        return np.ascontiguousarray(scipy.fft.irfft(change, lengths[-1])[..., : cells[-1]])
