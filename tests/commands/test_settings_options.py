"""Options made from a settings class: names, types, ranges, defaults, and the settings built from them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import click
import msgspec
import pytest
from click.testing import CliRunner
from msgspec import Meta

from earmark.commands.settings_options import Given, option_names, settings_options
from earmark.errors import MethodError


@dataclass(frozen=True, kw_only=True)
class Base:
    seed: Annotated[int, Meta(ge=0, description="Of all that is drawn.")] = 0


@dataclass(frozen=True, kw_only=True)
class Settings(Base):
    calls: Annotated[int, Meta(ge=1, le=500, description="Passes.", extra={"metavar": "N"})] = 200
    share: Annotated[float, Meta(gt=0, lt=1, description="A part.")] | None = None
    segment_seconds: Annotated[float, Meta(description="Length.", extra={"option": "--segment"})] = 0.1
    axis: Annotated[Literal["time", "frequency"], Meta(description="What is masked.")] = "time"
    active: Annotated[bool, Meta(description="Choose.")] = False
    several: Annotated[
        bool | None, Meta(description="Labels.", extra={"off": "--single", "default": "the data's"})
    ] = None
    folds: Annotated[tuple[int, ...] | None, Meta(description="Only these.")] = None
    name: Annotated[str, Meta(description="")] = "none"
    hidden: float = 3.0

    def __post_init__(self) -> None:
        if self.axis == "time" and self.calls == 13:
            raise MethodError("calls is 13: give another number")


class Struct(msgspec.Struct, frozen=True, kw_only=True):
    calls: Annotated[int, Meta(ge=1, description="Passes.")] = 200


def ran(kind: type, *words: str) -> tuple[int, str, list[Given]]:
    """Exit code, what was said, and what a command with the options of `kind` got."""
    got: list[Given] = []

    @click.command()
    @settings_options(kind, "settings")
    @click.option("--json", is_flag=True)
    def command(settings: Given, json: bool) -> None:
        got.append(settings)

    result = CliRunner().invoke(command, list(words))
    return result.exit_code, result.output, got


def test_what_is_given_becomes_settings():
    code, _, (given,) = ran(
        Settings,
        *("--calls", "7", "--share", "0.5", "--segment", "0.2", "--axis", "frequency", "--active"),
        *("--single", "--folds", "3,1-2", "--name", "x", "--seed", "4"),
    )
    assert code == 0
    told = {"calls": 7, "share": 0.5, "segment_seconds": 0.2, "axis": "frequency", "active": True}
    told |= {"several": False, "folds": (1, 2, 3), "name": "x", "seed": 4}
    assert given.settings() == Settings(**told)
    assert given.settings(hidden=1.0).hidden == 1.0
    assert given.first == "--calls"


@dataclass(frozen=True)
class Several:
    words: Annotated[
        tuple[str, ...], Meta(description="Words.", extra={"option": "--word", "short": "-w"})
    ] = ()
    axes: Annotated[tuple[Literal["time", "frequency"], ...], Meta(description="Axes.")] = ()
    folder: Annotated[Path, Meta(description="A folder.")] | None = None
    files: Annotated[tuple[Path, Path], Meta(description="Two files.")] | None = None


def test_repeated_words_folders_and_files(tmp_path):
    (tmp_path / "a").touch()
    words = ["-w", "x", "--word", "y", "--axes", "time", "--folder"]
    code, shown, got = ran(Several, *words, *map(str, (tmp_path, "--files", tmp_path / "a", __file__)))
    assert code == 0, shown
    assert got[0].settings() == Several(("x", "y"), ("time",), tmp_path, (tmp_path / "a", Path(__file__)))
    assert got[0].first == "--word"
    assert not ran(Several)[2][0]
    for wrong in (["--axes", "z"], ["--folder", __file__], ["--files", __file__, tmp_path / "b"]):
        code, shown, _ = ran(Several, *map(str, wrong))
        assert code == 2
        assert wrong[0] in shown


def test_what_is_not_given_is_left_to_the_class():
    _, _, (given,) = ran(Settings)
    assert not given
    assert given.values == {}
    assert given.settings() == Settings()
    _, _, (given,) = ran(Struct, "--calls", "3")
    assert given.settings() == Struct(calls=3)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--calls", "501"], "Invalid value for '--calls': 501 is not in the range 1<=x<=500."),
        (["--calls", "x"], "Invalid value for '--calls': 'x' is not a valid integer range."),
        (["--share", "1"], "Invalid value for '--share': 1.0 is not in the range 0<x<1."),
        (["--axis", "both"], "Invalid value for '--axis': 'both' is not one of 'time', 'frequency'."),
        (["--folds", "a"], "Invalid value for '--folds': 'a': give numbers such as 1,2,3 or 1-3"),
        (["--hidden", "1"], "No such option"),
    ],
)
def test_a_wrong_value_is_wrong_usage_and_names_its_option(words, says):
    code, shown, _ = ran(Settings, *words)
    assert code == 2
    assert says in shown


def test_what_the_class_refuses_is_wrong_usage_and_names_its_option():
    _, _, (given,) = ran(Settings, "--seed", "1", "--calls", "13")
    with pytest.raises(click.BadParameter, match="calls is 13") as raised:
        given.settings()
    assert raised.value.param_hint == "'--calls'"


def test_help_shows_ranges_and_defaults():
    _, shown, _ = ran(Settings, "--help")
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert lines[3:13] == [
        "--calls N Passes. [default: 200] [1<=x<=500]",
        "--share FLOAT RANGE A part. [0<x<1]",
        "--segment FLOAT Length. [default: 0.1]",
        "--axis [time|frequency] What is masked. [default: time]",
        "--active Choose.",
        "--several / --single Labels. [default: the data's]",
        "--folds WHOLE_NUMBERS Only these.",
        "--name TEXT [default: none]",
        "--seed INTEGER RANGE Of all that is drawn. [default: 0] [x>=0]",
        "--json",
    ]
    assert list(option_names(Settings)) == [
        *("calls", "share", "segment_seconds", "axis", "active", "several", "folds", "name", "seed"),
    ]
