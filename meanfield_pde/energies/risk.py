r"""The risk of a shallow network, as an energy of the law of its parameters.

.. math:: R(\mu) = E_\pi\, l(\Phi_\mu(X), Y), \quad \Phi_\mu(x) = \int \sigma_*(x; z) \mu(dz), \quad
   \frac{\delta R}{\delta \mu}(z) = E_\pi\, \nabla_1 l(\Phi_\mu(X), Y) \cdot \sigma_*(X; z)

(Maass and Fontbona, arXiv 2405.19995, section 2). On a grid the features
``S[i, K] = sigma_*(x_i; z_K)`` are computed once, of all data or, where they have low rank, of a
few that stand for all; a potential then costs two products with them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from meanfield_pde.energies.data import Data
from meanfield_pde.energies.energy import Batch, Energy, Functional
from meanfield_pde.energies.loss import Loss
from meanfield_pde.energies.low_rank import Indices, Skeleton, skeleton
from meanfield_pde.energies.potential import require_periodic
from meanfield_pde.energies.tabulated import WORTH_TABULATING, Range, Table, table_for
from meanfield_pde.energies.unit import Unit
from meanfield_pde.measures.check import Array
from meanfield_pde.measures.cloud import Cloud, Measure
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

CHUNK = 4_000_000
"""Features of particles held at once."""
WORTH_FACTORING = 48
"""Data values from which a skeleton of them is looked for."""
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

    Raises
    ------
    ValueError
        If the unit and data differ in outputs, or the targets do not suit the loss.

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
        object.__setattr__(self, "loss", loss)

    def discretise(self, grid: Grid) -> Functional:
        """Compute the features of every cell centre."""
        self.unit.check_dimensions(self.data.dim, grid.dim)
        few = self.data.x[:: max(1, self.data.size // 16)]
        require_periodic("unit", lambda z: np.moveaxis(self.unit.features(few, z), 0, 1), grid)
        found = self._skeleton(grid)
        x = self.data.x if found is None else self.data.x[found.rows // self.data.outputs]
        rows = len(x) * self.data.outputs
        if rows * grid.size > MAX_FEATURES:
            raise ValueError(
                f"the features of {rows} data values on {grid.size} cells need "
                f"{rows * grid.size * 8e-9:.1f} GB; use fewer nodes or cells"
            )
        if found is None:
            return NetworkFunctional(grid, self._rows(grid.points), self.data, self.loss)
        roots = np.sqrt(np.repeat(self.data.weights, self.data.outputs))
        inverse = np.divide(1.0, roots, out=np.zeros_like(roots), where=roots > 0)
        features = self._rows(grid.points, found.rows) * roots[found.rows, None]
        lift = inverse[:, None] * found.matrix
        return NetworkFunctional(grid, features, self.data, self.loss, lift, found.error)

    def _rows(self, points: Array, chosen: Indices | None = None) -> Array:
        """Features of points as a matrix (n * outputs, points), or its chosen rows."""
        outputs = self.data.outputs
        flat = points.reshape(-1, points.shape[-1])
        if chosen is None:
            features = self.unit.features(self.data.x, flat)
            return np.ascontiguousarray(np.moveaxis(features, 2, 1).reshape(-1, len(flat)))
        places, inverse = np.unique(chosen // outputs, return_inverse=True)
        features = self.unit.features(self.data.x[places], flat)
        return np.ascontiguousarray(features[inverse, :, chosen % outputs])

    def _skeleton(self, grid: Grid) -> Skeleton | None:
        rows = self.data.size * self.data.outputs
        if rows < WORTH_FACTORING:
            return None
        points = grid.points.reshape(-1, grid.dim)
        roots = np.sqrt(np.repeat(self.data.weights, self.data.outputs))[:, None]
        return skeleton(lambda cells: roots * self._rows(points[cells]), rows, grid.size)

    def predict(self, mu: Measure) -> Array:
        """Return the outputs ``Phi_mu(x_i)`` of the network at the data, shape (n, outputs)."""
        if isinstance(mu, Density):
            mu = Cloud(mu.grid.points.reshape(-1, mu.grid.dim), mu.masses.ravel())
        self.unit.check_dimensions(self.data.dim, mu.dim)
        return self._outputs(self.data.x, mu)

    def cloud_value(self, cloud: Cloud) -> float:
        """Risk of a network with the cloud's points as neurons."""
        return float(self.data.weights @ self.loss.value(self.predict(cloud), self.data.y))

    def drift(self, cloud: Cloud, batch: Batch | None = None) -> Array:
        """Negative gradient at each neuron, by all data or a batch of it."""
        self.unit.check_dimensions(self.data.dim, cloud.dim)
        x, y, weights = self.data.x, self.data.y, self.data.weights
        if batch is not None:
            x, y = x[batch.indices], y[batch.indices]
            weights = np.full(len(x), 1.0 / len(x))
        if len(x) * cloud.size >= WORTH_TABULATING * self.data.size:
            table = table_for(self.unit, self.data, cloud, self._tables)
            if table is not None:
                table = table if batch is None else table.take(batch.indices)
                residual = weights[:, None] * self.loss.gradient(table.outputs(cloud), y)
                if table.holds(residual):
                    return -table.pullback(cloud.points, residual)
        residual = weights[:, None] * self.loss.gradient(self._outputs(x, cloud), y)
        drift = np.empty_like(cloud.points)
        for part in self._chunks(len(x), cloud):
            drift[part] = -self.unit.pullback(x, cloud.points[part], residual)
        return drift

    def _outputs(self, x: Array, cloud: Cloud) -> Array:
        total = np.zeros((len(x), self.unit.outputs))
        for part in self._chunks(len(x), cloud):
            features = self.unit.features(x, cloud.points[part])
            total += np.tensordot(features, cloud.weights[part], axes=(1, 0))
        return total

    def _chunks(self, rows: int, cloud: Cloud) -> list[slice]:
        size = max(1, CHUNK // (rows * self.unit.outputs * cloud.dim))
        return [slice(k, k + size) for k in range(0, cloud.size, size)]


@dataclass(frozen=True, eq=False)
class NetworkFunctional(Functional):
    """Risk on a grid.

    Parameters
    ----------
    grid : Grid
    features : array (rows, cells)
        Features of the data (n * outputs rows), or of a skeleton of them, weighted.
    data : Data
    loss : Loss
    lift : array (n * outputs, rows), optional
        What turns means of a skeleton's features into outputs at all data.
    error : float
        Relative error of the skeleton, see `low_rank`.
    """

    grid: Grid
    features: Array
    data: Data
    loss: Loss
    lift: Array | None = None
    error: float = 0.0

    @property
    def constant(self) -> bool:
        """Always false."""
        return False

    @property
    def remark(self) -> str:
        """Rank and error, where a skeleton is used."""
        if self.lift is None:
            return ""
        rows, rank = self.lift.shape
        return f"features at rank {rank} of {rows} (error {self.error:.0e})"

    def means(self, rho: Array) -> Array:
        """Integrals of the features, shape (rows,)."""
        return np.asarray(self.features @ rho.ravel() * self.grid.volume)

    def outputs(self, means: Array) -> Array:
        """Return the outputs at the data, shape (n, outputs)."""
        values = means if self.lift is None else self.lift @ means
        return values.reshape(self.data.y.shape)

    def predict(self, rho: Array) -> Array:
        """Return the outputs at the data; from a skeleton, not exact where weights are tiny."""
        return self.outputs(self.means(rho))

    def value(self, rho: Array) -> float:
        """Risk."""
        return float(self.data.weights @ self.loss.value(self.predict(rho), self.data.y))

    def potential(self, rho: Array) -> Array:
        """First variation at the cell centres."""
        return self._pull(self.loss.gradient(self.predict(rho), self.data.y))

    def value_and_potential(self, rho: Array) -> tuple[float, Array]:
        """Both from one prediction."""
        outputs = self.predict(rho)
        value = float(self.data.weights @ self.loss.value(outputs, self.data.y))
        return value, self._pull(self.loss.gradient(outputs, self.data.y))

    def secant(self, start: Array, end: Array, sign: float = 1.0) -> Array:
        """Mid-point for a quadratic loss; else the end (the start for a negative sign)."""
        if self.loss.quadratic:
            return self.potential(0.5 * (start + end))
        return self.potential(end if sign >= 0 else start)

    def charges(self, gradient: Array) -> Array:
        """Factors of the features in the potential, for loss gradients (n, outputs)."""
        residual = (self.data.weights[:, None] * gradient).ravel()
        return np.asarray(residual if self.lift is None else residual @ self.lift)

    def curvature(self, outputs: Array) -> Array:
        """Differentiate the charges in the means, shape (rows, rows)."""
        blocks = self.data.weights[:, None, None] * self.loss.hessian(outputs, self.data.y)
        n, q, _ = blocks.shape
        if self.lift is None:
            matrix = np.zeros((n, q, n, q))
            matrix[np.arange(n), :, np.arange(n)] = blocks
            return matrix.reshape(n * q, n * q)
        lift = self.lift.reshape(n, q, -1)
        return np.asarray(np.einsum("iqr,ips,iqp->rs", lift, lift, blocks, optimize=True))

    def _pull(self, gradient: Array) -> Array:
        return (self.charges(gradient) @ self.features).reshape(self.grid.shape)


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
