"""Fixtures that several tests share."""

import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)  # what is spread over devices is tested on several


@pytest.fixture
def x64():
    """Arrays are float64 within the test."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def traces(monkeypatch):
    """A list that grows by one name with every method of a model that is traced or run."""
    from genjax_models.models.adapter import Method

    called, call = [], Method.__call__

    def counted(self, params, *args):
        called.append(self.name)
        return call(self, params, *args)

    monkeypatch.setattr(Method, "__call__", counted)
    return called
