"""Losses: values by hand, derivatives by differences, convexity."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, ULP, gradient, refuses

from meanfield_pde.energies import loss as module
from meanfield_pde.energies.data import Data
from meanfield_pde.energies.loss import CustomLoss, Huber, Loss, Squared
from meanfield_pde.energies.risk import Risk
from meanfield_pde.energies.unit import Unit


def quartic(prediction, target):
    return ((prediction - target) ** 4).sum(-1) / 4 + np.exp(prediction).sum(-1)


def slow_huber(r, delta):
    return 0.5 * r * r if abs(r) <= delta else delta * (abs(r) - 0.5 * delta)


# name: loss, one sample by hand, labels?
LOSSES = {
    "squared": (Loss.named("squared"), lambda f, y: sum((f - y) ** 2), False),
    "half squared": (Loss.named("half_squared"), lambda f, y: 0.5 * sum((f - y) ** 2), False),
    "logistic": (
        Loss.named("logistic"),
        lambda f, y: sum(math.log(1 + math.exp(-b * a)) for a, b in zip(f, y, strict=True)),
        True,
    ),
    "huber": (Loss.named("huber"), lambda f, y: sum(slow_huber(r, 1.0) for r in f - y), False),
    "narrow huber": (Huber(0.3), lambda f, y: sum(slow_huber(r, 0.3) for r in f - y), False),
    "custom": (
        CustomLoss(quartic),
        lambda f, y: sum((a - b) ** 4 / 4 + math.exp(a) for a, b in zip(f, y, strict=True)),
        False,
    ),
    "custom with a derivative": (
        CustomLoss(quartic, lambda f, y: (f - y) ** 3 + np.exp(f)),
        lambda f, y: sum((a - b) ** 4 / 4 + math.exp(a) for a, b in zip(f, y, strict=True)),
        False,
    ),
    "custom without a complex step": (
        CustomLoss(lambda f, y: (np.abs(f - y) ** 4).sum(-1)),
        lambda f, y: sum((f - y) ** 4),
        False,
    ),
    "coupled": (
        CustomLoss(lambda f, y: np.log(np.exp(f - y).sum(-1))),
        lambda f, y: math.log(sum(math.exp(r) for r in f - y)),
        False,
    ),
}
EVERY = pytest.mark.parametrize(("loss", "slow", "labels"), LOSSES.values(), ids=LOSSES)


def samples(seed, labels):
    rng = np.random.default_rng(seed)
    prediction = rng.uniform(-2, 2, size=(7, 2))
    target = rng.choice([-1.0, 1.0], size=(7, 2)) if labels else rng.uniform(-2, 2, size=(7, 2))
    return prediction, target


def check_loss(loss, slow, labels, seed=0):
    prediction, target = samples(seed, labels)
    pairs = list(zip(prediction, target, strict=True))
    exact = [slow(f, y) for f, y in pairs]
    np.testing.assert_allclose(loss.value(prediction, target), exact, rtol=1e-13)
    slopes = loss.gradient(prediction, target)
    hessians = loss.hessian(prediction, target)
    assert (slopes.shape, hessians.shape) == ((7, 2), (7, 2, 2))
    for k, (f, y) in enumerate(pairs):
        # Step 1e-5: rounding 1e-10. Differences of a user's function and of those: 1e-8, 1e-5.
        found = gradient(lambda one, y=y: slow(one, y), f)
        np.testing.assert_allclose(slopes[k], found, rtol=1e-8, atol=1e-8)
        for q in (0, 1):
            found = gradient(
                lambda one, y=y, q=q: loss.gradient(one[None], y[None])[0, q], f, step=1e-4
            )
            np.testing.assert_allclose(hessians[k, q], found, rtol=1e-5, atol=1e-5)
        assert np.linalg.eigvalsh(hessians[k]).min() >= -1e-6


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_values_and_derivatives(loss, slow, labels, seed):
    check_loss(loss, slow, labels, seed)


PLANTED = {
    "squared twice": (module.Squared, "gradient", lambda s, f, y: s.factor * (f - y), "squared"),
    "logistic sign": (
        module.Logistic,
        "gradient",
        lambda s, f, y: -right_slope(s, f, y),
        "logistic",
    ),
    "huber tail": (module.Huber, "value", lambda s, f, y: 0.5 * ((f - y) ** 2).sum(-1), "huber"),
    "huber curvature": (
        module.Huber,
        "hessian",
        lambda s, f, y: np.ones((len(f), 2, 2)) * np.eye(2),
        "narrow huber",
    ),
    "logistic curvature": (
        module.Logistic,
        "hessian",
        lambda s, f, y: np.ones((len(f), 2, 2)) * np.eye(2),
        "logistic",
    ),
}
right_slope = module.Logistic.gradient


@pytest.mark.parametrize(("kind", "name", "wrong", "loss"), PLANTED.values(), ids=PLANTED)
def test_planted_losses_are_caught(monkeypatch, kind, name, wrong, loss):
    monkeypatch.setattr(kind, name, wrong)
    with pytest.raises(AssertionError):
        check_loss(*LOSSES[loss])


@EVERY
@pytest.mark.parametrize("seed", range(3))
def test_convex(loss, slow, labels, seed):
    a, target = samples(seed, labels)
    b = samples(seed + 10, labels)[0]
    for share in (0.2, 0.5):
        mixed = loss.value(share * a + (1 - share) * b, target)
        chord = share * loss.value(a, target) + (1 - share) * loss.value(b, target)
        assert (mixed <= chord + 1e-13 * (1 + np.abs(chord))).all()


@PROPERTY
@given(st.floats(-800, 800), st.sampled_from([-1.0, 1.0]))
def test_logistic_far_out(f, y):
    """No overflow; l(f) - l(-f) = -y f exactly, and slopes of both signs add to -y."""
    loss = Loss.named("logistic")
    at, target = np.array([[f]]), np.array([[y]])
    difference = loss.value(at, target) - loss.value(-at, target)
    assert difference[0] == pytest.approx(-y * f, rel=1e-14, abs=1e-14)
    slopes = loss.gradient(at, target) + loss.gradient(-at, target)
    assert slopes[0, 0] == pytest.approx(-y, rel=1e-14)
    assert 0 <= loss.hessian(at, target)[0, 0, 0] <= 0.25 * (1 + ULP)


def test_huber_between_square_and_line():
    loss, target = Huber(0.5), np.zeros((4, 1))
    at = np.array([[0.5], [0.25], [-3.0], [0.0]])
    assert loss.value(at, target).tolist() == [0.125, 0.03125, 1.375, 0.0]
    assert loss.gradient(at, target).ravel().tolist() == [0.5, 0.25, -0.5, 0.0]


def test_quadratic_losses_say_so():
    flags = {name: loss.quadratic for name, (loss, _, _) in LOSSES.items()}
    assert {name for name, flag in flags.items() if flag} == {"squared", "half squared"}
    assert Squared(0.5) == Loss.named("half_squared")


# -- refusals


def on_data(loss, y=(0.5, 1.0)):
    return Risk(Unit.ridge("tanh"), Data.samples([1.0, 2.0], y), loss)


F, Y = np.array([[1.0], [2.0]]), np.array([[0.0], [0.0]])


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Loss.named("l2"), "loss must be one of squared", "'l2'", "mf.CustomLoss"),
        (lambda: on_data("hinge"), "loss must be one of", "'hinge'", "mf.CustomLoss"),
        (lambda: on_data("logistic"), "target must hold labels", "got 0.5", "2*y - 1"),
        (lambda: on_data("logistic", (0, 1)), "target must hold labels", "got 0", "2*y - 1"),
        (lambda: Huber(0), "delta", "got 0", "turns linear"),
        (lambda: Huber(np.nan), "delta", "got nan", "turns linear"),
        (
            lambda: CustomLoss(lambda f, y: (f - y) ** 2).value(F, Y),
            "loss must map (n, outputs) to (n,)",
            "(2, 1)",
            "last axis",
        ),
        (
            lambda: on_data(CustomLoss(lambda f, y: np.cos(f - y).sum(-1))),
            "loss must be convex",
            "above its chord by",
            "convex loss",
        ),
        (
            lambda: Risk(
                Unit.custom(lambda x, z: x * z, outputs=2),
                Data.samples(np.ones((1, 2)), np.zeros((1, 2))),
                CustomLoss(lambda f, y: f[:, 0] * f[:, 1]),
            ),
            "loss must be convex",
            "above its chord by",
            "convex loss",
        ),
        (
            lambda: on_data(CustomLoss(lambda f, y: np.full(len(f), np.nan))),
            "loss must be convex",
            "by nan",
            "convex loss",
        ),
        (
            lambda: CustomLoss(quartic, lambda f, y: (f - y) ** 3).gradient(F, Y),
            "gradient of loss is wrong",
            "is 1, differences of the function give 3.71828",
            "correct it",
        ),
        (
            lambda: CustomLoss(quartic, lambda f, y: (f - y).sum(-1)).gradient(F, Y),
            "gradient of loss must have shape",
            "got (",
            "last axis",
        ),
        (
            lambda: CustomLoss(lambda f, y: np.abs(f - y).sum(-1)).gradient(Y + 1e-3, Y),
            "loss has no gradient",
            "100.0%",
            "gradient=",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
