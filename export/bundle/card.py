"""The cards of a bundle: README.md, written from the manifest, and that of each generation of prototypes.

No file of a bundle changes once written, and readers check README.md by its hash. So it says what never
changes, and every generation of prototypes brings a card of its own, prototypes/<generation>/README.md.
"""

from __future__ import annotations

from ...prototypes_index.info import GenerationInfo
from ...prototypes_index.spec import PrototypesSpec
from ...runtime.bundle.manifest import Manifest
from ...runtime.bundle.parity import IntervalSpec
from ...runtime.scores.labels import listed

CARD = "README.md"
# bundle.json has them all.
_LABELS = 100


def card(manifest: Manifest, description: str) -> str:
    """Markdown: what the bundle is, takes and explains, how well it agrees with its source."""
    window, analysis = manifest.window, manifest.analysis
    values = manifest.task == "regression"
    lines = [
        f"# {manifest.name}",
        "",
        description or "An audio classifier with its explanations, exported by earmark.",
        "",
        "```",
        "earmark explain clip.wav -b THIS_FOLDER",
        "```",
        "",
        "| | |",
        "|---|---|",
        f"| {'values' if values else 'labels'} | {len(manifest.labels)}, {manifest.task.replace('_', ' ')} |",
        f"| sample rate | {manifest.sample_rate} Hz |",
        f"| window | {window.seconds:g} s every {window.hop_seconds:g} s, joined by {window.aggregate} |",
        f"| shortest sound | {window.minimum_seconds:g} s; shorter sound is padded with silence |",
        f"| listenable STFT | {analysis.window} {analysis.window_length}, hop {analysis.hop}, "
        f"n_fft {analysis.n_fft} |",
        f"| explains by | {_explainers(manifest)} |",
        f"| licence | {manifest.licence or 'not stated'} |",
        f"| attribution | {manifest.attribution or 'not stated'} |",
        "",
        "## Agreement with the source",
        "",
        "Largest absolute difference between these graphs (onnxruntime, CPU) and the source itself,",
        "for sound of peak 1, at the lengths (in samples) and batch sizes given.",
        "",
        "| output | largest difference | limit | lengths | batches |",
        "|---|---|---|---|---|",
    ]
    for name, one in manifest.parity.fp32.items():
        lengths = ", ".join(str(length) for length in one.lengths)
        batches = ", ".join(str(batch) for batch in one.batches)
        lines.append(f"| {name} | {one.max_abs:.1e} | {one.limit:.0e} | {lengths} | {batches} |")
    int8 = manifest.parity.int8
    if int8 is not None:
        lines += [
            "",
            "## The int8 classifier",
            "",
            f"Calibrated with {int8.calibration_clips} clips. Against fp32, over {int8.clips} other",
            f"clips and {int8.perturbed} perturbed versions of them:",
            "",
            f"- labels equal in {100 * int8.labels.agreement:.1f} %",
            f"- ranks of log-odds correlate by {int8.ranks.spearman:.4f}, least {int8.ranks.least:.3f}",
            f"- logits differ by {int8.logits.mean_abs:.1e} on average, {int8.logits.max_abs:.1e} at most",
        ]
        if (explained := int8.explanations) is not None:
            lines += [
                f"- segments: importances correlate by {explained.ranks:.3f}; of the strongest",
                f"  {100 * explained.overlap:.0f} % are the same; FF {explained.ff:.3f} changes by",
                f"  {_change(explained.ff_change)}, AD {explained.ad:.3f} by {_change(explained.ad_change)}",
            ]
    lines += ["", "## Values" if values else "## Labels", "", listed(manifest.labels, _LABELS), ""]
    return "\n".join(lines)


def _change(interval: IntervalSpec) -> str:
    """A mean and its interval."""
    return f"{interval.mean:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def prototypes_card(manifest: Manifest, spec: PrototypesSpec, info: GenerationInfo) -> str:
    """Markdown: what a generation of prototypes holds, of the bundle that `manifest` describes.

    The same clips make the same card, whatever the generation's number.
    """
    sound = f"kept as FLAC in `audio`, mono at {manifest.sample_rate} Hz" if spec.audio else "not kept"
    rotation = "learnt" if info.apex is not None else "none: prototypes are of the channels as they are"
    lines = [
        f"# Prototypes of {manifest.name}",
        "",
        "What `earmark explain -m prototypes` finds the nearest of. The generation in force is the one that",
        "`bundle.json` names; a bundle keeps an older one beside it until it is pruned.",
        "",
        "| | |",
        "|---|---|",
        f"| clips | {info.clips - info.removed} of {info.sources} sounds |",
        *([f"| removed | {info.removed} clips, hidden until the next rebuild |"] if info.removed else []),
        f"| labels | {len(info.labels)} |",
        f"| sound | {sound} |",
        f"| rotation of the channels (U) | {rotation} |",
        f"| prototypes a channel | up to {info.per_channel} |",
        "",
        "| view | entries | recall@10 |",
        "|---|---|---|",
        *(f"| {view} | {index.entries} | {index.recall_at_10:.3f} |" for view, index in info.views.items()),
        "",
        "Whose sounds they are, and under which licence, stands with each clip in `clips.jsonl`.",
        "",
    ]
    return "\n".join(lines)


def _explainers(manifest: Manifest) -> str:
    """What the bundle explains by, in words that later generations of prototypes do not make wrong."""
    named = [", ".join(name for name in manifest.explainers if name != "prototypes")]
    if manifest.stage("embeddings") is not None:
        named.append("prototypes, where `earmark index` has built some (`prototypes/` holds their cards)")
    return "; ".join(filter(None, named)) or "segments, which any bundle has"
