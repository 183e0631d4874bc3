"""Policies: what they change of a program, and what they leave as it is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, Trainable
from genjax_models.errors import ConfigError
from genjax_models.models import realnvp, sigmoid_belief_network, variational_rnn
from genjax_models.objectives import elbo, from_loss, maximum_likelihood, nvil
from genjax_models.policy import PLAIN, Policy, obeying, under
from genjax_models.train import make_train_step

KEY = jax.random.key(3)
REMAT = Policy(remat=True)


def loss_of(objective, x):
    """The loss as a function of the model's parameters, at a fixed key."""

    def loss(params):
        own, state = objective.init(KEY, params, Batch(x))
        return objective.loss(Trainable(params, own), state, KEY, Batch(x), jnp.int32(0))[0]

    return loss


def branching(x, key, flag):
    """Loops, conditions, programs within programs, a rule of its own, keys, and results that are inputs."""

    @jax.jit
    def layer(x, w):
        return jax.nn.relu(x @ w)

    def turn(carry, w):
        return jax.lax.cond(flag > 0, lambda v: layer(v, w), lambda v: 2 * v, carry), jnp.sum(carry)

    x, sums = jax.lax.scan(turn, x, jax.random.normal(key, (3, 2, 2)))
    more = jax.lax.while_loop(lambda v: v[0] < 3, lambda v: (v[0] + 1, v[1] @ x), (0, x))[1]
    return {"sums": sums, "more": jax.lax.stop_gradient(more), "x": x, "flag": flag, "one": 1.0}, key


def test_any_program_computes_the_same():
    x, flag = jnp.array([[1.0, 2.0], [0.5, -1.0]]), jnp.float32(1)
    call = functools.partial(obeying, branching, x, KEY)

    @functools.partial(quick_jit)
    def both(flag):
        return call(flag), under(REMAT, call)(flag)

    for value in (1.0, -1.0):
        (plain, key), (again, key_again) = both(flag * value)
        assert worst(plain, again) < 1e-6
        assert key == key_again == KEY


@pytest.mark.parametrize("name", ["nade", "realnvp"])
def test_gradients_that_compute_again_are_equal(name, x64):
    """Units with a rule of their own, loops that compute again already, and layers; to round-off."""
    x = jnp.asarray(np.random.RandomState(0).randint(0, 2, (2, 4)), float)
    if name == "nade":
        model = sigmoid_belief_network(4, layers=(2,), generative="nade", recognition="nade", nade_hidden=2)
        objective = nvil(model, baseline=None)
    else:
        model = realnvp(4, layers=3, hidden=(3,))
        objective = maximum_likelihood(model)
    loss, params = loss_of(objective, x), random_params(model, 4, 0)
    plain, again = quick_jit(lambda p: [jax.value_and_grad(under(policy, loss))(p) for policy in (PLAIN, REMAT)])(
        params
    )
    assert worst(plain, again) < 1e-12
    assert worst(plain[1], jax.tree.map(jnp.zeros_like, plain[1])) > 1e-2


def test_loops_take_less_memory_for_the_same_gradient(x64):
    """By XLA's account, of 50 time steps, whose states alone are kept."""
    model = variational_rnn(50 * 16, frame=16, hidden=16, features=16, latent=4)
    x = jnp.asarray(np.random.RandomState(0).randint(0, 2, (8, 50 * 16)), float)
    loss, params = loss_of(elbo(model), x), random_params(model, 50 * 16, 0, 0.1)

    def run(policy):
        program = quick_jit(jax.value_and_grad(under(policy, loss))).lower(params).compile()
        return program.memory_analysis().temp_size_in_bytes, program(params)

    (whole, plain), (less, again) = run(PLAIN), run(REMAT)
    assert less < whole / 2
    assert worst(plain, again) < 1e-10


def kept(loss, params):
    """Bytes that JAX keeps from the way forward for the gradient."""
    held = jax.tree.leaves(jax.eval_shape(lambda p: jax.vjp(loss, p)[1], params))
    return sum(v.size * v.dtype.itemsize for v in held)


def test_layers_keep_less():
    """By JAX's account, for XLA on a CPU undoes it: nine couplings with three products each."""
    model = realnvp(16, layers=9, hidden=(32, 32))
    loss = loss_of(maximum_likelihood(model), jnp.zeros((64, 16)))
    shapes = jax.eval_shape(lambda: model.init(KEY, jnp.zeros(16), ()))
    assert kept(under(REMAT, loss), shapes) < kept(loss, shapes) / 3


def test_a_traced_function_is_not_taken_for_that_of_another_policy():
    """A jitted function of a model within a loss is traced anew under another policy."""
    model = realnvp(4, layers=2, hidden=(3,))
    score = jax.jit(model.log_prob)

    def loss(params):
        return score(params, jnp.ones(4), ())

    params = model.init(KEY, jnp.zeros(4), ())
    programs = [str(jax.make_jaxpr(under(policy, loss))(params)) for policy in (PLAIN, REMAT, PLAIN)]
    assert "prevent_cse" in programs[1]
    assert "prevent_cse" not in programs[0] + programs[2]


def test_what_is_no_switch_is_refused():
    with pytest.raises(ConfigError, match="remat: got 1, expected True or False"):
        make_train_step(from_loss(lambda params, key, batch: 0.0), optax.sgd(0.1), remat=1)
