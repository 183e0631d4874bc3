"""The model zoo. A model is added by one file here and one line in `MODELS`."""

from genjax_models.config import ModelConfig
from genjax_models.models.adapter import as_model
from genjax_models.models.sigmoid_belief_network import SigmoidBeliefNetwork, sigmoid_belief_network
from genjax_models.models.vae import VAE, vae

MODELS: dict[str, type[ModelConfig]] = {
    "vae": VAE,
    "sigmoid_belief_network": SigmoidBeliefNetwork,
}

__all__ = ["MODELS", "VAE", "SigmoidBeliefNetwork", "as_model", "sigmoid_belief_network", "vae"]
