"""The model zoo. A model is added by one file here and one line in `MODELS`."""

from genjax_models.config import ModelConfig
from genjax_models.models.adapter import as_model
from genjax_models.models.affine_generator import AffineGenerator, affine_generator, fit_affine
from genjax_models.models.autoregressive_flows import IAF, MAF, iaf, maf
from genjax_models.models.categorical_vae import CategoricalVAE, categorical_vae
from genjax_models.models.coupling import NICE, NeuralSplineFlow, RealNVP, neural_spline_flow, nice, realnvp
from genjax_models.models.darn import DARN, darn
from genjax_models.models.deep_nade import DeepNADE, deep_nade
from genjax_models.models.draw import DRAW, draw
from genjax_models.models.fully_visible import FVSBN, NADE, fvsbn, nade
from genjax_models.models.gan import GAN, gan
from genjax_models.models.helmholtz_machine import HelmholtzMachine, helmholtz_machine
from genjax_models.models.hierarchical_vae import HierarchicalVAE, hierarchical_vae
from genjax_models.models.inverse_transform import (
    InverseTransform,
    InverseTransformGenerator,
    inverse_transform_generator,
    inverse_transform_of_density,
)
from genjax_models.models.made import MADE, made
from genjax_models.models.moment_matching import MomentMatchingGenerator, moment_matching_generator
from genjax_models.models.pixel_cnn import PixelCNN, pixel_cnn
from genjax_models.models.recurrent_likelihood import RecurrentLikelihood, recurrent_likelihood
from genjax_models.models.sigmoid_belief_network import SigmoidBeliefNetwork, sigmoid_belief_network
from genjax_models.models.supervised_generator import SupervisedGenerator, supervised_generator
from genjax_models.models.universality import universal_sigmoid_belief_network, visible_distribution
from genjax_models.models.unlayered_belief_network import UnlayeredBeliefNetwork, unlayered_belief_network
from genjax_models.models.vae import VAE, vae, vae_of_modules
from genjax_models.models.variational_rnn import VariationalRNN, variational_rnn

MODELS: dict[str, type[ModelConfig]] = {
    "vae": VAE,
    "hierarchical_vae": HierarchicalVAE,
    "categorical_vae": CategoricalVAE,
    "draw": DRAW,
    "variational_rnn": VariationalRNN,
    "sigmoid_belief_network": SigmoidBeliefNetwork,
    "helmholtz_machine": HelmholtzMachine,
    "darn": DARN,
    "unlayered_belief_network": UnlayeredBeliefNetwork,
    "fvsbn": FVSBN,
    "nade": NADE,
    "made": MADE,
    "deep_nade": DeepNADE,
    "pixel_cnn": PixelCNN,
    "recurrent_likelihood": RecurrentLikelihood,
    "affine_generator": AffineGenerator,
    "inverse_transform_generator": InverseTransformGenerator,
    "nice": NICE,
    "realnvp": RealNVP,
    "neural_spline_flow": NeuralSplineFlow,
    "maf": MAF,
    "iaf": IAF,
    "supervised_generator": SupervisedGenerator,
    "gan": GAN,
    "moment_matching_generator": MomentMatchingGenerator,
}

__all__ = [
    "DARN",
    "DRAW",
    "FVSBN",
    "GAN",
    "IAF",
    "MADE",
    "MAF",
    "MODELS",
    "NADE",
    "NICE",
    "VAE",
    "AffineGenerator",
    "CategoricalVAE",
    "DeepNADE",
    "HelmholtzMachine",
    "HierarchicalVAE",
    "InverseTransform",
    "InverseTransformGenerator",
    "MomentMatchingGenerator",
    "NeuralSplineFlow",
    "PixelCNN",
    "RealNVP",
    "RecurrentLikelihood",
    "SigmoidBeliefNetwork",
    "SupervisedGenerator",
    "UnlayeredBeliefNetwork",
    "VariationalRNN",
    "affine_generator",
    "as_model",
    "categorical_vae",
    "darn",
    "deep_nade",
    "draw",
    "fit_affine",
    "fvsbn",
    "gan",
    "helmholtz_machine",
    "hierarchical_vae",
    "iaf",
    "inverse_transform_generator",
    "inverse_transform_of_density",
    "made",
    "maf",
    "moment_matching_generator",
    "nade",
    "neural_spline_flow",
    "nice",
    "pixel_cnn",
    "realnvp",
    "recurrent_likelihood",
    "sigmoid_belief_network",
    "supervised_generator",
    "universal_sigmoid_belief_network",
    "unlayered_belief_network",
    "vae",
    "vae_of_modules",
    "variational_rnn",
    "visible_distribution",
]
