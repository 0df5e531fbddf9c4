import sys

import pytest
from hypothesis import settings

from tests.postgres import postgres_cluster, postgres_url

__all__ = ["postgres_cluster", "postgres_url"]

settings.register_profile("suite", deadline=None)  # of an example: machines are shared, time says nothing
settings.load_profile("suite")


class InstantFailures:
    """Print a line for each test that fails, when it fails; with -n, as the worker tells of it."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Say which test failed, and why in one line."""
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            reason = "" if crash is None else " ".join(crash.message.split())[:200]
            print(f"\nFAILED {report.nodeid} ({report.when}): {reason}", file=sys.__stderr__, flush=True)


def pytest_configure(config: pytest.Config) -> None:
    """Not in a worker of xdist, whose reports the main process gets."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(InstantFailures(), "instant-failures")
