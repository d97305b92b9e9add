r"""Variants of a risk that use a symmetry group (Maass and Fontbona, arXiv 2405.19995, section 3).

Data augmentation :math:`R^{DA}(\mu) = \int R(M_g \# \mu) d\lambda(g)`; feature averaging
:math:`R^{FA}(\mu) = R(\mu^G)`. For a jointly equivariant unit and an invariant loss the first is
the risk of data moved by random group elements. Equivariant architectures: :math:`R^{EA}(\mu) =
R(P \# \mu)` with P the projection on the fixed subspace E^G, whose networks are equivariant
whatever the law of the parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from meanfield_pde.energies.energy import Batch, Energy, Functional, Sum
from meanfield_pde.energies.moved_unit import AveragedUnit, MovedUnit, ProjectedUnit
from meanfield_pde.energies.risk import Risk
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.grid import Grid
from meanfield_pde.measures.group import Group


@dataclass(frozen=True, eq=False)
class DataAugmented(Energy):
    """``int R(M_g # mu) dlambda_G(g)``; made by `data_augmented`.

    A batch of particles' data either carries one random element a sample (sampled augmentation), or
    none: then every sample is taken with its whole orbit.
    """

    risk: Risk
    group: Group
    _moved: tuple[Risk, ...] = field(init=False, repr=False)
    _mean: Energy = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrices = self.group.matrices if self.group.z is None else self.group.z
        risk = self.risk
        moved = tuple(replace(risk, unit=MovedUnit(risk.unit, m)) for m in matrices)
        object.__setattr__(self, "_moved", moved)
        mean = Sum(tuple(zip(self.group.weights.tolist(), moved, strict=True)))
        object.__setattr__(self, "_mean", mean)

    @property
    def orbit(self) -> tuple[tuple[float, Energy], ...]:
        """Risks of the moved measures, each with its share."""
        return self._mean.terms

    def predict(self, mu: Measure) -> Array:
        """Return the outputs of the network as it stands."""
        return self.risk.predict(mu)

    def discretise(self, grid: Grid) -> Functional:
        """Prepare one risk for each element."""
        self.group.on_z(grid.ambient_dim)
        return self._mean.on(grid)

    def cloud_value(self, cloud: Cloud) -> float:
        """Mean over the group of the risks of the moved clouds."""
        self.group.on_z(cloud.dim)
        return self._mean.cloud_value(cloud)

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Mean drift over the orbit, or over the sampled elements of a batch."""
        self.group.on_z(cloud.dim)
        total = np.zeros_like(cloud.points)
        for share, risk, part in self._shares(batch):
            total += share * risk.drift(cloud, part)
        return total

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Mean potential over the orbit, or over the sampled elements of a batch."""
        self.group.on_z(cloud.dim)
        total = np.zeros(cloud.size)
        for share, risk, part in self._shares(batch):
            total += share * risk.cloud_potential(cloud, part)
        return total

    def _shares(self, batch: Batch | None) -> Iterator[tuple[float, Energy, Batch | None]]:
        """Risks of the moved measures, each with its share and its part of the batch."""
        if batch is None or batch.elements is None:
            yield from ((share, risk, batch) for share, risk in self.orbit)
            return
        for g in np.unique(batch.elements):
            chosen = batch.indices[batch.elements == g]
            yield len(chosen) / len(batch.indices), self._moved[g], Batch(chosen)


def data_augmented(risk: Risk, group: Group) -> DataAugmented:
    """Risk of training with data augmentation: the mean of R over the orbit of the measure.

    Parameters
    ----------
    risk : Risk
    group : Group
        Acts on the parameters (`Group.acting` sets how).

    Returns
    -------
    DataAugmented

    Examples
    --------
    >>> from meanfield_pde import Cloud, Data, Group, Unit
    >>> data = Data.gauss_hermite(dim=1, nodes=4, target=lambda x: x[..., 0])
    >>> risk = Risk(Unit.ridge("tanh"), data)
    >>> augmented = data_augmented(risk, Group.reflection())
    >>> there, back = (augmented.value(Cloud([[z]])) for z in (0.7, -0.7))
    >>> there == back
    True
    """
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    return DataAugmented(_risk(risk), group)


def feature_averaged(risk: Risk, group: Group) -> Risk:
    """Risk of the symmetrised model, R at mu^G: its unit is averaged over the orbit of z."""
    risk = _risk(risk)
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    return replace(risk, unit=AveragedUnit(risk.unit, group))


def equivariant_architecture(risk: Risk, group: Group) -> Risk:
    """Risk of a network confined to the fixed subspace, R at P # mu: its unit is that of P z.

    Examples
    --------
    >>> from meanfield_pde import Cloud, Data, Group, Unit
    >>> data = Data.gauss_hermite(dim=2, nodes=4, target=lambda x: np.tanh(x).sum(-1))
    >>> confined = equivariant_architecture(Risk(Unit.ridge("tanh"), data), Group.swap())
    >>> one, other = (confined.value(Cloud([z])) for z in ([1.0, 0.0], [0.5, 0.5]))
    >>> one == other
    True
    """
    risk = _risk(risk)
    check.instance("group", group, Group, "make one with the constructors of mf.Group")
    return replace(risk, unit=ProjectedUnit(risk.unit, group))


def _risk(risk: Risk) -> Risk:
    if not isinstance(risk, Risk):
        raise ValueError(
            f"risk must be a mf.Risk, got {type(risk).__name__}; "
            "wrap the risk alone, then add penalty and entropy"
        )
    return risk


VARIANTS = ("vanilla", "data-augmented", "feature-averaged", "equivariant-architecture")


def with_variant(energy: Energy, variant: str, group: Group) -> Energy:
    """Return the energy with each of its risks, of whatever variant, replaced by the given one.

    Raises
    ------
    ValueError
        If there is no such variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}; pick one")
    wrap: dict[str, Callable[[Risk], Energy]] = {
        "vanilla": lambda risk: risk,
        "data-augmented": lambda risk: data_augmented(risk, group),
        "feature-averaged": lambda risk: feature_averaged(risk, group),
        "equivariant-architecture": lambda risk: equivariant_architecture(risk, group),
    }
    risks = [(factor, leaf, plain_risk(leaf)) for factor, leaf in energy.terms]
    return Sum(tuple((f, leaf if risk is None else wrap[variant](risk)) for f, leaf, risk in risks))


def plain_risk(leaf: Energy) -> Risk | None:
    """Return the vanilla risk inside a risk of any variant, None for other energies."""
    if isinstance(leaf, DataAugmented):
        return leaf.risk
    if isinstance(leaf, Risk) and isinstance(leaf.unit, AveragedUnit | ProjectedUnit):
        return replace(leaf, unit=leaf.unit.unit)
    return leaf if isinstance(leaf, Risk) else None
