"""Convolutions with smooth kernels as products of small matrices."""

from dataclasses import replace

import numpy as np
import pytest

import meanfield_pde as mf
from meanfield_pde.energies.interaction import ConvolutionFunctional
from meanfield_pde.energies.quotient import MirroredFunctional
from meanfield_pde.energies.separable_kernel import SeparableFunctional, separable

BOX = mf.Grid.box((-4, -3), (4, 4), (112, 96))
SQUARE = mf.Grid.box((-4, -4), (4, 4), (192, 192))
SMOOTH = {
    "quadratic": lambda dz: 0.5 * (dz**2).sum(-1),
    "gaussian": lambda dz: np.exp(-0.5 * (dz**2).sum(-1)),
    "wave": lambda dz: np.cos(dz[..., 0] - 2 * dz[..., 1]),
    "skew": lambda dz: (
        np.exp(-0.1 * (dz**2).sum(-1)) + 0.2 * np.sin(dz[..., 0]) * np.sin(2 * dz[..., 1])
    ),
    "two widths": lambda dz: np.exp(-0.5 * (dz**2).sum(-1)) - 0.5 * np.exp(-0.1 * (dz**2).sum(-1)),
}
EVEN = ["quadratic", "gaussian", "two widths"]
ROUGH = {
    "kink": lambda dz: np.sqrt((dz**2).sum(-1)),
    "narrow": lambda dz: np.exp(-300 * (dz**2).sum(-1)),
    "log": lambda dz: 0.5 * np.log((dz**2).sum(-1)),
}


def rough_density(grid, seed=0):
    return np.random.default_rng(seed).standard_exponential(grid.shape)


def differences(grid):
    axes = [np.arange(1 - n, n) * h for n, h in zip(grid.cells, grid.spacing, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)


def by_pairs(grid, function, rho, cells):
    """``sum_L |L| W(z_K - z_L) rho_L`` at some cells, one by one."""
    points = grid.points.reshape(-1, 2)
    return np.array(
        [(function(points[k] - points) * rho.ravel()).sum() * grid.volume for k in cells]
    )


def check(name, functional):
    rho, cells = rough_density(BOX), [0, 95, 5000, BOX.size - 1]
    exact = by_pairs(BOX, SMOOTH[name], rho, cells)
    found = functional.potential(rho).ravel()[cells]
    np.testing.assert_allclose(found, exact, atol=2e-13 * np.abs(exact).max())


@pytest.mark.parametrize("name", SMOOTH)
def test_potentials_are_sums_over_pairs(name):
    functional = mf.Interaction(SMOOTH[name]).discretise(BOX)
    assert isinstance(functional, SeparableFunctional)
    check(name, functional)


@pytest.mark.parametrize("name", SMOOTH)
def test_the_form_is_symmetric(name):
    """``<a, W b> = <W a, b>``: what the energy law of averaged potentials rests on."""
    functional = mf.Interaction(SMOOTH[name]).discretise(BOX)
    a, b = rough_density(BOX, 1), rough_density(BOX, 2)
    there, back = (a * functional.potential(b)).sum(), (b * functional.potential(a)).sum()
    assert there == pytest.approx(back, rel=1e-13)


@pytest.mark.parametrize("name", ROUGH)
def test_rough_kernels_are_left_to_transforms(name):
    functional = mf.Interaction(ROUGH[name]).discretise(BOX)
    assert isinstance(functional, ConvolutionFunctional)


def test_few_cells_are_left_to_transforms():
    small = mf.Grid.box((-4, -4), (4, 4), (64, 64))
    functional = mf.Interaction(SMOOTH["gaussian"]).discretise(small)
    assert isinstance(functional, ConvolutionFunctional)


@pytest.mark.parametrize("name", EVEN)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_mirrors_are_the_even_density_on_the_whole(name, axes):
    grid = mf.Grid.box((-4, -4), (4, 4), (192, 192))
    lower = [0.0 if a in axes else -4.0 for a in (0, 1)]
    cells = [96 if a in axes else 192 for a in (0, 1)]
    domain = mf.Grid.box(lower, (4, 4), cells, chart=mf.Chart.quotient(mirrors(axes)))
    functional = mf.Interaction(SMOOTH[name]).discretise(domain)
    assert isinstance(functional, SeparableFunctional)
    rho = rough_density(domain)
    whole = rho / 2 ** len(axes)
    for axis in axes:
        whole = np.concatenate([np.flip(whole, axis), whole], axis)
    index = np.arange(grid.size).reshape(grid.shape)[192 - cells[0] :, 192 - cells[1] :].ravel()
    some = [0, cells[1] - 1, 7000, domain.size - 1]
    exact = by_pairs(grid, SMOOTH[name], whole, index[some])
    found = functional.potential(rho).ravel()[some]
    np.testing.assert_allclose(found, exact, atol=2e-13 * np.abs(exact).max())


def mirrors(axes):
    return mf.Group.generate([np.diag([-1.0 if a == b else 1.0 for b in (0, 1)]) for a in axes])


def test_a_flow_does_not_notice(monkeypatch):
    """The same law as with transforms, and a free energy that falls."""
    energy = mf.Potential(lambda z: (z**2).sum(-1) ** 2 / 4) + mf.Interaction(SMOOTH["gaussian"])
    start = mf.Density.gaussian(BOX, (0.5, 0.2), 0.3)
    problem = mf.Problem(mf.GradientFlow(energy + 0.2 * mf.Entropy()), start, t1=0.3)
    few = mf.solve(problem)
    assert "interaction by 1 products of" in few.result
    monkeypatch.setattr("meanfield_pde.energies.interaction.separable", lambda *_: None)
    anew = mf.Potential(lambda z: (z**2).sum(-1) ** 2 / 4) + mf.Interaction(SMOOTH["gaussian"])
    transforms = mf.solve(replace(problem, flow=mf.GradientFlow(anew + 0.2 * mf.Entropy())))
    assert "products" not in transforms.result
    gap = np.abs(few.at(0.3).values - transforms.at(0.3).values).max()
    assert gap <= 1e-12 * few.at(0.3).values.max()
    assert few.statistics.energy_rise <= 1e-12


@pytest.mark.parametrize("place", [(190, 191), (3, 5), (0, 382)])
def test_factors_of_the_wrong_kernel_are_not_taken(place):
    """Planted: one pair of entries off, at corner to corner too; corners see it."""
    kernel = SMOOTH["gaussian"](differences(SQUARE))
    assert separable(SQUARE, kernel) is not None
    kernel[place] += 1e-6
    kernel[::-1, ::-1][place] += 1e-6
    assert separable(SQUARE, kernel) is None


def twice(self, rho):
    return 2.0 * right(self, rho)


right = SeparableFunctional.potential


def test_a_wrong_potential_is_caught(monkeypatch):
    functional = mf.Interaction(SMOOTH["gaussian"]).discretise(BOX)
    monkeypatch.setattr(SeparableFunctional, "potential", twice)
    with pytest.raises(AssertionError):
        check("gaussian", functional)


def test_mirrors_without_products_are_cosines():
    chart = mf.Chart.quotient(mirrors((0, 1)))
    domain = mf.Grid.box((0, 0), (4, 4), (96, 96), chart=chart)
    functional = mf.Interaction(ROUGH["kink"]).discretise(domain)
    assert isinstance(functional, MirroredFunctional)


@pytest.mark.parametrize("cells", [96, 256])
@pytest.mark.parametrize("dim", [1, 2])
def test_uneven_kernels_are_refused_behind_mirrors(dim, cells):
    """Narrow ones, too: near 0 every difference is compared with its mirror image."""
    h = 8 / (2 * cells)
    kernels = {
        1: lambda dz: np.exp(-(dz[..., 0] ** 2)) + 0.5 * np.sin(dz[..., 0] / h) * (dz[..., 0] < h),
        2: lambda dz: np.exp(-((dz**2).sum(-1) + 0.8 * dz.prod(-1)) / (2 * (1.5 * h) ** 2)),
    }
    group = mf.Group.reflection() if dim == 1 else mirrors((0, 1))
    domain = mf.Grid.box([0.0] * dim, [4.0] * dim, [cells] * dim, chart=mf.Chart.quotient(group))
    with pytest.raises(ValueError, match="interaction must be"):
        mf.Interaction(kernels[dim]).discretise(domain)
