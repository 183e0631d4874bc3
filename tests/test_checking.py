"""Checks of a model by draws: all models of the tables pass, and each mistake fails the check that is about it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conformance import CONTINUOUS_MODELS, IMPLICIT_MODELS, LIKELIHOOD_MODELS, MODELS
from drills import drill
from runs import Log

from genjax_models.checking import check_config, check_model, check_run
from genjax_models.cli import main
from genjax_models.config import Config, Evaluation, Training
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.data import Digits
from genjax_models.errors import ModelError
from genjax_models.experiment import load_run, train_run
from genjax_models.models import GAN, MADE, NADE, NICE, VAE, CategoricalVAE, SigmoidBeliefNetwork
from genjax_models.models.networks import MLP
from genjax_models.models.units import Gaussian
from genjax_models.objectives import ELBO, MaximumLikelihood
from genjax_models.optimizers import Adam

TABLES = (MODELS, LIKELIHOOD_MODELS, CONTINUOUS_MODELS, IMPLICIT_MODELS)
ROWS = [
    pytest.param(small, id=f"{name}-{i}")
    for table in TABLES
    for name, row in table.items()
    for i, small in enumerate(row)
]
BITS = jnp.array([0.0, 1.0, 1.0])


def failed(checks):
    return [check.name for check in checks if check.passed is False]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("small", ROWS)
def test_every_model_of_the_tables_passes(small, seed):
    x = np.arange(small.visible) % 2
    checks = check_model(small.config.build(small.visible), x, seed=seed)
    assert all(check.passed for check in checks), "\n".join(map(str, checks))


def mostly_drills(names, fast):
    """All of the names, those that are not fast among the slow drills."""
    return [name if name in fast else drill(name) for name in names]


REAL = VAE(latent=1, encoder=MLP((3,), "tanh"), decoder=MLP((3,), "tanh"), likelihood=Gaussian())
RIGHT = {
    "reals": (REAL, jnp.array([0.3])),
    "bits": (SigmoidBeliefNetwork(layers=(2, 1)), BITS),
    "classes": (CategoricalVAE(latent=2, classes=3), BITS),
    "likelihood": (NADE(hidden=3), BITS),
    "flow": (NICE(layers=3, hidden=(3,)), jnp.array([0.2, -0.4])),
    "sampler": (GAN(latent=2, generator=MLP((3,)), critic=MLP((3,))), jnp.array([0.2, -0.4])),
}


@pytest.mark.parametrize("name", mostly_drills(RIGHT, ("reals", "bits", "likelihood")))
def test_what_is_right_passes(name):
    config, x = RIGHT[name]
    checks = check_model(config.build(len(x)), x)
    assert all(check.passed for check in checks), "\n".join(map(str, checks))


def shifted(model, **changes):
    """The model with functions that are others of its own."""
    return model._replace(**{name: change(getattr(model, name)) for name, change in changes.items()})


def on_joint(change):
    return lambda f: lambda params, z, x, c: change(f(params, z, x, c), z)


def wider(f):
    def sample_joint(params, key, c):
        z, x = f(params, key, c)
        return z, 2 * x

    return sample_joint


def from_elsewhere(f):
    def propose(params, key, x, c):
        z, terms = f(params, key, x, c)
        return jax.tree.map(lambda v: 1 - v, z), terms

    return propose


# What is done to a model, and the check that must fail.
MISTAKES = {
    "a constant is missing in log p(x | z)": (
        "reals",
        {"log_joint": on_joint(lambda j, z: j._replace(likelihood=j.likelihood + 0.5 * np.log(2 * np.pi)))},
        "p(x, z) integrates to one",
    ),
    "x is drawn with twice the deviation": ("reals", {"sample_joint": wider}, "sample_joint follows log_joint"),
    "a prior of other variance": (
        "reals",
        {"log_joint": on_joint(lambda j, z: j._replace(prior=tuple(0.5 * v for v in j.prior)))},
        "p(x, z) integrates to one",
    ),
    "the terms of a draw are of another": (
        "reals",
        {"propose": lambda f: lambda *a: (lambda z, terms: (z, tuple(t + 0.1 for t in terms)))(*f(*a))},
        "propose scores its own draw",
    ),
    "z of q is drawn as 1 - z": ("bits", {"propose": from_elsewhere}, "propose follows log_posterior"),
    "q sums to more than one": (
        "bits",
        {
            "propose": lambda f: lambda *a: (lambda z, terms: (z, tuple(t + 0.1 for t in terms)))(*f(*a)),
            "log_posterior": lambda f: lambda *a: tuple(t + 0.1 for t in f(*a)),
        },
        "q(z | x) integrates to one",
    ),
    "decode is off": ("reals", {"decode": lambda f: lambda *a: f(*a) + 0.3}, "decode is the mean of x"),
    "the kl is off": ("reals", {"kl": lambda f: lambda *a: tuple(v + 0.2 for v in f(*a))}, "kl is the mean of"),
    "draws are said not to move": ("reals", {"reparameterized": lambda v: not v}, "propose scores its own draw"),
    "draws are said to move": ("bits", {"reparameterized": lambda v: not v}, "propose scores its own draw"),
    "reals are said to be bits": ("reals", {"support": lambda v: "binary"}, "latents are of the model's support"),
    "bits are said to be classes": ("bits", {"support": lambda v: "one_hot"}, "latents are of the model's support"),
    "the prior is said to know x": ("bits", {"prior_given_x": lambda v: not v}, "prior_given_x"),
    "uniforms are turned around": (
        "bits",
        {"sample_from_uniforms": lambda f: lambda p, u, x, c: f(p, jax.tree.map(lambda v: 1 - v, u), x, c)},
        "sample_from_uniforms is 1",
    ),
    "log_joint is a number": ("bits", {"log_joint": on_joint(lambda j, z: j.likelihood)}, "shapes and terms"),
    "two terms for one group": (
        "reals",
        {"log_joint": on_joint(lambda j, z: Joint(j.likelihood, (*j.prior, jnp.zeros(()))))},
        "shapes and terms",
    ),
    "x is too long": (
        "bits",
        {"sample_joint": lambda f: lambda *a: (lambda z, x: (z, jnp.append(x, 1.0)))(*f(*a))},
        "shapes and terms",
    ),
    "init looks at x": (
        "bits",
        {"init": lambda f: lambda key, x, c: jax.tree.map(lambda v: v + x[0], f(key, x, c))},
        "init takes only shapes of x",
    ),
    "log p(x) is too high": (
        "likelihood",
        {"log_prob": lambda f: lambda *a: f(*a) + 0.1},
        "p(x) integrates to one",
    ),
    "samples are turned around": (
        "likelihood",
        {"sample": lambda f: lambda *a: 1 - f(*a)},
        "sample follows log_prob",
    ),
    "logits are off": (
        "likelihood",
        {"conditional_logits": lambda f: lambda *a: f(*a) + 0.1},
        "log_prob is that of conditional_logits",
    ),
    "the way back is another": ("flow", {"forward": lambda f: lambda *a: f(*a) + 0.1}, "forward undoes inverse"),
    "the density is of other points": (
        "flow",
        {"log_prob": lambda f: lambda p, x, c: f(p, 2 * x, c)},
        "sample follows log_prob",
    ),
    "samples are too long": (
        "sampler",
        {"sample": lambda f: lambda *a: jnp.append(f(*a), 0.0)},
        "sample draws an x like the example",
    ),
}


@pytest.mark.parametrize(
    "mistake",
    mostly_drills(
        MISTAKES,
        (
            "a constant is missing in log p(x | z)",
            "the terms of a draw are of another",
            "z of q is drawn as 1 - z",
            "log_joint is a number",
            "log p(x) is too high",
            "samples are turned around",
        ),
    ),
)
def test_a_mistake_fails_its_check(mistake):
    name, changes, check = MISTAKES[mistake]
    config, x = RIGHT[name]
    wrong = shifted(config.build(len(x)), **changes)
    assert any(found.startswith(check) for found in failed(check_model(wrong, x)))


def test_of_large_models_integrals_are_not_known():
    """Nothing fails, and what the draws cannot tell is said to be so."""
    model = VAE(latent=16, encoder=MLP((20,)), decoder=MLP((20,))).build(200)
    assert isinstance(model, LatentVariableModel)
    checks = {check.name: check for check in check_model(model, jnp.zeros(200), num_samples=500)}
    assert not failed(checks.values())
    assert checks["p(x, z) integrates to one"].passed is None
    assert "build a small model" in checks["p(x, z) integrates to one"].found


def test_given_parameters_are_checked():
    """Those of a wide generator fail where the initial ones would not: x is drawn by others than it is scored by."""
    model = REAL.build(1)
    params = model.init(jax.random.key(0), jnp.zeros(1))
    far = jax.tree.map(lambda v: v + 1.0, params)
    wrong = model._replace(sample_joint=lambda p, key, c: model.sample_joint(params, key, c))
    assert "sample_joint follows log_joint" not in failed(check_model(wrong, jnp.zeros(1), params=params))
    assert "sample_joint follows log_joint" in failed(check_model(wrong, jnp.zeros(1), params=far))


def test_what_is_almost_never_drawn_is_no_mistake():
    """Of a pixel with p = 2e-4 none of 2,000 draws may have one; its score then has a mean and no variance."""
    model = NADE(hidden=3).build(3)
    params = model.init(jax.random.key(0), BITS, ())
    rare = jax.tree.map(lambda v: v.at[0].set(-8.5) if v.shape == (3,) else v, params)
    drawn = jax.vmap(lambda key: model.sample(rare, key, ()))(jax.random.split(jax.random.key(1), 2000))
    assert drawn[:, 0].mean() < 1e-3 < drawn[:, 1].mean()
    assert not failed(check_model(model, BITS, params=rare))


def test_bad_arguments():
    with pytest.raises(ModelError, match="got MADE, expected what `as_model` returns"):
        check_model(MADE(), BITS)
    with pytest.raises(ValueError, match="num_samples"):
        check_model(NADE(hidden=2).build(3), BITS, num_samples=0)


def test_a_configuration_and_the_command(tmp_path, capsys):
    config = Config(NADE(hidden=2), ELBO(), Adam(), Digits(binarization="dynamic"))
    assert not failed(check_config(config, num_samples=200))
    text = """
from genjax_models.config import Config
from genjax_models.data import Digits
from genjax_models.models import NADE
from genjax_models.objectives import MaximumLikelihood
from genjax_models.optimizers import Adam
CONFIG = Config(NADE(hidden=2), MaximumLikelihood(), Adam(), Digits(binarization="threshold"))
"""
    (tmp_path / "nade.py").write_text(text, encoding="utf-8")
    assert main(["check", str(tmp_path / "nade.py"), "--num-samples", "200", "--model.hidden", "3"]) == 0
    said = capsys.readouterr().out
    assert "ok         sample follows log_prob: of" in said
    assert " parameters" in said


def test_a_run_is_checked_with_its_parameters(tmp_path, capsys):
    source = Digits(binarization="threshold")
    config = Config(
        NADE(hidden=2),
        MaximumLikelihood(),
        Adam(),
        source,
        Training(num_steps=3, batch_size=10),
        Evaluation(num_samples=1),
    )
    folder = tmp_path / "run"
    train_run(config, folder, log=Log())
    found = check_run(folder, num_samples=200)
    model, params = load_run(folder)
    assert found == check_model(model, source.load().validation[0], params=params, num_samples=200)
    assert found != check_config(config, num_samples=200)
    capsys.readouterr()
    assert main(["check", str(folder), "--num-samples", "200"]) == 0
    assert capsys.readouterr().out.splitlines() == list(map(str, found))
    assert main(["check", str(folder), "--model.hidden", "3"]) == 2
    assert "--model.hidden: a run is checked as it is" in capsys.readouterr().err
