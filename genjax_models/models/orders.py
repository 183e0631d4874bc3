"""Orders of the visible units, in which an auto-regressive model takes them."""

import numpy as np

from genjax_models.config import ModelConfig
from genjax_models.errors import ConfigError

Order = int | tuple[int, ...] | None
ORDER_HELP = "None takes the units as x has them, a number a random order by that seed, a tuple that permutation"


class OrderedConfig(ModelConfig):
    """Base of configurations with a field `order`."""

    order: Order

    @property
    def least_visible(self) -> int:
        """The number of units that a permutation is of."""
        return max(len(self.order), 1) if isinstance(self.order, tuple) else 1


def check_order(order: Order) -> list[str]:
    """What is wrong with an order, whatever the number of units."""
    if isinstance(order, tuple) and sorted(order) != list(range(len(order))):
        return [
            f"order: got {order!r}, expected a permutation of 0 to {len(order) - 1}, each once; or None, or a seed."
        ]
    if isinstance(order, int) and not 0 <= order < 2**32:
        return [f"order: got {order!r}, expected a seed, at least 0 and less than {2**32}."]
    return []


def permutation(order: Order, visible: int) -> tuple[int, ...]:
    """The units of x [visible] in their order: position i is unit `permutation[i]`.

    Raises:
        ConfigError: a permutation of another number of units.
    """
    if order is None:
        return tuple(range(visible))
    if isinstance(order, tuple):
        if len(order) != visible:
            raise ConfigError(
                f"order: got a permutation of {len(order)} units, but x has {visible}; give one of 0 to {visible - 1}."
            )
        return order
    # The stream of RandomState is frozen: the order of a seed is the same under every version of numpy.
    return tuple(int(i) for i in np.random.RandomState(order).permutation(visible))


def check_ensemble(order: Order, number: int, name: str) -> list[str]:
    """What is wrong with an order that is to give `number` of them; `name` is what asks for so many."""
    if number > 1 and (order is None or isinstance(order, tuple)):
        return [f"order: got {order!r} beside {name}, expected the seed that draws {number} orders."]
    return check_order(order)


def ensemble(order: Order, number: int, visible: int) -> np.ndarray:
    """The units in each of `number` orders, [M, D], drawn one after the other by a seed; the first is `permutation`."""
    if number == 1:
        return np.array([permutation(order, visible)])
    random = np.random.RandomState(order)
    return np.array([random.permutation(visible) for _ in range(number)])


def inverse(order: tuple[int, ...]) -> np.ndarray:
    """The position of every unit, [D]."""
    return np.argsort(np.array(order))
