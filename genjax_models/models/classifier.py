"""A classifier of examples, whose hidden units serve as features of them."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax

from genjax_models.config import validate
from genjax_models.core import Key, Params, X
from genjax_models.errors import require_count
from genjax_models.models.adapter import Method
from genjax_models.models.initializers import one_draw
from genjax_models.models.layers import activation
from genjax_models.models.networks import Affine, Network


class ClassifierModule(nn.Module):
    """log p(class | x) up to a constant: a network to `width` hidden units, and an affine layer."""

    network: Network
    visible: int
    width: int
    classes: int
    shift: float
    scale: float

    def setup(self):
        self.hidden = self.network.encoder(self.width, self.visible)
        self.last = Affine(self.classes)

    def features(self, x):
        return activation(self.network.activation)(self.hidden((x - self.shift) / self.scale))

    def logits(self, x):
        return self.last(self.features(x))


class Classifier(NamedTuple):
    """p(class | x), as pure functions of one example x [D], which hash."""

    init: Callable[..., Params]  # (key, x) -> params
    logits: Callable[..., jax.Array]  # (params, x) -> [classes]
    features: Callable[..., jax.Array]  # (params, x) -> [width], the last hidden layer's units


@dataclasses.dataclass(frozen=True)
class Init:
    """`Classifier.init`."""

    module: ClassifierModule

    def __call__(self, key: Key, x: X) -> Any:
        def run():
            return self.module.init(key, x, method="logits")["params"]

        return one_draw(run, key)


def classifier(
    visible: int, classes: int, network: Network, width: int = 64, *, shift: float = 0.0, scale: float = 1.0
) -> Classifier:
    """A classifier of x, by the softmax of an affine map of hidden units.

        log p(class | x) = log softmax(W h(x) + b)_class,    h(x) = activation(network((x - shift) / scale)).

    Args:
        visible: D, units of x.
        classes: their number.
        network: `networks.MLP` or `networks.Convolutional`.
        width: F, units of the last hidden layer h.
        shift, scale: what x is centred and divided by.

    Returns:
        A `Classifier`.

    Raises:
        ConfigError: an impossible network or number, or images of another size than x.

    Example:
        >>> model = classifier(64, 10, Convolutional(image_shape=(8, 8), channels=(16, 32)))
    """
    for name, value in (("visible", visible), ("classes", classes), ("width", width)):
        require_count(f"classifier: {name}", value)
    validate(network)
    module = ClassifierModule(network, visible, width, classes, shift, scale)
    network.encoder(width, visible)  # refuses a network of images of another size
    return Classifier(Init(module), Method(module, "logits"), Method(module, "features"))
