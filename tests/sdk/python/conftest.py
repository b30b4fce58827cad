"""One sandbox and one gateway per module."""

import pytest

from gateway import Broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker.start(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()
