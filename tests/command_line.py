"""The command line, run within the test's own process."""

import json

from click.testing import CliRunner, Result

from earmark.cli import main
from earmark.runtime.explainer import SHIPPED


def invoke(*words, **more) -> Result:
    """`earmark` with these words."""
    return CliRunner().invoke(main, [str(word) for word in words], **more)


def documents(result: Result) -> list:
    """The lines of JSON on its stdout."""
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def explain(*words, **more) -> Result:
    """`earmark explain` with the shipped bundle's masks alone."""
    return invoke("explain", "-b", SHIPPED, "-m", "mask", *words, **more)
