"""Options of the explanation methods on the command line, made from their options dataclasses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from ..runtime.methods.loading import all_methods
from .settings_options import Given, click_options, option_names

if TYPE_CHECKING:
    from ..runtime.bundle.manifest import Manifest


class MethodCommand(click.Command):
    """A command that has the options of every method; what is given of them reaches it by keyword."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, then those of the methods, then --help."""
        own = super().get_params(ctx)
        more: list[click.Parameter] = []
        for method in all_methods():
            for option in click_options(method.options):
                option.help = f"{method.name}: {(option.help or '')[:1].lower()}{(option.help or '')[1:]}"
                more.append(option)
        return [*own[:-1], *more, *own[-1:]]


def method_settings(
    asked: Sequence[str] | None, given: Mapping[str, Any], option: str = "-m"
) -> dict[str, dict[str, Any]]:
    """`options` for `Explainer.explain` out of what was given on the command line.

    asked: the methods that run; None: those that do so by default; option: which names them
    Raises click.UsageError for options of a method that does not run, and for values that do not fit;
    MissingDependencyError where a package is missing.
    """
    settings: dict[str, dict[str, Any]] = {}
    for method in all_methods():
        names = option_names(method.options)
        values = {field: given[name.lstrip("-").replace("-", "_")] for field, name in names.items()}
        mine = Given(method.options, {name: value for name, value in values.items() if value is not None})
        runs = not method.on_request if asked is None else method.name in asked
        if mine and not runs:
            raise click.UsageError(
                f"{mine.first} is an option of the method {method.name}: add {option} {method.name}"
            )
        if runs:
            mine.settings().require()
            settings[method.name] = dict(mine.values)
    return {name: values for name, values in settings.items() if values or takes_progress(name)}


def refuse_options(settings: Mapping[str, Any], given: Mapping[str, Any], manifest: Manifest) -> None:
    """Raise click.UsageError for options of a method that the bundle does not have.

    settings: as `method_settings` made them of `given`; manifest: of the bundle that is asked
    """
    able = [method.name for method in all_methods() if method.available(manifest)]
    for method in all_methods():
        if method.name in able or method.name not in settings:
            continue
        names = option_names(method.options).values()
        options = [name for name in names if given[name.lstrip("-").replace("-", "_")] is not None]
        if options:
            raise click.UsageError(
                f"{options[0]} is an option of the method {method.name}, which this bundle does not have; "
                f"it has {', '.join(able) or 'none'}"
            )


def takes_progress(name: str) -> bool:
    """Whether the method tells how far it is: its options have `progress`."""
    kinds = {method.name: method.options for method in all_methods()}
    return any(field.name == "progress" for field in fields(kinds[name]))
