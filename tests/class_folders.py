"""Class folders of synthesised clips, with the truth of their events."""

import soundfile

from earmark.evaluation.synthesis.clips import make_clip

HEADER = "clip,label,start_s,end_s"


def lines_of(name, label, clip):
    """The clip's events, as events.csv has them."""
    return [f"{name},{label},{one.onset_s:.4f},{one.offset_s:.4f}" for one in clip.events]


def write_clips(folder, labels, seed, clips=2, **how):
    """So many clips of each label, in folds 1, 2, ..., and their events.csv; how: as of `make_clip`."""
    lines = [HEADER]
    for number, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for index in range(clips):
            clip = make_clip(label, [seed, number, index], **how)
            name = f"{label}/{1 + index}-{10 * number + index}-A.flac"
            soundfile.write(folder / name, clip.waveform, clip.sample_rate)
            lines += lines_of(name, label, clip)
    (folder / "events.csv").write_text("\n".join(lines) + "\n")
    return folder
