"""Options made from the fields of a settings class, and the settings built from the options that were given.

A field is an option where its type carries a `msgspec.Meta` with a description: that is the help text. The
type says what is taken: int, float, bool, str, `Path` (of a folder), `Literal`, `tuple[int, ...]`, a tuple of
words (an option that may be repeated) or of paths (that many files), each with `| None`. The Meta's bounds
say the range, and the default is shown behind the help text. `Meta(extra=...)` may hold

    option    the option's name, where it is not the field's
    short     a second name of one letter
    off       of a switch: the option that turns it off
    metavar   what help shows for the value
    default   what help says of a default of None, as "the bundle's"
    choices   the values that are offered, where they are not all of the `Literal`
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin, get_type_hints

import click
import msgspec
from msgspec import inspect as types

from ..errors import EarmarkError
from .options import with_options

Settings = TypeVar("Settings")
_Command = Callable[..., Any]


@dataclass(frozen=True)
class Given(Generic[Settings]):
    """What was given on the command line for the settings of a class.

    kind: the class; values: field -> value, of the options that were given
    """

    kind: type[Settings]
    values: Mapping[str, Any]

    def __bool__(self) -> bool:
        return bool(self.values)

    @property
    def first(self) -> str:
        """The first option that was given, as "--calls"."""
        return option_names(self.kind)[next(iter(self.values))]

    def settings(self, **more: Any) -> Settings:
        """The settings: what was given, `more` fields by name, defaults elsewhere.

        Raises click.UsageError, naming the option, where the class refuses a value.
        """
        try:
            return self.kind(**self.values, **more)
        except EarmarkError as error:
            names = option_names(self.kind)
            named = [names[field] for field in self.values if field in str(error)]
            if named:
                raise click.BadParameter(str(error), param_hint=f"'{named[0]}'") from error
            raise click.UsageError(str(error)) from error


def settings_options(
    kind: type, parameter: str = "given", *, only: Sequence[str] | None = None
) -> Callable[[_Command], _Command]:
    """A decorator: the options of the settings class `kind`, for a command.

    Args:
        kind: The settings class, a dataclass or msgspec struct.
        parameter: The command gets what was given in this keyword argument, a `Given`.
        only: Fields that are to be options; None: all that can be.

    Returns:
        The decorator.

    """
    options = [option for option in _options(kind) if only is None or option.field in only]

    def decorate(command: _Command) -> _Command:
        @wraps(command)
        def run(*arguments: Any, **collected: Any) -> Any:
            mine = {option.parameter: collected.pop(option.parameter) for option in options}
            return command(*arguments, **collected, **{parameter: given_of(kind, mine)})

        return with_options(run, [option.decorator for option in options])

    return decorate


def given_of(kind: type, collected: Mapping[str, Any]) -> Given[Any]:
    """What was given for a settings class, out of a command's keywords."""
    values = {option.field: collected.get(option.parameter) for option in _options(kind)}
    return Given(kind, {name: value for name, value in values.items() if value not in (None, ())})


def click_options(kind: type) -> list[click.Option]:
    """The options of a settings class, for a command that collects what was given itself."""

    def nothing() -> None: ...

    with_options(nothing, [option.decorator for option in _options(kind)])
    return list(reversed(getattr(nothing, "__click_params__", [])))


def option_names(kind: type) -> dict[str, str]:
    """Field -> option, as "--calls", of the fields of a settings class that are options."""
    return {option.field: option.name for option in _options(kind)}


def words_of(given: Given[Any]) -> list[str]:
    """What was given, as the words of a command line that gives it again."""
    names = option_names(given.kind)
    words: list[str] = []
    for field, value in given.values.items():
        if isinstance(value, tuple) and all(isinstance(one, str) for one in value):
            words += [word for one in value for word in (names[field], one)]
        else:
            words += [names[field], *map(str, value if isinstance(value, tuple) else (value,))]
    return words


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers in order, from "1,2,3" or "1-3". Raises click.BadParameter for other words."""
    numbers: set[int] = set()
    try:
        for piece in text.split(","):
            first, dash, last = piece.partition("-")
            numbers |= set(range(int(first), int(last) + 1)) if dash else {int(first)}
    except ValueError as error:
        raise click.BadParameter(f"{text!r}: give numbers such as 1,2,3 or 1-3") from error
    if not numbers:
        raise click.BadParameter(f"{text!r}: holds no number")
    return tuple(sorted(numbers))


@dataclass(frozen=True)
class _Option:
    field: str
    name: str
    parameter: str
    decorator: Callable[[_Command], _Command]


@cache
def _options(kind: type) -> list[_Option]:
    """The options of a settings class, in the order of its fields; those of its bases come behind."""
    about = types.type_info(kind)
    assert isinstance(about, types.DataclassType | types.StructType)  # noqa: S101 (what settings are)
    fields = {field.name: field for field in about.fields}
    order = [name for one in kind.__mro__ for name in inspect.get_annotations(one) if name in fields]
    hints = get_type_hints(kind)
    options = (_option(fields[name], hints[name]) for name in dict.fromkeys(order))
    return [option for option in options if option is not None]


def _option(field: types.Field, hint: Any) -> _Option | None:
    """A field as an option, or None where it has no description."""
    taken, description, extra = _described(field.type)
    if description is None:
        return None
    name: str = extra.get("option", "--" + field.name.replace("_", "-"))
    parameter = name.lstrip("-").replace("-", "_")
    shown = _default(field.default, extra)
    help_text = f"{description} [default: {shown}]".lstrip() if shown else description
    if isinstance(taken, types.BoolType):
        declared = f"{name}/{extra['off']}" if "off" in extra else name
        option = click.option(declared, parameter, is_flag=True, default=None, help=help_text)
    else:
        several = isinstance(taken, types.VarTupleType) and not isinstance(taken.item_type, types.IntType)
        option = click.option(
            *filter(None, (extra.get("short"), name)),
            parameter,
            type=_click_type(taken, extra.get("choices") or _literals(hint)),
            metavar=extra.get("metavar"),
            multiple=several,
            nargs=len(taken.item_types) if isinstance(taken, types.TupleType) else 1,
            help=help_text,
        )
    return _Option(field.name, name, parameter, option)


def _described(about: types.Type) -> tuple[types.Type, str | None, Mapping[str, Any]]:
    """A field's type without `| None` and without its Meta; the Meta's description and `extra`."""
    description: str | None = None
    extra: Mapping[str, Any] = {}
    while isinstance(about, types.Metadata | types.UnionType):
        if isinstance(about, types.Metadata):
            description = (about.extra_json_schema or {}).get("description", description)
            extra = about.extra or extra
            about = about.type
            continue
        others = [one for one in about.types if not isinstance(one, types.NoneType)]
        if len(others) != 1:
            break
        about = others[0]
    return about, description, extra


def _literals(hint: Any) -> list[Any]:
    """The values of a `Literal`, in the order in which they are written; msgspec sorts them."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [value for part in get_args(hint) for value in _literals(part)]


def _click_type(about: types.Type, choices: Sequence[str]) -> Any:
    """What click is to take for a type."""
    if isinstance(about, types.LiteralType):
        return click.Choice(choices)
    if isinstance(about, types.IntType):
        return _number(click.INT, click.IntRange, about)
    if isinstance(about, types.FloatType):
        return _number(click.FLOAT, click.FloatRange, about)
    if isinstance(about, types.StrType):
        return click.STRING
    if isinstance(about, types.TupleType) or (isinstance(about, types.CustomType) and about.cls is Path):
        folder = isinstance(about, types.CustomType)
        return click.Path(exists=True, file_okay=not folder, dir_okay=folder, path_type=Path)
    if isinstance(about, types.VarTupleType):
        return (
            whole_numbers
            if isinstance(about.item_type, types.IntType)
            else _click_type(about.item_type, choices)
        )
    raise TypeError(f"no option takes a {about}")


def _number(plain: Any, within: Any, about: types.IntType | types.FloatType) -> Any:
    """A number, within its bounds where it has some."""
    low_open, high_open = about.gt is not None, about.lt is not None
    low, high = about.gt if low_open else about.ge, about.lt if high_open else about.le
    if low is None and high is None:
        return plain
    return within(low, high, min_open=low_open, max_open=high_open)


def _default(value: Any, extra: Mapping[str, Any]) -> str:
    """What help says of a default; nothing of a switch that is off and of what is simply not given."""
    if "default" in extra:
        return str(extra["default"])
    if value is msgspec.NODEFAULT or value is None or isinstance(value, bool | tuple):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)
