"""Tables of detections, read by the readers of others: crowsetta, pandas, pyarrow."""

import csv
import io
import json
from datetime import datetime

import msgspec
import pyarrow.parquet
import pytest
from later import later

from earmark.runtime.detections.tables.formats import FORMATS
from earmark.runtime.detections.tables.row import DetectionRow, RecordingRows, clock_time, halves

crowsetta = later("crowsetta")
pd = later("pandas")

BLACKBIRD = "Turdus merula_Eurasian Blackbird"
FIRST = RecordingRows(
    file="field/a/one.wav",
    path="/data/field/a/one.wav",
    duration_s=60.0,
    sample_rate=44100,
    recorded_at="2024-05-01T06:00:00.000+02:00",
    site="a",
    rows=(
        DetectionRow(
            "field/a/one.wav", 3.0, 6.5, BLACKBIRD, 0.93125, 0.8, 1500.0, 4200.5, 3,
            ((3.25, 4.0), (5.0, 6.0)),
            "2024-05-01T06:00:03.000+02:00", "2024-05-01T06:00:06.500+02:00", "a", "0f3a",
            2.0, 7.0, "a/one/3.00.flac", "a/one/3.00_kept.flac", "a/one/3.00.png",
        ),
        DetectionRow("field/a/one.wav", 30.0, 31.0, "dog", 0.5, 0.5),
    ),
)  # fmt: skip
SILENT = RecordingRows("field/a/two.wav", "/data/field/a/two.wav", 30.0, 44100)
LAST = RecordingRows(
    "field/b/three.wav",
    "/data/field/b/three.wav",
    10.0,
    16000,
    rows=(DetectionRow("field/b/three.wav", 1.0, 2.0, 'a\t"siren",\nloud', 0.75, 0.7),),
)
ALL = [FIRST, SILENT, LAST]


def written(name, recordings):
    file = io.BytesIO()
    FORMATS[name].write(file, recordings)
    return file.getvalue()


def test_csv_has_every_field_of_every_detection():
    rows = list(csv.DictReader(io.StringIO(written("csv", ALL).decode())))
    assert list(rows[0])[:5] == ["file", "start_s", "end_s", "label", "score"]
    assert [row["file"] for row in rows] == ["field/a/one.wav", "field/a/one.wav", "field/b/three.wav"]
    assert rows[0]["start_s"] == "3.0"
    assert rows[0]["score"] == "0.93125"
    assert rows[0]["evidence_s"] == "3.25-4.0 5.0-6.0"
    assert rows[0]["start_time"] == "2024-05-01T06:00:03.000+02:00"
    assert rows[1]["low_hz"] == rows[1]["start_time"] == rows[1]["clip"] == ""
    assert rows[2]["label"] == 'a\t"siren",\nloud'
    assert written("csv", [SILENT]).decode() == ",".join(DetectionRow.__struct_fields__) + "\n"


def test_raven_table_of_one_recording(tmp_path):
    path = tmp_path / "one.selections.txt"
    path.write_bytes(written("raven", [FIRST]))
    boxes = crowsetta.formats.bbox.Raven.from_file(path).to_bbox()
    assert [(one.onset, one.offset, one.low_freq, one.high_freq, one.label) for one in boxes] == [
        (3.0, 6.5, 1500.0, 4200.5, BLACKBIRD),
        (30.0, 31.0, 0.0, 22050.0, "dog"),
    ]
    table = pd.read_csv(path, sep="\t")
    # The columns of BirdNET-Analyzer 2.4, in its order.
    assert list(table.columns)[:12] == [
        "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
        "Common Name", "Species Code", "Confidence", "Begin Path", "File Offset (s)",
    ]  # fmt: skip
    assert list(table["Common Name"]) == ["Eurasian Blackbird", "dog"]
    assert list(table["File Offset (s)"]) == list(table["Begin Time (s)"])


def test_raven_counts_time_over_all_recordings():
    table = pd.read_csv(io.BytesIO(written("raven", ALL)), sep="\t")
    assert list(table["Selection"]) == [1, 2, 3]
    assert list(table["Begin Time (s)"]) == [3.0, 30.0, 91.0]
    assert list(table["End Time (s)"]) == [6.5, 31.0, 92.0]
    assert list(table["File Offset (s)"]) == [3.0, 30.0, 1.0]
    assert list(table["Begin Path"]) == [FIRST.path, FIRST.path, LAST.path]
    assert list(table["High Freq (Hz)"]) == [4200.5, 22050.0, 8000.0]
    # Tabs and line ends of a label are no columns and lines.
    assert table["Annotation"][2] == r'a\t"siren",\nloud'


def test_audacity_labels_with_bands(tmp_path):
    path = tmp_path / "one.labels.txt"
    banded = msgspec.structs.replace(FIRST, rows=FIRST.rows[:1])
    path.write_bytes(written("audacity", [banded]))
    (box,) = crowsetta.formats.bbox.AudBBox.from_file(path).to_bbox()
    assert (box.onset, box.offset, box.low_freq, box.high_freq, box.label) == (
        3.0, 6.5, 1500.0, 4200.5, BLACKBIRD,
    )  # fmt: skip
    path.write_bytes(written("audacity", [msgspec.structs.replace(FIRST, rows=FIRST.rows[1:])]))
    plain = crowsetta.formats.seq.AudSeq.from_file(path)
    assert (list(plain.start_times), list(plain.end_times), list(plain.labels)) == ([30.0], [31.0], ["dog"])


def test_birdnet_csv():
    rows = list(csv.reader(io.StringIO(written("birdnet", ALL).decode())))
    assert rows[0] == ["Start (s)", "End (s)", "Scientific name", "Common name", "Confidence", "File"]
    assert rows[1] == ["3.0", "6.5", "Turdus merula", "Eurasian Blackbird", "0.9313", FIRST.path]
    assert rows[2][2:4] == ["dog", "dog"]


def test_json_lines_and_parquet_have_the_rows_as_they_are(tmp_path):
    lines = written("jsonl", ALL).decode().splitlines()
    rows = [row for recording in ALL for row in recording.rows]
    assert [msgspec.convert(json.loads(line), DetectionRow) for line in lines] == rows
    table = pyarrow.parquet.read_table(io.BytesIO(written("parquet", ALL)))
    assert table.column_names == list(DetectionRow.__struct_fields__)
    assert [msgspec.convert(row, DetectionRow) for row in table.to_pylist()] == rows
    empty = pyarrow.parquet.read_table(io.BytesIO(written("parquet", [SILENT])))
    assert (empty.num_rows, empty.schema) == (0, table.schema)


@pytest.mark.parametrize("name", FORMATS)
def test_names_that_are_no_utf8_are_escaped(name):
    strange = "caf\udce9.wav"
    row = DetectionRow(strange, 0.0, 1.0, "dog", 0.5, 0.5)
    content = written(name, [RecordingRows(strange, strange, 1.0, 16000, rows=(row,))])
    if name == "parquet":
        assert pyarrow.parquet.read_table(io.BytesIO(content))["file"].to_pylist() == ["caf\\udce9.wav"]
    elif name != "audacity":
        assert "caf\\" in content.decode()


def test_wall_clock_times():
    naive = datetime(2024, 5, 1, 23, 59, 59)
    assert clock_time(naive, 1.5) == "2024-05-02T00:00:00.500"
    aware = datetime.fromisoformat("2024-05-01T06:00:00+02:00")
    assert clock_time(aware, 0.0) == "2024-05-01T06:00:00.000+02:00"
    assert clock_time(None, 3.0) == ""


def test_halves_of_labels():
    assert halves("Dog_Dog") == ("Dog", "Dog")
    assert halves("Anas x brewer_Hybrid_Duck") == ("Anas x brewer", "Hybrid_Duck")
    for plain in ("low_hum", "siren", "Engine_idle", "_", "Dog_"):
        assert halves(plain) == (plain, plain)
