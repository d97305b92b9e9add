"""Sums over all pairs on the line: against the pairs themselves, and where they are refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import PROPERTY

import meanfield_pde as mf
from meanfield_pde.energies import far_field as module
from meanfield_pde.energies import interaction

TOLERANCE = 1e-12


def gaussian(dz):
    return np.exp(-0.5 * (dz**2).sum(-1))


def quadratic(dz):
    return 0.5 * (dz**2).sum(-1)


def wave(dz):
    return np.cos(dz[..., 0])


def quartic(dz):
    return (dz**4).sum(-1)


SMOOTH = {
    gaussian: lambda dz: -dz * gaussian(dz)[..., None],
    quadratic: lambda dz: dz,
    wave: lambda dz: -np.sin(dz),
    quartic: lambda dz: 4 * dz**3,
}
CUSTOM = mf.Interaction(gaussian, SMOOTH[gaussian])
KINKED = {
    "distance": lambda dz: np.abs(dz[..., 0]),
    "Matern": lambda dz: (1 + np.abs(dz[..., 0])) * np.exp(-np.abs(dz[..., 0])),
    "contact": lambda dz: np.maximum(0, 1 - (dz[..., 0] / 0.3) ** 2) ** 3,
    "narrow": lambda dz: np.exp(-((dz[..., 0] / 1e-3) ** 2)),
    "narrow, aside": lambda dz: np.exp(-(((np.abs(dz[..., 0]) - 2.3) / 1e-3) ** 2)),
}


def law(name, n=400):
    rng = np.random.default_rng(0)
    return {
        "normal": rng.normal(size=n),
        "two atoms": np.where(rng.random(n) < 0.3, -2.0, 2.0) + 1e-9 * rng.normal(size=n),
        "tiny": 1e-7 * rng.normal(size=n),
        "tiny, aside": 1e-7 * rng.normal(size=n) + 0.3,
        "wide": rng.uniform(-5, 5, n),
        "far out": 1e3 + rng.normal(size=n),
    }[name]


def errors(energy, slope, cloud):
    """Errors of potential and force, relative to the largest terms of the sums."""
    dz = cloud.points[:, None, :] - cloud.points[None, :, :]
    values, slopes = energy.function(dz), slope(dz)[..., 0]
    potential = np.abs(energy.cloud_potential(cloud) - values @ cloud.weights).max()
    force = np.abs(energy.drift(cloud)[:, 0] + slopes @ cloud.weights).max()
    return potential / np.abs(values).max(), force / np.abs(slopes).max()


@pytest.mark.parametrize("kernel", SMOOTH)
@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("name", ["normal", "two atoms", "tiny", "wide"])
def test_against_pairs(kernel, told, name):
    rng = np.random.default_rng(1)
    cloud = mf.Cloud(law(name), rng.exponential(size=400) / 400)
    energy = mf.Interaction(kernel, SMOOTH[kernel] if told else None)
    assert energy._field(cloud) is not None
    assert max(errors(energy, SMOOTH[kernel], cloud)) <= TOLERANCE * cloud.mass
    pairs = 0.5 * cloud.weights @ energy.cloud_potential(cloud)
    assert energy.value(cloud) == pytest.approx(pairs, rel=1e-13)


def test_points_far_from_zero_keep_the_digits_of_their_places():
    """Places at 1000 are numbers to 1e-13, and at .3 to 5e-17: no difference can be better."""
    cloud, energy = mf.Cloud(law("far out")), mf.Interaction(gaussian)
    assert max(errors(energy, SMOOTH[gaussian], cloud)) <= 10 * TOLERANCE
    aside = mf.Cloud(law("tiny, aside"))
    potential, force = errors(energy, SMOOTH[gaussian], aside)
    assert potential <= TOLERANCE
    assert force * 5e-7 <= TOLERANCE * 0.02  # the range is that of points at .3, not at 1e-7


@pytest.mark.parametrize("name", KINKED)
def test_kinks_and_narrow_features_are_summed_over_pairs(name):
    cloud = mf.Cloud(law("normal"))
    assert mf.Interaction(KINKED[name])._field(cloud) is None


def test_a_singular_kernel_is_summed_over_pairs():
    energy = mf.Interaction(lambda dz: -np.log(np.abs(dz[..., 0])), lambda dz: -1 / dz)
    with np.errstate(divide="ignore"):
        assert energy._field(mf.Cloud(law("normal"))) is None


def test_a_wrong_gradient_is_still_refused():
    energy = mf.Interaction(gaussian, lambda dz: dz)
    with pytest.raises(ValueError, match="gradient of interaction is wrong"):
        energy.drift(mf.Cloud(law("normal")))


@pytest.mark.parametrize("n", [20, 1000])
def test_a_kink_without_gradient_has_a_potential_and_no_force(n):
    """Births without transport ask for values alone."""
    energy, points = mf.Interaction(lambda dz: np.abs(dz[..., 0])), law("normal", n)[:, None]
    exact = np.abs(points - points.T).mean(axis=1)
    np.testing.assert_allclose(energy.potential(mf.Cloud(points)), exact, rtol=1e-13)
    with pytest.raises(ValueError, match="give it by gradient="):
        energy.drift(mf.Cloud(law("normal")))


def test_what_is_found_does_not_depend_on_what_was_asked_before():
    clouds = [mf.Cloud(law(name)) for name in ("wide", "two atoms", "normal", "tiny")]
    asked, fresh = mf.Interaction(gaussian), [mf.Interaction(gaussian) for _ in clouds]
    for _ in range(2):  # more ranges than are kept
        for cloud, energy in zip([*clouds, mf.Cloud(law("far out"))], [*fresh, asked], strict=True):
            assert np.array_equal(asked.drift(cloud), energy.drift(cloud))
    assert len(asked._fields) <= module.MAX_KEPT


def test_few_points_are_paired():
    energy = mf.Interaction(gaussian)
    assert energy._field(mf.Cloud(law("normal", interaction.WORTH_A_FIELD - 1))) is None
    plane = np.random.default_rng(0).normal(size=(400, 2))
    assert energy._field(mf.Cloud(plane)) is None


@given(st.integers(0, 2**32))
@PROPERTY
def test_forces_of_equal_masses_cancel(seed):
    """Newton's third law: the centre of mass stays."""
    points = np.random.default_rng(seed).uniform(-1, 1, 300)
    assert abs(CUSTOM.drift(mf.Cloud(points)).mean()) < TOLERANCE


def test_planted_interpolation_without_its_check_is_caught(monkeypatch):
    """Were the error not measured, few cells would be taken, and be wrong."""
    monkeypatch.setattr(module, "TOLERANCE", np.inf)
    cloud = mf.Cloud(law("wide"))
    assert max(errors(mf.Interaction(gaussian), SMOOTH[gaussian], cloud)) > 1e3 * TOLERANCE


def test_planted_probes_at_nodes_alone_miss_a_kink(monkeypatch):
    """An interpolant is always right at its nodes."""

    def at_nodes(apart):
        places = np.broadcast_to(module._NODES, (len(apart), len(module._NODES)))
        return places, places

    monkeypatch.setattr(module, "_probes", at_nodes)
    kernel, slope = KINKED["distance"], lambda dz: np.sign(dz)
    found = module.far_field(
        lambda dz: kernel(dz[..., None]), lambda dz: slope(dz), -4.0, 4.0, most=64
    )
    assert found is not None
