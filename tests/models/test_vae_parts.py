"""The parts that autoencoders are made of: each law is normalized, draws follow it, and closed forms are its own."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import assert_frequencies, cells
from drills import drill
from toys import quick_jit, random_params, worst

from genjax_models.core import total
from genjax_models.distributions import Normal
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import MAF, RealNVP, hierarchical_vae, vae, vae_of_modules
from genjax_models.models.hierarchical_vae import combine
from genjax_models.models.networks import MLP, Convolutional
from genjax_models.models.posteriors import DiagonalGaussian, FullGaussian, InverseAutoregressive
from genjax_models.models.priors import GaussianMixture, StandardNormal, VampPrior
from genjax_models.models.units import (
    Bernoulli,
    Categorical,
    DiscretizedLogistics,
    Emission,
    Gaussian,
    MixtureOfGaussians,
    Poisson,
)

SMALL = {"latent": 2, "encoder": MLP((3,), "tanh"), "decoder": MLP((3,), "tanh")}
X = jnp.array([1.0, 0.0, 1.0])
PLANE = cells(binary=False, units=2)
NUMBER = 20_000


def build(**parts):
    model = vae(3, **SMALL, **parts)
    return model, random_params(model, 3, seed=1, scale=0.4)


def over_plane(log_density):
    return np.exp(quick_jit(jax.vmap(log_density))(PLANE.points)) * PLANE.volumes


def draws(function):
    return np.asarray(quick_jit(jax.vmap(function))(jax.random.split(jax.random.key(7), NUMBER)))


POSTERIORS = [DiagonalGaussian(), FullGaussian(), InverseAutoregressive(layers=2, hidden=(4,), context=2)]
PRIORS = [
    StandardNormal(),
    GaussianMixture(components=3),
    VampPrior(components=2),
    RealNVP(layers=2, hidden=(3,), activation="tanh"),
    MAF(layers=1, hidden=(3,), activation="tanh"),
]


@pytest.mark.parametrize("posterior", POSTERIORS, ids=type)
def test_posteriors(x64, posterior):
    """q(z | x) integrates to one, draws follow it and are scored by it, and closed forms are its integrals."""
    model, params = build(posterior=posterior)
    density = over_plane(lambda z: total(model.log_posterior(params, z, X, ())))
    # A flow's density is not as smooth as a Gaussian's, of which a sum over a grid is exact.
    assert abs(density.sum() - 1) < (1e-6 if isinstance(posterior, InverseAutoregressive) else 1e-9)
    z, terms = quick_jit(jax.vmap(lambda k: model.propose(params, k, X, ())))(
        jax.random.split(jax.random.key(7), NUMBER)
    )
    assert worst(terms, quick_jit(jax.vmap(lambda z: model.log_posterior(params, z, X, ())))(z)) < 1e-9
    assert_frequencies(PLANE.cell, density, PLANE.of(np.asarray(z)))
    assert (model.posterior_moments is None) == (model.kl is None) == isinstance(posterior, InverseAutoregressive)
    assert (model.kl_by_dimension is None) == (not isinstance(posterior, DiagonalGaussian))
    if model.kl is not None:
        log_p = -0.5 * (PLANE.points**2).sum(axis=1) - np.log(2 * np.pi)
        kl = density @ (np.log(density / PLANE.volumes) - log_p)
        assert abs(total(model.kl(params, X, ())) - kl) < 1e-9
        mean = density @ PLANE.points
        moments = mean, np.sqrt(density @ (PLANE.points - mean) ** 2)
        assert worst(model.posterior_moments(params, X, ()), moments) < 1e-9
        z, terms = model.propose_with_kl(params, jax.random.key(9), X, ())
        terms_apart = model.kl(params, X, ()) if model.kl_by_dimension is None else model.kl_by_dimension(params, X, ())
        assert worst((z, terms), (model.propose(params, jax.random.key(9), X, ())[0], terms_apart)) < 1e-12
    if model.kl_by_dimension is not None:
        assert abs(total(model.kl_by_dimension(params, X, ())[0].sum()) - total(model.kl(params, X, ()))) < 1e-12


@pytest.mark.parametrize("prior", PRIORS, ids=type)
def test_priors(x64, prior):
    """p(z) integrates to one, and draws follow it; only under the standard normal is there a KL in closed form."""
    model, params = build(prior=prior)
    density = over_plane(lambda z: total(model.log_joint(params, z, X, ()).prior))
    assert abs(density.sum() - 1) < 1e-9
    z = draws(lambda k: model.sample_joint(params, k, ())[0])
    assert_frequencies(PLANE.cell, density, PLANE.of(z))
    assert (model.kl is None) == (not isinstance(prior, StandardNormal))


def test_pseudo_inputs_are_given_to_the_recognition_network(x64):
    """p(z) is the mean of q(z | u), with gradients to the parameters that p shares with q and to the inputs."""
    model, params = build(prior=VampPrior(components=3))
    assert sorted(params) == ["generative", "shared"]
    z = jnp.array([0.3, -0.5])

    @quick_jit
    def run(params):
        u = jax.nn.sigmoid(4 * params["generative"]["prior"]["inputs"])
        of_inputs = jax.vmap(lambda v: total(model.log_posterior(params, z, v, ())))(u)
        prior = jax.value_and_grad(lambda p: total(model.log_joint(p, z, X, ()).prior))
        return jax.nn.logsumexp(of_inputs) - np.log(3), *prior(params)

    expected, value, slopes = run(params)
    assert abs(value - expected) < 1e-12
    assert all(np.abs(v).max() > 1e-6 for v in jax.tree.leaves((slopes["shared"], slopes["generative"]["prior"])))


UNITS = [
    (Bernoulli(), np.arange(2.0), None),
    (Categorical(levels=3), np.arange(3) / 2, None),
    (DiscretizedLogistics(levels=4, components=2), np.arange(4) / 3, None),
    (Poisson(), np.arange(60.0), None),
    (Gaussian(0.7), np.linspace(-30, 30, 4001), 0.015),
    (Gaussian(predicted=True), np.linspace(-30, 30, 4001), 0.015),
    (Gaussian(predicted=True, least_scale=0.5), np.linspace(-30, 30, 4001), 0.015),
    (MixtureOfGaussians(components=2, least_scale=0.2), np.linspace(-30, 30, 8001), 0.0075),
]


@pytest.mark.parametrize(("units", "values", "step"), UNITS, ids=lambda v: type(v).__name__)
def test_laws_of_units(x64, units, values, step):
    """They sum, or integrate, to one; `mean` is theirs, and that of draws to four standard errors."""
    shape = (2,) if units.outputs is None else (units.outputs, 2)
    numbers = jnp.asarray(0.6 * np.random.RandomState(0).normal(size=shape))
    many = jnp.broadcast_to(numbers, (len(values), *shape))
    x = jnp.stack([jnp.asarray(values), jnp.full(len(values), values[1])], axis=1)

    @quick_jit
    def run(numbers, many, x):
        return units.log_prob(many, x) - units.log_prob(many[..., 1:], x[:, 1:]), units.mean(numbers)[0]

    log_chance, mean = run(numbers, many, x)
    chance = np.exp(log_chance) * (step or 1)
    assert abs(chance.sum() - 1) < 1e-9
    assert abs(chance @ values - mean) < 1e-9
    drawn = draws(lambda k: units.sample(k, numbers))[:, 0]
    assert np.isin(drawn, values).all() or step
    assert abs(drawn.mean() - mean) < 4 * np.sqrt((chance @ values**2 - mean**2) / NUMBER)


def test_scales_are_learned_one_a_unit_or_predicted(x64):
    """A learned scale is a parameter, the same for every z; a predicted one moves with z. A floor holds."""
    shared, params = build(likelihood=Gaussian())
    assert params["generative"]["emission"]["log_scale"].shape == (3,)
    z = jnp.array([[0.0, 1.0], [2.0, -1.0]])

    def scales(model, params):
        """From the log-density at the mean, its highest value."""
        at = jax.vmap(lambda z: model.log_joint(params, z, model.decode(params, z, ()), ()).likelihood)(z)
        return -at - 1.5 * np.log(2 * np.pi)

    assert worst(scales(shared, params), np.full(2, params["generative"]["emission"]["log_scale"].sum())) < 1e-12
    model, params = build(likelihood=Gaussian(predicted=True))
    assert "emission" not in params["generative"]
    assert abs(np.subtract(*scales(model, params))) > 1e-3
    floored, params = build(likelihood=Gaussian(least_scale=0.1))
    params["generative"]["emission"]["log_scale"] = jnp.full(3, -50.0)
    assert worst(scales(floored, params), np.full(2, 3 * np.log(0.1))) < 1e-9


def test_conditional_autoencoders_see_the_context(x64):
    """With a context in q and in p; without `conditional` what comes as one changes nothing."""
    c, other = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
    for conditional in (True, False):
        model = vae(4, latent=2, encoder=Convolutional((2, 2), (3,)), decoder=MLP((3,)), conditional=conditional)
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(4), c)
        params = jax.tree.map(lambda v: jnp.asarray(np.sin(1.0 + np.arange(v.size)).reshape(v.shape)), shapes)
        x, z = jnp.array([1.0, 0, 0, 1]), jnp.array([0.4, -0.3])
        found = [(*model.log_posterior(params, z, x, v), *model.log_joint(params, z, x, v)[:1]) for v in (c, other)]
        differences = [abs(a - b) for a, b in zip(*map(jax.tree.leaves, found), strict=True)]
        assert min(differences) > 1e-3 if conditional else max(differences) == 0


@pytest.mark.parametrize(("shape", "blocks"), [((5, 3), 0), ((4, 4, 2), 2), drill((5, 3), 2), drill((4, 4, 2), 0)])
def test_convolutional_networks_of_any_size(blocks, shape):
    """Edges that do not divide; each of P numbers is an image row by row, as the units take them."""
    size, network = int(np.prod(shape)), Convolutional(shape, (3, 2), "tanh", blocks=blocks)
    code, out = network.encoder(7, size), network.decoder(size, 3)
    x = jax.random.normal(jax.random.key(0), (size,))
    h, _ = code.init_with_output(jax.random.key(1), x)
    assert h.shape == (7,)
    numbers, variables = out.init_with_output(jax.random.key(2), h)
    assert Emission(Categorical(3), size).apply({}, numbers).shape == (3, size)
    # The last convolution made constant: 5 for the second number, and 0 for the others.
    depth, last = shape[2] if len(shape) == 3 else 1, variables["params"]["layers_1"]
    last["kernel"], last["bias"] = last["kernel"] * 0, jnp.zeros((4, 3, depth)).at[:, 1].set(5.0).ravel()
    assert worst(out.apply(variables, h).reshape(3, size), np.outer([0, 5, 0], np.ones(size))) == 0.0


def test_modules_of_ones_own():
    """Any linen module serves; one that gives another number of values is named."""
    model = vae_of_modules(6, 2, encoder=nn.Dense(4), decoder=nn.Dense(6))
    params = model.init(jax.random.key(0), jnp.zeros(6), ())
    assert jax.tree.map(jnp.shape, params["recognition"]["network"]) == {"kernel": (6, 4), "bias": (4,)}
    z, _ = model.propose(params, jax.random.key(1), jnp.zeros(6), ())
    assert (z.shape, model.decode(params, z, ()).shape) == ((2,), (6,))
    with pytest.raises(ModelError, match=r"the encoder gives \(5,\) for one x, expected \(4,\)"):
        vae_of_modules(6, 2, encoder=nn.Dense(5), decoder=nn.Dense(6)).init(jax.random.key(0), jnp.zeros(6), ())
    with pytest.raises(ModelError, match=r"the decoder gives \(6,\) for one z, expected \(12,\): 6 units with 2"):
        vae_of_modules(6, 2, nn.Dense(4), nn.Dense(6), Gaussian(predicted=True)).init(
            jax.random.key(0), jnp.zeros(6), ()
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"encoder": Convolutional((2, 2))}, "which has 4 values, but x has 3"),
        ({"encoder": Convolutional((3, 1)), "decoder": Convolutional((3, 2))}, "different sizes"),
        ({"prior": RealNVP(), "latent": 1}, "latent: got 1, but a prior by RealNVP needs at least 2"),
        ({"prior": MAF(logit=0.1)}, "prior.logit: got 0.1, but latents are real numbers"),
        ({"prior": RealNVP(image_shape=(2, 1))}, "latents are no image"),
        ({"likelihood": Gaussian(1.0, least_scale=0.1)}, "least_scale: got 0.1 with the fixed scale 1.0"),
        ({"posterior": InverseAutoregressive(hidden=())}, "posterior.hidden: got an empty tuple"),
    ],
)
def test_impossible_parts(fields, message):
    with pytest.raises(ConfigError, match=message):
        vae(3, **fields)


def test_hierarchies_need_a_size_for_every_layer():
    with pytest.raises(ConfigError, match="hidden: got 2 sizes for 3 layers of latents"):
        hierarchical_vae(3, layers=(3, 2, 1), hidden=(4, 4))


def test_combination_is_the_normalized_product(x64):
    a, b = (Normal(*jnp.asarray(np.random.RandomState(s).normal(size=(2, 3)))) for s in (0, 1))
    grid = np.linspace(-30, 30, 60_001)[:, None]
    product = np.exp(sum(-0.5 * ((grid - n.loc) / np.exp(n.log_scale)) ** 2 for n in (a, b)))
    product /= product.sum(axis=0)
    mean = (product * grid).sum(axis=0)
    found = combine(a, b)
    assert worst(found.loc, mean) < 1e-9
    assert worst(jnp.exp(2 * found.log_scale), (product * (grid - mean) ** 2).sum(axis=0)) < 1e-9


def test_ladder_shares_what_p_says_of_its_latents(x64):
    """q is the product of p's conditional and of what x gives: with a part by x that says nothing, q is p."""
    model = hierarchical_vae(2, layers=(2, 1), hidden=(3, 2), depth=1, inference="ladder")
    params = random_params(model, 2, seed=4, scale=0.5)
    head = params["recognition"]["heads_0"]["layers_0"]
    head["kernel"], head["bias"] = head["kernel"] * 0, jnp.array([0.0, 0, 40, 40])  # a scale of e^40
    z, terms = model.propose(params, jax.random.key(0), jnp.ones(2), ())
    assert abs(terms[0] - model.log_joint(params, z, jnp.ones(2), ()).prior[0]) < 1e-9


@pytest.mark.slow
def test_every_combination_of_parts_takes_a_step():
    """Shapes fit, whatever the choice: traced alone."""
    networks = [MLP((3,)), Convolutional((2, 2), (3,), blocks=1)]
    likelihoods = [units for units, _, _ in UNITS]
    for i, (posterior, prior) in enumerate(itertools.product(POSTERIORS, PRIORS)):
        network = networks[i % 2]
        parts = {"encoder": network, "decoder": network, "likelihood": likelihoods[i % len(likelihoods)]}
        model = vae(4, latent=2, posterior=posterior, prior=prior, **parts)

        def bound(params, key, model=model):
            z, log_q = model.propose(params, key, jnp.ones(4), ())
            return total(model.log_joint(params, z, jnp.ones(4), ())) - total(log_q)

        params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(4), ())
        assert jax.eval_shape(jax.grad(bound), params, jax.random.key(0)) == params
