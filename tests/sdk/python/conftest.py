"""One sandbox and one gateway per module."""

import pytest

from gateway import Broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker.start(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.fixture
def slow(broker):
    """Providers that take their time between tokens, so that a test can act in the middle of an answer."""
    broker.sandbox.order("slow", token_ms=5)
    yield
    broker.sandbox.lift()


@pytest.fixture
def faults(broker):
    """Orders faults, and lifts them after the test. Use a gateway of your own where they must not spoil its health."""
    yield broker.sandbox.order
    broker.sandbox.lift()
