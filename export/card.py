"""The card of a bundle: README.md, written from the manifest."""

from __future__ import annotations

from ..runtime.manifest import Manifest


def card(manifest: Manifest, description: str) -> str:
    """Markdown: what the bundle is, hears and explains, how well it agrees with its source."""
    window, analysis = manifest.window, manifest.analysis
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
        f"| labels | {len(manifest.labels)}, {manifest.task.replace('_', ' ')} |",
        f"| sample rate | {manifest.sample_rate} Hz |",
        f"| window | {window.seconds:g} s every {window.hop_seconds:g} s, joined by {window.aggregate} |",
        f"| shortest sound | {window.minimum_seconds:g} s; shorter sound is padded with silence |",
        f"| listenable STFT | {analysis.window} {analysis.window_length}, hop {analysis.hop}, "
        f"n_fft {analysis.n_fft} |",
        f"| explains by | {', '.join(manifest.explainers) or 'nothing yet'} |",
        f"| licence | {manifest.licence or 'not stated'} |",
        f"| attribution | {manifest.attribution or 'not stated'} |",
        "",
        "## Agreement with the source",
        "",
        "Largest absolute difference between these graphs (onnxruntime, CPU) and the source in PyTorch,",
        "for sound of peak 1, at the lengths (in samples) and batch sizes given.",
        "",
        "| output | largest difference | limit | lengths | batches |",
        "|---|---|---|---|---|",
    ]
    for name, record in manifest.parity.get("fp32", {}).items():
        lengths = ", ".join(str(length) for length in record["lengths"])
        batches = ", ".join(str(batch) for batch in record["batches"])
        lines.append(f"| {name} | {record['max_abs']:.1e} | {record['limit']:.0e} | {lengths} | {batches} |")
    if "int8" in manifest.parity:
        int8 = manifest.parity["int8"]
        logits, ranks = int8["logits"], int8["ranks"]
        lines += [
            "",
            "## The int8 classifier",
            "",
            f"Calibrated with {int8['calibration_clips']} clips. Against fp32, over {int8['clips']} other",
            f"clips and {int8['perturbed']} perturbed versions of them:",
            "",
            f"- labels equal in {100 * int8['labels']['agreement']:.1f} %",
            f"- ranks of log-odds correlate by {ranks['spearman']:.4f}, least {ranks['least']:.3f}",
            f"- logits differ by {logits['mean_abs']:.1e} on average, {logits['max_abs']:.1e} at most",
        ]
    labels = ", ".join(manifest.labels)
    lines += ["", "## Labels", "", labels, ""]
    return "\n".join(lines)
