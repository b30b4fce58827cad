"""One sandbox and one gateway per module; when a test fails, what they logged stands beside its traceback."""

import pytest

from gateway import Broker


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    running = Broker.start(tmp_path_factory.mktemp("broker"))
    yield running
    running.stop()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    running = getattr(item, "funcargs", {}).get("broker")
    if report.failed and running is not None:
        report.sections.append(("gateway's log", running.serve.log_tail()))
        report.sections.append(("sandbox's log", running.sandbox.log_tail(20)))
