"""What a user asks about a sound, checked before any sound is read."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypedDict

import msgspec

from ...errors import MethodError
from ...printable import nearest
from ..bundle.manifest import Aggregation, LevelOver
from ..document import ExplainSettings, Origin
from ..engine import Engine
from ..inference.deadline import Cancel, Deadline, check_deadline
from ..inference.window import Windowing
from ..methods.loading import method_of
from ..methods.options import MethodOptions, unknown, whole_number
from ..registry import METHODS
from ..scores.labels import label_index

# What a user sets for single methods: method -> its own options.
Options = Mapping[str, Mapping[str, Any]]


class WindowOptions(TypedDict, total=False):
    """How windows are cut and explained; `Explainer.explain` says what each means."""

    methods: Sequence[str] | None
    rescore: bool
    seed: int
    options: Options | None
    hop_s: float | None
    aggregate: Aggregation | None
    level: LevelOver | None


class ExplainOptions(WindowOptions, total=False):
    """How a sound is explained; `Explainer.explain` says what each means."""

    timeout_s: float | None
    cancel: Cancel | None


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked about a sound.

    targets: class indices; none for the one predicted
    methods: those that run, each with its options; named: whether the user chose them
    windowing: how windows are laid, levelled and joined
    """

    targets: tuple[int, ...]
    methods: Mapping[str, MethodOptions]
    named: bool
    rescore: bool
    seed: int
    windowing: Windowing
    timeout_s: float | None
    cancel: Cancel | None

    def settings(self, labels: Sequence[str]) -> ExplainSettings:
        """What was asked, as a result remembers it; labels: of the bundle."""
        return ExplainSettings(
            targets=tuple(labels[index] for index in self.targets),
            methods={name: options.to_dict() for name, options in self.methods.items()},
            rescore=self.rescore,
            hop_s=self.windowing.hop_s,
            aggregate=self.windowing.aggregate,
            level=self.windowing.level,
            timeout_s=self.timeout_s,
        )

    def origin(self, engine: Engine) -> Origin:
        """What is asked, and of which bundle, as the record of a failure has it."""
        manifest = engine.manifest
        return Origin(
            bundle=manifest.name,
            bundle_id=manifest.bundle_id,
            device=engine.device,
            seed=self.seed,
            settings=self.settings(manifest.labels).to_dict(),
        )

    def deadline(self) -> Deadline:
        """When to stop, counted from now on."""
        return Deadline(self.timeout_s, self.cancel)


def request_of(engine: Engine, targets: Sequence[str], asked: ExplainOptions) -> Request:
    """Check what is asked. Raises LabelError, MethodError, MissingDependencyError."""
    manifest = engine.manifest
    methods = asked.get("methods")
    windowing = Windowing(asked.get("hop_s"), asked.get("aggregate"), asked.get("level"))
    if windowing.aggregate == "lme" and manifest.task == "regression":
        raise MethodError(f"{manifest.name}: gives values, which lme does not join: take mean or max")
    engine.pipeline.hop_of(windowing)
    timeout_s, cancel = asked.get("timeout_s"), asked.get("cancel")
    check_deadline(timeout_s, cancel)
    return Request(
        targets=tuple(label_index(label, manifest.labels, manifest.name) for label in targets),
        methods=_with_options(method_names(engine, methods), asked.get("options")),
        named=methods is not None,
        rescore=bool(asked.get("rescore", False)),
        seed=whole_number("seed", asked.get("seed", 0), 0),
        windowing=windowing,
        timeout_s=timeout_s,
        cancel=cancel,
    )


def targets_of(target: str | None, targets: Sequence[str] | None) -> Sequence[str]:
    """What `target` and `targets` of a call name together."""
    if targets is None:
        return [] if target is None else [target]
    if target is not None or isinstance(targets, str):
        raise TypeError("give one target=, or several as a list in targets=")
    return targets


def refuse_unknown(function: str, given: Iterable[str], known: Collection[str]) -> None:
    """Raises TypeError for the first option that a function does not have, with the nearest that it has."""
    for name in given:
        if name not in known:
            hint = nearest(name, known, f"it takes {', '.join(known)}")
            raise TypeError(f"{function}() has no option {name!r}; {hint}")


def method_names(engine: Engine, methods: Sequence[str] | None) -> list[str]:
    """The methods to run; None: those of the bundle that are not on request.

    Raises MethodError for one that does not exist.
    """
    if methods is None:
        # Older bundles of a bare graph name segments themselves.
        named = [name for name in engine.manifest.explainers if name in METHODS]
        return [name for name in named if not method_of(name).on_request]
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Iterable):
        raise MethodError(f"methods is {methods!r}: give names, such as ['mask']")
    methods = list(methods)
    for name in methods:
        if not isinstance(name, str) or name not in METHODS:
            raise unknown("method", name, tuple(METHODS))
    return list(dict.fromkeys(methods))


def _with_options(methods: Sequence[str], options: Options | None) -> dict[str, MethodOptions]:
    """The methods that run, each with its options. Raises MethodError, MissingDependencyError."""
    given: Options = {} if options is None else options
    if not isinstance(given, Mapping):
        raise MethodError(f'options is {type(given).__name__}: give {{"segments": {{"calls": 100}}}}')
    for name, values in given.items():
        method_of(name)
        if name not in methods:
            raise MethodError(f"options were given for {name}, which does not run: add it to methods")
        if not isinstance(values, Mapping):
            raise MethodError(f"the options of {name} are {type(values).__name__}: give a mapping by name")
    asked = {name: method_of(name).options.of(given.get(name, {}), name) for name in methods}
    for one in asked.values():
        one.require()
    return asked
