"""Belief nets of every kind of conditional, against their equations; their relatives; what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import quick_jit, random_params, worst

from genjax_models import measuring
from genjax_models.config import Config, validate
from genjax_models.core import total
from genjax_models.data import Digits
from genjax_models.errors import ConfigError
from genjax_models.models import DARN, HelmholtzMachine, SigmoidBeliefNetwork, darn, helmholtz_machine
from genjax_models.models import sigmoid_belief_network as sbn
from genjax_models.objectives import WakeSleep
from genjax_models.optimizers import Adam


def sigmoid(v):
    return 1 / (1 + np.exp(-v))


def unit_by_unit(s, kind, b, c, weights):
    """log p(s) of one layer, a loop over its units."""
    value = 0.0
    for i in range(len(s)):
        logit = b[i]
        if kind == "autoregressive":
            logit += sum(weights["lateral"][i, j] * s[j] for j in range(i))
        if kind == "nade":
            a = c + weights["hidden_bias"] + sum((weights["inward"][j] * s[j] for j in range(i)), 0.0)
            logit += weights["outward"][i] @ sigmoid(a)
        value += np.log(sigmoid(logit) if s[i] else sigmoid(-logit))
    return value


def written_out(params, kind, h, s, deterministic):
    """log p(s | h) of a conditional, from its parameters."""
    for i in range(deterministic):
        layer = params[f"between_{i}"]
        h = np.tanh(h @ layer["kernel"] + layer["bias"])
    c = h @ params["hidden_kernel"] if kind == "nade" else None
    return unit_by_unit(s, kind, h @ params["kernel"] + params["bias"], c, params.get("within"))


@pytest.mark.parametrize(
    ("p", "q", "deterministic"),
    [
        (("nade", "autoregressive", "nade"), ("nade", "autoregressive"), ()),
        (("autoregressive", "factorial", "autoregressive"), ("factorial", "nade"), (4, 2)),
    ],
)
def test_terms_are_the_papers_equations(x64, p, q, deterministic):
    """Every term of log p and log q, from the parameters by name."""
    model = sbn(5, layers=(4, 3), generative=p, recognition=q, deterministic=deterministic)
    params = jax.tree.map(np.asarray, random_params(model, 5, 0))
    draw = np.random.RandomState(1).uniform
    number = len(deterministic)
    z, x = tuple((draw(size=n) < 0.5).astype(float) for n in (4, 3)), (draw(size=5) < 0.5).astype(float)
    joint, posterior = quick_jit(
        lambda z, x: (model.log_joint(params, z, x, ()), model.log_posterior(params, z, x, ()))
    )(z, x)
    below, recognition = params["generative"]["below"], params["recognition"]
    expected = [written_out(below[f"layers_{i}"], p[i], z[i], s, number) for i, s in enumerate((x, z[0]))]
    top = unit_by_unit(z[1], p[2], params["generative"]["top_logits"], 0.0, params["generative"]["top"])
    assert worst([joint.likelihood, *joint.prior], [*expected, top]) < 1e-12
    expected = [written_out(recognition[f"layers_{i}"], q[i], h, z[i], number) for i, h in enumerate((x, z[0]))]
    assert worst(list(posterior), expected) < 1e-12


def shapes(model, visible):
    return jax.tree.map(jnp.shape, jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(visible), ()))


def test_names_and_shapes_of_parameters():
    """Those of the factorial net are as they ever were; a lateral part stands beside; tanh layers are mirrored."""
    affine = {"kernel": (2, 3), "bias": (3,)}
    plain = shapes(sbn(3, layers=(2,)), 3)
    assert plain == {
        "generative": {"top_logits": (2,), "below": {"layers_0": affine}},
        "recognition": {"layers_0": {"kernel": (3, 2), "bias": (2,)}},
    }
    lateral = shapes(sbn(3, layers=(2,), generative="autoregressive"), 3)
    assert lateral["generative"] == {
        "top_logits": (2,),
        "top": {"lateral": (2, 2)},
        "below": {"layers_0": {**affine, "within": {"lateral": (3, 3)}}},
    }
    for hidden, width in ((5, (5, 5)), (None, (3, 2))):
        nade = shapes(sbn(3, layers=(2,), generative="nade", nade_hidden=hidden), 3)["generative"]
        assert nade["below"]["layers_0"]["within"] == {
            "hidden_bias": width[:1],
            "inward": (3, width[0]),
            "outward": (3, width[0]),
        }
        assert nade["below"]["layers_0"]["hidden_kernel"] == (2, width[0])
        assert nade["top"]["inward"] == (2, width[1])
    deep = shapes(sbn(3, layers=(2,), deterministic=(7, 5)), 3)
    up, down = deep["recognition"]["layers_0"], deep["generative"]["below"]["layers_0"]
    assert [up[n]["kernel"] for n in ("between_0", "between_1")] + [up["kernel"]] == [(3, 7), (7, 5), (5, 2)]
    assert [down[n]["kernel"] for n in ("between_0", "between_1")] + [down["kernel"]] == [(2, 5), (5, 7), (7, 3)]


def test_initial_weights():
    """Biases are zero; every weight matrix is uniform on +-sqrt(6 / (rows + columns)), by draws of its own."""
    model = sbn(60, layers=(50, 40), generative=("nade", "autoregressive", "nade"), recognition="autoregressive")
    leaves = jax.tree.leaves_with_path(model.init(jax.random.key(0), jnp.zeros(60), ()))
    matrices = [np.asarray(v) for _, v in leaves if v.ndim == 2]
    assert all(not np.any(v) for _, v in leaves if v.ndim == 1)
    assert len(matrices) == 12
    for w in matrices:
        bound = np.sqrt(6 / sum(w.shape))
        assert 0.95 * bound < np.max(np.abs(w)) <= bound
        assert abs(np.std(w) / bound * np.sqrt(3) - 1) < 0.1
    assert len({w.ravel()[0] / np.sqrt(6 / sum(w.shape)) for w in matrices}) == len(matrices)


FACTS = [
    ({}, True, ()),
    ({"deterministic": (3,)}, True, ("affine_layers",)),
    ({"recognition": "nade"}, False, ()),
    ({"recognition": ("factorial", "autoregressive")}, False, ()),
    ({"generative": "autoregressive"}, True, ("decode", "prior_logits", "affine_layers")),
    ({"generative": ("nade", "factorial", "factorial")}, True, ("decode", "affine_layers")),
    ({"generative": ("factorial", "factorial", "nade")}, True, ("prior_logits", "affine_layers")),
    ({"generative": ("factorial", "autoregressive", "factorial")}, True, ("prior_logits", "affine_layers")),
]


@pytest.mark.parametrize(("fields", "factorial", "lacking"), FACTS)
def test_what_a_net_offers(fields, factorial, lacking):
    """By its kinds: the optional functions that are there, and the facts."""
    model = sbn(3, layers=(2, 2), **fields)
    assert model.factorial_posterior == factorial
    assert model.layered
    optional = ("decode", "prior_logits", "affine_layers", "posterior_logits", "sample_from_uniforms")
    assert tuple(name for name in optional if getattr(model, name) is None) == lacking


REFUSED = [
    ({"generative": ("nade", "nade")}, ["generative: got ('nade', 'nade')", "one kind, or 3"]),
    ({"recognition": ("nade",)}, ["recognition: got ('nade',)", "one kind, or 2"]),
    ({"generative": "ndae"}, ["generative: got 'ndae'", "'factorial', 'autoregressive', 'nade'"]),
    ({"recognition": ("factorial", "darn")}, ["recognition: got ('factorial', 'darn')"]),
    ({"generative": ()}, ["generative: got ()", "one kind, or 3"]),
    ({"generative": ["nade", "nade", "nade"]}, ["generative: got ['nade'", "Write a tuple"]),
    ({"nade_hidden": 4}, ["nade_hidden: got 4", "leave it None"]),
    ({"nade_hidden": 4, "generative": "autoregressive"}, ["nade_hidden: got 4", "leave it None"]),
    ({"nade_hidden": 0, "generative": "nade"}, ["nade_hidden: got 0", "at least 1"]),
    ({"deterministic": (3, 0)}, ["deterministic.1: got 0", "at least 1"]),
    ({"conditionals": "nade"}, ["SigmoidBeliefNetwork has no field 'conditionals'"]),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_what_is_refused(fields, words):
    """A field that names the wrong number of kinds, or would have no effect: the value, what is expected, the fix."""
    with pytest.raises(ConfigError) as raised:
        sbn(3, layers=(2, 2), **fields)
    for word in words:
        assert word in str(raised.value)


def test_relatives_are_belief_nets():
    """DARN, fDARN and the Helmholtz machine are the nets that their papers describe, under names of their own."""
    pairs = [
        (helmholtz_machine(3, layers=(2, 2)), sbn(3, layers=(2, 2)), "HelmholtzMachine"),
        (darn(3, layers=(2, 2)), sbn(3, layers=(2, 2), generative="autoregressive"), "DARN"),
        (
            darn(3, layers=(2,), visible_lateral=False, deterministic=(4,), recognition="autoregressive"),
            sbn(
                3,
                layers=(2,),
                generative=("factorial", "autoregressive"),
                deterministic=(4,),
                recognition="autoregressive",
            ),
            "DARN",
        ),
    ]
    for relative, net, name in pairs:
        assert relative.name == name
        assert relative._replace(name=net.name) == net
    with pytest.raises(ConfigError, match="DARN has no field 'lateral'"):
        darn(3, lateral=True)
    with pytest.raises(ConfigError, match=r"layers\.0: got 0"):
        helmholtz_machine(3, layers=(0,))


@pytest.mark.parametrize("config", [SigmoidBeliefNetwork(), DARN(), HelmholtzMachine()], ids=lambda c: type(c).__name__)
def test_defaults_are_whole(config):
    """With no field given they check, and build."""
    assert validate(config).build(4).name == type(config).__name__


def test_pictures_of_samples_without_a_mean():
    """Where E[x | z] has no closed form the drawn x itself is shown, and elsewhere the mean."""
    pictures = {}
    for lateral in (True, False):
        model = DARN(layers=(3,), visible_lateral=lateral)
        run = Config(model, WakeSleep(), Adam(), Digits())
        params = model.build(6).init(jax.random.key(0), jnp.zeros(6), ())
        pictures[lateral] = np.asarray(measuring.draw_expectations(run, params, jax.random.key(1), 6, 20))
        assert pictures[lateral].shape == (20, 6)
    assert set(np.unique(pictures[True])) == {0.0, 1.0}
    assert np.all((pictures[False] > 0) & (pictures[False] < 1))


def test_lateral_weights_are_learnt_and_the_masked_ones_left_alone(x64):
    """The gradient of log p(x, z) reaches what lies below the diagonal of V, and nothing else of it."""
    model = sbn(4, layers=(3,), generative="autoregressive", recognition="autoregressive")
    params, ones = random_params(model, 4, 0), (jnp.ones(3), jnp.ones(4))

    def value(params):
        z, x = (ones[0],), ones[1]
        return total(model.log_joint(params, z, x, ())) + total(model.log_posterior(params, z, x, ()))

    slope = quick_jit(jax.grad(value))(params)
    laterals = [v for path, v in jax.tree.leaves_with_path(slope) if "lateral" in jax.tree_util.keystr(path)]
    assert len(laterals) == 3
    for v in laterals:
        assert np.array_equal(v != 0, np.tri(len(v), k=-1, dtype=bool))
