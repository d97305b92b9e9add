"""The harness that compares packages: its choices, its ratios, and the laws it measures against."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import dblquad, quad

from benchmarks.peers.problems import (
    PROBLEMS,
    double_well,
    quadratic_kernel,
    restrict,
    teaching_data,
)
from benchmarks.peers.reference import extrapolate, march
from benchmarks.peers.table import chosen, fastest, ratio, reaches, table


def trial(seconds: float, error: float, cells: int = 128) -> dict:
    return {"seconds": seconds, "error": error, "setting": {"cells": cells}}


def test_an_error_is_compared_as_it_is_printed():
    assert reaches(2.04e-3, 2.0e-3)
    assert not reaches(2.06e-3, 2.0e-3)


def test_fastest_looks_only_at_what_reaches_the_target():
    trials = [trial(1, 5e-3), trial(3, 1e-3), trial(2, 2e-3)]
    assert fastest(trials, 2e-3) is trials[2]
    assert fastest(trials, 1e-4) is None


def test_chosen_keeps_the_problems_grid_beside_equal_error():
    own, fine = trial(1, 5e-3), trial(4, 1e-3, cells=256)
    assert chosen([own, fine], 128, 2e-3) == [own, fine]
    assert chosen([own, fine], 128, 5e-3) == [own]
    assert chosen([own], 128, 2e-3) == [own]


def test_ratio_of_medians_ignores_one_slow_run():
    assert ratio([2, 2, 50], [1, 1, 1]) == 2


def test_markdown_has_a_rule_under_the_header():
    assert table([["a", "b"], ["1", "22"]], markdown=True).splitlines() == [
        "| a | b  |",
        "| - | -- |",
        "| 1 | 22 |",
    ]


@pytest.mark.parametrize("name", [name for name, p in PROBLEMS.items() if not p.particles])
def test_laws_have_mass_one(name):
    problem = PROBLEMS[name]
    for u in (problem.start(problem.cells), problem.solution(problem.cells)):
        assert u.min() >= 0
        mass = u.sum() * problem.width(problem.cells) ** problem.dimension
        assert mass == pytest.approx(1, abs=1e-10)


def test_double_well_is_the_average_of_its_gibbs_law():
    problem = PROBLEMS["double-well"]
    h, cell = problem.width(64), 40
    left = -problem.half_width + cell * h
    total = quad(lambda x: np.exp(-double_well(x) / 0.1), -3, 3, epsabs=1e-12)[0]
    part = quad(lambda x: np.exp(-double_well(x) / 0.1), left, left + h, epsabs=1e-12)[0]
    assert problem.solution(64)[cell] == pytest.approx(part / total / h, rel=1e-9)


def test_ornstein_uhlenbeck_is_the_average_of_its_normal_law():
    problem, decay = PROBLEMS["ornstein-uhlenbeck-2d"], np.exp(-1.0)
    variance = 0.25 * decay**2 + 0.5 * (1 - decay**2)

    def density(y, x):
        square = (x - 1.5 * decay) ** 2 + (y + decay) ** 2
        return np.exp(-square / 2 / variance) / (2 * np.pi * variance)

    h = problem.width(24)
    mass = dblquad(density, 12 * h - 6, 13 * h - 6, 10 * h - 6, 11 * h - 6)[0]
    assert problem.solution(24)[12, 10] == pytest.approx(mass / h**2, rel=1e-9)


def test_quadratic_kernel_is_the_sum_over_cells():
    problem = PROBLEMS["quartic-well-quadratic"]
    axis, u = problem.axis(8), problem.start(8)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    kernel = ((x[3, 5] - x) ** 2 + (y[3, 5] - y) ** 2) / 2
    square = x[3, 5] ** 2 + y[3, 5] ** 2
    slow = square**2 / 4 - square / 2 + (kernel * u).sum() * problem.width(8) ** 2
    assert quadratic_kernel(axis, np)(u)[3, 5] == pytest.approx(slow, rel=1e-12)


def test_gaussian_kernel_is_the_sum_over_cells():
    problem = PROBLEMS["quartic-well-gaussian"]
    axis, u = problem.axis(8), problem.start(8)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    kernel = -np.exp(-((x[3, 5] - x) ** 2 + (y[3, 5] - y) ** 2) / 0.5)
    square = x[3, 5] ** 2 + y[3, 5] ** 2
    slow = square**2 / 4 - square / 2 + (kernel * u).sum() * problem.width(8) ** 2
    assert problem.potential(8)(u)[3, 5] == pytest.approx(slow, rel=1e-12)


def test_network_potential_is_the_mean_of_its_residual_times_a_unit():
    problem = PROBLEMS["network-drift"]
    axis, u = problem.axis(8), problem.start(8) * np.linspace(0.5, 1.5, 8)
    expected = 0.01 * (axis[3] ** 2 + axis[6] ** 2) / 2
    for x, weight, y in zip(*teaching_data(), strict=True):
        units = axis[:, None] * np.tanh(axis * x)
        residual = (units * u).sum() * problem.width(8) ** 2 - y
        expected += weight * residual * units[3, 6]
    assert problem.potential(8)(u)[3, 6] == pytest.approx(expected, rel=1e-12)


def test_restrict_keeps_mass_and_places():
    u = np.arange(16.0).reshape(4, 4)
    assert restrict(u, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]


def test_references_gain_two_orders_by_extrapolation():
    problem = PROBLEMS["ornstein-uhlenbeck-2d"]
    coarse, fine = march(problem, 24), march(problem, 48)

    def error(u):
        exact = problem.solution(24)
        return np.abs(restrict(u, 24) - exact).sum() * problem.width(24) ** 2

    assert error(coarse) / error(fine) == pytest.approx(4, rel=0.1)
    assert error(extrapolate(coarse, fine, 24)) < error(fine) / 10
