"""The latent space behind the explorer: walks, the strongest directions, any cohort's classes."""

import numpy as np
import pytest
from fake_generator import FakeGenerator

from radiogan_lib.lab import latent


def test_walk_equals_the_library_walk_for_a_real_network():
    keras = pytest.importorskip("keras")
    from radiogan_lib import config, evaluation, gan

    keras.utils.set_random_seed(0)
    generator = gan.build_generator(config.load("smoke"))
    for kind in latent.KINDS:
        z, e = latent.Space(generator).path((1, 3), (4, 8), 5, kind)
        walk = evaluation.walk(generator, (1, 3), (4, 8), steps=5, kind=kind)
        assert np.allclose(latent.Space(generator).draw(z, e), walk.frames, atol=1e-3)


def test_the_strongest_direction_changes_the_pictures_most():
    fake = (
        FakeGenerator()
    )  # z[0] is the width of the body, z[1] and z[2] the heart; the rest do nothing
    found = latent.Space(fake).directions(0)
    assert 3 <= len(found) <= 5

    def change(vector):
        low, high = np.sqrt(fake.draw(np.stack([-2 * vector, 2 * vector]), fake.table[[0, 0]]))
        return np.linalg.norm(high - low)

    random = np.random.default_rng(1).standard_normal((20, fake.noise_dim))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    assert change(found[0]) > np.median([change(v) for v in random])
    assert all(np.isclose(np.linalg.norm(v), 1) for v in found)
    assert np.abs(found[0][:3]).sum() > np.abs(found[0][3:]).sum()


def test_a_generator_that_ignores_z_has_no_direction():
    class Deaf(FakeGenerator):
        def draw(self, z, e):
            return np.ones((len(z), 20, 12), np.float32)

    assert latent.Space(Deaf()).directions(1) == []


@pytest.mark.parametrize(
    "names", [[f"class_{k}" for k in range(7)], ["gesund", "Speiseröhre", "肺癌", "лимфома"]]
)
def test_classes_of_any_cohort(names):
    space = latent.Space(FakeGenerator(len(names)))
    assert len(space.directions(len(names) - 1)) >= 2
    z, e = space.path((0, 1), (len(names) - 1, 2), 5)
    assert space.draw(z, e).shape == (5, 40, 24)
    with pytest.raises(latent.ExplorerError, match=f"0 to {len(names) - 1}"):
        space.path((0, 1), (len(names), 2), 5)
    with pytest.raises(latent.ExplorerError, match="no walk 'teleport'"):
        space.path((0, 1), (1, 2), 5, "teleport")
