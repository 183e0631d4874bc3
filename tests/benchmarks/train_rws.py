"""Reweighted wake-sleep on a sigmoid belief network: 784-200-200-200, 10 particles and a dream an example.

Half of q's update is awake and half asleep. The losses that are compared are bounds with one particle, since Pyro
weighs the particles of a whole batch at once, where the others and the paper weigh those of each example: that costs it
no more. PyTorch's loop takes both players' gradients from one surrogate, as ours does.
"""

import dense
import numpy as np
from training import ALL, LEARNING_RATE, STEPS, Setting, Training, jax_training, our_training, rows_of, torch_training

LAYERS, PARTICLES = (200, 200, 200), 10
DRAWS = 20  # of the noise, for the loss at the first parameters
ROUNDS = 15
TARGETS = {ALL: 1.0, "matrix products": 1.6}


def our_network():
    """Our model."""
    from genjax_models.models import sigmoid_belief_network

    return sigmoid_belief_network(dense.VISIBLE, layers=LAYERS)


def setting() -> Setting:
    """Its first parameters, and a batch."""
    import jax

    params = our_network().init(jax.random.key(0), np.zeros(dense.VISIBLE, np.float32), ())
    return Setting(jax.tree.map(np.asarray, params), dense.binary(dense.BATCH, dense.VISIBLE))


def ours(setting):
    """Ours."""
    from genjax_models.objectives import reweighted_wake_sleep

    model = our_network()
    objective = reweighted_wake_sleep(model, PARTICLES)
    return our_training(objective, *setting, DRAWS, compared=reweighted_wake_sleep(model, 1))


def by_hand(setting):
    """A loop in plain JAX."""
    import jax
    import jax.numpy as jnp
    import optax

    def log_prob(logits, value):
        return -optax.sigmoid_binary_cross_entropy(logits, value).sum(axis=-1)

    def affine(layer, h):
        return h @ layer["kernel"] + layer["bias"]

    def draw(key, logits):
        return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)

    def infer(params, key, x, particles):
        """Particles [K, B, n] of every layer, and log q of each."""
        layers = dense.in_order(params["recognition"])
        h, log_q, found = x, 0.0, []
        for i, layer in enumerate(layers):
            logits = affine(layer, h)
            shape = (particles, *logits.shape) if i == 0 else logits.shape
            h = draw(jax.random.fold_in(key, i), jnp.broadcast_to(logits, shape))
            log_q = log_q + log_prob(logits, h)
            found.append(h)
        return found, log_q

    def log_joint(params, x, hidden):
        generative = params["generative"]
        total, below = log_prob(generative["top_logits"], hidden[-1]), [x, *hidden]
        for i, layer in enumerate(dense.in_order(generative["below"])):
            total = total + log_prob(affine(layer, below[i + 1]), below[i])
        return total

    def dream(params, key, number):
        generative = params["generative"]
        h = draw(key, jnp.broadcast_to(generative["top_logits"], (number, LAYERS[-1])))
        found = [h]
        for i, layer in reversed(list(enumerate(dense.in_order(generative["below"])))):
            h = draw(jax.random.fold_in(key, i), affine(layer, h))
            found.insert(0, h)
        return found

    def recognized(params, x, hidden):
        total, below = 0.0, [x, *hidden]
        for i, layer in enumerate(dense.in_order(params["recognition"])):
            total = total + log_prob(affine(layer, below[i]), below[i + 1])
        return total

    def loss(params, key, x):
        awake, asleep = jax.random.split(key)
        hidden, log_q = infer(params, awake, x, PARTICLES)
        log_p = log_joint(params, x, hidden)
        weights = jax.lax.stop_gradient(jax.nn.softmax(log_p - log_q, axis=0))
        fantasy = jax.lax.stop_gradient(dream(params, asleep, len(x)))
        q_asleep = recognized(params, fantasy[0], fantasy[1:])
        return -jnp.mean(jnp.sum(weights * (log_p + log_q / 2), axis=0) + q_asleep / 2)

    def bound(params, key, x):
        hidden, log_q = infer(params, key, x, 1)
        return jnp.mean(log_q - log_joint(params, x, hidden))

    return jax_training(loss, *setting, DRAWS, compared=bound)


def _torch_parts(params):
    import torch

    top = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(np.array(params["generative"]["top_logits"])))])
    below, up = (
        torch.nn.ModuleList([dense.torch_linear(layer) for layer in dense.in_order(layers)])
        for layers in (params["generative"]["below"], params["recognition"])
    )
    return top, below, up


def pyro(setting):
    """Pyro's estimator, one optimizer of PyTorch for all parameters, nothing validated."""
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import ReweightedWakeSleep, Trace_ELBO

    pyro.clear_param_store()
    pyro.enable_validation(False)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    top, below, up = (part.to(device) for part in _torch_parts(setting.params))
    names = [f"h{i}" for i in range(1, len(LAYERS) + 1)]  # from x upwards
    x = torch.tensor(setting.x, device=device)

    def model(x, observations=None):
        with pyro.plate("batch", len(x)):
            logits = top[0]
            for name, layer in zip(reversed(names), reversed(below), strict=True):
                logits = layer(pyro.sample(name, dist.Bernoulli(logits=logits).to_event(1)))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(x, observations=None):
        h = x if observations is None else observations["x"]
        with pyro.plate("batch", len(x)):
            for name, layer in zip(names, up, strict=True):
                h = pyro.sample(name, dist.Bernoulli(logits=layer(h)).to_event(1))

    estimator = ReweightedWakeSleep(num_particles=PARTICLES, insomnia=0.5, num_sleep_particles=1, max_plate_nesting=1)
    one = Trace_ELBO(max_plate_nesting=1)
    optimizer = torch.optim.Adam([*top.parameters(), *below.parameters(), *up.parameters()], lr=LEARNING_RATE)

    def advance():
        for _ in range(STEPS):
            optimizer.zero_grad()
            losses = estimator.loss_and_grads(model, guide, x)
            optimizer.step()
        return losses

    def mean_loss():
        return float(np.mean([one.loss(model, guide, x) for _ in range(DRAWS)])) / len(x)

    return Training(mean_loss, advance)


def pytorch(setting, compiled=False):
    """A loop in PyTorch."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    top, below, up = _torch_parts(setting.params)

    def log_prob(logits, value):
        shape = torch.broadcast_shapes(logits.shape, value.shape)
        return -cross_entropy(logits.expand(shape), value.expand(shape), reduction="none").sum(-1)

    def draw(logits):
        return (torch.rand_like(logits) < torch.sigmoid(logits)).to(logits.dtype)

    def infer(x, particles):
        h, log_q, found = x, 0.0, []
        for i, layer in enumerate(up):
            logits = layer(h)
            h = draw(logits.detach().expand(particles, *logits.shape) if i == 0 else logits.detach())
            log_q = log_q + log_prob(logits, h)
            found.append(h)
        return found, log_q

    def log_joint(x, hidden):
        total, under = log_prob(top[0], hidden[-1]), [x, *hidden]
        for i, layer in enumerate(below):
            total = total + log_prob(layer(under[i + 1]), under[i])
        return total

    def dream(number):
        with torch.no_grad():
            found = [draw(top[0].expand(number, -1))]
            for layer in reversed(below):
                found.insert(0, draw(layer(found[0])))
        return found

    def loss(x):
        hidden, log_q = infer(x, PARTICLES)
        log_p = log_joint(x, hidden)
        weights = torch.softmax((log_p - log_q).detach(), 0)
        fantasy = dream(len(x))
        q_asleep = sum(log_prob(layer(fantasy[i]), fantasy[i + 1]) for i, layer in enumerate(up))
        return -((weights * (log_p + log_q / 2)).sum(0) + q_asleep / 2).mean()

    def bound(x):
        hidden, log_q = infer(x, 1)
        return (log_q - log_joint(x, hidden)).mean()

    return torch_training(loss, [top, below, up], setting.x, DRAWS, compiled, compared=bound)


def pytorch_compiled(setting):
    """The same by `torch.compile` and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting):
    """Its matrix products.

    The samples are held fixed, so that no product is needed for the gradient of a layer's input: every layer has one
    product forward and one for its weights' gradient in each phase that trains it, and dreams take one a layer more.
    """
    import itertools

    import jax
    import jax.numpy as jnp
    import products

    sizes = (dense.VISIBLE, *LAYERS)

    def gradients(weights, inputs):
        return [z.T @ (z @ w) for w, z in zip(weights, inputs, strict=True)]

    def step(weights, x):
        generative, recognition = weights
        # Awake: the first layer of q reads examples, all others particles.
        first, *rest = recognition
        h = x @ first
        of_first = x.T @ h
        z = tuple(itertools.accumulate(rest, jnp.matmul, initial=jnp.repeat(h, PARTICLES, axis=0)))
        of_rest = [below.T @ above for below, above in itertools.pairwise(z)]
        of_generative = gradients(generative, z)
        # Asleep, from whatever the top layer is.
        dream = tuple(itertools.accumulate(reversed(generative), jnp.matmul, initial=z[-1][: len(x)]))[::-1]
        asleep = gradients(recognition, dream[:-1])
        of_recognition = [a + b for a, b in zip((of_first, *of_rest), asleep, strict=True)]
        return products.followed(weights, (of_generative, of_recognition))

    down = [w.T for w in products.kernels(jax.random.key(2), sizes)]
    # p awake, q awake, q asleep: two a layer each; and one a layer for the dream.
    return products.training(step, (down, products.kernels(jax.random.key(3), sizes)), setting.x, 7 * len(LAYERS))


LIBRARIES = {
    "ours": ours,
    "plain JAX": by_hand,
    "Pyro": pyro,
    "PyTorch": pytorch,
    "PyTorch, compiled": pytorch_compiled,
    "matrix products": bare_products,
}


def rows():
    """Our updates by the others'."""
    import train_rws

    return rows_of("RWS", train_rws, tolerance=0.003)
