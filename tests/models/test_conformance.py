"""Every row of the model table keeps the contract of `core`, shown on configurations that can be summed out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conformance import (
    CONTINUOUS_MODELS,
    IMPLICIT_MODELS,
    LIKELIHOOD_MODELS,
    MODELS,
    OBJECTIVES,
    OTHER_MODELS,
    assert_frequencies,
    density_of_joint,
    density_of_posterior,
    fits,
    missing,
    solve,
)
from drills import rarely
from toys import quick_jit, worst

import genjax_models.models
import genjax_models.objectives
from genjax_models.core import Joint, total
from genjax_models.errors import ModelError
from genjax_models.evaluation import log_marginal
from genjax_models.models import VAE, adapter
from genjax_models.optimizers import Adam
from genjax_models.train import make_train_step

ROWS = [pytest.param(small, id=f"{name}-{i}") for name, row in MODELS.items() for i, small in enumerate(row)]
every_model = pytest.mark.parametrize("small", ROWS)
# The others are made of parts that these have.
every_structure = pytest.mark.parametrize(
    "small",
    rarely(
        ROWS,
        *(f"sigmoid_belief_network-{i}" for i in (1, 2)),
        "unlayered_belief_network-2",
        "darn-1",
        "vae-2",
        "helmholtz_machine-0",
    ),
)
FIRST = [row for row in ROWS if row.id.endswith("-0")]
a_row_a_model = pytest.mark.parametrize("small", FIRST)


def test_tables_are_covered():
    """A new row of a table without a small configuration fails here, by name."""
    models = MODELS | LIKELIHOOD_MODELS | CONTINUOUS_MODELS | IMPLICIT_MODELS | OTHER_MODELS
    problems = missing(genjax_models.models.MODELS, models) + missing(genjax_models.objectives.OBJECTIVES, OBJECTIVES)
    assert not problems, problems
    for name, row in models.items():
        assert all(isinstance(small.config, genjax_models.models.MODELS[name]) for small in row)
    for name, row in OBJECTIVES.items():
        assert all(isinstance(config, genjax_models.objectives.OBJECTIVES[name]) for config in row)
    assert "add one" in missing({"new_model": None}, MODELS)


@every_model
def test_probabilities_sum_to_one(x64, small):
    """p(x, z) over all (x, z) and q(z | x) over all z sum, or integrate, to one."""
    solved = solve(small)
    assert abs(np.sum(density_of_joint(solved)) - 1) < 1e-9
    for x in solved.examples:
        assert abs(np.sum(density_of_posterior(solved, x)) - 1) < 1e-9


@every_structure
def test_samples_follow_their_probabilities(x64, small):
    """Draws of `sample_joint` fall in cells of (z, x) as `log_joint` says, those of `propose` as `log_posterior`."""
    solved, number = solve(small), 20_000
    keys = jax.random.split(jax.random.key(3), number)
    z, x = jax.jit(jax.vmap(lambda k: solved.model.sample_joint(solved.params, k, ())))(keys)
    z, x = solved.flatten(z), np.asarray(x)
    width = solved.x.cell.max() + 1
    both = (solved.z.cell[:, None] * width + solved.x.cell).ravel()
    assert_frequencies(both, density_of_joint(solved).ravel(), solved.z.of(z) * width + solved.x.of(x))
    given = jnp.asarray(x[0])
    z, _ = jax.jit(jax.vmap(lambda k: solved.model.propose(solved.params, k, given, ())))(keys)
    assert_frequencies(solved.z.cell, density_of_posterior(solved, given), solved.z.of(solved.flatten(z)))
    if solved.model.support == "binary":
        assert set(np.unique(solved.flatten(z))) == {0.0, 1.0}


@every_structure
def test_propose_scores_its_own_draw(x64, small):
    """Its terms are those of `log_posterior` at the drawn z, and so are their gradients along the draw.

    Only a reparameterized model's draw moves with the parameters.
    """
    solved = solve(small)
    model, key, x = solved.model, jax.random.key(5), jnp.asarray(solved.examples[-1])

    def draw(params):
        return model.propose(params, key, x, ())

    @quick_jit
    def run(params):
        z, terms = draw(params)
        at_once = jax.grad(lambda p: total(draw(p)[1]))(params)
        apart = jax.grad(lambda p: total(model.log_posterior(p, draw(p)[0], x, ())))(params)
        _, moved = jax.jvp(lambda p: draw(p)[0], (params,), (jax.tree.map(jnp.ones_like, params),))
        return (terms, at_once), (model.log_posterior(params, z, x, ()), apart), moved

    proposed, scored, moved = run(solved.params)
    assert worst(proposed, scored) < 1e-12
    motion = worst(moved, jax.tree.map(jnp.zeros_like, moved))
    assert motion > 1e-3 if model.reparameterized else motion == 0.0


@every_structure
def test_terms_are_by_group(x64, small):
    """A scalar term for every latent group, in q as in the prior, and one for the likelihood."""
    solved = solve(small)
    model, params, x = solved.model, solved.params, jnp.asarray(solved.examples[-1])
    z, terms = model.propose(params, jax.random.key(0), x, ())
    groups = len(jax.tree.leaves(z))
    joint = model.log_joint(params, z, x, ())
    assert isinstance(joint, Joint)
    assert len(terms) == len(model.log_posterior(params, z, x, ())) == len(joint.prior) == groups
    assert {v.shape for v in jax.tree.leaves((terms, joint))} == {()}
    dreamt, x_dreamt = model.sample_joint(params, jax.random.key(0), ())
    assert jax.tree.map(jnp.shape, dreamt) == jax.tree.map(jnp.shape, z)
    assert x_dreamt.shape == x.shape
    assert model.kl is None or len(model.kl(params, x, ())) == groups


@every_structure
def test_decode_is_the_mean_of_x(x64, small):
    """decode(z) is E[x | z], summed over x with the likelihood term."""
    solved = solve(small)
    if solved.model.decode is None:
        assert interact(likelihood_table(solved), solved.visible)
        return
    z, _ = solved.model.propose(solved.params, jax.random.key(0), jnp.asarray(solved.examples[1]), ())

    def likelihood(x):
        return solved.model.log_joint(solved.params, z, x, ()).likelihood

    chance = np.exp(jax.vmap(likelihood)(solved.x.points)) * solved.x.volumes
    assert abs(chance.sum() - 1) < 1e-9
    assert worst(solved.model.decode(solved.params, z, ()), chance @ solved.x.points) < 1e-9


@every_model
def test_kl_is_that_of_the_terms(x64, small):
    """The closed form, where there is one, is the integral of q(z | x) (log q(z | x) - log p(z))."""
    solved = solve(small)
    model = solved.model
    if model.kl is None:
        assert not isinstance(small.config, VAE)
        return
    x = jnp.asarray(solved.examples[-1])

    def difference(z):
        z = solved.unflatten(z)
        prior = total(model.log_joint(solved.params, z, x, ()).prior)
        return total(model.log_posterior(solved.params, z, x, ())) - prior

    kl = density_of_posterior(solved, x) @ jax.vmap(difference)(solved.z.points)
    assert abs(total(model.kl(solved.params, x, ())) - kl) < 1e-9


# What only models with binary latents have. A term of log p or log q over all states of the latents is a table with an
# axis for each unit, and what a term does not involve is seen in its differences along the axes.


def tables(solved, function):
    """Terms of `function(z)` over all states of binary latents, each [2, ..., 2]."""
    terms = quick_jit(jax.vmap(lambda z: function(solved.unflatten(z))))(solved.z.points)
    return [np.asarray(term).reshape((2,) * solved.z.points.shape[1]) for term in terms]


def likelihood_table(solved):
    """log p(x | z) over all x at one z, [2, ..., 2]."""
    z = solved.unflatten(jnp.ones(solved.z.points.shape[1]))
    likelihood = quick_jit(jax.vmap(lambda x: solved.model.log_joint(solved.params, z, x, ()).likelihood))
    return np.asarray(likelihood(solved.x.points)).reshape((2,) * solved.visible)


def involves(table, *axes):
    """Whether a table changes along all these axes together: not a sum of functions that each miss one of them."""
    for axis in axes:
        table = np.diff(table, axis=axis)
    return np.max(np.abs(table)) > 1e-9


def interact(table, number, start=0):
    """Whether any two of the axes start, ..., start + number - 1 interact: those units are not independent."""
    axes = range(start, start + number)
    return any(involves(table, i, j) for i in axes for j in axes if i < j)


def groups_of(solved):
    """(first axis, number of units) of every latent group."""
    sizes = [np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(solved.unflatten(solved.z.points[0]))]
    return list(zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True))


def at_logits(s, logits):
    """log p of independent binary units."""
    return jnp.sum(s * logits - jnp.logaddexp(logits, 0.0))


@every_model
def test_uniforms_become_samples_of_q(x64, small):
    """z_i = 1 where u_i < sigmoid(logit_i), with the logits of q at that z: exactly z ~ q, if u is uniform."""
    solved = solve(small, scale=1.0)
    model = solved.model
    if model.sample_from_uniforms is None:
        assert model.posterior_logits is None
        assert model.support == "real"
        return
    number = 64
    rows = jnp.asarray(np.random.RandomState(0).uniform(size=(number, solved.z.points.shape[1])))
    examples = jnp.asarray(solved.x.points[np.arange(number) % len(solved.x.points)])
    tangent = jax.tree.map(jnp.ones_like, solved.params)

    @quick_jit
    @jax.vmap
    def run(u, x):
        u = solved.unflatten(u)
        (z, logits), moved = jax.jvp(lambda p: model.sample_from_uniforms(p, u, x, ()), (solved.params,), (tangent,))
        given = jax.jvp(lambda p: model.posterior_logits(p, z, x, ()), (solved.params,), (tangent,))
        drawn = jax.tree.map(lambda u, logit: (u < jax.nn.sigmoid(logit)).astype(u.dtype), u, logits)
        units = tuple(map(at_logits, jax.tree.leaves(z), jax.tree.leaves(logits)))
        return (z, logits), moved, given, drawn, (units, model.log_posterior(solved.params, z, x, ()))

    (z, logits), (z_moved, logits_moved), given, drawn, (units, terms) = run(rows, examples)
    assert worst(z, drawn) == 0.0
    assert worst((logits, logits_moved), given) < 1e-12
    assert worst(units, terms) < 1e-12
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(z_moved))
    assert np.min([np.ptp(leaf) for leaf in jax.tree.leaves(z)]) == 1.0


@every_model
def test_facts_about_q(x64, small):
    """q is called factorial, and layered, exactly where its terms are."""
    solved = solve(small)
    if solved.model.support != "binary":
        return
    x = jnp.asarray(solved.examples[1])
    terms = tables(solved, lambda z: solved.model.log_posterior(solved.params, z, x, ()))
    groups = groups_of(solved)
    pairs = list(zip(terms, groups, strict=True))
    assert solved.model.factorial_posterior == (not any(interact(t, n, start) for t, (start, n) in pairs))
    if solved.model.layered:
        for i, term in enumerate(terms):
            touched = {j for j, (start, n) in enumerate(groups) if any(involves(term, start + k) for k in range(n))}
            assert touched == {max(i - 1, 0), i}


@every_structure
def test_prior_is_of_z_alone_unless_the_model_says_so(x64, small):
    solved = solve(small)
    model, one, other = solved.model, solved.examples[0], solved.examples[1]
    z, _ = model.propose(solved.params, jax.random.key(0), one, ())
    priors = [np.array(total(model.log_joint(solved.params, z, x, ()).prior)) for x in (one, other)]
    assert (priors[0] != priors[1]) == model.prior_given_x


@every_model
def test_facts_about_p(x64, small):
    """p has `prior_logits` exactly where its groups are factorial, and they give its terms; layered as it says."""
    solved = solve(small)
    model = solved.model
    if model.support != "binary":
        assert model.prior_logits is None
        assert model.affine_layers is None
        return
    x = jnp.asarray(solved.examples[1])

    def terms(z):
        joint = model.log_joint(solved.params, z, x, ())
        return (joint.likelihood, *joint.prior)

    groups = groups_of(solved)
    likelihood, *priors = tables(solved, terms)
    factorial = not any(interact(t, n, start) for t, (start, n) in zip(priors, groups, strict=True))
    assert (model.prior_logits is not None) == factorial
    if factorial:
        at = tables(solved, lambda z: tuple(map(at_logits, z, model.prior_logits(solved.params, z, ()))))
        assert worst(at, priors) < 1e-12
    assert model.decode is not None or interact(likelihood_table(solved), solved.visible)
    if model.layered:
        for i, term in enumerate([likelihood, *priors]):
            touched = {j for j, (start, n) in enumerate(groups) if any(involves(term, start + k) for k in range(n))}
            assert touched == {j for j in (i - 1, i) if 0 <= j < len(groups)}


@every_model
def test_affine_layers_are_all_of_p(x64, small):
    """p(x, z), rebuilt from the weights and biases alone; a model without them is no chain of such layers."""
    solved = solve(small)
    model, x = solved.model, jnp.asarray(solved.examples[1])
    if model.affine_layers is None:
        assert model.support == "real" or model.decode is None or model.prior_logits is None
        return
    top, below = model.affine_layers(solved.params)

    def rebuilt(z):
        chain = [*reversed(z), x]
        terms = [at_logits(chain[0], top)]
        pairs = zip(below, itertools.pairwise(chain), strict=True)
        return [*terms, *(at_logits(s, above @ w + b) for (w, b), (above, s) in pairs)]

    expected = tables(solved, lambda z: jax.tree.leaves(model.log_joint(solved.params, z, x, ())))
    assert worst(sum(tables(solved, rebuilt)), sum(expected)) < 1e-12


@every_structure
def test_vmap_equals_a_loop(x64, small):
    """Every function of one example, batched over keys, z and x, gives what a loop over them gives."""
    solved = solve(small)
    model, params = solved.model, solved.params
    keys = jax.random.split(jax.random.key(2), 3)
    x = jnp.asarray(solved.examples)
    z, _ = jax.vmap(lambda k, x: model.propose(params, k, x, ()))(keys, x)

    def every_function(k, z, x):
        calls = {
            "sample_joint": model.sample_joint(params, k, ()),
            "propose": model.propose(params, k, x, ()),
            "log_joint": model.log_joint(params, z, x, ()),
            "log_posterior": model.log_posterior(params, z, x, ()),
        }
        given = {"decode": (z,), "kl": (x,), "posterior_logits": (z, x), "prior_logits": (z,)}
        found = {name: getattr(model, name) for name in given}
        return calls | {name: found[name](params, *given[name], ()) for name in given if found[name] is not None}

    batched, single = quick_jit(jax.vmap(every_function))(keys, z, x), quick_jit(every_function)
    loop = [single(keys[i], jax.tree.map(lambda v, i=i: v[i], z), x[i]) for i in range(3)]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *loop)
    for name in batched:
        assert worst(batched[name], stacked[name]) < 1e-12, name


@every_structure
def test_init_is_deterministic(small, monkeypatch):
    """The same key gives the same bits, whatever x holds and for a rebuilt model, without a second trace."""
    visits, visit = [], adapter._visit
    monkeypatch.setattr(adapter, "_visit", lambda *args: visits.append(1) or visit(*args))
    jax.clear_caches()
    params = small.config.build(small.visible).init(jax.random.key(0), jnp.zeros(small.visible), ())
    traced = len(visits)
    assert traced > 0
    again = small.config.build(small.visible).init(jax.random.key(0), jnp.ones(small.visible), ())
    assert len(visits) == traced
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, params, again)))
    other = small.config.build(small.visible).init(jax.random.key(1), jnp.zeros(small.visible), ())
    assert worst(params, other) > 1e-3
    apart = {"generative", "recognition"}
    assert set(params) <= apart | {"shared"}
    assert "shared" in params or apart <= set(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


WITHOUT_CONTEXT = [
    pytest.param(small, id=f"{name}-{i}")
    for table in (MODELS, LIKELIHOOD_MODELS, CONTINUOUS_MODELS, OTHER_MODELS, IMPLICIT_MODELS)
    for name, row in table.items()
    for i, small in enumerate(row)
    if name != "supervised_generator"
]


@pytest.mark.parametrize("small", WITHOUT_CONTEXT)
def test_parameters_are_as_precise_as_jax_is_told_to_be(x64, small):
    """Also from an example that has no type of its own."""
    init = small.config.build(small.visible).init
    shapes = jax.eval_shape(lambda x: init(jax.random.key(0), x, ()), jnp.full(small.visible, 0.4))
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {np.dtype("float64")}


@every_model
def test_rebuilt_models_are_equal(small):
    """A model is a record: built again it equals the first, hashes alike, and differs for other sizes."""
    model, again = (small.config.build(small.visible) for _ in range(2))
    assert model == again
    assert hash(model) == hash(again)
    if small.config.least_visible < small.visible:  # no images of a certain size
        assert model != small.config.build(small.visible + 1)


@pytest.mark.parametrize(
    "small",
    rarely(
        FIRST,
        "draw-0",
        "unlayered_belief_network-0",
        "hierarchical_vae-0",
        "variational_rnn-0",
        "helmholtz_machine-0",
        "darn-0",
    ),
)
def test_rebuilt_models_trace_once(small, traces):
    """Neither a rebuilt model's functions, nor a rebuilt objective's step, trace again."""
    x, key, optimizer = jnp.zeros((2, small.visible)), jax.random.key(0), optax.sgd(1e-3)
    # jax forgets the trace of a function that no longer lives; what is built stays here.
    counts, kept = [], []
    for _ in range(2):
        model = small.config.build(small.visible)
        params = model.init(key, x[0], ())
        jax.jit(model.propose)(params, key, x[0], ())
        log_marginal(model, params, key, x, 3)
        # Schedules are closures, equal to nothing but themselves, so that an objective with one is another objective.
        objective = next(o for o in (c.build(model) for c in fitting(model)) if not has_schedule(o))
        init, step = make_train_step(objective, optimizer)[:2]
        kept.append((model, step))
        state, _ = step(init(key, params, x), x)
        step(state, x)
        counts.append(len(traces))
    assert counts[0] > 0
    assert counts[1] == counts[0]


def has_schedule(objective):
    return any(map(callable, (getattr(objective.loss, name, None) for name in ("beta", "wake", "sleep", "parts"))))


def fitting(model):
    """The small objective configurations that fit a model."""
    return [config for row in OBJECTIVES.values() for config in row if fits(config, model)]


@every_model
def test_what_fits_is_known(small):
    """Every objective either builds on the model or is refused by an error that names the model."""
    model = small.config.build(small.visible)
    fitted = fitting(model)
    assert fitted
    for row in OBJECTIVES.values():
        for config in row:
            if config in fitted:
                config.build(model)
            else:
                with pytest.raises(ModelError, match=model.name):
                    config.build(model)


def lowered(small, config):
    """The train step of a model and an objective, exported for all platforms from shapes alone."""
    model = small.config.build(small.visible)
    x = jax.ShapeDtypeStruct((4, small.visible), jnp.float32)
    init, step = make_train_step(config.build(model), Adam(clip_norm=1.0).build(), average=0.9)[:2]
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(model.init, key, jax.ShapeDtypeStruct((small.visible,), jnp.float32), ())
    state = jax.eval_shape(init, key, params, x)
    return jax.export.export(step, platforms=("cpu", "cuda", "tpu"))(state, x)


# Every fitting configuration on these rows, whose models have everything that an objective may need; the first of every
# fitting objective on a belief net that lacks most of it; one objective, by turns, on the others. Among the slow drills
# are further configurations of an objective on the first, and a second objective on the last.
WHOLE = [MODELS["vae"][0], MODELS["sigmoid_belief_network"][0]]
BARE = [MODELS["sigmoid_belief_network"][2]]


def lowered_with(number, small):
    model = small.config.build(small.visible)
    if small in WHOLE:
        return fitting(model)
    if small in BARE:
        return [row[0] for row in OBJECTIVES.values() if fits(row[0], model)]
    found = fitting(model)
    return [found[2 * number % len(found)], found[(2 * number + 1) % len(found)]]


def again(small, i, configs):
    """Whether a pair is like one before: for the slow drills."""
    if small in WHOLE + BARE:
        return type(configs[i]) in map(type, configs[:i])
    return i == 1


FITTING = [
    pytest.param(
        *row.values,
        config,
        id=f"{row.id}-{type(config).__name__}-{i}",
        marks=pytest.mark.slow if again(row.values[0], i, configs) else (),
    )
    for number, row in enumerate(ROWS)
    for configs in [lowered_with(number, *row.values)]
    for i, config in enumerate(configs)
]


@pytest.mark.parametrize(("small", "config"), FITTING)
def test_train_step_lowers_for_every_platform(small, config):
    """Every fitting pair of model and objective lowers for CPU, CUDA and TPU; the state goes in as it comes out."""
    exported = lowered(small, config)
    assert exported.platforms == ("cpu", "cuda", "tpu")
    state = len(exported.in_avals) - 1
    assert exported.out_avals[:state] == exported.in_avals[:state]
