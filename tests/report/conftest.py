"""Pages of one result and of many, for tests of reports in browsers."""

import numpy as np
import pytest

import earmark
from earmark.evaluation.synthesis.clips import make_clip
from earmark.runtime.explainer import SHIPPED
from earmark.runtime.report.gather import item_of
from earmark.runtime.report.items import Row, SearchedSound
from earmark.runtime.report.page import ReportWriter

RATE = 16000


@pytest.fixture(scope="session")
def whole(components_bundle):
    """An explanation by every method."""
    sound = np.float32(make_clip("bell", [6, 0, 0], snr_db=20.0).waveform)
    methods = ["mask", "segments", "components", "prototypes"]
    return earmark.load(components_bundle, "cpu").explain((sound, RATE), methods=methods, rescore=True)


@pytest.fixture(scope="session")
def page_of_all(whole, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "all.html"
    whole.to_html(path)
    return path


@pytest.fixture(scope="session")
def page_of_many(tmp_path_factory):
    """A thousand detections; as many as fit have sound and pictures; every third agrees with its folder."""
    explainer = earmark.load(SHIPPED, "cpu")
    item = item_of(explainer.explain(SHIPPED.with_name("example.flac"), methods=["mask"]))
    labels = explainer.labels
    path = tmp_path_factory.mktemp("page") / "many.html"
    with ReportWriter("A thousand", "detections", tuple(labels)) as report:
        for name in ("one", "two"):
            report.add_sound(SearchedSound(f"/field/{name}.wav", f"/field/{name}.wav", 1000.0, RATE))
        for number in range(1000):
            name = f"/field/{'one' if number < 500 else 'two'}.wav"
            label = labels[number % 8]
            truth = label if number % 3 == 0 else labels[(number + 1) % 8]
            start = 2.0 * (number % 500)
            place = (start, start + 2.0, 100.0, 900.0)
            row = Row(f"id-{number}", name, name, label, (number % 100) / 100, *place, truth=truth)
            report.add(row, item)
        report.write(path)
    return path
