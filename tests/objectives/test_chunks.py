"""Particles computed some at a time: the same value and gradient, in memory that K hardly adds to."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from drills import drill
from toys import linear_gaussian, net, quick_jit, random_params

from genjax_models.core import LatentVariableModel, Trainable
from genjax_models.errors import ConfigError
from genjax_models.models import categorical_vae, sigmoid_belief_network, vae, variational_rnn
from genjax_models.models.networks import MLP
from genjax_models.objectives import (
    IWAE,
    VIMCO,
    DisARM,
    chunk_particles,
    concrete,
    disarm,
    dreg,
    elbo,
    fivo,
    from_loss,
    gumbel_softmax,
    iwae,
    muprop,
    nvil,
    partially_importance_weighted,
    rebar,
    reinforce,
    reweighted_wake_sleep,
    sticking_the_landing,
    straight_through,
    vimco,
    weighted_sum,
)
from genjax_models.objectives.baselines import Neural

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
    "nvil": lambda model: nvil(model, 7, baseline=Neural((2,))),
    "disarm": lambda model: disarm(model, 7),
}
OF_CLASSES = {"gumbel_softmax": lambda model: gumbel_softmax(model, 7, 0.7)}


class Classes(NamedTuple):
    """A model with one-hot latents, and random parameters."""

    model: LatentVariableModel
    params: Any


def one_hot():
    model = categorical_vae(3, latent=2, classes=3, encoder=MLP((4,)), decoder=MLP((4,)))
    return Classes(model, random_params(model, 3, 0))


def value_and_gradient(objective, params, x, key=KEY):
    """Of the model's parameters and the objective's own; what the objective carries over, and metrics, are values."""
    own, state = jax.tree.map(lambda v: v + 1, objective.init(key, params, x))  # networks start at zero, moments too
    return jax.value_and_grad(lambda t: objective.loss(t, state, key, x, 0), has_aux=True)(Trainable(params, own))


@pytest.mark.parametrize(
    ("builds", "toy"),
    [(OF_REALS, lambda: linear_gaussian(3, 2)), drill(OF_BITS, lambda: net((2, 2), 3)), (OF_CLASSES, one_hot)],
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
        for part in (chunked[1].model, chunked[1].own):
            assert max((float(jnp.abs(g).max()) for g in jax.tree.leaves(part)), default=1) > 1e-2


GAUSSIAN = vae(1000, latent=4, encoder=MLP((16,)), decoder=MLP((16,)))
BINARY = sigmoid_belief_network(1000, layers=(16,))
ONE_HOT = categorical_vae(1000, latent=2, classes=3, encoder=MLP((16,)), decoder=MLP((16,)))


@pytest.mark.parametrize(
    ("build", "model"),
    [
        (iwae, GAUSSIAN),
        drill(dreg, GAUSSIAN),
        (vimco, GAUSSIAN),
        drill(nvil, BINARY),
        drill(disarm, BINARY),
        drill(gumbel_softmax, ONE_HOT),
    ],
)
def test_memory_is_flat_in_the_number_of_particles(build, model):
    """What XLA sets aside for eight times the particles, in chunks and all at once."""
    x = jnp.zeros((5, 1000))
    params = jax.eval_shape(lambda: model.init(KEY, x[0], ()))

    def memory(number, chunk):
        objective = chunk_particles(build(model, number), chunk)
        program = jax.jit(lambda p: value_and_gradient(objective, p, x)).lower(params).compile()
        return program.memory_analysis().temp_size_in_bytes

    few, many = memory(64, 16), memory(512, 16)
    assert many < 1.2 * few
    if build is iwae:
        assert memory(512, None) > 4 * many


def test_what_has_no_chunks_is_refused():
    model, belief_net = vae(3), net((2,), 3).model
    for objective, reason in (
        (fivo(variational_rnn(4, frame=2)), "fivo's particles depend on one another at every step, by resampling"),
        (muprop(belief_net), "muprop draws one sample of q an example"),
        (rebar(belief_net), "rebar and relax draw one sample of q an example"),
        (weighted_sum({"a": (1.0, iwae(model))}), "each part of a weighted_sum has a particle_chunk of its own"),
        (from_loss(lambda *_: 0.0), "UserLoss has no particles that are computed apart"),
    ):
        with pytest.raises(ConfigError, match=f"particle_chunk: got 2, but {reason}; leave it None"):
            chunk_particles(objective, 2)
    with pytest.raises(ConfigError, match="particle_chunk: got 0"):
        chunk_particles(iwae(model), 0)
    assert chunk_particles(elbo(model), None) == elbo(model)


def test_configurations_have_chunks():
    model = vae(3)
    assert IWAE(9, particle_chunk=4).build(model) == chunk_particles(iwae(model, 9), 4)
    assert VIMCO(9).build(model) == vimco(model, 9)
    belief_net = net((2,), 3).model
    assert DisARM(9, particle_chunk=4).build(belief_net) == chunk_particles(disarm(belief_net, 9), 4)
