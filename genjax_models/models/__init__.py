"""The model zoo. A model is added by one file here and one line in `MODELS`."""

from genjax_models.config import ModelConfig
from genjax_models.models.adapter import as_model
from genjax_models.models.darn import DARN, darn
from genjax_models.models.fully_visible import FVSBN, NADE, fvsbn, nade
from genjax_models.models.helmholtz_machine import HelmholtzMachine, helmholtz_machine
from genjax_models.models.made import MADE, made
from genjax_models.models.sigmoid_belief_network import SigmoidBeliefNetwork, sigmoid_belief_network
from genjax_models.models.universality import universal_sigmoid_belief_network, visible_distribution
from genjax_models.models.unlayered_belief_network import UnlayeredBeliefNetwork, unlayered_belief_network
from genjax_models.models.vae import VAE, vae

MODELS: dict[str, type[ModelConfig]] = {
    "vae": VAE,
    "sigmoid_belief_network": SigmoidBeliefNetwork,
    "helmholtz_machine": HelmholtzMachine,
    "darn": DARN,
    "unlayered_belief_network": UnlayeredBeliefNetwork,
    "fvsbn": FVSBN,
    "nade": NADE,
    "made": MADE,
}

__all__ = [
    "DARN",
    "FVSBN",
    "MADE",
    "MODELS",
    "NADE",
    "VAE",
    "HelmholtzMachine",
    "SigmoidBeliefNetwork",
    "UnlayeredBeliefNetwork",
    "as_model",
    "darn",
    "fvsbn",
    "helmholtz_machine",
    "made",
    "nade",
    "sigmoid_belief_network",
    "universal_sigmoid_belief_network",
    "unlayered_belief_network",
    "vae",
    "visible_distribution",
]
