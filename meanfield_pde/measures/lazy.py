r"""Lazy quotient metrics: distances up to a symmetry that is not free of charge.

For a group G with a norm nu that moves points by isometries, and lambda >= 0,

.. math:: d_\lambda(x, y) = \inf_g \sqrt{d(g x, y)^2 + \lambda^2 \nu(g)^2}

(Tonelli-Cueto, "Lazy quotient metrics"): the quotient distance at lambda = 0, the distance itself
as lambda grows. A group norm vanishes at e alone, and nu(g^-1) = nu(g), nu(gh) <= nu(g) + nu(h);
they make the triangle inequality.

Rotations of the plane, with nu = sqrt(2) times the angle in [0, pi], the length of the arc of
matrices in the Frobenius norm: d_lambda is the geodesic distance of

.. math:: dr^2 + r^2 \frac{2 \lambda^2}{2 \lambda^2 + r^2} d\phi^2.

For (x, a) -> R_a x is a Riemannian submersion of the plane times the circle, with |dx|^2 + 2
lambda^2 da^2: SO(2) acts there by isometries, freely, and completely. The distance between two of
its orbits is d_lambda, and the square of the shortest lift of a tangent vector is the form above.
Nothing is asked of the points; the origin is as regular as any. In the plane the inverse of the
form, the mobility of a gradient flow, is :math:`I + \frac{r^2}{2 \lambda^2} P_z` with P_z the
projection on the tangent of the orbit: a flow in this metric is one whose particles also turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.group import Group

BISECTIONS = 64
"""Halvings of [0, pi]: to the last bit of the angle, which enters the distance as a square."""
ROUNDING = 1e-9
"""How far from a norm rounded numbers may be, relative to their largest."""


@dataclass(frozen=True)
class LazyMetric:
    """The lazy quotient metric of the plane under rotations, with nu = sqrt(2) |angle|.

    Parameters
    ----------
    scale : float
        lambda, the price of a rotation: as it grows the metric becomes Euclidean, as it vanishes
        that of the radius alone.

    Raises
    ------
    ValueError
        If the scale is not positive and finite.

    Examples
    --------
    >>> lazy = LazyMetric(scale=0.3)
    >>> y = 1.5 * np.array([np.cos(1.0), np.sin(1.0)])
    >>> round(float(lazy.distance([1.0, 0.0], y)), 10)
    0.6408570534
    """

    scale: float

    def __post_init__(self) -> None:
        check.number("scale", self.scale, "it is lambda, such as 0.5", above=0)

    def distance(self, x: Array, y: Array) -> Array:
        """d_lambda between points (..., 2) of two arrays that broadcast, shape (...).

        The angle of the best rotation lies between 0 and that from x to y: any beyond has a mirror
        image that is shorter and brings x as near. In between the derivative changes sign once,
        since sin is concave on [0, pi]. Angles on the whole line in place of [-pi, pi] give the
        same: longer representatives of a rotation only cost more.

        Raises
        ------
        ValueError
            If the points are not in the plane.
        """
        first, second = (_in_plane(name, given) for name, given in (("x", x), ("y", y)))
        along = (first * second).sum(-1)
        across = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
        between = np.abs(np.arctan2(across, along))
        sides = np.hypot(first[..., 0], first[..., 1]), np.hypot(second[..., 0], second[..., 1])
        left = self._left_over(sides[0] * sides[1], between)
        chord = 2 * np.sqrt(sides[0] * sides[1]) * np.sin(0.5 * left)
        turned = np.sqrt(2) * self.scale * (between - left)
        return np.asarray(np.hypot(np.hypot(sides[0] - sides[1], chord), turned))

    def _left_over(self, product: Array, between: Array) -> Array:
        """Angle that the best rotation leaves: ``r s sin(left) = 2 lambda^2 (between - left)``."""
        low, high = np.zeros_like(between), between
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + high)
            beyond = product * np.sin(middle) > 2 * self.scale**2 * (between - middle)
            low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
        return 0.5 * (low + high)

    def angular_mobility(self, radius: Array) -> Array:
        """Inverse metric in the angle, ``1 / r^2 + 1 / (2 lambda^2)``, at radii above 0."""
        r = np.asarray(radius, dtype=np.float64)
        return np.asarray(1 / r**2 + 0.5 / self.scale**2)

    def mobility(self, z: Array) -> Array:
        """Inverse metric ``I + r^2 / (2 lambda^2) P_z`` at points (..., 2), shape (..., 2, 2)."""
        points = _in_plane("z", z)
        tangent = np.stack([-points[..., 1], points[..., 0]], axis=-1)
        outer = tangent[..., :, None] * tangent[..., None, :]
        return np.asarray(np.eye(2) + outer * (0.5 / self.scale**2))


def frobenius_norms(group: Group, dim: int | None = None) -> Array:
    """Group norm ``|M_g - I|_F`` of every element, shape (order,).

    Parameters
    ----------
    group : Group
    dim : int, optional
        Dimension of the parameters; that of the group's own matrices where it is left out.

    Examples
    --------
    >>> frobenius_norms(Group.reflection()).tolist()
    [0.0, 2.0]
    """
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    own = group.matrices if group.z is None else group.z
    matrices = group.on_z(own.shape[-1] if dim is None else dim)
    return np.asarray(np.linalg.norm(matrices - np.eye(matrices.shape[-1]), axis=(1, 2)))


def lazy_distance(
    x: Array, y: Array, group: Group, scale: float, norms: Array | None = None
) -> Array:
    """d_lambda between points (..., d) under a finite group, shape (...).

    Rotations of the plane are in `LazyMetric`; ``Group.so2`` is the finite group of its nodes here.

    Parameters
    ----------
    x, y : array (..., d)
        They broadcast against each other.
    group : Group
        It acts on points as on parameters z.
    scale : float
        lambda; 0 gives the quotient distance.
    norms : array (order,), optional
        Group norm of every element; `frobenius_norms` where it is left out.

    Raises
    ------
    ValueError
        If the group does not act on such points, or the numbers are no group norm.

    Examples
    --------
    >>> float(lazy_distance([1.0], [-3.0], Group.reflection(), scale=0.5).round(12))
    2.2360679775
    """
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    scale = check.number("scale", scale, "it is lambda, such as 0.5", least=0)
    first = check.array("x", x, "give points (..., d)")
    second = check.array("y", y, "give points (..., d)")
    if not first.ndim or not second.ndim or first.shape[-1] != second.shape[-1]:
        raise ValueError(
            f"x and y must be points (..., d) of one dimension, got shapes {first.shape} and "
            f"{second.shape}; give their coordinates along the last axis"
        )
    matrices = group.on_z(first.shape[-1])
    nu = frobenius_norms(group, first.shape[-1]) if norms is None else _group_norm(group, norms)
    found = np.inf
    for matrix, norm in zip(matrices, nu, strict=True):
        apart = np.linalg.norm(first @ matrix.T - second, axis=-1)
        found = np.minimum(found, np.hypot(apart, scale * norm))
    return np.asarray(found)


def _group_norm(group: Group, norms: Array) -> Array:
    """Check the norms of all elements: 0 at e, even, subadditive, positive elsewhere."""
    nu = check.array("norms", norms, "give one number an element")
    if nu.shape != (group.order,):
        raise ValueError(
            f"norms must have one entry for each of the {group.order} elements, got shape "
            f"{nu.shape}; their order is that of group.matrices"
        )
    unit = int(np.abs(group.matrices - np.eye(group.matrices.shape[-1])).sum(axis=(1, 2)).argmin())
    room = ROUNDING * float(np.abs(nu).max())
    inverse = np.argmax(group.table == unit, axis=1)
    flaws = {
        "0 at the identity": abs(nu[unit]) <= room,
        "positive elsewhere": bool((np.delete(nu, unit) > 0).all()),
        "the same for an element and its inverse": np.abs(nu - nu[inverse]).max() <= room,
        "subadditive": (nu[group.table] - nu[:, None] - nu[None, :]).max() <= room,
    }
    for property_, holds in flaws.items():
        if not holds:
            raise ValueError(
                f"norms must be {property_}, got {nu.tolist()}; leave them out to take "
                "frobenius_norms(group)"
            )
    return nu


def _in_plane(name: str, points: Array) -> Array:
    given = check.array(name, points, "give points of the plane, (..., 2)")
    if given.shape[-1:] != (2,):
        raise ValueError(
            f"{name} must be points of the plane, got shape {given.shape}; give (..., 2)"
        )
    return given
