"""A classifier that is trained on the data at hand, for features that samples are compared by."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from genjax_models.config import as_number
from genjax_models.core import Batch, Key, Params
from genjax_models.errors import DataError, require_count
from genjax_models.evaluation.blocks import compiled, in_blocks
from genjax_models.models.classifier import Classifier, classifier
from genjax_models.models.networks import MLP, Convolutional, Network
from genjax_models.train import make_train_step


class TrainedClassifier(NamedTuple):
    """A classifier and what it reaches."""

    model: Classifier
    params: Params
    network: Network
    accuracy: float | None  # share of held-out examples that it tells right, from 0 to 1; None where there were none
    classes: np.ndarray  # the labels that it was trained on, rising, [classes]

    def logits(self, x: Any, *, block: int = 500) -> np.ndarray:
        """log p(class | x) up to a constant of each example, [N, classes], in the order of `classes`, of x [N, D]."""
        return np.asarray(_apply(self.model.logits, block, self.params, _rows("x", x)), np.float64)

    def features(self, x: Any, *, block: int = 500) -> np.ndarray:
        """The units of the last hidden layer, [N, F], of examples x [N, D]; `block` of them at a time."""
        return np.asarray(_apply(self.model.features, block, self.params, _rows("x", x)), np.float64)


_apply = compiled(
    lambda function, block, params, x: in_blocks(lambda _, row: function(params, row), jax.random.key(0), x, block), 2
)


def _rows(name: str, x: Any) -> jax.Array:
    if len(np.shape(x)) != 2 or 0 in np.shape(x):
        raise DataError(f"{name}: got shape {np.shape(x)}, expected [N, D], with at least one row.")
    return jnp.asarray(x, jnp.float32)


def _labels(name: str, labels: Any, number: int) -> np.ndarray:
    found = np.asarray(labels)
    if found.shape != (number,) or found.dtype.kind not in "iu" or (found.size and found.min() < 0):
        raise DataError(
            f"{name}: got shape {found.shape} and dtype {found.dtype}, expected integers from 0 up of shape "
            f"({number},), one for each example."
        )
    return found


def default_network(image_shape: tuple[int, ...] | None) -> Network:
    """Convolutions of 16 and 32 channels for images, two dense layers of 256 units for other rows."""
    return MLP((256, 256)) if image_shape is None else Convolutional(image_shape, (16, 32))


def _loss(model: Classifier, params: Params, key: Key, batch: Batch) -> jax.Array:
    """The mean cross-entropy, in nats per example."""
    logits = jax.vmap(lambda row: model.logits(params, row))(batch.x)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, batch.context))


@functools.partial(jax.jit, static_argnums=range(5))
def _train(model, num_steps, batch_size, learning_rate, weight_decay, key, x, labels) -> Params:
    start, order, run = jax.random.split(key, 3)
    number = x.shape[0]
    steps_an_epoch = number // batch_size
    epochs = jax.random.split(order, -(-num_steps // steps_an_epoch))
    permutations = jax.lax.map(lambda k: jax.random.permutation(k, number), epochs)
    rows = permutations[:, : steps_an_epoch * batch_size].reshape(-1, batch_size)[:num_steps]
    rate = optax.cosine_decay_schedule(learning_rate, num_steps)
    optimizer = optax.adamw(rate, weight_decay=weight_decay)
    train = make_train_step(functools.partial(_loss, model), optimizer)

    def step(state, rows):
        return train.step(state, Batch(x[rows], labels[rows]))[0], None

    state = train.init(run, model.init(start, x[0]), Batch(x[:batch_size], labels[:batch_size]))
    return jax.lax.scan(step, state, rows)[0].params


def train_classifier(
    key: Key,
    x: Any,
    labels: Any,
    held_out: tuple[Any, Any] | None = None,
    *,
    network: Network | None = None,
    width: int = 64,
    num_steps: int = 2000,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.1,
) -> TrainedClassifier:
    """Train a classifier, whose last hidden layer gives features of examples.

    It minimizes the mean cross-entropy -log p(label | x), in nats per example, by AdamW with a rate that falls to 0
    along a cosine. The same key, data and settings give the same classifier on one machine.

    Its features are those that tell these classes of these data apart, and not the Inception features of the
    literature: distances of them compare with others by the same classifier alone.

    Args:
        key: of the initial parameters and of the batches.
        x: training examples [N, D], of any scale.
        labels: their classes, integers [N] from 0 up.
        held_out: examples and labels of the same form, to measure the accuracy on.
        network: from x to the last hidden layer; None for two dense layers of 256 units. `default_network` has one for
            images.
        width: F, units of the last hidden layer.
        num_steps: updates.
        batch_size: examples a batch, at most N, without replacement within an epoch.
        learning_rate: the first one.
        weight_decay: of AdamW, times the rate.

    Returns:
        A `TrainedClassifier`: `features(x)` [N, F], `logits(x)`, and its accuracy on held-out examples.

    Raises:
        DataError: examples or labels of another form, values that are not finite, or fewer than two classes.
        ConfigError: an impossible number, or a network of images of another size.

    Example:
        >>> source = Digits()
        >>> data, labels = source.load(), source.labels()
        >>> trained = train_classifier(jax.random.key(0), data.train, labels.train, (data.test, labels.test))
        >>> frechet_distance(trained.features(data.test), trained.features(samples))
    """
    for name, value in (("width", width), ("num_steps", num_steps), ("batch_size", batch_size)):
        require_count(f"train_classifier: {name}", value)
    learning_rate = as_number("train_classifier: learning_rate", learning_rate, gt=0)
    weight_decay = as_number("train_classifier: weight_decay", weight_decay, ge=0)
    x = _rows("x", x)
    given = _labels("labels", labels, x.shape[0])
    # Any numbers may stand for the classes: years, or keys of a catalogue.
    classes, given = np.unique(given, return_inverse=True)
    if len(classes) < 2:
        raise DataError("labels: got one class alone, expected at least two to tell apart.")
    mean, std = float(x.mean()), float(x.std())
    if not np.isfinite(std) or std == 0:
        raise DataError(f"x: has the standard deviation {std}; expected finite values that are not all the same.")
    network = MLP((256, 256)) if network is None else network
    model = classifier(x.shape[1], len(classes), network, width, shift=mean, scale=std)
    size = min(batch_size, x.shape[0])
    params = _train(model, num_steps, size, learning_rate, weight_decay, key, x, jnp.asarray(given, jnp.int32))
    trained = TrainedClassifier(model, params, network, None, classes)
    if held_out is None:
        return trained
    x_held, labels_held = held_out
    expected = _labels("held_out labels", labels_held, len(x_held))
    return trained._replace(accuracy=float(np.mean(classes[trained.logits(x_held).argmax(axis=1)] == expected)))
