r"""An energy averaged over a group that permutes the cells: the same flow, equivariant to the bit.

For an invariant energy E the mean over the orbit of the measure, :math:`\int E(M_g \# \mu)
d\lambda(g)`, is E itself, and so is the potential: :math:`\Phi_\mu(z) = \int \Phi_{M_g \#
\mu}(M_g z) d\lambda(g)` (for risks this is data augmentation: Maass and Fontbona, arXiv
2405.19995). Only their rounding differs. Transforms and matrix products round a density and its
image differently; a mean over the whole orbit, its terms added in an order that does not matter,
consists of the same numbers for both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.energies.energy import Functional
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group
from meanfield_pde.measures.order_free import folded_sum, order_free_mean
from meanfield_pde.measures.symmetry import Images, is_invariant, orbit_average, orbits

TOLERANCE = 1e-10
"""Difference of the potential from its mean over the group, relative to it, that is rounding."""


@dataclass(frozen=True, eq=False)
class SymmetrisedFunctional(Functional):
    """Mean of a functional over the images of the density.

    It evaluates the functional once for a density that is invariant to the last bit, and once for
    each element of the group for any other.

    Parameters
    ----------
    grid : Grid
    functional : Functional
    images : array (order, cells)
        Where each element takes each cell, see `Group.cell_images`.
    """

    grid: Grid
    functional: Functional
    images: Images
    orbits: Images = field(init=False, repr=False)
    _fixed: Array | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        object.__setattr__(self, "orbits", orbits(self.images))
        if self.functional.constant:
            potential = self.functional.potential(np.zeros(self.grid.shape))
            object.__setattr__(self, "_fixed", orbit_average(potential, self.orbits))

    @property
    def constant(self) -> bool:
        """Whether the functional's potential is constant."""
        return self.functional.constant

    @property
    def remark(self) -> str:
        """Remark of the functional."""
        return self.functional.remark

    def value(self, rho: Array) -> float:
        """Mean of the energies of the images."""
        return self.value_and_potential(rho)[0]

    def potential(self, rho: Array) -> Array:
        """Mean of the potentials of the images, each moved back."""
        if self._fixed is not None:
            return self._fixed
        if is_invariant(rho, self.orbits):
            return orbit_average(self.functional.potential(rho), self.orbits)
        return self._mean([self.functional.potential(image) for image in self._orbit(rho)])

    def value_and_potential(self, rho: Array) -> tuple[float, Array]:
        """Both from one evaluation of each image."""
        if self._fixed is not None:
            return folded_sum(self._fixed * rho) * self.grid.volume, self._fixed
        if is_invariant(rho, self.orbits):
            value, potential = self.functional.value_and_potential(rho)
            return value, orbit_average(potential, self.orbits)
        pairs = [self.functional.value_and_potential(image) for image in self._orbit(rho)]
        mean = float(order_free_mean(np.array([value for value, _ in pairs])))
        return mean, self._mean([potential for _, potential in pairs])

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Mean of the secants of the images: what each lacks in energy the mean lacks too."""
        if self._fixed is not None:
            return self._fixed
        if is_invariant(start, self.orbits) and is_invariant(end, self.orbits):
            return orbit_average(self.functional.secant(start, end, sign), self.orbits)
        ends = zip(self._orbit(start), self._orbit(end), strict=True)
        return self._mean([self.functional.secant(a, b, sign) for a, b in ends])

    def _orbit(self, rho: Array) -> list[Array]:
        return [image.reshape(rho.shape) for image in rho.ravel()[self.images]]

    def _mean(self, fields: list[Array]) -> Array:
        back = np.empty(self.images.shape)
        for row, image, values in zip(back, self.images, fields, strict=True):
            row[image] = values.ravel()
        return order_free_mean(back).reshape(self.grid.shape)


def symmetrised(
    functional: Functional, group: Group, rho: Array, grid: Grid
) -> SymmetrisedFunctional:
    """Mean of an invariant functional over a group that permutes the cells of the grid.

    Parameters
    ----------
    functional : Functional
    group : Group
    rho : array of grid shape
        Density at which the functional is checked; another is one without any symmetry.
    grid : Grid

    Raises
    ------
    ValueError
        If the group does not permute the cells, or the functional is not invariant under it.

    Examples
    --------
    >>> from meanfield_pde import Grid, Group, Potential
    >>> grid = Grid.box(-2, 2, 50)
    >>> well = Potential(lambda z: np.cosh(z[..., 0])).on(grid)
    >>> mean = symmetrised(well, Group.reflection(), np.ones(50), grid)
    >>> phi = mean.potential(np.ones(50))
    >>> bool((phi == phi[::-1]).all())
    True
    """
    check.instance("symmetry", group, Group, "make one with the constructors of mf.Group")
    images = group.cell_images(grid)
    if images is None:
        cells = " x ".join(str(n) for n in grid.cells)
        raise ValueError(
            f"symmetry must take cells to cells, got {group.name} on {cells} cells; leave it out "
            "(the flow is then invariant to the order of the scheme), or put a group of "
            "reflections, swaps and quarter turns on a grid centred at 0"
        )
    mean = SymmetrisedFunctional(grid, functional, images)
    probe = np.random.default_rng(0).random(rho.shape)
    probe *= rho.sum() / probe.sum()
    plain = np.stack([functional.potential(density) for density in (rho, probe)])
    averaged = np.stack([mean.potential(density) for density in (rho, probe)])
    gap, size = float(np.abs(plain - averaged).max()), float(np.abs(plain).max())
    if not gap <= TOLERANCE * size:
        raise ValueError(
            f"symmetry must leave the energy invariant, got a potential that is up to "
            f"{gap / size:.1e} (relative) from its mean over {group.name}; take "
            "mf.data_augmented(risk, group) or another group, or leave it out"
        )
    return mean
