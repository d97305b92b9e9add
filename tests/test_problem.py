"""Problems: save times, initial positions, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, refuses

from meanfield_pde.energies.energy import Entropy
from meanfield_pde.flows.gradient_flow import GradientFlow
from meanfield_pde.flows.problem import Problem
from meanfield_pde.measures.cloud import Cloud
from meanfield_pde.measures.density import Density
from meanfield_pde.measures.grid import Grid

FLOW = GradientFlow(Entropy())
RHO = Density.gaussian(Grid.box(-6, 6, 60), 1.0, 0.5)
PROBLEM = Problem(FLOW, RHO, 2.0)


def test_save_times():
    assert PROBLEM.save_times(None).tolist() == [0.0, 2.0]
    assert PROBLEM.save_times(5).tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert PROBLEM.save_times([0.5]).tolist() == [0.5]
    assert PROBLEM.save_times((0, 1, 2)).tolist() == [0.0, 1.0, 2.0]
    third = Problem(FLOW, RHO, 0.3)
    assert third.save_times([0.1, 0.1 + 0.2]).tolist() == [0.1, 0.3]


@PROPERTY
@given(st.floats(1e-3, 1e3), st.integers(2, 50))
def test_counts_give_equispaced_times(t1, n):
    times = Problem(FLOW, RHO, t1).save_times(n)
    assert len(times) == n
    assert (times[0], times[-1]) == (0.0, t1)
    np.testing.assert_allclose(np.diff(times), t1 / (n - 1), rtol=1e-12)


def test_end_time_is_a_float():
    assert isinstance(Problem(FLOW, RHO, 2).t1, float)


# -- initial positions


def test_a_cloud_of_the_right_size_is_taken_as_it_is():
    cloud = Cloud([[1.0, 2.0], [3.0, 4.0]])
    problem = Problem(FLOW, cloud, 1.0)
    found = problem.draw(2, np.random.default_rng(0))
    assert found.tolist() == cloud.points.tolist()
    found[0] = 9.0
    assert cloud.points[0, 0] == 1.0


def test_other_clouds_are_sampled():
    rng = np.random.default_rng(0)
    cloud = Cloud([0.0, 1.0], [0.1, 0.9])
    found = Problem(FLOW, cloud, 1.0).draw(2, rng)
    assert set(found.ravel()) <= {0.0, 1.0}
    found = Problem(FLOW, cloud, 1.0).draw(10_000, rng)
    assert abs(found.mean() - 0.9) < 5 * 0.3 / 100  # five standard deviations
    found = Problem(FLOW, Cloud([0.0, 1.0]), 1.0).draw(3, rng)
    assert found.shape == (3, 1)


def test_densities_and_functions_are_sampled():
    found = PROBLEM.draw(10_000, np.random.default_rng(1))
    assert found.shape == (10_000, 1)
    assert abs(found.mean() - 1.0) < 5 * np.sqrt(0.5 / 10_000)
    again = PROBLEM.draw(10_000, np.random.default_rng(1))
    assert (again == found).all()
    high = Problem(FLOW, lambda n, rng: rng.normal(size=(n, 7)), 1.0)
    assert high.draw(5, np.random.default_rng(0)).shape == (5, 7)


def drawn(sampler):
    return lambda: Problem(FLOW, sampler, 1.0).draw(4, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("call", "argument", "got", "remedy"),
    [
        (lambda: Problem(Entropy(), RHO, 1.0), "flow", "got Entropy", "mf.GradientFlow(energy)"),
        (lambda: Problem(FLOW, [0.0], 1.0), "initial", "got list", "Density.gaussian"),
        (lambda: Problem(FLOW, Cloud([1.0], [0.0]), 1.0), "initial", "got 0", "put mass"),
        (
            lambda: Problem(FLOW, Density(RHO.grid, np.zeros(60)), 1.0),
            "initial must have positive mass",
            "got 0",
            "put mass",
        ),
        (lambda: Problem(FLOW, RHO, 0), "t1", "got 0", "positive end time"),
        (lambda: Problem(FLOW, RHO, np.inf), "t1", "got inf", "positive end time"),
        (lambda: Problem(FLOW, RHO, None), "t1", "got None", "positive end time"),
        (lambda: PROBLEM.save_times(1), "save", "got 1", "count of at least 2"),
        (lambda: PROBLEM.save_times(1.5), "save", "got 1.5", "give times"),
        (lambda: PROBLEM.save_times([]), "save must be rising times", "[]", "sort"),
        (lambda: PROBLEM.save_times([1, 1]), "save must be rising", "[1.0, 1.0]", "sort"),
        (lambda: PROBLEM.save_times([2, 1]), "save must be rising", "[2.0, 1.0]", "sort"),
        (lambda: PROBLEM.save_times([[0, 1]]), "save must be rising", "[[0.0, 1.0]]", "sort"),
        (lambda: PROBLEM.save_times([-1, 1]), "save must lie in [0, t1 = 2]", "-1 to 1", "drop"),
        (lambda: PROBLEM.save_times([0, 3]), "save must lie in", "0 to 3", "raise t1"),
        (lambda: PROBLEM.save_times([0, np.nan]), "save must be finite", "got nan", "between 0"),
        (drawn(lambda n, rng: rng.normal(size=n)), "initial(n, rng)", "(4,)", "one row"),
        (drawn(lambda n, rng: np.zeros((3, 2))), "initial(n, rng)", "(3, 2)", "one row"),
        (drawn(lambda n, rng: np.full((n, 1), np.nan)), "initial(n, rng)", "nan", "points (n, d)"),
    ],
)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)


def test_particles_need_mass_one() -> None:
    """Half the mass would interact half as strongly, which particles of mass 1/N do not."""
    grid = Grid.box(-4, 4, 50)
    half = Density(grid, 0.5 * Density.gaussian(grid, 0.0, 0.2).values)
    problem = Problem(GradientFlow(Entropy()), half, 1.0)
    with pytest.raises(ValueError, match=r"mass 1 for particles, got 0.5; .*normalised"):
        problem.draw(10, np.random.default_rng(0))
