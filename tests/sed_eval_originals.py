"""What the package sed_eval counts of drawn events: `python tests/sed_eval_originals.py` writes it anew.

Needs `pip install sed_eval "setuptools<81"` in an environment of its own: it imports what newer ones lack.
"""

import json
from pathlib import Path

import numpy as np

VALUES = Path(__file__).parent / "evaluation" / "sed_eval.json"
COLLAR_S, SEGMENT_S, SECONDS = 0.5, 1.0, 60.0
LABELS = ("dog", "rain")


def drawn(seed: int) -> tuple[list[list[object]], list[list[object]]]:
    """Events of a recording, and detections near them, some missed, some false: [label, start, end]."""
    random = np.random.default_rng(seed)
    events: list[list[object]] = []
    detections: list[list[object]] = []
    for label in LABELS:
        for start in np.arange(2.0, SECONDS - 12.0, 6.0) + random.uniform(0, 2):
            begin, length = float(start), float(random.uniform(0.3, 10.0))
            events.append([label, round(begin, 3), round(begin + length, 3)])
            for _ in range(int(random.integers(0, 3))):
                first = begin + random.uniform(-0.8, 0.8)
                last = begin + length + random.uniform(-0.25, 0.25) * length
                detections.append([label, round(max(0.0, first), 3), round(max(first + 0.1, last), 3)])
        begins = random.uniform(0, SECONDS - 3, 2)
        detections += [[label, round(float(begin), 3), round(float(begin) + 1.5, 3)] for begin in begins]
    return events, detections


def counted(events: list[list[object]], detections: list[list[object]]) -> dict[str, dict[str, list[int]]]:
    """Hits, false and missed of each label, by event and by segment."""
    import dcase_util
    import sed_eval

    def listed(rows: list[list[object]]) -> object:
        return dcase_util.containers.MetaDataContainer(
            [{"filename": "a", "event_label": a, "event_onset": b, "event_offset": c} for a, b, c in rows]
        )

    by_event = sed_eval.sound_event.EventBasedMetrics(
        list(LABELS), t_collar=COLLAR_S, percentage_of_length=0.2, event_matching_type="optimal"
    )
    by_segment = sed_eval.sound_event.SegmentBasedMetrics(list(LABELS), time_resolution=SEGMENT_S)
    by_event.evaluate(listed(events), listed(detections))
    by_segment.evaluate(listed(events), listed(detections), evaluated_length_seconds=SECONDS)
    kinds = {"by_event": by_event, "by_segment": by_segment}
    return {
        label: {
            kind: [int(metric.class_wise[label][key]) for key in ("Ntp", "Nfp", "Nfn")]
            for kind, metric in kinds.items()
        }
        for label in LABELS
    }


def main() -> None:
    """Write the file."""
    recordings = []
    for seed in range(12):
        events, detections = drawn(seed)
        recordings.append({"events": events, "detections": detections, "counts": counted(events, detections)})
    VALUES.write_text(json.dumps(recordings, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
