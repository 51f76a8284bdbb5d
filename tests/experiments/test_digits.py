import numpy as np
import pytest
import torch

from plica.experiments.digits import digits_conv, digits_images, digits_mlp


@pytest.mark.parametrize(("make", "shape"), [(digits_mlp, (64,)), (digits_conv, (1, 8, 8))])
def test_the_networks_are_good_plain_and_reproducible(make, shape):
    state = torch.random.get_rng_state()
    module, data = make()
    assert torch.equal(state, torch.random.get_rng_state())
    assert not module.training
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert data.images.shape == (360, *shape)
    assert data.images.dtype == np.float64
    answers = module(torch.from_numpy(data.images).float()).argmax(1).numpy()
    assert (answers == data.labels).mean() >= 0.95
    again, _ = make()
    assert all(torch.equal(a, b) for a, b in zip(module.parameters(), again.parameters(), strict=True))


def test_train_and_test_images_are_apart_and_in_range():
    train, test = digits_images("train"), digits_images("test")
    assert len(train) + len(test) == 1797
    assert test.images.min() == 0
    assert test.images.max() == 1
    assert np.bincount(test.labels).min() > 20
    np.testing.assert_array_equal(test.images.reshape(-1, 1, 8, 8), digits_images("test", shape=(1, 8, 8)).images)
