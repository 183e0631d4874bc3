"""Particles computed some at a time: the same value and gradient, in memory that K hardly adds to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import linear_gaussian, net, quick_jit

from genjax_models.core import Trainable
from genjax_models.errors import ConfigError
from genjax_models.models import vae
from genjax_models.models.networks import MLP
from genjax_models.objectives import (
    IWAE,
    VIMCO,
    chunk_particles,
    concrete,
    dreg,
    elbo,
    iwae,
    nvil,
    partially_importance_weighted,
    reinforce,
    reweighted_wake_sleep,
    sticking_the_landing,
    straight_through,
    vimco,
)

KEY = jax.random.key(4)
OF_REALS = {
    "elbo": lambda model: elbo(model, 7, kl="monte_carlo"),
    "elbo, closed form": lambda model: elbo(model, 7, free_bits_by_dimension=0.1),
    "iwae": lambda model: iwae(model, 7),
    "dreg": lambda model: dreg(model, 7),
    "dreg, jackknife": lambda model: dreg(model, 7, "jackknife"),
    "dreg, wake": lambda model: dreg(model, 7, "reweighted_wake"),
    "sticking_the_landing": lambda model: sticking_the_landing(model, 7),
    "partially_importance_weighted": lambda model: partially_importance_weighted(model, 8, 4),
    "vimco": lambda model: vimco(model, 7),
}
OF_BITS = {
    "vimco": lambda model: vimco(model, 7),
    "reweighted_wake_sleep": lambda model: reweighted_wake_sleep(model, 7),
    "concrete": lambda model: concrete(model, 7),
    "straight_through": lambda model: straight_through(model, 7),
    "reinforce": lambda model: reinforce(model, 7, "leave_one_out"),
}


def value_and_gradient(objective, params, x, key=KEY):
    _, state = objective.init(key, params, x)
    return jax.value_and_grad(lambda p: objective.loss(Trainable(p), state, key, x, 0)[0])(params)


@pytest.mark.parametrize(
    ("builds", "toy"), [(OF_REALS, lambda: linear_gaussian(3, 2)), (OF_BITS, lambda: net((2, 2), 3))]
)
def test_chunks_are_only_round_off(x64, builds, toy):
    """Seven particles three at a time, so that the last chunk is not full; for every kind of loss."""
    toy = toy()
    x = jnp.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])

    @quick_jit
    def both(params):
        objectives = [build(toy.model) for build in builds.values()]
        return [
            [value_and_gradient(objective, params, x) for objective in (whole, chunk_particles(whole, 3))]
            for whole in objectives
        ]

    for name, (whole, chunked) in zip(builds, both(toy.params), strict=True):
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(chunked), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13, err_msg=name)
        assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(chunked[1])) > 1e-2


@pytest.mark.parametrize("build", [iwae, dreg, vimco])
def test_memory_is_flat_in_the_number_of_particles(build):
    """What XLA sets aside for eight times the particles, in chunks and all at once."""
    model = vae(1000, latent=4, encoder=MLP((16,)), decoder=MLP((16,)))
    x = jnp.zeros((5, 1000))
    params = jax.eval_shape(lambda: model.init(KEY, x[0], ()))

    def memory(number, chunk):
        objective = chunk_particles(build(model, number), chunk)
        program = jax.jit(lambda p: value_and_gradient(objective, p, x)).lower(params).compile()
        return program.memory_analysis().temp_size_in_bytes

    few, many = memory(64, 16), memory(512, 16)
    assert many < 1.2 * few
    assert memory(512, None) > 4 * many


def test_what_has_no_chunks_is_refused():
    model = vae(3)
    with pytest.raises(ConfigError, match="particle_chunk: got 2, but the particles of NVILLoss are computed together"):
        chunk_particles(nvil(net((2,), 3).model), 2)
    with pytest.raises(ConfigError, match="particle_chunk: got 0"):
        chunk_particles(iwae(model), 0)
    assert chunk_particles(elbo(model), None) == elbo(model)


def test_configurations_have_chunks():
    model = vae(3)
    assert IWAE(9, particle_chunk=4).build(model) == chunk_particles(iwae(model, 9), 4)
    assert VIMCO(9).build(model) == vimco(model, 9)
