"""Data sources: configurations whose `load(data_dir)` returns a `Dataset`."""

from genjax_models.data.arrays import Arrays
from genjax_models.data.bars import Bars
from genjax_models.data.binarized_mnist import BinarizedMNIST
from genjax_models.data.coil20 import COIL20
from genjax_models.data.dataset import (
    Binarization,
    Dataset,
    Dequantization,
    Labels,
    Support,
    binarize,
    check,
    dequantize,
    evaluation_subset,
    examples,
    refresh,
    require_labels,
)
from genjax_models.data.digits import Digits
from genjax_models.data.download import fetch
from genjax_models.data.files import Files
from genjax_models.data.folder import data_folder
from genjax_models.data.gaussians import Gaussians
from genjax_models.data.huggingface import HuggingFace
from genjax_models.data.image_folder import ImageFolder
from genjax_models.data.midi_folder import MidiFolder
from genjax_models.data.mnist import MNIST
from genjax_models.data.piano_rolls import PianoRolls
from genjax_models.data.planted import PlantedDigits, plant
from genjax_models.data.rows import Rows, blocks, not_a_count, require_in_memory
from genjax_models.data.shard_index import index_shards
from genjax_models.data.shards import Shards, shard, write_shards
from genjax_models.data.sklearn import Sklearn, from_bunch
from genjax_models.data.solids import Solids
from genjax_models.data.speech import Speech
from genjax_models.data.uci import UCI
from genjax_models.data.wav_folder import WavFolder
from genjax_models.data.with_classes import WithClasses

SOURCES: dict[str, type] = {
    "digits": Digits,
    "mnist": MNIST,
    "binarized_mnist": BinarizedMNIST,
    "uci": UCI,
    "bars": Bars,
    "gaussians": Gaussians,
    "solids": Solids,
    "coil20": COIL20,
    "planted_digits": PlantedDigits,
    "piano_rolls": PianoRolls,
    "speech": Speech,
    "arrays": Arrays,
    "files": Files,
    "image_folder": ImageFolder,
    "wav_folder": WavFolder,
    "midi_folder": MidiFolder,
    "huggingface": HuggingFace,
    "sklearn": Sklearn,
    "shards": Shards,
    "with_classes": WithClasses,
}

__all__ = [
    "COIL20",
    "MNIST",
    "SOURCES",
    "UCI",
    "Arrays",
    "Bars",
    "Binarization",
    "BinarizedMNIST",
    "Dataset",
    "Dequantization",
    "Digits",
    "Files",
    "Gaussians",
    "HuggingFace",
    "ImageFolder",
    "Labels",
    "MidiFolder",
    "PianoRolls",
    "PlantedDigits",
    "Rows",
    "Shards",
    "Sklearn",
    "Solids",
    "Speech",
    "Support",
    "WavFolder",
    "WithClasses",
    "binarize",
    "blocks",
    "check",
    "data_folder",
    "dequantize",
    "evaluation_subset",
    "examples",
    "fetch",
    "from_bunch",
    "index_shards",
    "not_a_count",
    "plant",
    "refresh",
    "require_in_memory",
    "require_labels",
    "shard",
    "write_shards",
]
