"""Help of every command: an example that parses, and what shells complete."""

import os
import shlex
import subprocess
import sys

import click
import pytest
from command_line import all_commands, invoke

from earmark.times import duration_text, span_text, time_text

COMMANDS = dict(all_commands())


def examples_of(path):
    """The lines below "Examples:" in its help, as it is shown."""
    done = invoke(*path[1:], "--help", prog_name="earmark", terminal_width=100, code=0)
    _, _, told = done.output.partition("\n  Examples:\n")
    return [line.strip() for line in told.splitlines() if line.strip()]


@pytest.mark.parametrize("path", list(COMMANDS), ids=" ".join)
def test_every_help_has_examples_that_parse(path):
    lines = examples_of(path)
    assert lines
    assert any(line.startswith(" ".join(path)) for line in lines)
    for line in lines:
        words = shlex.split(line)
        named = max((one for one in COMMANDS if tuple(words[: len(one)]) == one), key=len)
        command, rest = COMMANDS[named], words[len(named) :]
        assert line.startswith("earmark ")
        assert not isinstance(command, click.Group) or rest == ["--help"]
        context = click.Context(command)
        given, _, _ = command.make_parser(context).parse_args(list(rest))
        for parameter in command.get_params(context):
            value = given.get(parameter.name)
            if isinstance(parameter, click.Argument):
                assert value is not None or not parameter.required, line
            elif not isinstance(parameter.type, click.Path) and isinstance(value, str):
                # Choices and ranges; files need not be there.
                parameter.type.convert(value, parameter, context)


def test_an_unknown_option_would_be_seen():
    command = COMMANDS["earmark", "verify"]
    with pytest.raises(click.NoSuchOption):
        command.make_parser(click.Context(command)).parse_args(["bundle", "--no-such"])


def completed(words, shell, tmp_path):
    """What earmark tells a shell that completes the last word."""
    asked = {
        "zsh": {"COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)},
        "fish": {"COMP_WORDS": " ".join(words), "COMP_CWORD": words[-1]},
    }[shell]
    code = "from earmark.cli import main; main(prog_name='earmark')"
    environment = {**os.environ, **asked, "_EARMARK_COMPLETE": f"{shell}_complete"}
    program = [sys.executable, "-c", code]
    return subprocess.check_output(program, env=environment, text=True, cwd=tmp_path)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_shells_complete_commands(shell, tmp_path):
    told = completed(["earmark", "ex"], shell, tmp_path)
    assert "explain" in told
    assert "export" in told
    assert "detect" not in told
    assert "Say what each INPUT" in told


def test_bash_itself_completes_commands_options_and_methods(tmp_path):
    program = tmp_path / "earmark"
    program.write_text(f"#!{sys.executable}\nfrom earmark.cli import main\nmain(prog_name='earmark')\n")
    program.chmod(0o755)
    script = """
        eval "$(_EARMARK_COMPLETE=bash_source earmark)"
        ask() {
            COMP_WORDS=(earmark "$@") COMP_CWORD=$#
            COMPREPLY=()
            _earmark_completion earmark "${@: -1}" ""
            echo "${COMPREPLY[@]}"
        }
        ask tr
        ask train l
        ask explain --res
        ask explain -m seg
    """
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["train", "lmac l2i", "--rescore --resume", "segments"]


def test_times_are_seconds_then_clocks():
    assert span_text(0.631, 0.684) == "0.63-0.68 s"
    assert span_text(119.0, 125.5) == "1:59.00-2:05.50"
    assert span_text(7199.996, 7200.5, 1, " to ") == "2:00:00.0 to 2:00:00.5"
    assert time_text(2.0) == "2.00 s"
    assert time_text(3599.999) == "1:00:00.00"
    assert [duration_text(one) for one in (0.1084, 12.34, 119.9, 185, 7800)] == [
        "108 ms",
        "12.3 s",
        "119.9 s",
        "3 min 5 s",
        "2 h 10 min",
    ]
