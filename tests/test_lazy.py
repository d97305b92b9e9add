"""Lazy quotient metrics and lazy averages."""

import numpy as np
import ot
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY, order, refuses
from scipy.integrate import solve_ivp
from scipy.optimize import minimize_scalar, root
from scipy.spatial.transform import Rotation

import meanfield_pde as mf
from meanfield_pde.measures.lazy import frobenius_norms

SCALES = [0.05, 0.3, 1.0, 4.0]


def polar(r, phi):
    return np.stack([r * np.cos(phi), r * np.sin(phi)], axis=-1)


def rotation(angle):
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def pairs(n, seed, size=2.0):
    rng = np.random.default_rng(seed)
    return size * rng.standard_normal((2, n, 2))


# -- distances in the plane


@pytest.mark.parametrize(("scale", "value"), [(0.3, 0.6408570534), (1.0, 1.0456160157)])
def test_known_values(scale, value):
    assert abs(mf.LazyMetric(scale).distance(polar(1, 0), polar(1.5, 1)) - value) < 5e-11


def by_search(x, y, scale, reach):
    """Least of the definition over angles in [-reach, reach]: every valley of a fine scan."""

    def square(angle):
        return float(((rotation(angle) @ x - y) ** 2).sum() + 2 * scale**2 * angle**2)

    angles = np.linspace(-reach, reach, 400)
    values = [square(a) for a in angles]
    low = [k for k in range(1, 399) if values[k] <= min(values[k - 1], values[k + 1])] + [1, 398]
    found = [
        minimize_scalar(square, bounds=(angles[k - 1], angles[k + 1]), method="bounded").fun
        for k in low
    ]
    return np.sqrt(min([*found, values[0], values[-1]]))


@pytest.mark.parametrize("reach", [np.pi, 3 * np.pi])
@pytest.mark.parametrize("scale", SCALES)
def test_against_a_search_over_all_angles(scale, reach):
    """The whole line and [-pi, pi] give the same."""
    x, y = pairs(20, seed=1)
    y[0] = -x[0]  # opposite points have two ways round, or the straight one
    slow = [by_search(a, b, scale, reach) for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(mf.LazyMetric(scale).distance(x, y), slow, rtol=0, atol=1e-9)


def test_limits():
    """The radius as lambda vanishes; the Euclidean distance as it grows, from below."""
    x, y = pairs(50, seed=2)
    radii = np.abs(np.hypot(*x.T) - np.hypot(*y.T))
    # Aligned points cost lambda times the angle, so the distance is at most so much larger.
    gap = mf.LazyMetric(1e-6).distance(x, y) - radii
    assert gap.min() >= -1e-15
    assert gap.max() <= np.sqrt(2) * np.pi * 1e-6
    flat = np.linalg.norm(x - y, axis=-1)
    scales = [10.0, 20.0, 40.0, 80.0]
    errors = [(flat - mf.LazyMetric(scale).distance(x, y)).max() for scale in scales]
    assert abs(order(scales, errors) - 2) < 0.05


def geodesic_length(r0, r1, phi, scale):
    """Shortest of the geodesics of the metric that reach the point, by shooting.

    At unit speed ``r'' = f f' phi'^2``, ``(f^2 phi')' = 0``, ``f^2 = 2 l^2 r^2 / (2 l^2 + r^2)``.
    """
    double = 2 * scale**2

    def move(_, state):
        r, _, speed, momentum = state
        f2 = double * r**2 / (double + r**2)
        half_slope = double**2 * r / (double + r**2) ** 2  # f f'
        turning = momentum / f2
        return [speed, turning, half_slope * turning**2, 0.0]

    f0 = np.sqrt(double * r0**2 / (double + r0**2))

    def miss(unknown):
        direction, length = unknown
        start = [r0, 0.0, np.cos(direction), f0 * np.sin(direction)]
        end = solve_ivp(move, (0, length), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
        return [end[0] - r1, end[1] - phi]

    found = []
    for direction in (0.2, 1.0, 2.0):
        for length in (0.7, 1.6):
            tried = root(miss, [direction, length], tol=1e-12)
            if tried.success and tried.x[1] > 0:
                found.append(tried.x[1])
    return min(found)


@pytest.mark.parametrize(
    ("r0", "r1", "phi", "scale"),
    [(1, 1.5, 1, 0.3), (1, 1.5, 1, 1), (2, 2, 1.2, 0.5), (0.7, 2.5, 0.4, 0.2), (1, 1, 2.5, 1)],
)
def test_is_the_geodesic_distance_of_its_form(r0, r1, phi, scale):
    lazy = float(mf.LazyMetric(scale).distance(polar(r0, 0.0), polar(r1, phi)))
    assert abs(lazy - geodesic_length(r0, r1, phi, scale)) < 1e-9


def test_planted_another_form_is_caught():
    """With nu = |angle| in place of sqrt(2) |angle|, lambda is another."""
    lazy = float(mf.LazyMetric(0.3).distance(polar(1, 0.0), polar(1.5, 1)))
    assert abs(lazy - geodesic_length(1, 1.5, 1, 0.3 / np.sqrt(2))) > 0.01


@pytest.mark.parametrize("scale", SCALES)
def test_form_and_mobility_are_inverse(scale):
    """Short distances see the form; the mobility is its inverse, in the angle too."""
    lazy, rng = mf.LazyMetric(scale), np.random.default_rng(3)
    z, v = rng.standard_normal((2, 30, 2))
    mobility = lazy.mobility(z)
    squares = np.einsum("ni,nij,nj->n", v, np.linalg.inv(mobility), v)
    step = 1e-4
    short = lazy.distance(z - 0.5 * step * v, z + 0.5 * step * v) / step
    np.testing.assert_allclose(short**2, squares, rtol=1e-6)
    tangent = np.stack([-z[:, 1], z[:, 0]], axis=-1) / (z**2).sum(-1)[:, None]  # gradient of phi
    angular = np.einsum("ni,nij,nj->n", tangent, mobility, tangent)
    np.testing.assert_allclose(lazy.angular_mobility(np.hypot(*z.T)), angular, rtol=1e-13)


def excess(distance, seed=4):
    """Largest excess of a side of 10,000 random triangles over the sum of the other two."""
    x, y, z = 1.5 * np.random.default_rng(seed).standard_normal((3, 10_000, 2))
    return float((distance(x, z) - distance(x, y) - distance(y, z)).max())


@pytest.mark.parametrize("scale", SCALES)
def test_triangle_inequality(scale):
    assert excess(mf.LazyMetric(scale).distance) <= 1e-14


def test_planted_only_two_rotations_are_no_metric():
    """The best of no rotation and the one that aligns the points."""

    def two(x, y):
        angle = np.arccos(np.clip((x * y).sum(-1) / np.hypot(*x.T) / np.hypot(*y.T), -1, 1))
        aligned = np.hypot(np.hypot(*x.T) - np.hypot(*y.T), np.sqrt(2) * 0.5 * angle)
        return np.minimum(np.linalg.norm(x - y, axis=-1), aligned)

    assert excess(two) > 0.01


def test_distances_are_symmetric_and_vanish_at_equal_points():
    x, y = pairs(100, seed=5)
    lazy = mf.LazyMetric(0.4)
    np.testing.assert_allclose(lazy.distance(x, y), lazy.distance(y, x), rtol=1e-13)
    assert lazy.distance(x, x).max() <= 1e-15
    assert float(lazy.distance([0.0, 0.0], [3.0, 4.0])) == pytest.approx(5, abs=1e-15)
    assert lazy.distance(x[:, None], y[None]).shape == (100, 100)


def test_wrong_arguments_of_the_metric():
    refuses(lambda: mf.LazyMetric(0.0), "scale", "0", "lambda")
    refuses(lambda: mf.LazyMetric(np.inf), "scale", "inf", "lambda")
    refuses(lambda: mf.LazyMetric(1.0).distance([1.0], [2.0]), "x", "(1,)", "(..., 2)")
    refuses(lambda: mf.LazyMetric(1.0).mobility([[1.0, 2.0, 3.0]]), "z", "(1, 3)", "(..., 2)")


# -- finite groups

CUBE = mf.Group.generate([Rotation.from_euler(a, 90, degrees=True).as_matrix() for a in "xz"])
GROUPS = [mf.Group.reflection(), mf.Group.dihedral(5), mf.Group.permutation(3), CUBE]


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
@pytest.mark.parametrize("scale", [0.0, 0.4, 100.0])
def test_finite_groups_by_enumeration(group, scale):
    dim = group.matrices.shape[-1]
    x, y, z = np.random.default_rng(6).standard_normal((3, 40, dim))
    slow = [
        min(
            np.sqrt(((m @ a - b) ** 2).sum() + scale**2 * ((m - np.eye(dim)) ** 2).sum())
            for m in group.matrices
        )
        for a, b in zip(x, y, strict=True)
    ]
    found = mf.lazy_distance(x, y, group, scale)
    np.testing.assert_allclose(found, slow, rtol=1e-14)
    if scale == 0.0:  # moving a point along its orbit costs nothing
        moved = x @ group.matrices[-1].T
        np.testing.assert_allclose(mf.lazy_distance(moved, y, group, 0.0), found, rtol=1e-13)
    if scale == 100.0:
        np.testing.assert_allclose(found, np.linalg.norm(x - y, axis=-1), rtol=1e-14)
    sides = [mf.lazy_distance(a, b, group, scale) for a, b in ((x, y), (y, z), (x, z))]
    assert (sides[2] - sides[0] - sides[1]).max() <= 1e-14


def test_many_rotations_come_near_all():
    """A finite group has fewer ways, so the distance is larger, by the square of the angle."""
    x, y = pairs(200, seed=7)
    exact = mf.LazyMetric(0.4).distance(x, y)
    orders, errors = [12, 24, 48, 96], []
    for n in orders:
        group = mf.Group.so2(n)
        angles = np.abs(np.arctan2(group.matrices[:, 1, 0], group.matrices[:, 0, 0]))
        found = mf.lazy_distance(x, y, group, 0.4, norms=np.sqrt(2) * angles)
        errors.append(found.max() and (found - exact).mean())
        assert (found - exact).min() >= -1e-13
    assert abs(order(orders, errors) - 2) < 0.2


C4 = mf.Group.cyclic(4)


@pytest.mark.parametrize(
    ("norms", "flaw"),
    [
        ([0.1, 1, 1, 1], "0 at the identity"),
        ([0, 0, 1, 0], "positive elsewhere"),
        ([0, 1, 1, 1.5], "inverse"),
        ([0, 1, 3, 1], "subadditive"),
        ([0, 1, 2], "one entry for each"),
        ([0, 1, np.nan, 1], "finite"),
    ],
)
def test_what_is_no_norm_is_refused(norms, flaw):
    mf.lazy_distance([1.0, 0.0], [0.0, 1.0], C4, 1.0, norms=[0, 1, 2, 1])
    with pytest.raises(ValueError, match=flaw):
        mf.lazy_distance([1.0, 0.0], [0.0, 1.0], C4, 1.0, norms=norms)


def test_a_norm_that_is_not_subadditive_breaks_the_triangle():
    """What the check keeps out matters: half turns that cost more than two quarter turns."""
    x, y, z = np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([-1.0, 0.0])
    norms = np.array([0.0, 0.1, 3.0, 0.1])

    def distance(a, b):
        ways = zip(C4.matrices, norms, strict=True)
        return min(np.hypot(np.linalg.norm(m @ a - b), n) for m, n in ways)

    assert distance(x, z) > distance(x, y) + distance(y, z) + 0.5


def test_wrong_arguments_of_distances():
    refuses(lambda: mf.lazy_distance(1.0, 2.0, C4, 1.0), "x and y", "()", "last axis")
    refuses(lambda: mf.lazy_distance([1.0, 0], [2.0, 0], C4, -1.0), "scale", "-1", "lambda")
    assert frobenius_norms(mf.Group.swap()).tolist() == [0.0, 2.0]
    np.testing.assert_allclose(frobenius_norms(C4), [0, 2, np.sqrt(8), 2], rtol=1e-15)


# -- lazy averages

CIRCLE = polar(1.0, 2 * np.pi * np.arange(4000) / 4000)


def first(x):
    return x[..., 0]


def test_the_defect_of_a_coordinate():
    """sup |S f(gx) - S f(x)| = 2 sin(eps / 2) sin(delta) / delta, and no more than W_1."""
    law, g = mf.GroupLaw.arc(1.0), rotation(0.05)
    defect, bound = law.defect(first, g, CIRCLE), law.displacement(g)
    assert abs(defect - 0.042069) < 1e-6
    assert defect <= bound <= 0.05 * np.sin(1.0)  # the rest moved as a block: .042074
    assert bound - defect < 1e-6
    assert abs(0.05 * np.sin(1.0) - 0.042074) < 1e-6
    whole = mf.GroupLaw.arc(np.pi)
    assert whole.defect(first, g, CIRCLE) < 1e-15
    assert whole.displacement(g) < 1e-15


@PROPERTY
@given(st.floats(0.05, np.pi), st.floats(-np.pi, np.pi), st.integers(0, 1000))
def test_the_bound_holds(delta, angle, seed):
    """For maxima of a few distances, which are 1-Lipschitz and not smooth."""
    centres = np.random.default_rng(seed).standard_normal((3, 2))

    def rough(x):
        return np.max([np.linalg.norm(x - c, axis=-1) - c[0] for c in centres], axis=0)

    law, g = mf.GroupLaw.arc(delta, nodes=200), rotation(angle)
    assert law.defect(rough, g, CIRCLE[::40]) <= law.displacement(g) + 1e-3  # Gauss at the kinks


@pytest.mark.parametrize(
    ("delta", "angle"), [(1.0, 0.05), (1.0, 2.5), (2.8, 1.0), (0.3, -2.9), (3.0, 3.1)]
)
def test_the_wasserstein_distance_of_turned_arcs(delta, angle):
    """Against a linear programme on equal pieces, each put at its middle."""
    found, sizes = [], [50, 150, 350]
    for n in sizes:
        middles = delta * (2 * np.arange(n) + 1 - n) / n
        cost = 2 * np.abs(np.sin(0.5 * (middles[:, None] + angle - middles)))
        share = np.full(n, 1 / n)
        found.append(ot.emd2(share, share, cost, numItermax=10**6))
    exact = mf.GroupLaw.arc(delta).displacement(rotation(angle))
    # Pieces that do not lie on one another cost up to a width in the share that moves.
    for n, value in zip(sizes, found, strict=True):
        assert abs(value - exact) <= 2.2 * delta / n


@pytest.mark.parametrize("group", GROUPS[1:], ids=lambda group: group.name)
def test_finite_laws(group):
    dim = group.matrices.shape[-1]
    rng = np.random.default_rng(8)
    weights = rng.dirichlet(np.full(group.order, 0.5))
    law, x = mf.GroupLaw.on(group, weights), rng.standard_normal((20, dim))
    slow = [
        sum(w * np.cos((m @ p)[0]) for w, m in zip(weights, group.matrices, strict=True)) for p in x
    ]
    np.testing.assert_allclose(law.average(lambda z: np.cos(z[..., 0]))(x), slow, atol=1e-14)
    x /= np.linalg.norm(x, axis=1)[:, None]
    for g in group.matrices[:6]:
        bound = law.displacement(g)
        for direction in rng.standard_normal((5, dim)):
            unit = direction / np.linalg.norm(direction)
            assert law.defect(lambda z, u=unit: z @ u, g, x) <= bound + 1e-14
    haar = mf.GroupLaw.on(group)
    assert haar.defect(lambda z: np.cos(z @ np.arange(dim)), group.matrices[-1], x) < 1e-14
    assert haar.displacement(group.matrices[-1]) < 1e-14


def test_planted_a_bound_with_the_law_itself_unmoved_fails():
    """Were the law not to move, no defect could be: the bound is no formality."""
    law = mf.GroupLaw.on(C4, [0.7, 0.1, 0.1, 0.1])
    quarter = C4.matrices[1]
    assert law.defect(first, quarter, CIRCLE) > 0.5
    assert law.displacement(quarter) >= law.defect(first, quarter, CIRCLE)


# -- lazily symmetrised measures


def laws():
    rng = np.random.default_rng(9)
    return {
        "arc": mf.GroupLaw.arc(0.7),
        "quarter turns": mf.GroupLaw.on(C4, rng.dirichlet(np.ones(4))),
        "triangle": mf.GroupLaw.on(mf.Group.dihedral(3), rng.dirichlet(np.ones(6))),
    }


@pytest.mark.parametrize("name", list(laws()))
def test_the_mean_over_the_measure_is_that_of_the_average(name):
    """int f dmu^pi = int S f dmu: exact for clouds, for densities where cells go to cells."""
    law, rng = laws()[name], np.random.default_rng(10)

    def f(z):
        return np.sin(z[..., 0] + 0.3) * np.exp(-0.2 * z[..., 1])

    cloud = mf.Cloud(rng.standard_normal((30, 2)), rng.dirichlet(np.ones(30)))
    expected = cloud.expect(law.average(f))
    assert law.symmetrise(cloud).expect(f) == pytest.approx(expected, rel=1e-13)
    errors, sizes = [], [24, 48, 96]
    for n in sizes:
        rho = mf.Density.gaussian(mf.Grid.box((-8, -8), (8, 8), (n, n)), (0.8, 0.5), (0.4, 0.6))
        moved = law.symmetrise(rho)
        assert moved.mass == pytest.approx(rho.mass, abs=1e-12)
        errors.append(abs(moved.expect(f) - rho.expect(law.average(f))))
        assert (moved.remap_error == 0.0) == (name == "quarter turns")
    if name == "quarter turns":
        assert max(errors) < 1e-13
    else:
        assert order(sizes, errors) > 1.7


@pytest.mark.parametrize("name", ["arc", "triangle"])
def test_on_a_polar_grid(name):
    """A dihedral group that permutes the cells exactly; an arc by exact cell averages."""
    law, grid = laws()[name], mf.Grid.polar(5.0, (20, 36))
    rho = mf.Density.gaussian(grid, (0.8, 0.5), (0.4, 0.6))
    found = law.symmetrise(rho)
    assert found.remap_error == 0.0
    assert found.mass == pytest.approx(rho.mass, rel=1e-13)
    h, n = grid.spacing[1], 36
    slow = np.zeros(grid.shape)
    if name == "arc":  # piecewise constant densities, turned by many equal angles
        for angle in 0.7 * (2 * (np.arange(4000) + 0.5) / 4000 - 1):
            whole = int(np.floor(angle / h))
            share = angle / h - whole
            for j in range(n):
                slow[:, (j + whole) % n] += (1 - share) * rho.values[:, j] / 4000
                slow[:, (j + whole + 1) % n] += share * rho.values[:, j] / 4000
        np.testing.assert_allclose(found.values, slow, atol=1e-6 * slow.max())
        return
    for w, m in zip(law.weights, law.matrices, strict=True):
        turn, flip = np.arctan2(m[1, 0], m[0, 0]), np.linalg.det(m) < 0
        for j, phi in enumerate(grid.axes[1]):
            place = ((-phi if flip else phi) + turn - grid.axes[1][0]) / h
            slow[:, round(place) % n] += w * rho.values[:, j]
    np.testing.assert_allclose(found.values, slow, rtol=1e-13)


def test_a_longer_arc_is_more_symmetric():
    rho = mf.Density.gaussian(mf.Grid.polar(5.0, (20, 36)), (1.0, 0.0), 0.3)
    spreads = [0.2, 1.0, 2.0, np.pi]
    left = [mf.asymmetry(mf.GroupLaw.arc(d).symmetrise(rho), mf.Group.cyclic(36)) for d in spreads]
    assert (np.diff(left) < 0).all()
    assert left[-1] < 1e-14


def test_wrong_arguments_of_laws():
    refuses(lambda: mf.GroupLaw.arc(4.0), "spread", "4", "up to pi")
    refuses(lambda: mf.GroupLaw.on(C4, [1.0]), "weights", "(1,)", "order")
    refuses(lambda: mf.GroupLaw.on(C4, [0.5, 0.5, 0.5, 0.5]), "weights", "0.5", "divide")
    refuses(lambda: mf.GroupLaw.on(C4, [1.5, -0.5, 0, 0]), "weights", "-0.5", "divide")
    law = mf.GroupLaw.arc(1.0)
    refuses(lambda: law.displacement(np.diag([1.0, -1.0])), "matrix", "-1.0", "SO(2)")
    refuses(lambda: law.displacement(2 * np.eye(2)), "matrix", "orthogonal", "acts")
    refuses(lambda: law.average(3.0), "function", "3.0", "function of x")
    refuses(lambda: law.symmetrise(mf.Cloud([1.0, 2.0])), "mu", "dimension 1", "dim=1")
    refuses(lambda: law.symmetrise(3.0), "mu", "float", "measure")


# -- claims


def lazy_case(*settings):
    return mf.load_case("lazy-rotations").with_settings(["grid.cells=[16, 24]", *settings])


def test_claims_of_a_lazy_flow():
    names = ["lazy-distance-is-metric", "lazy-average-bound"]
    case = lazy_case()
    report = mf.validate(case, claims=names)
    assert report.passed, report.table()
    assert report.verdicts == (True, True)
    flat = mf.Problem(mf.GradientFlow(mf.Entropy()), case.problem.initial, 1.0)
    refuses(lambda: mf.validate(flat, claims=names), "lazy metric", "without", "drop the claim")
    assert not any(row["claim"] in names for row in mf.validate(flat).rows)


def test_planted_a_distance_that_is_none_is_caught(monkeypatch):
    """Squares of distances break the triangle inequality."""
    distance = mf.LazyMetric.distance
    monkeypatch.setattr(mf.LazyMetric, "distance", lambda self, x, y: distance(self, x, y) ** 2)
    assert not mf.validate(lazy_case(), claims=["lazy-distance-is-metric"]).passed


def test_planted_a_bound_that_is_too_small_is_caught(monkeypatch):
    bound = mf.GroupLaw.displacement
    monkeypatch.setattr(mf.GroupLaw, "displacement", lambda self, g: 0.99 * bound(self, g))
    assert not mf.validate(lazy_case(), claims=["lazy-average-bound"]).passed


def test_claims_are_of_the_flow_in_its_metric():
    """E z^2 of a law off centre decays faster by 4 beta / (2 l^2); claims once lost the metric."""
    from meanfield_pde.studies.setting import Setting

    case = lazy_case("initial={kind='gaussian', mean=[1.0, 0.0], cov=0.04}")
    final = Setting(case.problem, None).flow("stated", "given").densities[-1]
    z = final.grid.places[..., 0] + 1j * final.grid.places[..., 1]
    assert abs((final.masses * z**2).sum() - np.exp(-2 - 4 * 0.25 / 0.5)) < 5e-3


def test_cases_state_the_metric():
    assert lazy_case("metric.scale=0.7").problem.flow.metric == mf.LazyMetric(0.7)
    assert lazy_case().problem.initial.grid == mf.Grid.polar(3.5, (16, 24))
    box = "kind = 'box', lower = [-4, -4], upper = [4, 4], cells = [8, 8]"
    with pytest.raises(
        mf.CaseError, match=r"metric must be left out on a box, got 'lazy'; .*polar"
    ):
        mf.load_case("lazy-rotations").with_settings([f"grid={{{box}}}"])
    with pytest.raises(mf.CaseError, match="cells must be at most"):
        lazy_case("grid.cells=[10000, 10000]")
