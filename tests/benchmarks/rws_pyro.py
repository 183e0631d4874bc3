"""Training a belief network by reweighted wake-sleep against Pyro's `ReweightedWakeSleep` on PyTorch, the same net.

Both take K particles and one dream an example, half of q's update from each, and follow Adam. Pyro vectorizes over its
particles, validates nothing, and one optimizer of PyTorch updates all its parameters. It weighs the particles of a
whole batch at once, where ours and the paper weigh those of each example: that costs it no more. The bounds that are
compared before the clock starts are both of its kind, on the same particles.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from belief_networks import LAYERS, LEARNING_RATE, PARTICLES, model_and_parameters, training
from networks import BATCH, STEPS, data
from pyro.infer import ReweightedWakeSleep
from timing import Row, compare, in_turns

from genjax_models.objectives import reweighted_wake_sleep

TARGET = 1 / 3
NAMES = [f"h{i}" for i in range(1, len(LAYERS) + 1)]  # from x upwards


def _linear(layer) -> torch.nn.Linear:
    """Our layer, in PyTorch's."""
    kernel, bias = (torch.tensor(np.array(layer[name])) for name in ("kernel", "bias"))
    linear = torch.nn.Linear(*kernel.shape)
    linear.weight.data, linear.bias.data = kernel.T.contiguous(), bias
    return linear


class PyroBeliefNetwork:
    """p and q as Pyro's programs, from our parameters."""

    def __init__(self, params):
        count = range(len(LAYERS))
        below, up = params["generative"]["below"], params["recognition"]
        self.top = torch.nn.Parameter(torch.tensor(np.array(params["generative"]["top_logits"])))
        self.below = torch.nn.ModuleList(_linear(below[f"layers_{i}"]) for i in count)
        self.up = torch.nn.ModuleList(_linear(up[f"layers_{i}"]) for i in count)

    def parameters(self) -> list[torch.nn.Parameter]:
        """All of p's and q's."""
        return [self.top, *self.below.parameters(), *self.up.parameters()]

    def model(self, x, observations=None):
        """p: from the top layer down to x."""
        with pyro.plate("batch", BATCH):
            logits = self.top
            for name, layer in zip(reversed(NAMES), reversed(self.below), strict=True):
                h = pyro.sample(name, dist.Bernoulli(logits=logits).to_event(1))
                logits = layer(h)
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x, observations=None):
        """q: from x, or from what was dreamt of it, upwards."""
        h = x if observations is None else observations["x"]
        with pyro.plate("batch", BATCH):
            for name, layer in zip(NAMES, self.up, strict=True):
                h = pyro.sample(name, dist.Bernoulli(logits=layer(h)).to_event(1))


def pyro_training():
    """The net before its first step, and STEPS of its training as a function that returns the last loss."""
    pyro.clear_param_store()
    pyro.enable_validation(False)
    net = PyroBeliefNetwork(model_and_parameters()[1])
    x = torch.tensor(np.array(data()))
    estimator = ReweightedWakeSleep(num_particles=PARTICLES, insomnia=0.5, num_sleep_particles=1, max_plate_nesting=1)
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)

    def advance():
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses = estimator.loss_and_grads(net.model, net.guide, x)
            optimizer.step()
        return losses

    return net, estimator, advance


def _bounds(net: PyroBeliefNetwork, estimator: ReweightedWakeSleep) -> tuple[float, float]:
    """Ours and Pyro's bound, with one weight for the whole batch, on the same particles."""
    model, params = model_and_parameters()
    x, keys = data(), jax.random.split(jax.random.key(0), (PARTICLES, BATCH))

    @jax.jit
    def ours(params, keys, x):
        def weigh(key, x):
            z, log_q = model.propose(params, key, x, ())
            joint = model.log_joint(params, z, x, ())
            return z, joint.likelihood + sum(joint.prior) - sum(log_q)

        z, log_w = jax.vmap(lambda keys: jax.vmap(weigh)(keys, x))(keys)
        return z, jax.nn.logsumexp(jnp.sum(log_w, axis=1)) - jnp.log(PARTICLES)

    z, bound = ours(params, keys, x)
    x = torch.tensor(np.array(x))
    trace = pyro.poutine.trace(net.guide).get_trace(x)
    for name, layer in zip(NAMES, z, strict=True):
        trace.nodes[name]["value"] = torch.tensor(np.array(layer))
    loss, _ = estimator.loss(net.model, pyro.poutine.replay(net.guide, trace), x)
    return float(bound), -float(loss)


def rows() -> list[Row]:
    """Our step by Pyro's."""
    net, estimator, other = pyro_training()
    a, b = _bounds(net, estimator)
    if abs(a - b) > 1e-5 * abs(b):
        raise RuntimeError(f"on the same particles the bounds are {a:.2f} and {b:.2f} nats: two different models.")
    ours, _ = training(reweighted_wake_sleep(model_and_parameters()[0], PARTICLES))
    times = in_turns(ours, other)
    return [compare("RWS step / Pyro's", *times, "ms", TARGET, 1e3 / STEPS)]
