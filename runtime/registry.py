"""The table of explanation methods: a new one is one folder and one line here."""

from __future__ import annotations

import msgspec


class Registration(msgspec.Struct, frozen=True):
    """Where a method's class lies, and patterns of the files that its results save.

    place: "module:Class", relative to `runtime/methods` or absolute
    files: "name" or "folder/name", known without importing the method: they are replaced with a result
    """

    place: str
    files: tuple[str, ...] = ()


# By name, in the order in which answers are shown.
METHODS = {
    "mask": Registration(".mask.method:Mask", (r"mask\.png", r"(kept|removed|kept_\d+)\.(wav|flac)")),
    "segments": Registration(".segments.method:Segments", (r"segments\.(png|csv)",)),
    "components": Registration(
        ".components.method:Components",
        (r"components\.png", r"components/(kept|removed|component_\d+|clip_\d+_\d+)\.(wav|flac)"),
    ),
    "prototypes": Registration(
        ".prototypes.method:Prototypes",
        (
            r"(prototypes|channels)\.png",
            r"prototypes/(square|time|frequency|time_frequency|channel_\d+)_\d+\.(wav|flac)",
        ),
    ),
}
