"""Variational autoencoders (Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014), of interchangeable parts."""

from typing import Any, ClassVar

import flax.linen as nn
import jax

from genjax_models.config import config, field, validate
from genjax_models.core import Joint, LatentVariableModel
from genjax_models.errors import ModelError, require_count
from genjax_models.models.adapter import as_model
from genjax_models.models.autoregressive_flows import MAF
from genjax_models.models.build import build_from_fields
from genjax_models.models.coupling import RealNVP
from genjax_models.models.networks import MLP, Network, beside
from genjax_models.models.posteriors import DiagonalGaussian, Posterior
from genjax_models.models.priors import Prior, StandardNormal, VampPrior, prior_module
from genjax_models.models.units import LIKELIHOOD_HELP, Bernoulli, Emission, Likelihood, LikelihoodConfig


class Decoder(nn.Module):
    """p(z) and p(x | z): the numbers of the visible units as a function of the latents and the context."""

    network: nn.Module
    emission: Emission
    prior: nn.Module

    def __call__(self, z, c):
        out = self.network(beside(z, c))
        if out.shape != (self.emission.width,):
            raise ModelError(
                f"the decoder gives {out.shape} for one z, expected ({self.emission.width},): "
                f"{self.emission.visible} units with {self.emission.units.outputs or 1} numbers each."
            )
        return self.emission(out)


class Encoder(nn.Module):
    """q(z | x): its law from the numbers that a network makes of x and the context."""

    network: nn.Module
    posterior: nn.Module

    def __call__(self, x, c):
        # A network that knows no context need not take one.
        numbers = self.network(x, c) if jax.tree.leaves(c) else self.network(x)
        if numbers.shape != (self.posterior.width,):
            raise ModelError(
                f"the encoder gives {numbers.shape} for one x, expected ({self.posterior.width},), the numbers that "
                f"{type(self.posterior).__name__} is made of."
            )
        return self.posterior(numbers)


class _VAEModule(nn.Module):
    """z ~ p(z), x ~ p(x | z, c), with q(z | x, c). One latent group, an array [Z]."""

    reparameterized: ClassVar[bool] = True
    support: ClassVar[str] = "real"

    generative: Decoder
    standard: bool  # whether p(z) is N(0, I)
    conditional: bool  # whether there is a context; else what comes as one is left alone

    @property
    def lacks(self) -> tuple[str, ...]:
        closed_form = getattr(self._q.posterior, "closed_form", ())
        closed_form = closed_form if self.standard else set(closed_form) - {"kl", "kl_by_dimension"}
        missing = {"kl", "kl_by_dimension", "posterior_moments"} - set(closed_form)
        return (*missing, "propose_with_kl") if "kl" in missing else tuple(missing)

    @property
    def _q(self) -> Encoder:
        raise NotImplementedError

    def _given(self, c):
        return c if self.conditional else ()

    def _prior_sample(self, key, c):
        return self.generative.prior.sample(key, c)

    def _prior_log_prob(self, z, c):
        return self.generative.prior.log_prob(z, c)

    def sample_joint(self, key, c=()):
        c, (above, below) = self._given(c), jax.random.split(key)
        z = self._prior_sample(above, c)
        return z, self.generative.emission.units.sample(below, self.generative(z, c))

    def propose(self, key, x, c=()):
        z, log_q = self._q(x, self._given(c)).sample_and_log_prob(key)
        return z, (log_q,)

    def log_joint(self, z, x, c=()):
        c = self._given(c)
        likelihood = self.generative.emission.units.log_prob(self.generative(z, c), x)
        return Joint(likelihood, (self._prior_log_prob(z, c),))

    def log_posterior(self, z, x, c=()):
        return (self._q(x, self._given(c)).log_prob(z),)

    def decode(self, z, c=()):
        return self.generative.emission.units.mean(self.generative(z, self._given(c)))

    def kl(self, x, c=()):
        return (self._q(x, self._given(c)).kl_to_standard(),)

    def kl_by_dimension(self, x, c=()):
        return (self._q(x, self._given(c)).kl_to_standard_by_dimension(),)

    def propose_with_kl(self, key, x, c=()):
        law = self._q(x, self._given(c))
        by_dimension = "kl_by_dimension" not in self.lacks
        kl = law.kl_to_standard_by_dimension() if by_dimension else law.kl_to_standard()
        return law.sample_and_log_prob(key)[0], (kl,)

    def posterior_moments(self, x, c=()):
        return self._q(x, self._given(c)).moments()


class VAEModule(_VAEModule):
    """p(z) has parameters of its own, or none."""

    recognition: Encoder

    @property
    def _q(self) -> Encoder:
        return self.recognition


class VampVAEModule(_VAEModule):
    """p(z) is the mean of q(z | u) over pseudo-inputs, so what is learned of q is p's too."""

    shared: Encoder

    @property
    def _q(self) -> Encoder:
        return self.shared

    def _prior_sample(self, key, c):
        return self.generative.prior.sample(key, c, self.shared)

    def _prior_log_prob(self, z, c):
        return self.generative.prior.log_prob(z, c, self.shared)


def _assemble(
    visible: int,
    latent: int,
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood,
    posterior: nn.Module,
    prior: Prior,
    conditional: bool,
) -> LatentVariableModel:
    law = prior_module(prior, latent, visible, likelihood.data_support == "unit")
    generative = Decoder(decoder, Emission(likelihood, visible), law)
    recognition = Encoder(encoder, posterior)
    if isinstance(prior, VampPrior):
        module: _VAEModule = VampVAEModule(generative, False, conditional, recognition)
    else:
        module = VAEModule(generative, isinstance(prior, StandardNormal), conditional, recognition)
    return as_model(LatentVariableModel, module)._replace(name="VAE")


TANH = MLP(hidden=(200, 200), activation="tanh")


def check_images(encoder: Network, decoder: Network) -> list[str]:
    """What is wrong between the two."""
    sizes = {network.visible for network in (encoder, decoder)} - {None}
    if len(sizes) > 1:
        return [f"encoder and decoder have an image_shape of different sizes, {sizes}; give the same."]
    return []


@config
class VAE(LikelihoodConfig):
    """Variational autoencoder: Gaussian latents, networks for p(x | z) and q(z | x), and a choice of every part."""

    capability: ClassVar[str] = "LatentVariableModel"
    citation: ClassVar[str] = "Kingma and Welling 2014; Rezende, Mohamed and Wierstra 2014"

    latent: int = field(default=50, ge=1, help="latent units Z")
    encoder: Network = field(default=TANH, help="the network from x to what q(z | x) is made of")
    decoder: Network = field(default=TANH, help="the network from z to what p(x | z) is made of")
    likelihood: Likelihood = field(default=Bernoulli(), help=LIKELIHOOD_HELP)
    posterior: Posterior = field(default=DiagonalGaussian(), help="q(z | x), from genjax_models.models.posteriors")
    prior: Prior = field(default=StandardNormal(), help="p(z), from genjax_models.models.priors, or a flow")
    conditional: bool = field(default=False, help="model x given the data's context, a class or a vector")

    def check(self) -> list[str]:
        found = check_images(self.encoder, self.decoder)
        if isinstance(self.prior, RealNVP | MAF):
            if self.prior.logit is not None:
                found.append(f"prior.logit: got {self.prior.logit}, but latents are real numbers; leave it None.")
            if isinstance(self.prior, RealNVP) and self.prior.image_shape is not None:
                found.append(
                    f"prior.image_shape: got {self.prior.image_shape}, but latents are no image; leave it None."
                )
            if self.latent < self.prior.least_visible:
                found.append(
                    f"latent: got {self.latent}, but a prior by {type(self.prior).__name__} needs at least "
                    f"{self.prior.least_visible}."
                )
        return found

    @property
    def needs_context(self) -> bool:
        return self.conditional

    @property
    def least_visible(self) -> int:
        return self.encoder.visible or self.decoder.visible or 1

    def build(self, visible: int) -> LatentVariableModel:
        """The model of x with `visible` units; ConfigError for images of another size."""
        posterior: Any = self.posterior.module(self.latent)
        encoder = self.encoder.encoder(posterior.width, visible)
        decoder = self.decoder.decoder(visible, self.likelihood.outputs or 1)
        parts = encoder, decoder, self.likelihood, posterior, self.prior, self.conditional
        return _assemble(visible, self.latent, *parts)


def vae(visible: int, **fields) -> LatentVariableModel:
    """A variational autoencoder of x in [0, 1]^visible, R^visible or of counts.

    Args:
        visible: units D of an example.
        **fields: those of `VAE`: `latent`; `encoder` and `decoder`, of `models.networks` (`MLP` or `Convolutional`,
            with residual blocks or without); `likelihood`, of `models.units`; `posterior`, of `models.posteriors`;
            `prior`, of `models.priors`, or `RealNVP` or `MAF`; `conditional`.

    Returns:
        A `LatentVariableModel` with z of shape [latent], reparameterized. The KL is in closed form for Gaussian
        posteriors under a standard normal prior. With a `VampPrior` the parameters of q are in the group "shared".

    Raises:
        ConfigError: an unknown field, a wrong type or an impossible value.

    Example:
        >>> model = vae(64, latent=8, decoder=MLP(hidden=(100,)))
        >>> params = model.init(jax.random.key(0), jnp.zeros(64), ())
        >>> model.decode(params, jnp.zeros(8), ()).shape
        (64,)

    Reference:
        Kingma and Welling, "Auto-Encoding Variational Bayes", 2014; Goodfellow et al. 2016, section 20.10.3; given a
        context, Sohn, Lee and Yan 2015.
    """
    return build_from_fields(VAE, visible, fields)


def vae_of_modules(
    visible: int,
    latent: int,
    encoder: nn.Module,
    decoder: nn.Module,
    likelihood: Likelihood = Bernoulli(),  # noqa: B008
    posterior: Posterior | nn.Module = DiagonalGaussian(),  # noqa: B008
    prior: Prior = StandardNormal(),  # noqa: B008
    conditional: bool = False,
) -> LatentVariableModel:
    """The variational autoencoder `vae` of linen modules of your own.

    Args:
        visible: units D of an example.
        latent: latent units Z.
        encoder: a module, x [D] -> what q is made of; for a `DiagonalGaussian` [2 Z], means and then log scales. It is
            called as `encoder(x, c)` if `conditional`.
        decoder: a module, z [Z] (with c after it if `conditional`) -> [P D], the P numbers of the D units of x; for
            `Bernoulli` the D logits.
        likelihood: of `models.units`.
        posterior: of `models.posteriors`, or a module with the protocol that is told there.
        prior: of `models.priors`, or `RealNVP` or `MAF`.
        conditional: whether there is a context.

    Returns:
        A `LatentVariableModel` as from `vae`.

    Raises:
        ConfigError: an impossible number of units or part.
        ModelError: when traced, if a module gives another number of values.

    Example:
        >>> model = vae_of_modules(64, 8, encoder=nn.Dense(16), decoder=nn.Dense(64))
    """
    require_count("visible", visible)
    require_count("latent", latent)
    law: Any = posterior if isinstance(posterior, nn.Module) else validate(posterior).module(latent)
    parts = validate(likelihood), law, validate(prior), conditional
    return _assemble(visible, latent, encoder, decoder, *parts)
