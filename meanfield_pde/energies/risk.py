r"""The risk of a shallow network, as an energy of the law of its parameters.

.. math:: R(\mu) = E_\pi\, l(\Phi_\mu(X), Y), \quad \Phi_\mu(x) = \int \sigma_*(x; z) \mu(dz), \quad
   \frac{\delta R}{\delta \mu}(z) = E_\pi\, \nabla_1 l(\Phi_\mu(X), Y) \cdot \sigma_*(X; z)

(Maass and Fontbona, arXiv 2405.19995, section 2). On a grid the features
``S[i, K] = sigma_*(x_i; z_K)`` are computed once, of all data or, where they have low rank, of a
few that stand for all; a potential then costs two products with them. For a squared loss the
targets, too, are replaced by few with the same risk up to a constant, and no step sees the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from meanfield_pde.energies.charted import charted, merged_by_length
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Batch, Energy, Functional
from meanfield_pde.energies.loss import Loss, Squared
from meanfield_pde.energies.low_rank import TOLERANCE, UNSEEN, Indices, Skeleton, skeleton
from meanfield_pde.energies.network import NetworkFunctional
from meanfield_pde.energies.potential import require_periodic
from meanfield_pde.energies.separable import Places, places_of, remainder
from meanfield_pde.energies.tabulated import WORTH_TABULATING, Range, Table, table_for
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures import check
from meanfield_pde.measures.chart import Radius
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

FEW_DATA = 4096
"""Data up to which a batch is counted by all of them, and not by sorting it."""
CHUNK = 4_000_000
"""Features computed at once."""
WORTH_FACTORING = 48
"""Data values from which a skeleton of them is looked for."""
WORTH_A_SKELETON = 100_000
"""Features of a grid from which that pays: the search takes the time of hundreds of products."""
WORTH_SEPARATING = 1_000_000
"""Features of a plane from which a few rows and columns of its cells are looked for: fewer stay in
the cache, and a product with them is over before places pay."""
DATA_SHARE = 0.5
"""Share of the tolerance that the choice of data may use up; the rest is for that of cells."""
AXIS_SHARES = (0.05, 0.005)
"""Shares of the tolerance that axes are tried with: what they leave grows by the interpolation."""
MAX_FEATURES = 4e8
"""Features of a grid held at once (3.2 GB)."""


@dataclass(frozen=True, eq=False)
class Risk(Energy):
    """Energy ``E l(Phi_mu(X), Y)`` of a shallow network.

    Parameters
    ----------
    unit : Unit
    data : Data
    loss : str or Loss
        A Loss, or ``squared`` (the default, ``|yhat - y|^2``), ``half_squared``, ``logistic``,
        ``huber``.
    rank_tolerance : float
        Error, relative to the largest, of the features by which a potential on a grid is computed:
        as few data values (`low_rank`) and, in a plane, rows and columns of cells (`separable`) as
        this allows stand for all. The default is rounding, 0 means all data and all cells. The
        density then follows the exact flow of a network so close to this one, with mass, positivity
        and free-energy decay as they were; `Solution.result` gives rank and error: of rows and
        columns at every cell, of data at 512 of them (`Skeleton`). Particles feel all data.

    Raises
    ------
    ValueError
        If the unit and data differ in outputs, the targets do not suit the loss, or the tolerance
        is not in [0, 0.1].

    Examples
    --------
    >>> data = Data.gauss_hermite(dim=1, nodes=2, target=lambda x: 2 * x[..., 0])
    >>> risk = Risk(Unit.ridge("linear"), data, loss="half_squared")
    >>> risk.value(Cloud([[1.0]])), risk.drift(Cloud([[1.0]])).round(12).tolist()
    (0.5, [[1.0]])
    """

    unit: Unit
    data: Data
    loss: Loss = field(default="squared")  # type: ignore[assignment]
    rank_tolerance: float = TOLERANCE
    _tables: dict[Range, Table | None] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        loss = Loss.named(self.loss) if isinstance(self.loss, str) else self.loss
        given = ("unit", self.unit, Unit), ("data", self.data, Data), ("loss", loss, Loss)
        for name, value, kind in given:
            if not isinstance(value, kind):
                raise ValueError(
                    f"{name} must be a mf.{kind.__name__}, got {type(value).__name__}; "
                    f"make one with the constructors of mf.{kind.__name__}"
                )
        if self.unit.outputs != self.data.outputs:
            raise ValueError(
                f"unit and data must have the same outputs, got {self.unit.outputs} and "
                f"{self.data.outputs}; change the target or the unit"
            )
        loss.check_targets(self.data.y)
        remedy = "1e-8 saves much where x has two dimensions; 0 means all data"
        rank = check.number("rank_tolerance", self.rank_tolerance, remedy, least=0, most=0.1)
        object.__setattr__(self, "loss", loss)
        object.__setattr__(self, "rank_tolerance", rank)

    def discretise(self, grid: Grid) -> Functional:
        """Compute the features of every cell, at its node."""
        if grid.symmetric_chart is not None:
            risk = self._charted(grid)
            if isinstance(grid.chart, Radius):
                risk = replace(risk, data=merged_by_length(risk.data))
            return risk._on(grid)
        return self._on(grid)

    def _on(self, grid: Grid) -> Functional:
        """Compute the features of every cell, whose units are given in the grid's coordinates."""
        self.unit.check_dimensions(self.data.dim, grid.dim)
        few = self.data.x[:: max(1, self.data.size // 16)]
        require_periodic("unit", lambda z: np.moveaxis(self.unit.features(few, z), 0, 1), grid)
        found = self._skeleton(grid)
        chosen = None if found is None else found.rows
        rows = self.data.size * self.data.outputs if chosen is None else len(chosen)
        points, (places, error) = _points(grid), self._separated(grid, found)
        if places is not None:
            points = points[places.cells]
        if rows * len(points) > MAX_FEATURES:
            raise ValueError(
                f"the features of {rows} data values on {grid.size} cells need "
                f"{rows * grid.size * 8e-9:.1f} GB; use fewer nodes or cells, or a larger "
                "rank_tolerance"
            )
        said = self._said(found, places, error)
        if found is None:
            features = self._rows(points)
            return NetworkFunctional(grid, features, self.data, self.loss, None, 0.0, said, places)
        features = self._rows(points, chosen)
        features *= self._roots[chosen]
        return replace(self._reduced(grid, features, found), remark=said, places=places)

    def _said(self, found: Skeleton | None, places: Places | None, error: float) -> str:
        """Say what stands for data and cells, and the error that this makes."""
        if found is None and places is None:
            return ""
        size = self.data.size * self.data.outputs
        rank = size if found is None else len(found.rows)
        said = f"features at rank {rank} of {size}"
        if places is not None:
            (nx, a), (ny, b) = places.first.shape, places.second.shape
            said += f", {a} x {b} of {nx} x {ny} places"
        said += f" (error {error:.0e})"
        if self.rank_tolerance != TOLERANCE:
            said += f" for the tolerance {self.rank_tolerance:g}"
        return said

    def _separated(self, grid: Grid, found: Skeleton | None) -> tuple[Places | None, float]:
        """Places that stand for all cells, where they pay, and the error of the features with them.

        They are given up where the error is beyond the tolerance.
        """
        rows = self.data.size * self.data.outputs if found is None else len(found.rows)
        error = 0.0 if found is None else found.error
        if grid.dim != 2 or not self.rank_tolerance or rows * grid.size < WORTH_SEPARATING:
            return None, error
        points, roots = _points(grid), self._roots
        data = np.arange(rows) if found is None else found.rows

        def values(functions: Indices, cells: Indices) -> Array:
            return roots[data[functions]] * self._rows(points[cells], data[functions])

        # |X v| <= |X| |v|: from norms at every cell, features of the skeleton alone will do.
        scale, growth = 0.0, 1.0
        if found is not None:
            some = np.random.default_rng(2).permutation(grid.size)[:UNSEEN]
            whole = found.matrix @ values(np.arange(rows), some)
            scale = float(np.linalg.norm(whole, axis=0).max())
            growth = float(np.linalg.norm(found.matrix, 2))
        for share in AXIS_SHARES:
            places = places_of(values, rows, grid.shape, share * self.rank_tolerance)
            if places is None:
                break
            sizes, gaps = remainder(values, rows, grid.shape, places)
            total = error + growth * float(gaps.max()) / (scale or float(sizes.max()))
            if total <= self.rank_tolerance:
                return places, total
        return None, error

    def _reduced(self, grid: Grid, features: Array, found: Skeleton) -> NetworkFunctional:
        """Prepare the risk with a skeleton's weighted features."""
        roots, (_, rank) = self._roots, found.matrix.shape
        if not isinstance(self.loss, Squared):
            lift = np.divide(found.matrix, roots, out=np.zeros_like(found.matrix), where=roots > 0)
            return NetworkFunctional(grid, features, self.data, self.loss, lift)
        # |X m - t|^2 = |R m - Q't|^2 + |t - QQ't|^2 with X = QR: squares alone, so that a small
        # risk keeps its digits. The first is the risk of as many data, each of weight 1 / rank.
        basis, triangle = np.linalg.qr(found.matrix)
        targets = roots[:, 0] * self.data.y.ravel()
        kept = basis.T @ targets
        offset = self.loss.factor * float(((targets - basis @ kept) ** 2).sum())
        few = replace(
            self.data,
            x=self.data.x[found.rows // self.data.outputs],
            y=np.sqrt(rank) * kept,
            weights=np.full(rank, 1.0 / rank),
        )
        lift = np.sqrt(rank) * triangle
        return NetworkFunctional(grid, features, few, self.loss, lift, offset)

    @property
    def _roots(self) -> Array:
        """Roots of the weights, shape (n * outputs, 1)."""
        return np.sqrt(np.repeat(self.data.weights, self.data.outputs))[:, None]

    def _rows(self, points: Array, chosen: Indices | None = None) -> Array:
        """Features of points (m, dim) as a matrix (n * outputs, m), or its chosen rows."""
        outputs = self.data.outputs
        rows = np.arange(self.data.size * outputs) if chosen is None else chosen
        places, inverse = rows, np.arange(len(rows))
        if outputs > 1:
            places, inverse = np.unique(rows // outputs, return_inverse=True)
        x, kinds = self.data.x[places], rows % outputs
        result = np.empty((len(rows), len(points)))
        size = max(1, CHUNK // (len(x) * outputs))
        for part in (slice(k, k + size) for k in range(0, len(points), size)):
            features = self.unit.features(x, points[part])
            result[:, part] = features[..., 0] if outputs == 1 else features[inverse, :, kinds]
        return result

    def _skeleton(self, grid: Grid) -> Skeleton | None:
        rows = self.data.size * self.data.outputs
        few = rows < WORTH_FACTORING or rows * grid.size < WORTH_A_SKELETON
        if few or not self.rank_tolerance:
            return None
        points, roots = _points(grid), self._roots

        def columns(cells: Indices) -> Array:
            return roots * self._rows(points[cells])

        return skeleton(columns, rows, grid.size, DATA_SHARE * self.rank_tolerance)

    def _charted(self, grid: Grid) -> Risk:
        """Return the risk of networks whose parameters are given in a chart."""
        assert grid.chart is not None
        reach = float(np.abs([grid.lower, grid.upper]).max())
        return replace(self, unit=charted(self.unit, grid.chart, self.data.x, reach))

    def predict(self, mu: Measure) -> Array:
        """Return the outputs ``Phi_mu(x_i)`` of the network at the data, shape (n, outputs)."""
        if isinstance(mu, Density):
            risk = self if mu.grid.symmetric_chart is None else self._charted(mu.grid)
            return risk.predict(Cloud(_points(mu.grid), mu.masses.ravel()))
        self.unit.check_dimensions(self.data.dim, mu.dim)
        return self._outputs(self.data.x, mu)

    def cloud_value(self, cloud: Cloud) -> float:
        """Risk of a network with the cloud's points as neurons."""
        return float(self.data.weights @ self.loss.value(self.predict(cloud), self.data.y))

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Negative gradient at each neuron, by all data or a batch of it."""
        self.unit.check_dimensions(self.data.dim, cloud.dim)
        rows, weights = self._picked(batch)
        x, y = self.data.x[rows], self.data.y[rows]
        tabulated = self._tabulated(cloud, batch)
        if tabulated is not None:
            table, residual = tabulated
            return -table.pullback(cloud.points, residual)
        if len(x) * self.unit.outputs * cloud.size * cloud.dim <= CHUNK:
            outputs, pull = self.unit.network(x, cloud.points, cloud.weights)
            return -pull(weights[:, None] * self.loss.gradient(outputs, y))
        residual = weights[:, None] * self.loss.gradient(self._outputs(x, cloud), y)
        drift = np.empty_like(cloud.points)
        for part in self._chunks(len(x), cloud):
            drift[part] = -self.unit.pullback(x, cloud.points[part], residual)
        return drift

    def cloud_potential(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """``E l'(Phi_mu(X), Y) . sigma_*(X; z)`` at each neuron, by all data or a batch of it."""
        self.unit.check_dimensions(self.data.dim, cloud.dim)
        tabulated = self._tabulated(cloud, batch)
        if tabulated is not None:
            table, residual = tabulated
            return table.potential(cloud.points, residual)
        rows, weights = self._picked(batch)
        x, y = self.data.x[rows], self.data.y[rows]
        residual = weights[:, None] * self.loss.gradient(self._outputs(x, cloud), y)
        potential = np.empty(cloud.size)
        for part in self._chunks(len(x), cloud):
            features = self.unit.features(x, cloud.points[part])
            potential[part] = np.tensordot(residual, features, axes=([0, 1], [0, 2]))
        return potential

    def _picked(self, batch: Batch | None) -> tuple[Indices | slice, Array]:
        """Places of the data in a mean, each once, with their weights in it."""
        if batch is None:
            return slice(None), self.data.weights
        if self.data.size <= FEW_DATA:  # a tenth of the time
            counts = np.bincount(batch.indices, minlength=self.data.size)
            rows = counts.nonzero()[0]
            return rows, counts[rows] / len(batch.indices)
        rows, counts = np.unique(batch.indices, return_counts=True)
        return rows, counts / len(batch.indices)

    def _tabulated(self, cloud: Cloud, batch: Batch | None) -> tuple[Table, Array] | None:
        """Table of the unit on the cloud's range with the data's residuals, where it will do."""
        size = self.data.size if batch is None else len(batch.indices)
        if size * cloud.size < WORTH_TABULATING * self.data.size:
            return None
        table = table_for(self.unit, self.data, cloud, self._tables)
        if table is None:
            return None
        rows, weights = self._picked(batch)
        table = table if isinstance(rows, slice) else table.take(rows)
        residual = weights[:, None] * self.loss.gradient(table.outputs(cloud), self.data.y[rows])
        return (table, residual) if table.holds(residual) else None

    def _outputs(self, x: Array, cloud: Cloud) -> Array:
        total = np.zeros((len(x), self.unit.outputs))
        for part in self._chunks(len(x), cloud):
            features = self.unit.features(x, cloud.points[part])
            total += np.tensordot(features, cloud.weights[part], axes=(1, 0))
        return total

    def _chunks(self, rows: int, cloud: Cloud) -> list[slice]:
        size = max(1, CHUNK // (rows * self.unit.outputs * cloud.dim))
        return [slice(k, k + size) for k in range(0, cloud.size, size)]


def _points(grid: Grid) -> Array:
    """Points (cells, dim) at which units are computed: of Z, or of a chart that is in the unit."""
    points = grid.places if grid.symmetric_chart is None else grid.nodes
    return points.reshape(-1, grid.dim)


@dataclass(frozen=True, eq=False)
class Network:
    """A shallow network as a function: ``x -> int sigma_*(x; z) mu(dz)``, a teacher for `Data`.

    Parameters
    ----------
    unit : Unit
    measure : Cloud
        Law of the parameters.

    Examples
    --------
    >>> teacher = Network(Unit.ridge("linear"), Cloud([[1.0], [3.0]]))
    >>> teacher(np.array([[1.0], [2.0]])).tolist()
    [2.0, 4.0]
    """

    unit: Unit
    measure: Cloud

    def __call__(self, x: Array) -> Array:
        """Evaluate at x (..., dim): shape (...) for one output, else (..., outputs)."""
        flat = np.asarray(x, dtype=np.float64).reshape(-1, np.shape(x)[-1])
        self.unit.check_dimensions(flat.shape[1], self.measure.dim)
        features = self.unit.features(flat, self.measure.points)
        values = np.tensordot(features, self.measure.weights, axes=(1, 0))
        shape = np.shape(x)[:-1]
        return values.reshape(shape if self.unit.outputs == 1 else (*shape, self.unit.outputs))
