"""The command line, run within the test's own process."""

import json

from click import Context, Group, Option
from click.testing import CliRunner, Result

from earmark.cli import main
from earmark.runtime.explainer import SHIPPED


def invoke(*words, code=None, says=(), **more) -> Result:
    """`earmark` with these words.

    code: the exit code it ends with, without a traceback; says: a text on its stderr, or several
    """
    result = CliRunner().invoke(main, [str(word) for word in words], **more)
    if code is not None:
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output, result.output
        assert "a defect in earmark" not in result.stderr, result.stderr
    for text in (says,) if isinstance(says, str) else says:
        assert text in result.stderr, result.stderr
    return result


def all_commands(command=main, path=("earmark",)):
    """Every command, groups among them, with the words that name it."""
    yield path, command
    if isinstance(command, Group):
        context = Context(command)
        for name in command.list_commands(context):
            yield from all_commands(command.get_command(context, name), (*path, name))


def options_of(command) -> set[str]:
    """The names of a command's options."""
    options = (one for one in command.get_params(Context(command)) if isinstance(one, Option))
    return {name for option in options for name in (*option.opts, *option.secondary_opts)}


def documents(result: Result) -> list:
    """The lines of JSON on its stdout."""
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def explain(*words, **more) -> Result:
    """`earmark explain` with the shipped bundle's masks alone."""
    return invoke("explain", "-b", SHIPPED, "-m", "mask", *words, **more)
