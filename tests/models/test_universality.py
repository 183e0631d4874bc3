"""The walk along a Gray code gives a narrow belief net any distribution, shown exactly in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from enumeration import Enumerated, enumerated, exact_bound, log_evidence
from toys import binary_states, quick_jit, worst

from genjax_models.core import total
from genjax_models.errors import ConfigError, ModelError
from genjax_models.models import sigmoid_belief_network, universality, vae
from genjax_models.models.universality import universal_sigmoid_belief_network, visible_distribution

pytestmark = pytest.mark.usefixtures("x64")


def target(kind: str, visible: int, seed: int = 0) -> np.ndarray:
    """A distribution over 2^visible states: from a flat Dirichlet, with three states in four empty, or on one state."""
    draw = np.random.RandomState(seed)
    p = draw.dirichlet(np.ones(2**visible))
    if kind == "sparse":
        p[draw.permutation(len(p))[: max(1, 3 * len(p) // 4)]] = 0.0
    if kind == "point":
        p = np.eye(len(p))[draw.randint(len(p))]
    return p / p.sum()


def distance(p, tolerance) -> float:
    """The L1 distance of what is built from p."""
    return float(np.sum(np.abs(visible_distribution(*universal_sigmoid_belief_network(p, tolerance)) - p)))


@pytest.mark.parametrize("visible", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["random", "sparse", "point"])
def test_any_distribution_is_reached(visible, kind):
    """To round-off where that is asked, and never farther off than the tolerance that was asked."""
    for seed in range(2):
        p = target(kind, visible, seed)
        assert distance(p, 1e-14) < 3e-14
        assert distance(p, 1e-3) < 1e-3


def test_every_point_mass_is_reached():
    """The walk passes through states that keep nothing, and stops anywhere."""
    assert max(distance(p, 1e-14) for p in np.eye(8)) < 3e-14


def test_layers_are_narrow_and_parameters_fill_the_model():
    """All layers have width D, 2^D - 1 are hidden, weights are as small as documented, and `init` has the same tree."""
    for visible in (1, 3):
        p = target("sparse", visible)
        model, params = universal_sigmoid_belief_network(p, 1e-9)
        shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(visible), ())
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
        z, x = jax.eval_shape(model.sample_joint, params, jax.random.key(0), ())
        assert [v.shape for v in (*z, x)] == [(visible,)] * 2**visible
        c = np.log(2 ** (visible + 1) * visible / 1e-9)
        top, layers = model.affine_layers(params)
        weights, biases = zip(*layers, strict=True)
        assert np.max(np.abs(np.array(weights))) < max(2, 2 * (visible - 1)) * c * (1 + 1e-12)
        assert np.max(np.abs(np.array((top, *biases)))) < (2 * visible - 1) * c * (1 + 1e-12)


def test_carrying_equals_summing_out():
    """The distribution carried down the layers is that of `log_joint` summed over all latents, here and elsewhere."""
    for toy in (
        enumerated(sigmoid_belief_network(2, layers=(3, 1, 2)), 2),
        enumerated(sigmoid_belief_network(3, layers=(2,)), 3),
        narrow(target("random", 2), 1e-2),
    ):
        x = binary_states(toy.model.affine_layers(toy.params)[1][-1][1].shape[0])
        summed = jnp.exp(quick_jit(jax.vmap(lambda x, toy=toy: log_evidence(toy, toy.params, x)))(x))
        assert worst(visible_distribution(toy.model, toy.params), summed) < 1e-12


def narrow(p, tolerance) -> Enumerated:
    """The net for two bits, with every state of its three hidden layers."""
    model, params = universal_sigmoid_belief_network(p, tolerance)
    return Enumerated(model, params, tuple(jnp.split(jnp.asarray(binary_states(6)), 3, axis=1)))


def test_samples_follow_the_target():
    """Ancestral samples of the net fall on x as often as asked."""
    p = np.array([0.1, 0.4, 0.2, 0.3])
    model, params = universal_sigmoid_belief_network(p, 1e-9)
    keys = jax.random.split(jax.random.key(1), 5000)
    x = quick_jit(jax.vmap(lambda k: model.sample_joint(params, k, ())[1]))(keys)
    counts = np.bincount(np.asarray(x @ jnp.array([2, 1])).astype(int), minlength=4)
    assert scipy.stats.chisquare(counts, p * len(keys)).pvalue > 1e-3


def test_recognition_walks_back():
    """q(h | x) is p(h | x): the evidence lower bound is log p(x), as close as the tolerance, where p(x) > 0."""
    for p in (np.array([0.1, 0.4, 0.2, 0.3]), np.array([0.0, 0.6, 0.4, 0.0])):
        toy = narrow(p, 1e-12)
        x = jnp.asarray(binary_states(2)[p > 0])
        bound = quick_jit(jax.vmap(lambda x, toy=toy: exact_bound(toy, toy.params, x)))(x)
        assert worst(bound, np.log(p[p > 0])) < 1e-10
        z, _ = toy.model.propose(toy.params, jax.random.key(0), x[0], ())
        log_w = total(toy.model.log_joint(toy.params, z, x[0], ())) - total(
            toy.model.log_posterior(toy.params, z, x[0], ())
        )
        assert abs(float(log_w) - np.log(p[p > 0][0])) < 1e-10


def flips_the_wrong_way(monkeypatch):
    share = universality._share
    monkeypatch.setattr(universality, "_share", lambda s, bit, persist, c: share(s, bit, -persist, c))


def misses_a_step(monkeypatch):
    share = universality._share
    monkeypatch.setattr(universality, "_share", lambda s, bit, p, c: share(s, bit, c if tuple(s) == (0, 1) else p, c))


def walks_upside_down(monkeypatch):
    chain = universality._chain
    monkeypatch.setattr(universality, "_chain", lambda layers: chain(layers[::-1]))


def counts_instead_of_a_gray_code(monkeypatch):
    monkeypatch.setattr(universality, "_gray_code", lambda number: binary_states(number).astype(int))


@pytest.mark.parametrize(
    "mutant", [flips_the_wrong_way, misses_a_step, walks_upside_down, counts_instead_of_a_gray_code]
)
def test_mutants_fail(monkeypatch, mutant):
    """A step in the wrong direction, left out, out of order or over two bits at once does not reach the target."""
    p = np.array([0.1, 0.4, 0.2, 0.3])
    assert distance(p, 1e-12) < 1e-12
    mutant(monkeypatch)
    assert distance(p, 1e-12) > 0.1


def test_float32_reaches_what_is_documented():
    """Parameters have the default type; at the default tolerance round-off in float32 stays below 1e-5."""
    p = target("random", 3)
    with jax.enable_x64(False):
        model, params = universal_sigmoid_belief_network(p)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}
        assert np.sum(np.abs(np.asarray(visible_distribution(model, params), float) - p)) < 1e-5


def test_what_is_no_distribution_is_refused():
    """Each message names the value and what to do."""
    for p, message in [
        (np.ones(3) / 3, r"shape \(3,\).*2\^D"),
        ([1.0], r"shape \(1,\)"),
        (np.eye(2), r"shape \(2, 2\)"),
        ([], r"shape \(0,\)"),
        ([1.5, -0.5], "-0.5"),
        ([float("nan"), 1.0], "nan"),
        ([0.5, 0.6], "sum to 1.1.*Divide"),
        ("half", "got 'half'"),
        ([[1.0], [0.5, 0.5]], r"\[\[1.0\], \[0.5, 0.5\]\]"),
    ]:
        with pytest.raises(ConfigError, match=message):
            universal_sigmoid_belief_network(p)
    for tolerance in (0.0, -1.0, 1.0, float("nan"), None, "small"):
        with pytest.raises(ConfigError, match="tolerance"):
            universal_sigmoid_belief_network([0.5, 0.5], tolerance)
    with pytest.raises(ModelError, match=r"VAE.*log_marginal"):
        visible_distribution(vae(2, latent=1), {})
    wide = sigmoid_belief_network(2, layers=(13,))
    with pytest.raises(ModelError, match="13 units"):
        visible_distribution(wide, wide.init(jax.random.key(0), jnp.zeros(2), ()))
