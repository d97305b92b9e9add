"""Losses l(yhat, y), convex in the prediction yhat.

Predictions and targets have shape (n, outputs), values (n,), derivatives in yhat (n, outputs) and
(n, outputs, outputs).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import scipy

from meanfield_pde.energies.derivative import Derivative
from meanfield_pde.measures import check
from meanfield_pde.measures.check import Array, Function


class Loss(ABC):
    """A loss; `Loss.named` finds the built-in ones."""

    @property
    @abstractmethod
    def quadratic(self) -> bool:
        """Whether l is a quadratic polynomial of yhat (then implicit steps use the mid-point)."""

    @abstractmethod
    def value(self, prediction: Array, target: Array) -> Array:
        """``l(yhat, y)``, shape (n,)."""

    @abstractmethod
    def gradient(self, prediction: Array, target: Array) -> Array:
        """``grad_yhat l``, shape (n, outputs)."""

    @abstractmethod
    def hessian(self, prediction: Array, target: Array) -> Array:
        """Second derivatives in yhat, shape (n, outputs, outputs)."""

    @abstractmethod
    def check_targets(self, target: Array) -> None:
        """Raise ValueError where the targets make no sense for this loss."""

    @staticmethod
    def named(name: str) -> Loss:
        """Find ``squared``, ``half_squared``, ``logistic`` or ``huber``.

        Raises
        ------
        ValueError
            If there is none of that name.
        """
        if name not in LOSSES:
            raise ValueError(
                f"loss must be one of {', '.join(LOSSES)}, got {name!r}; "
                "or pass a Loss, such as mf.CustomLoss(value)"
            )
        return LOSSES[name]


def _diagonal(curvature: Array) -> Array:
    return curvature[:, :, None] * np.eye(curvature.shape[1])


@dataclass(frozen=True)
class Squared(Loss):
    """``factor |yhat - y|^2``; factor 1 is the convention of Maass and Fontbona."""

    factor: float = 1.0

    @property
    def quadratic(self) -> bool:
        """Always true."""
        return True

    def value(self, prediction: Array, target: Array) -> Array:
        """``factor |yhat - y|^2``."""
        difference = prediction - target
        return np.asarray(self.factor * np.vecdot(difference, difference))

    def gradient(self, prediction: Array, target: Array) -> Array:
        """``2 factor (yhat - y)``."""
        return 2 * self.factor * (prediction - target)

    def hessian(self, prediction: Array, target: Array) -> Array:
        """``2 factor`` times the identity."""
        return _diagonal(np.full(prediction.shape, 2 * self.factor))

    def check_targets(self, target: Array) -> None:
        """Any finite number will do."""


@dataclass(frozen=True)
class Logistic(Loss):
    """``log(1 + exp(-y yhat))`` summed over outputs, with labels y = -1 or 1."""

    @property
    def quadratic(self) -> bool:
        """Always false."""
        return False

    def value(self, prediction: Array, target: Array) -> Array:
        """``log(1 + exp(-y yhat))``."""
        return np.asarray(np.logaddexp(0.0, -target * prediction).sum(-1))

    def gradient(self, prediction: Array, target: Array) -> Array:
        """``-y / (1 + exp(y yhat))``."""
        return np.asarray(-target * scipy.special.expit(-target * prediction))

    def hessian(self, prediction: Array, target: Array) -> Array:
        """``p (1 - p)`` with p the logistic function of y yhat."""
        expit = scipy.special.expit
        return _diagonal(expit(prediction) * expit(-prediction) * target**2)

    def check_targets(self, target: Array) -> None:
        """Raise ValueError unless every label is -1 or 1."""
        wrong = target[np.abs(target) != 1.0]
        if wrong.size:
            raise ValueError(
                f"target must hold labels -1 and 1 for the logistic loss, got {wrong.flat[0]:g}; "
                "map labels 0 and 1 by 2*y - 1"
            )


@dataclass(frozen=True)
class Huber(Loss):
    """``r^2/2`` for ``|r| <= delta``, else ``delta (|r| - delta/2)``; r = yhat - y, summed."""

    delta: float = 1.0

    def __post_init__(self) -> None:
        check.number("delta", self.delta, "it is where the loss turns linear", above=0)

    @property
    def quadratic(self) -> bool:
        """Always false."""
        return False

    def value(self, prediction: Array, target: Array) -> Array:
        """Huber's loss."""
        r = np.abs(prediction - target)
        outer = self.delta * (r - 0.5 * self.delta)
        return np.asarray(np.where(r <= self.delta, 0.5 * r * r, outer).sum(-1))

    def gradient(self, prediction: Array, target: Array) -> Array:
        """Residual clipped to [-delta, delta]."""
        return np.clip(prediction - target, -self.delta, self.delta)

    def hessian(self, prediction: Array, target: Array) -> Array:
        """1 inside, 0 outside."""
        return _diagonal((np.abs(prediction - target) <= self.delta).astype(np.float64))

    def check_targets(self, target: Array) -> None:
        """Any finite number will do."""


@dataclass(frozen=True, eq=False)
class CustomLoss(Loss):
    """A loss of the user's own.

    Parameters
    ----------
    function : callable
        ``(yhat, y)``, both (n, outputs), to values (n,); convex in yhat.
    derivative : callable, optional
        ``(yhat, y)`` to (n, outputs); found by complex step or differences where it is left out.

    Raises
    ------
    ValueError
        When it meets data on which it is not convex or returns the wrong shape.
    """

    function: Function
    derivative: Function | None = None
    _probe: Array = field(default_factory=lambda: np.linspace(-2.0, 2.0, 9), init=False, repr=False)

    @property
    def quadratic(self) -> bool:
        """False: nothing is known about it."""
        return False

    def value(self, prediction: Array, target: Array) -> Array:
        """Call the user's function."""
        result = np.asarray(self.function(prediction, target))
        if result.shape != prediction.shape[:1]:
            raise ValueError(
                f"loss must map (n, outputs) to (n,), got shape {result.shape} for "
                f"{prediction.shape}; sum over the last axis"
            )
        return result

    def gradient(self, prediction: Array, target: Array) -> Array:
        """Call the user's derivative, or differentiate."""
        q = target.shape[1]
        function, given = (
            None if f is None else lambda p, f=f: f(p[..., q:], p[..., :q])
            for f in (self.function, self.derivative)
        )
        assert function is not None
        pairs = np.concatenate([target, prediction], axis=1)
        return Derivative("loss", function, given, fixed=q)(pairs)

    def hessian(self, prediction: Array, target: Array) -> Array:
        """Differences of the gradient."""
        step = 1e-4
        columns = []
        for k in range(prediction.shape[1]):
            shift = step * np.eye(prediction.shape[1])[k]
            change = self.gradient(prediction + shift, target)
            columns.append((change - self.gradient(prediction - shift, target)) / (2 * step))
        return np.stack(columns, axis=-1)

    def check_targets(self, target: Array) -> None:
        """Raise ValueError where the loss is not convex near the targets."""
        turns = np.random.default_rng(0).standard_normal((8, target.shape[1]))
        turns /= np.abs(turns).max(axis=1, keepdims=True)
        ends = [target + a * turn for turn in turns for a in self._probe]
        for a, b in zip(ends[:-2], ends[2:], strict=True):
            middle = self.value(0.5 * (a + b), target)
            chord = 0.5 * (self.value(a, target) + self.value(b, target))
            excess = middle - chord
            if not (excess <= 1e-9 * (1 + np.abs(chord))).all():
                raise ValueError(
                    f"loss must be convex in the prediction, got l at a mid-point above its chord "
                    f"by {excess.max():.2g}; the limit theory needs a convex loss"
                )


LOSSES: dict[str, Loss] = {
    "squared": Squared(1.0),
    "half_squared": Squared(0.5),
    "logistic": Logistic(),
    "huber": Huber(),
}
