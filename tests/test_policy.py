"""Policies: what they change of a program, and what they leave as it is."""

import functools

import conformance
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import quick_jit, random_params, worst

from genjax_models.config import Config, Training
from genjax_models.core import Batch, Trainable
from genjax_models.data import Digits
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import VAE, fvsbn, gan, realnvp, sigmoid_belief_network, vae, variational_rnn
from genjax_models.models.networks import MLP
from genjax_models.objectives import (
    ELBO,
    adversarial,
    elbo,
    from_loss,
    maximum_likelihood,
    mean_field,
    rebar,
    reweighted_wake_sleep,
)
from genjax_models.optimizers import Adam
from genjax_models.overlay import overlay
from genjax_models.policy import PLAIN, PRODUCTS, Policy, obeying, under
from genjax_models.train import make_train, make_train_step

KEY = jax.random.key(3)
REMAT, HALF = Policy(remat=True), Policy(compute="bfloat16")


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
    again = jax.checkpoint(lambda carry, w: (carry @ w, None))  # as some loops of models are
    x, _ = jax.lax.scan(again, x, jax.random.normal(key, (2, 2, 2)))
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


def test_gradients_that_compute_again_are_equal(x64):
    """Of layers; to round-off."""
    model, x = realnvp(4, layers=3, hidden=(3,)), jnp.asarray(np.random.RandomState(0).normal(size=(2, 4)))
    loss, params = loss_of(maximum_likelihood(model), x), random_params(model, 4, 0)
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


def test_what_is_no_policy_is_refused():
    for wrong, message in (
        ({"remat": 1}, "remat: got 1, expected True or False"),
        ({"compute": "float16"}, "compute: got 'float16', expected one of 'float32', 'bfloat16'"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_train_step(from_loss(lambda params, key, batch: 0.0), optax.sgd(0.1), **wrong)


# bfloat16.


def bits(size, width):
    """Examples of a few patterns with noise, {0, 1}."""
    random = np.random.RandomState(0)
    patterns = random.randint(0, 2, (4, width))
    x = patterns[random.randint(0, 4, size)] ^ (random.uniform(size=(size, width)) < 0.05)
    return jnp.asarray(x, jnp.float32)


def equations(jaxpr):
    """All equations of a program, those of the programs within it too, as (name, types read, types made)."""
    for eqn in jaxpr.eqns:
        yield eqn.primitive.name, [v.aval.dtype for v in eqn.invars], [v.aval.dtype for v in eqn.outvars]
        for value in eqn.params.values():
            for part in value if isinstance(value, (tuple, list)) else (value,):
                if hasattr(part := getattr(part, "jaxpr", part), "eqns"):
                    yield from equations(part)


SMALL = MLP((8,), "tanh")
PAIRS = {
    "vae": lambda: elbo(vae(16, latent=2, encoder=SMALL, decoder=SMALL), 2),
    "belief net": lambda: reweighted_wake_sleep(sigmoid_belief_network(16, layers=(8,)), 5),
}


@pytest.mark.parametrize("name", PAIRS)
def test_products_read_bfloat16_and_nothing_else_does(name):
    """Forward and backward; parameters, gradients, bound and all between products are float32, the bound close."""
    objective, x = PAIRS[name](), bits(20, 16)
    loss, params = loss_of(objective, x), random_params(objective.loss.model, 16, 0)
    half = str(jnp.dtype(jnp.bfloat16))

    forward = list(equations(jax.make_jaxpr(under(HALF, loss))(params).jaxpr))
    products = [(read, made) for kind, read, made in forward if kind in PRODUCTS]
    assert products
    assert all(read == [half, half] and made == ["float32"] for read, made in products)
    own = {"custom_jvp_call", "jit", "pjit"}  # whose programs are among the equations
    assert {kind for kind, _, made in forward if half in made} - own == {"convert_element_type"}
    assert {kind for kind, read, _ in forward if half in read} - own == set(PRODUCTS[:1])

    def gradients(params):
        return [jax.value_and_grad(under(policy, loss))(params) for policy in (PLAIN, HALF)]

    lowered = quick_jit(gradients).lower(params)
    read = [kinds for kind, kinds, _ in equations(jax.make_jaxpr(gradients)(params).jaxpr) if kind in PRODUCTS]
    assert read.count([half, half]) == read.count(["float32", "float32"]) == len(read) / 2 > len(products)
    assert "bf16" in lowered.as_text()
    (value, gradient), (rounded, rounded_gradient) = lowered.compile()(params)
    assert {v.dtype for v in jax.tree.leaves((rounded, rounded_gradient))} == {jnp.dtype("float32")}
    assert 0 < abs(rounded - value) < 2**-8 * abs(value)
    for exact, found in zip(jax.tree.leaves(gradient), jax.tree.leaves(rounded_gradient), strict=True):
        assert float(jnp.linalg.norm(exact - found)) < 0.05 * float(jnp.linalg.norm(exact)) + 1e-6


def test_products_are_those_of_rounded_numbers():
    """One layer by hand: log p(x) of rounded weights to float32's round-off, and the gradient rounded once."""
    model, x = fvsbn(6), bits(10, 6)
    params = random_params(model, 6, 0)
    value, gradient = jax.jit(jax.value_and_grad(under(HALF, loss_of(maximum_likelihood(model), x))))(params)
    x, weights = np.asarray(x, np.float64), np.tril(np.asarray(params["generative"]["within"]["lateral"]), -1)

    def rounded(v):
        return np.asarray(jnp.asarray(v, jnp.bfloat16).astype(jnp.float32), np.float64)

    logits = x @ rounded(weights).T + np.asarray(params["generative"]["bias"], np.float64)
    np.testing.assert_allclose(value, -np.mean(np.sum(x * logits - np.logaddexp(0, logits), axis=1)), rtol=1e-6)
    slope = rounded((1 / (1 + np.exp(-logits)) - x) / len(x))
    expected = np.tril(slope.T @ x, -1)
    np.testing.assert_allclose(gradient["generative"]["within"]["lateral"], expected, rtol=2**-8, atol=1e-6)


def test_a_small_autoencoder_learns_as_well():
    """400 steps from a configuration: the bound in float32 of what was trained either way, within 0.15 nats."""
    small = VAE(latent=2, encoder=MLP((16,), "tanh"), decoder=MLP((16,), "tanh"))
    training = Training(num_steps=400, batch_size=50)
    config, data = Config(small, ELBO(), Adam(1e-2), Digits(), training), bits(200, 16)

    def trained(settings):
        state, metrics = make_train(settings)(settings, KEY, data)
        assert {v.dtype for v in jax.tree.leaves((state.params, state.phases[0].optimizer[0].mu))} == {
            np.dtype("float32")
        }
        return state.params, metrics["bound"]

    params, bounds = trained(config)
    halved, followed = trained(overlay(config, {"training.compute": "bfloat16"}))
    loss = jax.jit(lambda params: loss_of(elbo(small.build(16), 20), data)(params))
    assert worst(params, halved) > 1e-4
    assert float(loss(halved)) < float(loss(params)) + 0.15
    assert float(loss(params)) < -float(bounds[:10].mean()) - 3
    assert abs(float(followed[-50:].mean() - bounds[-50:].mean())) < 0.15


def test_models_without_products_refuse_it():
    """Of the densities in the table two have no product in their log p(x); all others read bfloat16."""
    refused = set()
    for name, (small, *_) in conformance.CONTINUOUS_MODELS.items():
        model = small.config.build(small.visible)
        loss, params = (
            loss_of(maximum_likelihood(model), jnp.full((2, small.visible), 0.5)),
            random_params(model, small.visible, 0),
        )
        try:
            jax.eval_shape(under(HALF, loss), params)
        except ModelError:
            refused.add(name)
    assert refused == {"affine_generator", "inverse_transform_generator"}


def test_what_takes_no_product_of_a_model_is_refused():
    """Mean-field learning computes its products itself, and a loss of one's own may call no model."""
    net = sigmoid_belief_network(4, layers=(2,))
    x, params = jnp.ones((2, 4)), net.init(KEY, jnp.zeros(4), ())
    for objective in (mean_field(net), lambda params, key, batch: jnp.sum(params["generative"]["top_logits"])):
        init, step = make_train_step(objective, optax.sgd(0.1), compute="bfloat16")
        with pytest.raises(ModelError, match="takes no matrix product or convolution of a model"):
            step(init(KEY, params, x), x)


@pytest.mark.parametrize("name", ["penalty", "control variate"])
def test_gradients_of_gradients_read_bfloat16_too(name):
    """A critic's slope, and forward derivatives of backward ones; a spectral norm alone asks for its precision."""
    if name == "penalty":
        model = gan(4, generator=SMALL, critic=MLP((8,), "tanh", "spectral"))
        objective = adversarial(model, "wasserstein", 10.0).critic
    else:
        model = sigmoid_belief_network(4, layers=(2, 2))
        objective = rebar(model)
    loss, params = loss_of(objective, bits(4, 4)), random_params(model, 4, 0)
    program = jax.make_jaxpr(jax.value_and_grad(under(HALF, loss)))(params)
    kinds = [read for kind, read, _ in equations(program.jaxpr) if kind in PRODUCTS]
    full = [read for read in kinds if read != [jnp.bfloat16, jnp.bfloat16]]
    assert len(kinds) > 20
    assert bool(full) == (name == "penalty")
