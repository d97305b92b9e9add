"""Gradient flows: the clock of a schedule, and flows that are refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.energies.energy import Entropy
from meanfield_pde.energies.potential import Penalty
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.measures.group import Group

ENERGY = Penalty() + 0.1 * Entropy()
# name: schedule, its primitive in closed form
SCHEDULES = {
    "none": (None, lambda t: t),
    "number": (2.5, lambda t: 2.5 * t),
    "harmonic": (lambda t: 1 / (1 + t), math.log1p),
    "square root": (lambda t: (1 + t) ** -0.5, lambda t: 2 * (math.sqrt(1 + t) - 1)),
    "exponential": (lambda t: math.exp(-3 * t), lambda t: -math.expm1(-3 * t) / 3),
    "cosine": (lambda t: 1 + math.cos(t), lambda t: t + math.sin(t)),
    "steps": (lambda t: 1.0 if t < 1 else 0.1, lambda t: min(t, 1) + 0.1 * max(t - 1, 0)),
    "warm-up": (lambda t: min(t, 1.0), lambda t: 0.5 * t * t if t < 1 else t - 0.5),
    "off at first": (lambda t: max(t - 1, 0.0), lambda t: 0.5 * max(t - 1, 0) ** 2),
}
EVERY = pytest.mark.parametrize(("rate", "primitive"), SCHEDULES.values(), ids=SCHEDULES)


def check_clock(rate, primitive):
    flow = GradientFlow(ENERGY, rate=rate)
    for t0, t1 in ((0.0, 0.3), (0.0, 4.0), (0.5, 2.5), (2.0, 2.0)):
        # A jump or a kink is bisected to, until what is left is below 1e-8.
        assert flow.clock(t0, t1) == pytest.approx(primitive(t1) - primitive(t0), abs=1e-8)


@EVERY
def test_clock_is_the_integral_of_the_schedule(rate, primitive):
    check_clock(rate, primitive)


@pytest.mark.parametrize("name", ["number", "harmonic", "off at first"])
def test_planted_speed_at_the_start_is_caught(monkeypatch, name):
    monkeypatch.setattr(GradientFlow, "clock", lambda flow, t0, t1: flow.speed(t0) * (t1 - t0))
    if name == "number":
        check_clock(*SCHEDULES[name])
        return
    with pytest.raises(AssertionError):
        check_clock(*SCHEDULES[name])


@PROPERTY
@given(st.floats(0, 20))
def test_one_over_one_plus_t_is_the_logarithm(t):
    """s = 1/(1+t) at time t is s = 1 at log(1+t)."""
    flow = GradientFlow(ENERGY, rate=lambda t: 1 / (1 + t))
    assert flow.clock(0.0, t) == pytest.approx(math.log1p(t), abs=1e-12)


@PROPERTY
@given(st.floats(0, 3), st.floats(0, 3), st.floats(0, 3))
def test_clock_adds_up(a, b, c):
    flow = GradientFlow(ENERGY, rate=lambda t: 1 + math.sin(t) ** 2)
    a, b, c = sorted((a, b, c))
    assert flow.clock(a, b) >= 0
    assert flow.clock(a, b) + flow.clock(b, c) == pytest.approx(flow.clock(a, c), abs=1e-11)


def test_speed():
    assert GradientFlow(ENERGY).speed(3.0) == 1.0
    assert GradientFlow(ENERGY, rate=np.float64(0.5)).speed(3.0) == 0.5
    assert GradientFlow(ENERGY, rate=lambda t: np.float64(t)).speed(3.0) == 3.0


def test_planted_schedule_without_return_is_no_rate_of_one():
    def forgot(t):
        1 / (1 + t)

    with pytest.raises(ValueError, match="rate at t = 2 must be a number, got None"):
        GradientFlow(ENERGY, rate=forgot).speed(2.0)


def test_frozen_coordinates_that_the_noise_leaves_alone():
    flow = GradientFlow(ENERGY, noise=Group.reflection(2, 1), frozen=(0,))
    assert flow.frozen == (0,)


def late(t):
    return 1.0 - t


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: GradientFlow("V"), "energy must be an energy", "got str", "add energies with +"),
        (lambda: GradientFlow(Penalty() - Entropy()), "energy", "got -1", "ill-posed"),
        (lambda: GradientFlow(ENERGY, rate=-1.0), "rate", "got -1", "positive number"),
        (lambda: GradientFlow(ENERGY, rate=0.0), "rate", "got 0", "positive number"),
        (lambda: GradientFlow(ENERGY, rate=np.inf), "rate", "got inf", "positive number"),
        (lambda: GradientFlow(ENERGY, rate="fast"), "rate", "'fast'", "function of t"),
        (
            lambda: GradientFlow(ENERGY, noise=Group.swap(), frozen=(0,)),
            *("noise must not mix frozen", "swap and frozen [0]", "leave it"),
        ),
        (lambda: GradientFlow(ENERGY, reaction=-1.0), "reaction must be", "-1", "birth and death"),
        (lambda: GradientFlow(ENERGY, transport=False), "without transport", "got 0", "move"),
        (lambda: GradientFlow(ENERGY, entropic=True), "without a reaction", "True", "reaction=1"),
        (
            lambda: GradientFlow(ENERGY, reaction=1, entropic="no"),
            "entropic",
            "'no'",
            "one of them",
        ),
        (
            lambda: GradientFlow(ENERGY, reaction=1, transport=0),
            "transport",
            "got 0",
            "one of them",
        ),
        (lambda: GradientFlow(ENERGY, rate=late).speed(2.0), "rate at t = 2", "-1", "negative"),
        (lambda: GradientFlow(ENERGY, rate=late).clock(0, 2), "rate at t", "-0.25", "negative"),
        (
            lambda: GradientFlow(ENERGY, rate=lambda t: math.nan).clock(0, 1),
            "rate at t = 0",
            "got nan",
            "negative",
        ),
        (
            lambda: GradientFlow(ENERGY, rate=lambda t: np.ones(2)).speed(0.0),
            "rate at t = 0",
            "array([1., 1.])",
            "never negative",
        ),
        (
            lambda: GradientFlow(ENERGY, rate=lambda t: 1e9 * (1 + math.sin(1e7 * t))).clock(0, 1),
            "rate must be integrable on [0, 1]",
            "with error",
            "smoother schedule",
        ),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_a_pulse_is_not_overlooked() -> None:
    """100 on a hundredth of the time: adaptive quadrature alone sees nothing of it."""
    flow = GradientFlow(Entropy(), rate=lambda t: 100.0 if 0.503 < t < 0.513 else 0.0)
    with pytest.raises(ValueError, match=r"rate must be smooth between save times.*save where"):
        flow.clock(0.0, 1.0)
    pieces = [flow.clock(a, b) for a, b in ((0.0, 0.503), (0.503001, 0.512999), (0.513, 1.0))]
    assert sum(pieces) == pytest.approx(1.0, abs=1e-3)


def test_a_schedule_that_divides_by_zero() -> None:
    with pytest.raises(ValueError, match=r"rate must be finite at t = 0.*;"):
        GradientFlow(Entropy(), rate=lambda t: 1 / t).speed(0.0)
