"""One sandbox and one gateway per module; for tests over providers of other shapes, another gateway."""

import pytest

from gateway import Broker, Serve
from messages_provider import Provider


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


@pytest.fixture(scope="module")
def north():
    """A scripted provider that speaks Messages alone."""
    provider = Provider()
    yield provider
    provider.stop()


@pytest.fixture(scope="module")
def over_north(north, tmp_path_factory):
    """A gateway whose one provider is that."""
    folder = tmp_path_factory.mktemp("north")
    running = Serve(folder, north.table(folder / "providers.toml"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def openai_of_north(over_north):
    """OpenAI's client of that gateway."""
    with over_north.client() as client:
        yield client
