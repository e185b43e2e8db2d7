"""Checks that a manifest agrees with itself and asks for no more than the table of limits allows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ... import limits
from ...errors import BundleError
from ...prototypes_index.facts import check_facts
from .graphs import SUFFIX
from .manifest import NEXT_STATE, STATE, Manifest
from .parts import ManifestPart, StageRule


def check_structure(manifest: Manifest, path: Path, parts: Sequence[ManifestPart]) -> None:
    """Raise BundleError where the manifest at `path` contradicts itself or asks for too much.

    parts: who checks what is theirs
    """
    if len(set(manifest.labels)) != len(manifest.labels):
        raise BundleError(f"{path}: a label stands twice")
    _check_windows(manifest, path)
    _check_state(manifest, path)
    _check_limits(manifest, path)
    _check_stages(manifest, path)
    _check_chain(manifest, path, [rule for part in parts for rule in part.stages])
    for part in parts:
        part.check(manifest, path)
    try:
        check_facts(manifest.evaluation)
    except ValueError as error:
        raise BundleError(f"{path}: not a valid manifest: {error} in evaluation") from error
    _check_logits(manifest, path)


def _check_windows(manifest: Manifest, path: Path) -> None:
    """Windows cover the sound, and the frames of the analysis fit into them."""
    window, analysis = manifest.window, manifest.analysis
    if window.hop_seconds > window.seconds:
        raise BundleError(f"{path}: windows further apart than they are long would leave sound out")
    # Half a sample of tolerance: seconds are rounded to samples.
    if window.hop_seconds * manifest.sample_rate < analysis.hop - 0.5:
        raise BundleError(f"{path}: windows closer together than the frames of the analysis would never end")
    if window.minimum_seconds > window.seconds:
        raise BundleError(f"{path}: the shortest sound is longer than a window")
    if analysis.window_length > analysis.n_fft or analysis.n_fft % 2:
        raise BundleError(f"{path}: n_fft must be even and hold the analysis window")


def _check_state(manifest: Manifest, path: Path) -> None:
    """A state that goes from window to window comes out as it went in, and windows do not overlap."""
    stage = manifest.stage("classifier")
    if stage is None:
        return
    given = [one.dims for one in stage.inputs if one.name == STATE]
    left = [one.dims for one in stage.outputs if one.name == NEXT_STATE]
    if not given and not left:
        return
    size = manifest.state_size
    if given != left or not 0 < size <= limits.STATE:
        raise BundleError(
            f"{path}: the classifier takes the state {given} and gives {left}; both are [batch, N], N at "
            f"most {limits.STATE}"
        )
    if manifest.window.hop_seconds != manifest.window.seconds:
        raise BundleError(
            f"{path}: a state goes from each window to the next, which therefore begins where the one before "
            "ends; hop_seconds must be a window's"
        )


def _check_stages(manifest: Manifest, path: Path) -> None:
    """No stage is there twice, none is missing, and their files are listed."""
    names = [stage.name for stage in manifest.stages]
    if len(set(names)) != len(names):
        raise BundleError(f"{path}: lists a stage twice")
    for needed in ("frontend", "classifier"):
        if needed not in names:
            raise BundleError(f"{path}: lacks the stage {needed}; export the bundle again")
    for stage in manifest.stages:
        for name in (stage.file, *stage.data):
            if name not in manifest.files:
                raise BundleError(f"{path}: the stage {stage.name} names {name}, which is not in its files")
        if PurePosixPath(stage.file).suffix != SUFFIX:
            raise BundleError(f"{path}: the stage {stage.name} is {stage.file}; a graph is a file {SUFFIX}")


def _check_logits(manifest: Manifest, path: Path) -> None:
    """Every stage that gives logits gives one for each label."""
    for stage in manifest.stages:
        classes = next((one.dims for one in stage.outputs if one.name == "logits"), [])[-1:]
        if classes and isinstance(classes[0], int) and classes[0] != len(manifest.labels):
            raise BundleError(
                f"{path}: {len(manifest.labels)} labels, but the {stage.name} has {classes[0]} outputs; "
                "export the bundle again"
            )


def _check_chain(manifest: Manifest, path: Path, rules: Sequence[StageRule]) -> None:
    """Every stage's inputs are there when it runs: a classifier's entry, then its taps and what rules add."""
    entry = "stft" if manifest.rescore == "spectrogram" else "features"
    first = (
        StageRule("frontend", entry, frozenset({"waveform"})),
        StageRule("classifier", "logits", frozenset({entry, STATE})),
        StageRule("classifier_int8", "logits", frozenset({entry})),
    )
    classifier = manifest.stage("classifier")
    taps = {tensor.name for tensor in classifier.outputs} if classifier else set()
    for rule in (*first, *rules):
        stage = manifest.stage(rule.name)
        if stage is None:
            continue
        inputs, outputs = ([tensor.name for tensor in side] for side in (stage.inputs, stage.outputs))
        if len(set(inputs)) != len(inputs) or len(set(outputs)) != len(outputs):
            raise BundleError(f"{path}: the stage {rule.name} names a tensor twice; export the bundle again")
        if rule.gives and rule.gives not in outputs:
            raise BundleError(
                f"{path}: the stage {rule.name} gives no {rule.gives!r}; export the bundle again"
            )
        strange = sorted(set(inputs) - rule.takes - (set() if rule in first else taps))
        if strange or not inputs:
            raise BundleError(
                f"{path}: the stage {rule.name} takes {inputs}, of which no stage before it gives {strange}; "
                "export the bundle again"
            )


def _check_limits(manifest: Manifest, path: Path) -> None:
    """No number of the manifest makes a reader allocate more than the table of limits."""
    window, analysis, rate = manifest.window, manifest.analysis, manifest.sample_rate
    samples = window.seconds * rate
    cells = (1 + samples // analysis.hop) * analysis.n_fft
    most = limits.WINDOW_SAMPLES
    if samples > most or cells > limits.WINDOW_CELLS:
        raise BundleError(
            f"{path}: windows of {window.seconds:g} s at {rate} Hz ({samples:.3g} samples, {cells:.3g} cells "
            f"of the spectrogram) are larger than earmark takes ({most:.3g}, {limits.WINDOW_CELLS:.3g}); "
            "export the bundle with shorter windows"
        )
    if window.seconds > limits.WINDOW_OVERLAP * window.hop_seconds:
        raise BundleError(
            f"{path}: windows every {window.hop_seconds:g} s of {window.seconds:g} s overlap more than "
            f"{limits.WINDOW_OVERLAP} times; export the bundle with a longer hop"
        )
    if len(manifest.labels) > limits.LABELS:
        raise BundleError(f"{path}: {len(manifest.labels)} labels, more than {limits.LABELS}")
