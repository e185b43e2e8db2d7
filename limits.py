"""How much a bundle may ask for: one table. Whatever allocates by a bundle's numbers is held to it first.

Every number that a bundle names is checked against this table, or against the size of the file that it
describes, before memory is taken for it. docs/bundle.md says the same in words. Everything may import it.
"""

from __future__ import annotations

from typing import Final

# Text that is read whole, in bytes: bundle.json (100,000 labels and files stay below), index_info.json,
# apex.json, one line of clips.jsonl.
MANIFEST_BYTES: Final = 64 << 20
INFO_BYTES: Final = 16 << 20
REPORT_BYTES: Final = 4 << 20
LINE_BYTES: Final = 1 << 20
# How deep facts without a type of their own may nest (evaluation, the report of a learnt U).
FACTS_DEPTH: Final = 16

# A graph without its external weights: protobuf's own limit.
GRAPH_BYTES: Final = (2 << 30) - 1

# Samples of a window (64 MiB; 5.8 minutes at 48 kHz), and frames times n_fft of its listenable STFT.
WINDOW_SAMPLES: Final = 1 << 24
WINDOW_CELLS: Final = 1 << 25
# Windows in which one sample may lie.
WINDOW_OVERLAP: Final = 1000

# golden.npz, unpacked; sounds in it.
GOLDEN_BYTES: Final = 256 << 20
GOLDEN_SOUNDS: Final = 16

LABELS: Final = 100_000
# Numbers of a state that goes from window to window.
STATE: Final = 1 << 20
# Components; numbers of dictionary and theta each (64 MiB).
COMPONENTS: Final = 4096
COMPONENT_NUMBERS: Final = 1 << 24

# Channels and frequency rows of a feature map; channels times labels (contributions of a window, 256 MiB).
CHANNELS: Final = 1 << 16
ROWS: Final = 1 << 12
CONTRIBUTIONS: Final = 1 << 26
# Prototypes a channel; lists, lists looked into and candidates of a search.
PER_CHANNEL: Final = 100
EFFORT: Final = 1 << 16

# Seconds that one run of one graph may take, unless EARMARK_TIMEOUT says otherwise.
RUN_SECONDS: Final = 600.0

# What this machine remembers of examined bundles: records, bytes in all.
EXAMINED_RECORDS: Final = 1000
EXAMINED_BYTES: Final = 1 << 20
