"""Importance weighting with K = 1000 beside a plain PyTorch loop over the same examples, on equal networks.

784-200-200-50, tanh, Bernoulli. The loop is as one would write it: 50 examples at a time, 100 samples at once, a
running log-sum. Ours also keeps the largest weights of each example, for k-hat.
"""

import math

import dense
import jax
import jax.numpy as jnp
import numpy as np
import torch
from timing import Row, compare, in_turns

from genjax_models.core import Batch
from genjax_models.evaluation.marginal import estimate_log_marginal

SAMPLES, CHUNK, BLOCK = 1000, 100, 50
TARGET = 1.0


def ours():
    """log p(x) of every example, as a function without arguments."""
    model, (params, x) = dense.our_autoencoder(), dense.autoencoder_setting()
    batch, sizes = Batch(jnp.asarray(x)), {"chunk": CHUNK, "block": BLOCK}
    return lambda: estimate_log_marginal(model, params, jax.random.key(0), batch, SAMPLES, **sizes).log_prob


def torch_loop():
    """The same in PyTorch."""
    setting = dense.autoencoder_setting()
    encoder, decoder = dense.torch_networks(setting.params)
    x = torch.tensor(setting.x)

    @torch.no_grad()
    def run():
        found = []
        for first in range(0, len(x), BLOCK):
            rows = x[first : first + BLOCK]
            loc, log_scale = encoder(rows).chunk(2, dim=-1)
            q = torch.distributions.Normal(loc, log_scale.exp())
            prior = torch.distributions.Normal(torch.zeros_like(loc), torch.ones_like(loc))
            running = torch.full((len(rows),), -torch.inf)
            for _ in range(SAMPLES // CHUNK):
                z = q.sample((CHUNK,))
                logits = decoder(z)
                likelihood = -torch.nn.functional.binary_cross_entropy_with_logits(
                    logits, rows.expand_as(logits), reduction="none"
                ).sum(-1)
                log_w = likelihood + prior.log_prob(z).sum(-1) - q.log_prob(z).sum(-1)
                running = torch.logaddexp(running, torch.logsumexp(log_w, 0))
            found.append(running - math.log(SAMPLES))
        return torch.cat(found).numpy()

    return run


def rows() -> list[Row]:
    """Our time by the loop's."""
    both = ours(), torch_loop()
    means = [float(np.mean(np.asarray(run()))) for run in both]
    if abs(means[0] - means[1]) > 0.01 * abs(means[0]):
        raise RuntimeError(f"log p(x) is {means} nats: different models.")
    times = in_turns(*both, rounds=9)
    return [compare(f"log p(x), K = {SAMPLES} / a PyTorch loop", *times, "ms", TARGET, 1e3)]
