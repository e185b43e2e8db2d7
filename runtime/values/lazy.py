"""What is made when it is first looked at: values of a mapping, properties of an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Generic, Self, TypeVar, overload

Value = TypeVar("Value")
Owner = TypeVar("Owner")


class lazy_property(Generic[Owner, Value]):  # noqa: N801 (a decorator, as `property`)
    """A property that is computed once per object and kept in its `__dict__`.

    `functools.cached_property` has one lock for all objects in Python 3.11, and a child that is forked
    while another thread holds it waits for ever. Here two threads may both compute; the first value stays.
    """

    def __init__(self, compute: Callable[[Owner], Value]) -> None:
        self._compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type[Owner], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Owner]) -> Self: ...

    @overload
    def __get__(self, instance: Owner, owner: type[Owner]) -> Value: ...

    def __get__(self, instance: Owner | None, owner: type[Owner]) -> Self | Value:
        """The value; computed when it is not in the object's `__dict__` yet, which is asked first."""
        if instance is None:
            return self
        value: Value = instance.__dict__.setdefault(self._name, self._compute(instance))
        return value


class LazyMapping(Mapping[str, Value]):
    """The keys are known; `make(key)` is called once a key, when somebody asks. Pickled as a plain dict."""

    def __init__(self, keys: Iterable[str], make: Callable[[str], Value]) -> None:
        self._keys, self._make = tuple(keys), make
        self._made: dict[str, Value] = {}

    def __getitem__(self, key: str) -> Value:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._made:
            # Two threads may both make it: what they make is the same, and the first stays.
            self._made.setdefault(key, self._make(key))
        return self._made[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __repr__(self) -> str:
        return f"LazyMapping({', '.join(self._keys)})"

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Value]]]:
        return dict, (dict(self),)
