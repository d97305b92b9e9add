"""The step size controller: its formula, its bounds, and that it settles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY

from meanfield_pde.eulerian.stepsize import FIRST_GROWTH, GROWTH, SAFETY, Controller


@pytest.mark.parametrize("order", [1, 2])
def test_formula(order):
    """0.9 (tol/e)^{0.7/(p+1)} (e_prev/tol)^{0.4/(p+1)}."""
    first, _ = Controller(order).accept(0.5)
    _, factor = first.accept(0.8)
    assert factor == pytest.approx(0.9 * 0.8 ** (-0.7 / (order + 1)) * 0.5 ** (0.4 / (order + 1)))
    assert Controller(order).reject(3.0) == pytest.approx(0.9 * 3 ** (-1 / (order + 1)))


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 3))
@PROPERTY
def test_accepted_steps_change_within_bounds(before, ratio, order):
    controller, _ = Controller(order).accept(before)
    _, factor = controller.accept(ratio)
    assert GROWTH[0] <= factor <= GROWTH[1]


@given(st.floats(1, 1e300, exclude_min=True), st.integers(1, 3))
@PROPERTY
def test_rejected_steps_shrink(ratio, order):
    assert GROWTH[0] <= Controller(order).reject(ratio) <= SAFETY < 1


def test_errors_that_are_nothing():
    """An error of 0 (a stationary state) grows the step as far as it may."""
    controller, factor = Controller(1).accept(0.0)
    assert factor == FIRST_GROWTH
    controller, factor = controller.accept(0.0)
    assert factor == GROWTH[1]
    _, factor = controller.accept(0.5)
    assert factor > 0


@pytest.mark.parametrize("order", [1, 2])
def test_the_first_step_is_a_guess(order):
    """With an error C dt^(p+1) the second step is the one that C asks for, within bounds."""
    _, factor = Controller(order).accept(0.1)
    assert factor == pytest.approx(0.9 * 0.1 ** (-1 / (order + 1)))
    assert Controller(order).accept(1e-9)[1] == FIRST_GROWTH


def settle(controller, order, constant=7.0):
    """Steps against an error ``constant dt^(p+1)`` relative to the tolerance."""
    dt, history = 1e-3, []
    for _ in range(60):
        ratio = constant * dt ** (order + 1)
        if ratio > 1:
            dt *= controller.reject(ratio)
            continue
        controller, factor = controller.accept(ratio)
        history.append(ratio)
        dt *= factor
    return history


@pytest.mark.parametrize("order", [1, 2])
def test_errors_settle_below_the_tolerance(order):
    """Where the error goes as dt^(p+1), e/tol tends to 0.9^((p+1)/0.3): where the factor is 1."""
    history = settle(Controller(order), order)
    rest = SAFETY ** ((order + 1) / 0.3)
    assert history[-1] == pytest.approx(rest, rel=1e-3)


class Slow(Controller):
    """Planted: the exponents of a method of a higher order."""

    def accept(self, ratio):
        controller, factor = Controller(9).accept(ratio)
        return Slow(self.order, controller.previous), factor


def test_a_controller_of_another_order_is_caught():
    history = settle(Slow(1), 1)
    assert history[-1] != pytest.approx(SAFETY ** (2 / 0.3), rel=1e-3)
