"""A variational recurrent network: 32 piano rolls of 40 steps of 88 keys, 100 units, 16 latents a step, relu.

The others take the KL in closed form, which ours estimates from the same samples, and do outside their loops over the
steps what needs no earlier step: features of x before, prior and decoder after. The cell is written out in all of them,
for PyTorch's `GRUCell` resets after the product and not before. By the matrix products nothing is demanded of the step:
they are small, and taken out of the loops over the steps wherever that can be, as are all gradients of weights.
"""

import dense
import numpy as np
import peers
from training import ALL, Setting, jax_training, our_training, rows_of, torch_training

BATCH, LENGTH, KEYS = 32, 40, 88
LATENT, HIDDEN = 16, 100
DRAWS = 20  # of the noise, for the loss at the first parameters
ROUNDS = 15
TARGETS = {ALL: 1.0, "matrix products": 2.0}


def our_model():
    """Our model."""
    from genjax_models.models import variational_rnn

    return variational_rnn(LENGTH * KEYS, frame=KEYS, latent=LATENT, hidden=HIDDEN, features=HIDDEN)


def setting() -> Setting:
    """Its parameters near the first ones, and a batch."""
    import jax

    params = our_model().init(jax.random.key(0), np.zeros(LENGTH * KEYS, np.float32), ())
    return Setting(peers.moved(params), dense.binary(BATCH, LENGTH * KEYS))


def ours(setting):
    """Ours."""
    from genjax_models.objectives import elbo

    return our_training(elbo(our_model()), *setting, DRAWS)


def by_hand(setting):
    """A loop in plain JAX, the steps in a scan."""
    import jax
    import jax.numpy as jnp
    import optax

    affine = peers.affine

    def hidden(params, name, *given):
        return jax.nn.relu(affine(params, f"{name}_0", *given))

    def normal(params, name, *given):
        return jnp.split(affine(params, f"{name}_out", hidden(params, name, *given)), 2, axis=-1)

    def loss(params, key, x):
        generative, recognition, shared = (params[group] for group in ("generative", "recognition", "shared"))
        x = x.reshape(len(x), LENGTH, KEYS).swapaxes(0, 1)

        def step(h, given):
            features, noise = given
            loc, log_scale = normal(recognition, "encoder", features, h)
            of_z = hidden(shared, "z", loc + jnp.exp(log_scale) * noise)
            reset, update = jnp.split(jax.nn.sigmoid(affine(shared, "gates", features, of_z, h)), 2, axis=-1)
            new = update * h + (1 - update) * jnp.tanh(affine(shared, "candidate", features, of_z, reset * h))
            return new, (h, of_z, loc, log_scale)

        start = jnp.broadcast_to(shared["hidden"], (x.shape[1], HIDDEN))
        noise = jax.random.normal(key, (*x.shape[:2], LATENT))
        _, (h, of_z, loc, log_scale) = jax.lax.scan(step, start, (hidden(shared, "x", x), noise))
        prior_loc, prior_log_scale = normal(generative, "prior", h)
        ratio = log_scale - prior_log_scale
        square = jnp.exp(2 * ratio) + ((loc - prior_loc) * jnp.exp(-prior_log_scale)) ** 2
        kl = 0.5 * jnp.sum(square - 1 - 2 * ratio)
        logits = affine(generative, "decoder_out", hidden(generative, "decoder", of_z, h))
        return (kl + optax.sigmoid_binary_cross_entropy(logits, x).sum()) / x.shape[1]

    return jax_training(loss, *setting, DRAWS)


def pytorch(setting, compiled=False):
    """A loop in PyTorch."""
    import torch

    groups = setting.params
    names = [(g, name.removesuffix("_kernel")) for g in groups for name in groups[g] if name.endswith("_kernel")]
    layers = torch.nn.ModuleDict({name: dense.torch_linear(peers.layer(groups[group], name)) for group, name in names})
    start = torch.nn.ParameterList([torch.nn.Parameter(torch.tensor(groups["shared"]["hidden"]))])

    def hidden(name, *given):
        return torch.relu(layers[f"{name}_0"](torch.cat(given, -1)))

    def normal(name, *given):
        return layers[f"{name}_out"](hidden(name, *given)).chunk(2, -1)

    def step(h, features, noise):
        loc, log_scale = normal("encoder", features, h)
        of_z = hidden("z", loc + log_scale.exp() * noise)
        reset, update = torch.sigmoid(layers["gates"](torch.cat([features, of_z, h], -1))).chunk(2, -1)
        candidate = torch.tanh(layers["candidate"](torch.cat([features, of_z, reset * h], -1)))
        return update * h + (1 - update) * candidate, of_z, loc, log_scale

    def after(x, before, of_z, loc, log_scale):
        prior_loc, prior_log_scale = normal("prior", before)
        ratio = log_scale - prior_log_scale
        square = (2 * ratio).exp() + ((loc - prior_loc) * (-prior_log_scale).exp()) ** 2
        kl = 0.5 * (square - 1 - 2 * ratio).sum()
        logits = layers["decoder_out"](hidden("decoder", of_z, before))
        unlikelihood = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        return (kl + unlikelihood) / x.shape[1]

    def loss(x):
        x = x.view(len(x), LENGTH, KEYS).transpose(0, 1)
        noise = torch.randn(*x.shape[:2], LATENT, device=x.device)
        h, found = start[0].repeat(x.shape[1], 1), []
        for features, noise_now in zip(hidden("x", x), noise, strict=True):
            new, *rest = step(h, features, noise_now)
            found.append((h, *rest))
            h = new
        return after(x, *(torch.stack(column) for column in zip(*found, strict=True)))

    if compiled:
        step, after, loss = torch.compile(step), torch.compile(after), peers.compiled_by_parts(loss)
    return torch_training(loss, [layers, start], setting.x, DRAWS, compiled)


def pytorch_compiled(setting):
    """The same by `torch.compile` of a step, for that of all would take minutes, and a fused Adam."""
    return pytorch(setting, compiled=True)


def bare_products(setting):
    """Its matrix products."""
    import jax
    import jax.numpy as jnp
    import products

    shapes = {
        "x": (KEYS, HIDDEN),
        "features": (HIDDEN, 4 * HIDDEN),  # to encoder, gates and candidate
        "encoder": (HIDDEN, HIDDEN),
        "law": (HIDDEN, 2 * LATENT),
        "z": (LATENT, HIDDEN),
        "of_z": (HIDDEN, 3 * HIDDEN),  # to gates and candidate
        "gates": (HIDDEN, 2 * HIDDEN),
        "candidate": (HIDDEN, HIDDEN),
        "decoder": (2 * HIDDEN, HIDDEN),
        "logits": (HIDDEN, KEYS),
        "prior": (HIDDEN, HIDDEN),
        "prior_law": (HIDDEN, 2 * LATENT),
    }

    def step(weights, x):
        def times(name, h):
            return h @ weights[name]

        def back(name, y):
            return y @ weights[name].T

        def parts(y):
            return y.reshape(*y.shape[:-1], -1, HIDDEN).sum(axis=-2)

        def forward(h, features):
            encoder = times("encoder", h) + parts(features)
            law = times("law", encoder)
            z = times("z", law[:, :LATENT])
            of_z = times("of_z", z)
            gates = times("gates", h)
            new = times("candidate", parts(gates)) + parts(of_z)
            return new / 8, {"encoder": h, "law": encoder, "z": law[:, :LATENT], "of_z": z, "candidate": parts(gates)}

        def backward(of_new, given):
            of_h, of_features = given
            of_gates = jnp.tile(back("candidate", of_new), 2)
            of_all = jnp.tile(of_new, 3)
            of_z = back("of_z", of_all) + of_features
            of_law = jnp.tile(back("z", of_z), 2)
            of_encoder = back("law", of_law)
            below = of_h + back("gates", of_gates) + back("encoder", of_encoder)
            found = {"encoder": of_encoder, "law": of_law, "z": of_z, "of_z": of_all}
            return below / 8, found | {"gates": of_gates, "candidate": of_new}

        x = x.reshape(LENGTH, len(x), KEYS)
        of_x = times("x", x)
        h, inputs = jax.lax.scan(forward, x[0, :, :1] + jnp.zeros(HIDDEN), times("features", of_x))
        h, seen = inputs["encoder"], jnp.concatenate([inputs["of_z"], inputs["encoder"]], axis=-1)
        decoder, prior = times("decoder", seen), times("prior", h)
        of_logits, of_law = times("logits", decoder), times("prior_law", prior)
        inputs |= {"x": x, "features": of_x, "gates": h}
        inputs |= {"decoder": seen, "logits": decoder, "prior": h, "prior_law": prior}
        of = {"logits": of_logits, "prior_law": of_law}
        of |= {"decoder": back("logits", of_logits), "prior": back("prior_law", of_law)}
        of_seen, of_h = back("decoder", of["decoder"]), back("prior", of["prior"])
        given = of_seen[..., HIDDEN:] + of_h, of_seen[..., :HIDDEN]
        _, found = jax.lax.scan(backward, jnp.zeros_like(h[0]), given, reverse=True)
        of |= found | {"features": jnp.concatenate([found["encoder"], found["of_z"]], axis=-1)}
        of["x"] = back("features", of["features"])
        flat = {name: (inputs[name].reshape(-1, a), of[name].reshape(-1, b)) for name, (a, b) in shapes.items()}
        return products.followed(weights, {name: a.T @ b for name, (a, b) in flat.items()})

    keys = jax.random.split(jax.random.key(2), len(shapes))
    weights = {
        name: jax.random.normal(key, shape) / max(shape) ** 0.5
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    # One of each forward, two backward but for the gradient of x.
    return products.training(step, weights, setting.x, 3 * len(shapes) - 1)


LIBRARIES = {
    "ours": ours,
    "plain JAX": by_hand,
    "PyTorch": pytorch,
    "PyTorch, compiled": pytorch_compiled,
    "matrix products": bare_products,
}


def rows():
    """Our updates by the others'."""
    import train_vrnn

    return rows_of("VRNN", train_vrnn, tolerance=0.003)
