"""Settings are held to the types of their fields when they are made."""

import dataclasses
import math
import typing

import pytest
from msgspec import Meta

from earmark.errors import EarmarkError, MethodError, RunError, SettingsError
from earmark.evaluation.settings import (
    AgreementSettings,
    LocalisationSettings,
    MaskSettings,
    PrototypeSettings,
    SanitySettings,
    TrustSettings,
)
from earmark.export.training.apex.settings import ApexSettings
from earmark.export.training.l2i.settings import L2iSettings
from earmark.export.training.settings import ClassifierSettings, LmacSettings
from earmark.runtime.methods.components.options import ComponentsOptions
from earmark.runtime.methods.prototypes.options import PrototypesOptions
from earmark.runtime.methods.segments.settings import SegmentSettings

SETTINGS = {
    RunError: (ClassifierSettings, LmacSettings, L2iSettings, ApexSettings),
    SettingsError: (
        AgreementSettings,
        MaskSettings,
        LocalisationSettings,
        PrototypeSettings,
        SanitySettings,
        TrustSettings,
    ),
    MethodError: (SegmentSettings, ComponentsOptions, PrototypesOptions),
}
CASES = [(error, kind) for error, kinds in SETTINGS.items() for kind in kinds]


def meta_of(hint):
    """The Meta of a field's type, that of a part of a union among them."""
    if typing.get_origin(hint) is typing.Annotated:
        return hint.__metadata__[0]
    return next(filter(None, map(meta_of, typing.get_args(hint))), None) if typing.get_args(hint) else None


def scalar(kind, field):
    """Whether a field's default, or what its type says, is one number."""
    return isinstance(field.default, (int, float)) and not isinstance(field.default, bool)


@pytest.mark.parametrize(("error", "kind"), CASES)
def test_beyond_every_bound_is_refused_by_name(error, kind):
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in dataclasses.fields(kind):
        meta = meta_of(hints[field.name])
        if not scalar(kind, field) or not isinstance(meta, Meta):
            continue
        below = meta.gt if meta.gt is not None else None if meta.ge is None else meta.ge - 1
        above = meta.lt if meta.lt is not None else None if meta.le is None else meta.le + 1
        for value in (below, above):
            if value is None:
                continue
            given = type(field.default)(value)
            with pytest.raises(error, match=f"^{field.name} is {given!r}: give a "):
                kind(**{field.name: given})


@pytest.mark.parametrize(("error", "kind"), CASES)
def test_what_is_no_such_thing_is_refused(error, kind):
    for field in dataclasses.fields(kind):
        if not isinstance(field.default, (int, float, str)):
            continue
        wrong = object() if isinstance(field.default, str) else "many"
        with pytest.raises(error, match=f"^{field.name} is "):
            kind(**{field.name: wrong})
        if isinstance(field.default, float):
            for value in (math.nan, math.inf, True):
                with pytest.raises(error, match=f"^{field.name} is {value!r}"):
                    kind(**{field.name: value})
        elif isinstance(field.default, int) and not isinstance(field.default, bool):
            for value in (field.default + 0.5, True):
                with pytest.raises(error, match=f"^{field.name} is {value!r}"):
                    kind(**{field.name: value})


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: SegmentSettings(calls=15), "calls is 15: give a whole number from 16 to 10000000"),
        (lambda: SegmentSettings(windows=(1, 0)), "windows is (1, 0): give a tuple, each a whole"),
        (lambda: SegmentSettings(shares=(0.1, 1.0)), "shares is (0.1, 1.0): give 2 values, each a"),
        (lambda: SegmentSettings(shares=(0.1,)), "shares is (0.1,): give 2 values"),
        (lambda: ComponentsOptions(threshold=1.0), "threshold is 1.0: give a number from 0 to below 1"),
        (lambda: PrototypesOptions(bands="all"), "bands is 'all': give one of like, any"),
        (lambda: PrototypesOptions(passages="all"), "passages is 'all': give one of like, any"),
        (lambda: MaskSettings(area=1.5), "area is 1.5: give a number above 0 and up to 1"),
        (lambda: MaskSettings(areas=(0.1, 0.0)), "areas is (0.1, 0.0): give a tuple, each a number above 0"),
        (lambda: AgreementSettings(collar_s=-1.0), "collar_s is -1.0: give a number above 0"),
        (lambda: LmacSettings(decoder="reference", targets="any"), "targets is any: a reference decoder"),
        (lambda: ClassifierSettings(window=0.1), "window is 0.1: give 0.32 s or more"),
        (lambda: ClassifierSettings(batch_size=1), "batch_size is 1: batch norm needs 2"),
        (lambda: L2iSettings(fidelity_weight=-2.0), "fidelity_weight is -2.0: give a number from 0 on"),
        (lambda: L2iSettings(components=0), "components is 0: give a whole number from 1 on"),
    ],
)
def test_the_text_says_what_may_be_given(make, text):
    with pytest.raises(EarmarkError) as caught:
        make()
    assert text in str(caught.value)


def test_numbers_of_numpy_are_numbers():
    numpy = pytest.importorskip("numpy")
    assert SegmentSettings(calls=numpy.int64(50), segment_seconds=numpy.float32(0.5)).calls == 50
