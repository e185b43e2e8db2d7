"""The page of a result within a notebook: in a frame of its own, of bounded size."""

from __future__ import annotations

import io
from html import escape

from .page import ReportWriter

# Of the items of a page within a notebook, which keeps all of its outputs in one file.
MOST_BYTES = 4 << 20
_HEIGHT = 760


def frame_of(report: ReportWriter, title: str) -> str:
    """A page as an element that shows it apart from everything else in the notebook.

    Args:
        report: The page.
        title: What the frame is called.

    Returns:
        An iframe whose page is its own attribute, escaped. Scripts of the page run without the notebook's
        origin, so that they reach nothing in it.

    """
    file = io.BytesIO()
    report.write_to(file)
    page = escape(file.getvalue().decode())
    return (
        f'<iframe title="{escape(title)}" srcdoc="{page}" sandbox="allow-scripts allow-downloads" '
        f'allow="autoplay" loading="lazy" width="100%" height="{_HEIGHT}" style="border:0"></iframe>'
    )
