"""Games with known answers, and runs of them that keep mass and sign."""

import numpy as np
from scipy.integrate import solve_ivp

import meanfield_pde as mf


def payoff_a(x, y):
    """Value 0, uniform equilibrium."""
    return np.cos(x - y)[..., 0]


def payoff_b(x, y):
    """Value -1/2."""
    return (np.cos(x - y) + 0.5 * np.cos(2 * x) + 0.3 * np.sin(y))[..., 0]


def payoff_c(x, y):
    sums = np.sin(2 * x - y) + 0.6 * np.cos(x + 2 * y) + 0.4 * np.cos(x) - 0.5 * np.sin(2 * y)
    return sums[..., 0]


def wells(x, y, alpha=1.5):
    """Two double wells, coupled by rotation: its flow has a limit cycle where noise is small."""
    return (x**4 / 4 - x**2 / 2 - y**4 / 4 + y**2 / 2 + alpha * x * y)[..., 0]


def swapped(f):
    """The same game with the players exchanged."""
    return lambda y, x: -f(x, y)


def circle(cells):
    return mf.Grid.torus(-np.pi, np.pi, cells)


def peak(grid, centre, height=1.5):
    """Law of density proportional to exp(height cos(x - centre))."""
    f = mf.Density.from_function(grid, lambda x: np.exp(height * np.cos(x - centre)).prod(-1))
    return f.normalised()


def solved(game, initial, t1, **options):
    """Solve, and check what every run keeps."""
    solution = mf.solve(mf.Problem(game, initial, t1), **options)
    assert solution.statistics.mass_drift <= 1e-13
    assert solution.statistics.smallest >= 0
    assert np.abs(solution.mass - solution.mass[0]).max() <= 1e-13
    return solution


def l1(first, second):
    """Sum of both players' L1 distances."""
    return sum(
        float(np.abs(a.values - b.values).sum()) * a.grid.volume
        for a, b in zip(first, second, strict=True)
    )


def spectral_gap_of_a(beta, times, n=64):
    """Gap of game A from (1 + cos x / 2) / 2 pi and (1 + sin y / 2) / 2 pi, by Fourier modes.

    d_t p = (p Phi')' + beta p'' in a Galerkin truncation; the gap is |2 pi p_1| + |2 pi q_1|.
    """
    k = np.fft.fftfreq(n, 1 / n)
    kept = np.abs(k) < n / 3

    def rates(_, state):
        p, q = state.reshape(2, n)
        first = {}
        for name, law in (("p", p), ("q", q)):
            modes = np.fft.fft(law) / n
            first[name] = np.where(np.abs(k) == 1, np.pi * modes, 0)  # cos * law
        changes = []
        for law, phi in ((p, first["q"]), (q, -first["p"])):
            slope = np.fft.ifft(1j * k * phi * n).real
            flux = np.fft.fft(law * slope) * kept
            changes.append(np.fft.ifft(1j * k * flux - beta * k**2 * np.fft.fft(law)).real)
        return np.concatenate(changes)

    x = 2 * np.pi * np.arange(n) / n
    start = np.concatenate([1 + 0.5 * np.cos(x), 1 + 0.5 * np.sin(x)]) / (2 * np.pi)
    states = solve_ivp(rates, (0, max(times)), start, t_eval=times, rtol=1e-10, atol=1e-12).y
    firsts = np.abs(np.fft.fft(states.reshape(2, n, -1), axis=1)[:, 1]) * 2 * np.pi / n
    return firsts.sum(axis=0)
