"""When a test fails, what the servers behind it logged stands beside its traceback."""

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    for fixture in getattr(item, "funcargs", {}).values():
        for process in getattr(fixture, "processes", []):
            report.sections.append((process.log.name, process.log_tail()))
