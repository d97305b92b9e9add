"""Charts: what coordinates stand for, against points, samples and closed forms in Z."""

import numpy as np
import pytest
from reference import refuses
from scipy import stats
from scipy.integrate import quad

import meanfield_pde as mf
from meanfield_pde.measures.chart import FixedSubspace, Mirrors, Radius

SWAP, FLIP = mf.Group.swap(), mf.Group.reflection()
QUARTER = mf.Group.dihedral(2)
CONJUGATION = mf.Group.swap().acting(z=lambda m: np.kron(m, m))
"""z -> P z P on matrices of order 2, which fixes the span of I and P."""
CHARTS = {
    "diagonal": (mf.Chart.fixed_subspace(SWAP), SWAP),
    "matrices": (mf.Chart.fixed_subspace(CONJUGATION), CONJUGATION),
    "half line": (mf.Chart.quotient(FLIP), FLIP),
    "half plane": (mf.Chart.quotient(mf.Group.reflection(2, 1)), mf.Group.reflection(2, 1)),
    "quarter": (mf.Chart.quotient(QUARTER), QUARTER),
    "circle": (mf.Chart.radius(2), mf.Group.so2(16)),
    "sphere": (mf.Chart.radius(5), mf.Group.permutation(5)),
}
EVERY = pytest.mark.parametrize(("chart", "group"), CHARTS.values(), ids=CHARTS)


def box(chart, cells=20, half=3.0):
    lower = -half * np.ones(chart.coordinates)
    if isinstance(chart, Radius):
        lower[:] = 0.0
    if isinstance(chart, Mirrors):
        lower[list(chart.axes)] = 0.0
    return mf.Grid.box(lower, half * np.ones(chart.coordinates), [cells] * len(lower), chart=chart)


@EVERY
def test_coordinates_of_orbits(chart, group):
    """Every point of an orbit has the coordinates it was made from, and so have its images."""
    s = np.abs(np.random.default_rng(0).normal(size=(9, chart.coordinates)))
    places, weights = chart.orbit(s)
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    for z in (*places, chart.place(s), chart.scatter(s, np.random.default_rng(1))):
        assert z.shape == (9, chart.dim)
        for matrix in group.on_z(chart.dim):
            np.testing.assert_allclose(chart.reduce(z @ matrix.T), s, atol=1e-13)


@EVERY
def test_projection_and_moments(chart, group):
    """Means over orbits: the mean is P z, and second moments are those of samples."""
    grid = box(chart)
    rng = np.random.default_rng(2)
    rho = mf.Density(grid, rng.random(grid.shape)).normalised()
    assert rho.mean().shape == (chart.dim,)
    projection = group.projection() if isinstance(chart, FixedSubspace) else np.zeros((1, 1))
    if isinstance(chart, FixedSubspace):
        np.testing.assert_allclose(rho.mean() @ projection, rho.mean(), atol=1e-14)
    points = rho.sample(200_000, rng)
    spread = np.sqrt(np.trace(rho.cov()) + rho.mean() @ rho.mean())
    cells = 9 * np.square(grid.spacing).sum()  # samples fill the cells
    assert np.abs(points.mean(0) - rho.mean()).max() < 5 * spread / np.sqrt(len(points)) + cells
    assert np.abs(np.cov(points.T) - rho.cov()).max() < 20 * spread**2 / 447 + cells
    assert rho.moment(2) == pytest.approx(float((rho.masses * _square(grid)).sum()), rel=1e-12)


def _square(grid):
    return (grid.nodes**2).sum(-1)


def test_samples_of_the_radius_have_the_law_of_the_length():
    rho = mf.Density.gaussian(mf.Grid.box(0, 8, 2000, chart=mf.Chart.radius(7)), 0.0, 0.6)
    points = rho.sample(20_000, np.random.default_rng(0))
    one = stats.kstest(points[:, 3] / np.sqrt(0.6), "norm")
    assert one.pvalue > 1e-4
    assert stats.kstest((points**2).sum(1) / 0.6, stats.chi2(7).cdf).pvalue > 1e-4


@pytest.mark.parametrize("dim", [2, 3, 40])
def test_gaussian_on_the_radius(dim):
    """Cell averages of the chi law, in both tails."""
    upper = 1.5 * np.sqrt(dim) + 5
    grid = mf.Grid.box(0, upper, 300, chart=mf.Chart.radius(dim))
    rho = mf.Density.gaussian(grid, 0.0, 0.5)
    law = stats.chi(dim, scale=np.sqrt(0.5))
    faces = grid.faces[0]
    np.testing.assert_allclose(rho.masses, np.diff(law.cdf(faces)), rtol=0, atol=1e-14)
    far = faces[:-1] > law.isf(1e-6)
    tail = -np.diff(law.sf(faces))[far]
    np.testing.assert_allclose(rho.masses[far], tail, rtol=1e-9, atol=1e-300)


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_volumes_of_orbits(dim):
    """A density on Z integrates to J times itself along the radius."""
    chart = mf.Chart.radius(dim)

    def mass(r):
        density = np.exp(-0.5 * r * r) / (2 * np.pi) ** (dim / 2)
        return density * np.exp(chart.log_volume(np.array([[r]])))[0]

    assert quad(mass, 0, 40, points=[1, 3], epsabs=1e-13)[0] == pytest.approx(1, abs=1e-10)
    s = np.ones((4, 2))
    assert mf.Chart.quotient(QUARTER).log_volume(s) == pytest.approx(np.log(4) * np.ones(4))
    assert mf.Chart.fixed_subspace(SWAP).log_volume(s[:, :1]) == pytest.approx(np.zeros(4))


@pytest.mark.parametrize("name", ["half line", "half plane", "quarter"])
def test_gaussians_behind_mirrors_are_images(name):
    chart, group = CHARTS[name]
    grid = box(chart, 40, 8.0)
    mean, cov = [1.2, -0.7][: grid.dim], 0.3
    rho = mf.Density.gaussian(grid, mean, cov)
    whole = mf.Density.gaussian(grid.whole, mean, cov)
    np.testing.assert_allclose(
        mf.lift(rho).values, mf.symmetrise(whole, group).values, rtol=0, atol=1e-15
    )
    assert mf.lift(rho).mass == pytest.approx(rho.mass, abs=1e-14)
    np.testing.assert_allclose(mf.lift(rho).mean(), rho.mean(), atol=1e-14)
    np.testing.assert_allclose(mf.lift(rho).cov(), rho.cov(), atol=1e-13)


@pytest.mark.parametrize("name", ["half line", "half plane", "quarter"])
def test_entropy_is_that_of_the_whole(name):
    chart, _ = CHARTS[name]
    grid = box(chart)
    rho = mf.Density(grid, np.random.default_rng(0).random(grid.shape)).normalised()
    entropy = mf.Entropy()
    assert entropy.value(rho) == pytest.approx(entropy.value(mf.lift(rho)), rel=1e-13)
    unseen = mf.Density(mf.Grid(grid.lower, grid.upper, grid.cells), rho.values)
    assert abs(entropy.value(unseen) - entropy.value(rho)) > 0.5  # J forgotten


def test_entropy_on_the_radius():
    """Entropy of a normal law in R^D, -D/2 log(2 pi e v)."""
    for dim, v in [(2, 0.5), (3, 1.3), (40, 0.2)]:
        centre = np.sqrt(dim * v)
        grid = mf.Grid.box(0, centre + 9 * np.sqrt(v), 4000, chart=mf.Chart.radius(dim))
        rho = mf.Density.gaussian(grid, 0.0, v)
        exact = -0.5 * dim * np.log(2 * np.pi * np.e * v)
        assert mf.Entropy().value(rho) == pytest.approx(exact, abs=2e-5)


# -- projections


@pytest.mark.parametrize("angle", [0.0, 0.3, np.pi / 4, 1.2, np.pi / 2])
@pytest.mark.parametrize("cells", [(24, 24), (15, 36)])
def test_projection_of_densities(angle, cells):
    """The image of a density that is constant on cells, against points that fill the cells."""
    axis = np.array([np.cos(angle), np.sin(angle)])
    mirror = 2 * np.outer(axis, axis) - np.eye(2)
    group = mf.Group("mirror", np.stack([np.eye(2), mirror]))
    grid = mf.Grid.box((-2, -2), (2, 2), cells)
    rho = mf.Density.mixture(
        [mf.Density.gaussian(grid, m, 0.05) for m in ((0.6, -0.2), (-0.7, 0.4))], [0.3, 0.7]
    )
    shadow = mf.project(rho, group)
    assert shadow.mass == pytest.approx(rho.mass, abs=1e-14)
    # Means of cell averages at centres know means of the law to the order of the cells.
    coarse = 0.03 * max(*grid.spacing, *shadow.grid.spacing) ** 2
    np.testing.assert_allclose(shadow.mean(), group.projection() @ rho.mean(), atol=coarse)
    fine = (np.arange(100) + 0.5) / 100 - 0.5
    around = np.stack(np.meshgrid(fine, fine), -1).reshape(-1, 2) * grid.spacing
    masses = np.zeros(shadow.grid.size)
    sign = shadow.grid.chart.matrix[:, 0] @ axis
    faces = shadow.grid.faces[0]
    for centre, mass in zip(grid.points.reshape(-1, 2), rho.masses.ravel(), strict=True):
        if mass > 1e-4:
            count, _ = np.histogram((centre + around) @ axis * sign, faces)
            masses += mass * count / len(around)
    kept = rho.masses[rho.masses <= 1e-4].sum()
    assert np.abs(masses - shadow.masses).sum() < kept + 1e-2


def test_projection_agrees_with_clouds_and_lifts():
    grid = mf.Grid.box((-4, -4), (4, 4), (64, 64))
    rho = mf.Density.gaussian(grid, (1.0, 0.2), 0.1)
    line = mf.Grid.box(-5, 5, 500, chart=mf.Chart.fixed_subspace(SWAP))
    shadow = mf.project(rho, SWAP, line)
    exact = mf.Density.gaussian(line, 1.2 / np.sqrt(2), 0.1)
    assert float(mf.distance.w1(_flat(shadow), _flat(exact))) < np.prod(grid.spacing)
    cloud = mf.lift(shadow)
    np.testing.assert_array_equal(cloud.points, mf.project(cloud, SWAP).points)
    np.testing.assert_allclose(cloud.mean(), shadow.mean(), atol=1e-14)
    assert mf.asymmetry(shadow, SWAP) == 0.0
    assert mf.symmetrise(shadow, SWAP) is shadow
    with pytest.raises(ValueError, match=r"beside the grid of the line.+enlarge"):
        mf.project(rho, SWAP, mf.Grid.box(-1, 1, 50, chart=line.chart))


def test_a_law_on_the_fixed_subspace_is_its_own_projection():
    group = SWAP.acting(z=lambda g: np.kron(g, g))
    grid = mf.Grid.box((-4, -4), (4, 4), (16, 16), chart=mf.Chart.fixed_subspace(group))
    rho = mf.Density.gaussian(grid, (1.0, 0.2), 0.1)
    assert mf.project(rho, group) is rho
    cloud = mf.lift(rho)
    np.testing.assert_allclose(mf.project(cloud, group).points, cloud.points, atol=1e-14)
    half_turn = SWAP.acting(z=np.stack([np.eye(4), -np.eye(4)]))
    with pytest.raises(ValueError, match="group must be one that the chart is for"):
        mf.project(rho, half_turn)


def _flat(rho):
    grid = rho.grid
    return mf.Density(mf.Grid(grid.lower, grid.upper, grid.cells), rho.values)


def test_a_smear_is_caught():
    """Cell centres alone, a projection without the cells' extent, are another law."""
    grid = mf.Grid.box((-4, -4), (4, 4), (16, 16))
    rho = mf.Density.gaussian(grid, (1.0, 0.2), 0.1)
    line = mf.Grid.box(-6, 6, 1200, chart=mf.Chart.fixed_subspace(SWAP))
    centres = (grid.points @ line.chart.matrix)[..., 0]
    naive, _ = np.histogram(centres, line.faces[0], weights=rho.masses)
    assert np.abs(naive - mf.project(rho, SWAP, line).masses).sum() > 0.5


# -- files and refusals


@EVERY
def test_entries_make_the_chart_again(chart, group):
    assert mf.Chart.from_entries(chart.entries) == chart
    refuses(lambda: mf.Chart.from_entries({"kind": "sphere"}), "kind", "sphere", "save_solution")


def test_solutions_on_charts_are_kept(tmp_path):
    grid = mf.Grid.box(0, 6, 60, chart=mf.Chart.radius(3))
    flow = mf.GradientFlow(mf.Penalty() + 0.5 * mf.Entropy())
    solution = mf.solve(mf.Problem(flow, mf.Density.gaussian(grid, 0.0, 0.5), 0.2))
    mf.save_solution(solution, tmp_path / "a.nc")
    again = mf.load_solution(tmp_path / "a.nc")
    assert again.densities[0].grid == grid
    np.testing.assert_array_equal(again.densities[-1].values, solution.densities[-1].values)


LINE = mf.Chart.fixed_subspace(SWAP)
PLANE = mf.Grid.box((-2, -2), (2, 2), (8, 8))
REFUSALS = {
    "point": (lambda: mf.Chart.fixed_subspace(FLIP), "dimension 1 or 2", "0", "no grid"),
    "space": (lambda: mf.Chart.fixed_subspace(mf.Group.trivial(3)), "subspace", "3", "particles"),
    "turns": (lambda: mf.Chart.quotient(mf.Group.cyclic(4)), "group", "cyclic(4)", "radius"),
    "swap": (lambda: mf.Chart.quotient(SWAP), "reflections of axes", "swap", "reduce"),
    "point reflection": (
        lambda: mf.Chart.quotient(mf.Group.cyclic(2)),
        "group",
        "cyclic",
        "radius",
    ),
    "name of a group": (lambda: mf.Chart.fixed_subspace("swap"), "group", "str", "make one"),
    "name of reflections": (lambda: mf.Chart.quotient("x"), "group", "str", "make one"),
    "dim": (lambda: mf.Chart.radius(1), "dim", "1", "2 or more"),
    "skew": (lambda: FixedSubspace(((1.0,), (1.0,))), "orthonormal", "1", "QR"),
    "columns": (lambda: FixedSubspace(((1.0, 0.0, 0.0),)), "basis", "(1, 3)", "one or two"),
    "box": (lambda: mf.Grid.box((0, 0), (1, 1), (4, 4), chart=LINE), "chart", "1 and 2", "side"),
    "torus": (lambda: mf.Grid((0.0,), (1.0,), (4,), True, LINE), "chart", "torus", "Grid.box"),
    "no chart": (lambda: mf.Grid.box(0, 1, 4, chart="radius"), "chart", "str", "mf.Chart"),
    "mirror": (
        lambda: mf.Grid.box(-1, 1, 4, chart=mf.Chart.quotient(FLIP)),
        *("lower", "-1", "mirror image"),
    ),
    "radius": (
        lambda: mf.Grid.box(-1, 1, 4, chart=mf.Chart.radius(3)),
        *("lower", "-1", "start at 0"),
    ),
    "mean": (
        lambda: mf.Density.gaussian(mf.Grid.box(0, 9, 9, chart=mf.Chart.radius(3)), 1.0, 1.0),
        *("mean", "1.0", "rotations"),
    ),
    "law on another space": (
        lambda: mf.distance.w1(
            mf.Density.uniform(mf.Grid.box(-1, 1, 9, chart=LINE)),
            mf.Density.uniform(mf.Grid.box(-1, 1, 9)),
        ),
        *("mu and nu", "FixedSubspace", "mf.lift"),
    ),
    "law not folded": (
        lambda: mf.distance.mmd(
            mf.Density.uniform(mf.Grid.box(0, 1, 9, chart=mf.Chart.quotient(FLIP))),
            mf.Cloud([[-1.0], [1.0]]),
        ),
        *("mu and nu", "Mirrors", "mf.lift"),
    ),
    "other group": (
        lambda: mf.asymmetry(mf.Density.uniform(mf.Grid.box(-1, 1, 9, chart=LINE)), QUARTER),
        *("group", "dihedral(2)", "chart"),
    ),
    "lift": (
        lambda: mf.lift(mf.Density.uniform(mf.Grid.box(0, 1, 9, chart=mf.Chart.radius(3)))),
        *("mu", "Radius", "sample"),
    ),
    "projected on what": (
        lambda: mf.project(mf.Density.uniform(PLANE), mf.Group.trivial(2)),
        *("mu", "fixed subspace of dimension 2", "cloud"),
    ),
    "grid of another line": (
        lambda: mf.project(
            mf.Density.uniform(PLANE), mf.Group.reflection(2), mf.Grid.box(-1, 1, 9, chart=LINE)
        ),
        *("grid", "FixedSubspace", "chart="),
    ),
}


@pytest.mark.parametrize(("call", "argument", "got", "remedy"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(call, argument, got, remedy):
    refuses(call, argument, got, remedy)
