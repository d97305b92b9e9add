"""Slow versions of what the package computes: plain loops, written from the formulas alone.

Nothing here may call the function that it is compared with. Losses and units are functions of one
sample and one parameter; sums run over Python lists, with `math.fsum` where order could matter.
"""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import settings
from scipy.integrate import solve_ivp

PROPERTY = settings(max_examples=40, deadline=None, derandomize=True)
"""For property tests: the same examples every time, however slow the machine."""

ULP = float(np.finfo(float).eps)


def refuses(call, argument, got, remedy):
    """A ValueError in three parts: which argument, what was got, and what to do about it."""
    with pytest.raises(ValueError, match=r"(?s).+;.+") as caught:
        call()
    problem, advice = str(caught.value).split(";", 1)
    assert argument in problem
    assert got in problem
    assert remedy in advice


def order(sizes, errors):
    """Fitted order of convergence: errors ~ sizes^-order."""
    return -np.polyfit(np.log(sizes), np.log(errors), 1)[0]


# -- integrals


def integral(function, lower, upper, nodes=40, panels=1):
    """Composite Gauss-Legendre rule on an interval; exact to rounding for what is smooth there."""
    x, w = np.polynomial.legendre.leggauss(nodes)
    ends = np.linspace(lower, upper, panels + 1)
    parts = [
        0.5 * (b - a) * wi * function(0.5 * (a + b) + 0.5 * (b - a) * xi)
        for a, b in zip(ends[:-1], ends[1:], strict=True)
        for xi, wi in zip(x, w, strict=True)
    ]
    return math.fsum(parts)


def cell_averages(grid, function, nodes=40, panels=1):
    """Averages of a function of the coordinates over every cell, by tensor Gauss rules."""
    result = np.empty(grid.shape)
    for index in np.ndindex(grid.shape):
        sides = [(faces[i], faces[i + 1]) for faces, i in zip(grid.faces, index, strict=True)]
        if grid.dim == 1:
            total = integral(function, *sides[0], nodes, panels)
        else:
            total = integral(
                lambda x, side=sides[1]: integral(lambda y: function(x, y), *side, nodes, panels),
                *sides[0],
                nodes,
                panels,
            )
        result[index] = total / grid.volume
    return result


def normal_pdf(x, mean, variance):
    """One-dimensional normal density."""
    return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def gradient(function, point, step=1e-5):
    """Fourth-order central differences of a function of a flat array."""
    point = np.asarray(point, dtype=float)
    result = np.empty(point.size)
    for k in range(point.size):
        values = []
        for offset in (-2, -1, 1, 2):
            moved = point.copy()
            moved.flat[k] += offset * step
            values.append(function(moved))
        result[k] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return result.reshape(point.shape)


# -- exponentials


def exponential(generator, t):
    """``exp(t A)`` by squaring a Taylor polynomial in long doubles; columns of A sum to 0.

    On the diagonal is what the rest of a column adds up to, so that nothing is lost in squaring
    but the roundings of long doubles.
    """
    matrix = generator.astype(np.longdouble)
    np.fill_diagonal(matrix, 0)
    np.fill_diagonal(matrix, -matrix.sum(axis=0))
    halvings = max(0, math.ceil(math.log2(max(4 * t * float(np.abs(matrix).max()), 1))))
    matrix = matrix * (np.longdouble(t) / 2**halvings)
    result = term = np.eye(len(matrix), dtype=np.longdouble)
    for k in range(1, 25):
        term = matrix @ term / k
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result


# -- moments


def moments(points, weights):
    """Mean and covariance of weighted points, by loops."""
    mass = math.fsum(weights)
    d = len(points[0])
    mean = [
        math.fsum(w * p[a] for p, w in zip(points, weights, strict=True)) / mass for a in range(d)
    ]
    cov = [
        [
            math.fsum(
                w * (p[a] - mean[a]) * (p[b] - mean[b])
                for p, w in zip(points, weights, strict=True)
            )
            / mass
            for b in range(d)
        ]
        for a in range(d)
    ]
    return np.array(mean), np.array(cov)


# -- interactions


def nearest_image(grid, difference):
    """Shortest representative of a difference on a torus, by trying the neighbours."""
    if not grid.periodic:
        return list(difference)
    found = []
    for a, d in enumerate(difference):
        period = grid.upper[a] - grid.lower[a]
        turns = round(d / period)
        found.append(min((d - k * period for k in range(turns - 1, turns + 2)), key=abs))
    return found


def convolution(grid, kernel, values):
    """``sum_L |L| W(z_K - z_L) rho_L`` by a double loop; kernel: a function of the difference."""
    points = grid.points.reshape(-1, grid.dim)
    flat = values.ravel()
    result = [
        math.fsum(
            grid.volume * float(kernel(np.array(nearest_image(grid, z - zz)))) * v
            for zz, v in zip(points, flat, strict=True)
        )
        for z in points
    ]
    return np.array(result).reshape(grid.shape)


def force(points, weights, kernel_gradient):
    """``-sum_j w_j grad W(z_i - z_j)`` over the other points, pair by pair."""
    result = np.zeros(np.shape(points))
    for i, z in enumerate(points):
        for j, other in enumerate(points):
            if i != j and any(z != other):
                result[i] -= weights[j] * np.asarray(kernel_gradient(z - other))
    return result


# -- networks


def outputs(unit, data, points, weights):
    """``Phi(x_i) = sum_k w_k sigma(x_i; z_k)``, one list of outputs a sample."""
    return [
        np.array(
            [
                math.fsum(
                    w * np.atleast_1d(unit(x, z))[q] for z, w in zip(points, weights, strict=True)
                )
                for q in range(data.outputs)
            ]
        )
        for x in data.x
    ]


def risk(unit, loss, data, points, weights):
    """``sum_i p_i l(Phi(x_i), y_i)``."""
    found = outputs(unit, data, points, weights)
    return math.fsum(p * loss(f, y) for p, f, y in zip(data.weights, found, data.y, strict=True))


def risk_variation(unit, slope, data, points, weights, places):
    """``sum_i p_i grad l(Phi(x_i), y_i) . sigma(x_i; z)`` at each place z."""
    found = outputs(unit, data, points, weights)
    return np.array(
        [
            math.fsum(
                p * float(np.dot(slope(f, y), np.atleast_1d(unit(x, z))))
                for p, f, x, y in zip(data.weights, found, data.x, data.y, strict=True)
            )
            for z in places
        ]
    )


# -- polygons


def clip(polygon, axis, bound, sign):
    """Part of a convex polygon where ``sign * (z[axis] - bound) <= 0`` (Sutherland and Hodgman)."""
    kept = []
    for p, q in zip(polygon, polygon[1:] + polygon[:1], strict=True):
        a, b = sign * (p[axis] - bound), sign * (q[axis] - bound)
        if a <= 0:
            kept.append(p)
        if a < 0 < b or b < 0 < a:
            t = a / (a - b)
            crossing = [p[k] + t * (q[k] - p[k]) for k in (0, 1)]
            crossing[axis] = bound
            kept.append(tuple(crossing))
    return kept


def area(polygon):
    """Area by the shoelace formula around the first corner, which keeps slivers accurate."""
    if len(polygon) < 3:
        return 0.0
    x0, y0 = polygon[0]
    relative = [(x - x0, y - y0) for x, y in polygon]
    turns = zip(relative, relative[1:] + relative[:1], strict=True)
    return 0.5 * abs(math.fsum(p[0] * q[1] - p[1] * q[0] for p, q in turns))


def overlap(matrix, source, target, spacing):
    """Area that the cell at ``source``, moved by the matrix, shares with the cell at ``target``."""
    corners = ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))
    polygon = []
    for corner in corners:
        z = [s + c * h for s, c, h in zip(source, corner, spacing, strict=True)]
        polygon.append(tuple(sum(m * zz for m, zz in zip(row, z, strict=True)) for row in matrix))
    for axis in (0, 1):
        for sign in (1, -1):
            if polygon:
                polygon = clip(polygon, axis, target[axis] + sign * 0.5 * spacing[axis], sign)
    return area(polygon)


# -- groups


def nearest_cell(grid, point):
    """Index of the cell whose centre is nearest (modulo the period), and how near it is."""
    best = None
    for index in np.ndindex(grid.shape):
        gap = [p - z for p, z in zip(point, grid.points[index], strict=True)]
        distance = math.hypot(*nearest_image(grid, gap))
        if best is None or distance < best[1]:
            best = index, distance
    return best


def orbit_mean(grid, values, matrices):
    """``(1/|G|) sum_g rho(M_g z)`` at every centre, by looking each image up."""
    result = np.empty(grid.shape)
    for index in np.ndindex(grid.shape):
        images = [nearest_cell(grid, m @ grid.points[index]) for m in matrices]
        assert max(distance for _, distance in images) < 1e-9
        result[index] = math.fsum(values[image] for image, _ in images) / len(matrices)
    return result


def signed_permutations(dim):
    """All symmetries of the square (or of the line), as matrices."""
    if dim == 1:
        return [np.array([[s]]) for s in (1.0, -1.0)]
    found = []
    for s, t in product((1.0, -1.0), repeat=2):
        found.append(np.array([[s, 0.0], [0.0, t]]))
        found.append(np.array([[0.0, s], [t, 0.0]]))
    return found


# -- collapse of a radial law in the plane


def collapse_time(chi, beta, variance, kappa=0.0, nodes=400):
    """When a centred Gaussian of mass 1 collapses under chi log|z| + kappa |z|^2 / 2 in the plane.

    The mass m inside the circle r^2 = s obeys, by Newton's theorem,

        m_t = 4 beta s m_ss + 2 (chi m + kappa s) m_s,    m(0) = 0,   m(infinity) = 1,

    for the flux into the circle is 2 pi r (rho (chi m / r + kappa r) + beta rho_r) with
    rho = m_s / pi. In x = log s, from 1e-10 to 1e3 times the variance, m_s = m_x / s and
    s m_ss = (m_xx - m_x) / s; central differences. The law has collapsed once a circle of
    s = 1e-8 holds half of the critical mass 4 beta / chi, to which m jumps at s = 0.
    """
    x = np.linspace(math.log(1e-10 * variance), math.log(1e3 * variance), nodes)
    h, s = x[1] - x[0], np.exp(x)
    watched = int(np.searchsorted(s, 1e-8 * variance))

    def rate(t, m):
        whole = np.concatenate([[0.0], m, [1.0]])
        slope = (whole[2:] - whole[:-2]) / (2 * h)
        bend = (whole[2:] - 2 * m + whole[:-2]) / h**2
        return (4 * beta * (bend - slope) + 2 * chi * m * slope) / s + 2 * kappa * slope

    def filled(t, m):
        return m[watched] - 2 * beta / chi

    filled.terminal = True
    start = -np.expm1(-0.5 * s / variance)
    options = {"method": "LSODA", "lband": 1, "uband": 1, "rtol": 1e-7, "atol": 1e-13}
    found = solve_ivp(rate, (0.0, 100.0), start, events=filled, **options)
    return found.t[-1] if found.status == 1 else None
