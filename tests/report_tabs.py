"""Pages of reports in tabs of browsers: what complains or asks for something is an error."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from browsers import tab_of

READY = "article[data-ready]"


def named(result, name):
    """The result as of a sound, a bundle and a best label of this name, with a warning of it."""
    labels = (name, *(label for label, _ in result.predictions[1:]))
    scores = (score for _, score in result.predictions)
    return replace(
        result,
        input=f"/data/{name}.wav",
        target=name,
        predictions=tuple(zip(labels, scores, strict=True)),
        warnings=(name,),
        bundle=name,
    )


@contextmanager
def opened(browser, path, **options):
    """A tab with the page; whatever it complains of or asks for is an error."""
    with tab_of(browser, path.as_uri(), "file:", READY, **options) as (tab, told):
        yield tab
    assert told == []


def heard(tab):
    """What would be heard of all or of the selection."""
    return np.asarray(tab.evaluate("view.transport.render().then((buffer) => [...buffer.getChannelData(0)])"))


def unlevelled(tab):
    tab.uncheck("#level")


def close(one, other):
    """Equal but for 16 bits."""
    count = min(len(one), len(other))
    assert abs(len(one) - len(other)) <= 2
    np.testing.assert_allclose(one[:count], other[:count], atol=2e-4)
