"""What a forked child does of it."""

import os
import signal
import time

import pytest


def forks(test):
    """Marks a test that forks."""
    test = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")(test)
    return pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")(test)


def in_a_child(holds, seconds=40):
    """The exit code of a forked child: 0 where `holds()` is true, 2 where not, 1 where it raises.

    "hangs" where it has none after that time, and it is killed.
    """
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if holds() else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + seconds
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.01)
    return os.waitstatus_to_exitcode(status[1])
