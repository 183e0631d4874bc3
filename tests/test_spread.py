"""Training on several devices is training on one, to round-off."""

import jax
import numpy as np
import pytest

from genjax_models.config import Config, Training
from genjax_models.core import Batch
from genjax_models.data import Digits, Gaussians
from genjax_models.errors import ConfigError
from genjax_models.models import GAN, VAE, MomentMatchingGenerator, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.objectives import IWAE, NVIL, Adversarial, MomentMatching, ReweightedWakeSleep
from genjax_models.optimizers import Adam
from genjax_models.spread import Spread, data_mesh, spread
from genjax_models.train import compiled_advance, make_train

KEY = jax.random.key(3)
BITS = (np.random.RandomState(0).uniform(size=(53, 12)) < 0.4).astype(np.uint8)
REALS = np.random.RandomState(1).normal(size=(53, 2)).astype(np.float32)
VISIBLE = {"Digits": BITS, "Gaussians": REALS}


DIGITS = Digits(binarization="dynamic")


def config(model, objective, data=DIGITS, batch_size=16, **training) -> Config:
    training = Training(num_steps=7, batch_size=batch_size, average=0.9, **training)
    return Config(model=model, objective=objective, optimizer=Adam(1e-2), data=data, training=training)


SMALL = VAE(latent=3, encoder=MLP((8,)), decoder=MLP((8,)))
NET = SigmoidBeliefNetwork(layers=(4,))
RUNS = {
    "iwae": config(SMALL, IWAE(num_particles=3)),
    "in parts": config(SMALL, IWAE(num_particles=3), accumulate=2),
    "nvil": config(NET, NVIL()),
    "rws": config(NET, ReweightedWakeSleep(num_particles=3)),
    "gan": config(
        GAN(latent=2, generator=MLP((4,)), critic=MLP((4,)), data="real"),
        Adversarial(critic_updates=2),
        Gaussians(),
        batch_size=8,
    ),
    "mmd": config(MomentMatchingGenerator(latent=2, hidden=(4,), data="real"), MomentMatching(), Gaussians()),
}


def numbers(tree):
    leaves = [v for v in jax.tree.leaves(tree) if not jax.numpy.issubdtype(v.dtype, jax.dtypes.prng_key)]
    return [np.asarray(v, np.float64) for v in leaves]


@pytest.mark.parametrize(
    "name",
    ["iwae", "in parts", "rws", "gan", *(pytest.param(name, marks=pytest.mark.slow) for name in ("nvil", "mmd"))],
)
def test_devices_only_round(name, x64):
    """Parameters, optimizer, average, state and every step's metrics; 53 examples are no multiple of 8."""
    run = RUNS[name]
    train, x = make_train(run), VISIBLE[type(run.data).__name__]
    expected = train(run, KEY, x)
    found = train(run, KEY, spread(x, data_mesh(8)))
    for a, b in zip(numbers(expected), numbers(found), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    assert jax.tree.leaves(found[0].params)[0].sharding.num_devices == 8


def test_sharded_parameters_only_round_and_take_less_memory(x64):
    """With contexts, in two calls as a run has them."""
    wide = VAE(latent=64, encoder=MLP((256,)), decoder=MLP((256,)))
    run = config(wide, IWAE(num_particles=2))
    data = Batch(BITS, np.ones((53, 1), np.float32))
    train = make_train(run)
    whole, _ = train(run, KEY, data)
    held = spread(data, data_mesh(4), shard_parameters=True)
    state = train.init(run, KEY, held)
    for start, length in ((0, 3), (3, 4)):
        state, _ = train.advance(run, state, held, start, length)
    for a, b in zip(numbers(whole), numbers(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
    kernels = [v for v in jax.tree.leaves((state.params, state.phases)) if v.size >= 2**14]
    assert kernels
    assert all(v.addressable_shards[0].data.size == v.size // 4 for v in kernels)
    assert all(v.is_fully_replicated for v in jax.tree.leaves(state.params) if v.size < 2**14)


def test_work_is_shared_out():
    """By XLA's count of a device's operations, dreams included; and what is sent is gradients and the batch alone."""
    run = config(SigmoidBeliefNetwork(layers=(40,)), ReweightedWakeSleep(num_particles=10), batch_size=64)
    x = np.zeros((530, 120), np.uint8)
    train, count = make_train(run), {}
    for devices in (1, 8):
        data = spread(x, data_mesh(devices))
        state = train.init(run, KEY, data)
        program = compiled_advance.lower(train._enter(run, data), state, data, np.int32(0), length=3).compile()
        count[devices] = program.cost_analysis()["flops"]
    assert count[8] < count[1] / 6
    text = program.as_text()
    assert "all-gather" not in text
    assert "all-to-all" not in text


def test_a_device_holds_its_share_of_the_examples():
    """Rows read from a file's map come to where they are asked for, and no row that fills up is ever drawn."""
    asked = []

    class Rows:
        shape, dtype = BITS.shape, BITS.dtype

        def __len__(self):
            return len(BITS)

        def __getitem__(self, index):
            asked.append(index)
            return BITS[index]

    found = spread(Rows(), data_mesh(8))
    assert found.number == 53
    assert found.rows.x.shape == (56, 12)
    assert sorted((s.start or 0, s.stop) for s in asked) == [(i, i + 7) for i in range(0, 56, 7)]
    indices = np.arange(48).reshape(2, 24)[:, ::-1]
    taken = jax.jit(Spread.take)(found, indices)
    np.testing.assert_array_equal(taken.x, BITS[indices])
    assert taken.x.addressable_shards[0].data.shape == (2, 3, 12)


def test_refusals():
    run = RUNS["iwae"]
    with pytest.raises(ConfigError, match="batch_size: got 16, which 3 devices cannot share equally"):
        make_train(run)(run, KEY, spread(BITS, data_mesh(3)))
    for devices in (0, 9, True):
        with pytest.raises(ConfigError, match=f"devices: got {devices}, expected 1 to 8"):
            data_mesh(devices)
    with pytest.raises(ConfigError, match="got none"):
        data_mesh([])
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("points",))
    with pytest.raises(ConfigError, match='got the axes points, expected one called "data"'):
        spread(BITS, mesh)
