"""A batch in parts against the whole batch: the same draws, and the same mean of gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import IMPLICIT_MODELS, MODELS, OBJECTIVES, OTHER_MODELS, fits
from toys import quick_jit, random_params, worst

from genjax_models.core import Batch, Trainable
from genjax_models.errors import ConfigError
from genjax_models.models import (
    deep_nade,
    gan,
    sigmoid_belief_network,
)
from genjax_models.models.networks import MLP
from genjax_models.objectives import (
    adversarial,
    maximum_likelihood,
    muprop,
    reweighted_wake_sleep,
)
from genjax_models.objectives.parts import PartKey, draw_rows, split
from genjax_models.optimizers import SGD
from genjax_models.train import make_train_step

KEY = jax.random.key(3)
X = np.random.RandomState(0).randint(0, 2, (6, 4)).astype(float)


def test_parts_draw_the_rows_of_the_whole():
    """By streams and rows, every part has what its rows are in the whole batch."""

    def draw(key, size):
        keys, numbers = split(key)
        return draw_rows(jax.random.split, keys, size), draw_rows(
            lambda k, n: jax.random.normal(k, (n, 2)), numbers, size
        )

    whole = draw(KEY, 6)
    parts = [draw(PartKey(KEY, jnp.int32(i), 3), 2) for i in range(3)]
    for all_rows, rows in zip(whole, zip(*parts, strict=True), strict=True):
        assert bool(jnp.all(jnp.stack(rows, axis=1).reshape(all_rows.shape) == all_rows))


def gradient_of(objective, params, key, x):
    """Value, state, metrics and gradient of a loss, the objective's own parameters included."""
    own, state = objective.init(KEY, params, Batch(x))

    def loss(params, own):
        return objective.loss(Trainable(params, own), state, key, Batch(x), jnp.int32(0))

    return jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)(params, own)


def test_the_gradient_of_parts_is_that_of_the_whole(x64):
    """To round-off, by the same draws: particles and dreams, uniforms, masks, points between."""
    small = MLP((3,), "tanh")
    net, masks = sigmoid_belief_network(4, layers=(3,)), deep_nade(4, hidden=(3,))
    sampler = gan(4, generator=small, critic=small)
    cases = [
        (net, reweighted_wake_sleep(net, 2)),
        (net, muprop(net)),
        (masks, maximum_likelihood(masks)),
        (sampler, adversarial(sampler, "wasserstein", 10.0).critic),
    ]
    trained = [random_params(model, 4, 0) for model, _ in cases]

    @quick_jit
    def both(trained):
        x = jnp.asarray(X)

        def whole_and_parts(objective, params):
            def part(i):
                rows = x.reshape(2, 3, -1)[:, i]
                return gradient_of(objective, params, PartKey(KEY, i, 3), rows)

            means = jax.tree.map(functools.partial(jnp.mean, axis=0), jax.lax.map(part, jnp.arange(3)))
            return gradient_of(objective, params, KEY, x), means

        return [whole_and_parts(objective, params) for (_, objective), params in zip(cases, trained, strict=True)]

    for (_, objective), (whole, parts) in zip(cases, both(trained), strict=True):
        assert worst(whole, parts) < 1e-12, objective
        assert worst(whole[1], jax.tree.map(jnp.zeros_like, whole[1])) > 1e-2


SMALL = [row for table in (MODELS, OTHER_MODELS, IMPLICIT_MODELS) for row in table.values()]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_draws_by_rows_or_is_refused(name):
    """No draw takes the key of a part as if it were one of jax's, which would be of another batch."""
    config = OBJECTIVES[name][0]
    rows = (small for row in SMALL for small in row)
    small, model = next((s, m) for s in rows if fits(config, m := s.config.build(s.visible)))
    for phase in config.phases(model, SGD()):
        if phase.objective.needs_whole_batch:
            with pytest.raises(ConfigError, match="accumulate: got 2"):
                make_train_step(phase, accumulate=2)
            continue
        assert phase.objective.draws_by_row
        params = random_params(model, small.visible, 0)
        jax.eval_shape(
            lambda key, p=params, o=phase.objective: gradient_of(o, p, key, jnp.zeros((2, small.visible))),
            PartKey(KEY, jnp.int32(0), 3),
        )
