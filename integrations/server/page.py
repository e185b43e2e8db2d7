"""The page that explains live: the report's own, with this server behind it."""

from __future__ import annotations

from importlib import resources

from ...runtime.report.page import LivePage, live_page

_FOOTER = "Made by earmark. Sounds go to the server of this page alone, which keeps none."


def page() -> LivePage:
    """The page. Raises MissingDependencyError."""
    backend = (resources.files(__package__) / "page" / "backend.js").read_text(encoding="utf-8")
    return live_page("earmark", backend, footer=_FOOTER, allowed={"connect-src": "'self'"})
