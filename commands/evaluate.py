"""`earmark evaluate`: how faithful a bundle's explanations are, beside what anyone could do without them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import DataError
from .evaluate_events import EVENT_OPTIONS, evaluate_events, events_options, refuse_event_options
from .options import device_option, json_option

if TYPE_CHECKING:
    from ..evaluation.conditions import Condition
    from ..evaluation.faithfulness import Faithfulness, Plan
    from ..evaluation.sound_folders import Clip, SoundFolder
    from ..evaluation.table import Table
    from ..runtime.explainer import Explainer
    from ..runtime.manifest import Manifest

# Option -> its value's name, of those that mean nothing where places in time are judged.
_FAITHFULNESS_ONLY = {
    "--condition": "conditions",
    "--area": "area",
    "--source": "source",
    "--speech": "speech",
    "--curves": "curves",
    "--reference": "reference",
}
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("bundle", type=_FOLDER)
@click.argument("data", type=_FOLDER)
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    metavar="METHOD",
    help="A row of the table: mask, thresholded, random, energy, band_occlusion, time_occlusion, ones "
    "(these by default); with --source also saliency, integrated_gradients, smoothgrad, gradcam, "
    "gradcam_energy, shap.",
)
@click.option(
    "--condition",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="clean (default), noise (0 dB), noise_6db, mixture (another clip, 0.8 / 0.2), speech (0.8 / 0.2).",
)
@click.option(
    "--domain",
    type=click.Choice(["spectrogram", "audio", "both"]),
    default="both",
    show_default=True,
    help="Where the masked sound is heard again: as a spectrogram (the paper's) or as sound.",
)
@click.option("--fold", type=int, metavar="N", help="Only clips of the ESC fold N.")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="From which value on the thresholded mask keeps a cell.",
)
@click.option(
    "--area",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="X",
    help="Share of the cells that rankings are cut to. [default: that of the clip's own mask]",
)
@click.option(
    "--source",
    metavar="RUN",
    help="What BUNDLE was exported from: adds gradient methods (PyTorch, captum).",
)
@click.option("--speech", type=_FOLDER, metavar="DIR", help="Sounds of speech; synthesised without.")
@click.option("--intervals", is_flag=True, help="Print 95 % intervals and the paired differences too.")
@click.option(
    "--curves",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Metrics against area as .json, .png, .svg or .pdf (takes several times as long).",
)
@click.option(
    "--records",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="One line of JSON a window, method and domain.",
)
@click.option("--reference", is_flag=True, help="AD as the reference recipe computes it (at most 63.2).")
@click.option(
    "--events",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CSV",
    help="Judge the places in time instead, against what truly sounds: clip, label, start_s, end_s.",
)
@events_options
@click.option("--strict", is_flag=True, help="Fail at the first clip that cannot be read.")
@device_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all that is drawn.")
@json_option
def evaluate(bundle: Path, data: Path, events: Path | None, **options: Any) -> None:
    """Judge the explanations of BUNDLE on DATA, a folder of class folders of sound.

    Every row is a method whose mask decides what the classifier hears again: the part kept (AI, AD, AG,
    Fid-In) and the part removed (FF). Rankings are cut to the area that the clip's own mask has. With
    --events every row says when something sounded, and is judged by where it truly did.
    """
    if events is None:
        refuse_event_options(options)
        given = {name: value for name, value in options.items() if name not in EVENT_OPTIONS}
        _faithfulness(bundle, data, **given)
        return
    for option, name in _FAITHFULNESS_ONLY.items():
        if options[name]:
            raise click.UsageError(f"{option} does not go with --events")
    evaluate_events(bundle, data, events, **options)


def _faithfulness(
    bundle: Path,
    data: Path,
    *,
    methods: Sequence[str],
    conditions: Sequence[str],
    domain: str,
    fold: int | None,
    threshold: float,
    area: float | None,
    source: str | None,
    speech: Path | None,
    intervals: bool,
    curves: Path | None,
    records: Path | None,
    reference: bool,
    strict: bool,
    device: str,
    seed: int,
    as_json: bool,
) -> None:
    """The table of faithfulness. What can be wrong is found before the first clip is judged."""
    from ..evaluation.faithfulness import AREAS, Plan, judge
    from ..evaluation.faithfulness_table import curves as points_of
    from ..evaluation.faithfulness_table import differences, summary
    from ..evaluation.rescoring import domains_of
    from ..evaluation.sound_folders import list_sounds
    from ..runtime.explainer import load

    _check_words(methods, conditions, device, source, curves)
    explainer = load(bundle, device=device)
    folder = list_sounds(data, fewest_classes=1)
    clips = _chosen(folder, explainer.manifest, fold)
    plan = Plan(
        maskers=[],
        domains=domains_of(explainer, domain),
        area=area,
        areas=AREAS if curves else (),
        reference=reference,
        seed=seed,
    )
    plan = _with_maskers(plan, explainer, methods, threshold, source)
    plan.check(explainer)
    if curves is not None:
        from .evaluate_curves import check_curves

        check_curves(curves)
    files = _speech(speech)
    clips, skipped = _readable(clips, explainer.manifest.sample_rate, strict)
    if not clips:
        raise DataError(f"{data}: none of its clips can be read ({skipped[0]['reason']})")
    from ..evaluation.conditions import Condition

    where = [
        Condition(name, explainer.manifest.sample_rate, seed, clips, files)
        for name in dict.fromkeys(conditions or ["clean"])
    ]
    for condition in where:
        condition.check(clips)
    made: dict[str, Faithfulness] = {}
    for condition in where:
        with _progress(len(clips), f"judging, {condition.name}") as step:
            made[condition.name] = judge(explainer, clips, condition, plan, on_clip=step)
    judged = [record for one in made.values() for record in one.records]
    tables = {
        "table": summary(judged, reference=reference, seed=seed),
        "differences": differences(judged, seed=seed),
    }
    points = points_of([record for one in made.values() for record in one.curve], seed=seed)
    document = {
        **_about(explainer, plan, where, made),
        "data": str(data),
        "fold": fold,
        "skipped": skipped,
        **{name: table.to_dict() for name, table in tables.items()},
        "curves": points,
    }
    if records is not None:
        _write_records(records, made)
    if curves is not None:
        from .evaluate_curves import write_curves

        write_curves(curves, points)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        _print(document, tables, intervals=intervals)
    for name, one in made.items():
        for warning in one.warnings:
            click.echo(f"{name}: {warning}", err=True)


def _check_words(
    methods: Sequence[str], conditions: Sequence[str], device: str, source: str | None, curves: Path | None
) -> None:
    """Words that no bundle and no machine could know are wrong usage."""
    from ..evaluation.baselines import MASKERS
    from ..evaluation.conditions import CONDITIONS
    from ..runtime.session import DEVICE_PATTERN
    from .evaluate_curves import SUFFIXES
    from .evaluate_source import ATTRIBUTIONS

    for method in methods:
        if method in ATTRIBUTIONS and source is None:
            raise click.BadParameter(
                f"{method!r} needs --source: what the bundle was exported from", param_hint="--method"
            )
        if method not in (*MASKERS, *ATTRIBUTIONS):
            raise click.BadParameter(
                f"{method!r} is not one of {', '.join((*MASKERS, *ATTRIBUTIONS))}", param_hint="--method"
            )
    for condition in conditions:
        if condition not in CONDITIONS:
            raise click.BadParameter(
                f"{condition!r} is not one of {', '.join(CONDITIONS)}", param_hint="--condition"
            )
    if not DEVICE_PATTERN.fullmatch(device):
        raise click.BadParameter(
            f"{device!r} is not one of auto, cpu, cuda, cuda:N, tensorrt", param_hint="--device"
        )
    if curves is not None and curves.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{curves}: end it with {', '.join(SUFFIXES)}", param_hint="--curves")


def _chosen(folder: SoundFolder, manifest: Manifest, fold: int | None) -> list[Clip]:
    """The clips to judge. Raises DataError for classes that the model does not know, or an absent fold."""
    strange = [label for label in folder.labels if label not in manifest.labels]
    if strange:
        raise DataError(
            f"{folder.path}: {', '.join(map(repr, strange[:5]))}{' ...' if len(strange) > 5 else ''} "
            f"{'is no label' if len(strange) == 1 else 'are no labels'} of {manifest.name}; it has "
            f"{', '.join(manifest.labels[:10])}{' ...' if len(manifest.labels) > 10 else ''}"
        )
    if fold is None:
        return folder.clips
    clips = [clip for clip in folder.clips if clip.fold == fold]
    if not clips:
        folds = sorted({clip.fold for clip in folder.clips if clip.fold is not None})
        have = ", ".join(map(str, folds)) or "none: file names do not begin with <fold>-<recording>-<take>"
        raise DataError(f"{folder.path}: no clip of fold {fold}; folds there are: {have}")
    return clips


def _with_maskers(
    plan: Plan, explainer: Explainer, methods: Sequence[str], threshold: float, source: str | None
) -> Plan:
    """The plan with its maskers, in the order asked for."""
    from dataclasses import replace

    from ..evaluation.baselines import MASKERS, masker_of
    from .evaluate_source import ATTRIBUTIONS

    names = list(dict.fromkeys(methods)) or [*MASKERS, *(ATTRIBUTIONS if source else ())]
    found = {name: masker_of(name, threshold=threshold) for name in names if name in MASKERS}
    if source is not None:
        from .evaluate_source import attributed

        asked = [name for name in names if name in ATTRIBUTIONS]
        found |= {one.name: one for one in attributed(explainer, source, asked, plan.seed)}
    return replace(plan, maskers=[found[name] for name in names])


def _speech(folder: Path | None) -> list[Path]:
    """The readable speech files; the others are named on stderr."""
    if folder is None:
        return []
    from ..evaluation.conditions import speech_files

    files, unreadable = speech_files(folder)
    for reason in unreadable:
        click.echo(f"left out {reason}", err=True)
    return files


def _readable(clips: Sequence[Clip], rate: int, strict: bool) -> tuple[list[Clip], list[dict[str, str]]]:
    """The clips that can be read; the others are named on stderr, or raise DataError with `strict`."""
    from ..evaluation.sound_folders import load_sound

    good: list[Clip] = []
    skipped: list[dict[str, str]] = []
    with _progress(len(clips), "reading") as step:
        for clip in clips:
            try:
                load_sound(clip.path, rate)
                good.append(clip)
            except DataError as error:
                if strict:
                    raise
                skipped.append({"clip": clip.name, "reason": str(error)})
            step()
    for one in skipped:
        click.echo(f"left out {one['clip']}: {one['reason']}", err=True)
    return good, skipped


def _about(
    explainer: Explainer, plan: Plan, conditions: Sequence[Condition], made: dict[str, Faithfulness]
) -> dict[str, Any]:
    """What was judged and how, JSON-ready."""
    from dataclasses import asdict
    from statistics import median

    return {
        "bundle": explainer.manifest.name,
        "bundle_id": explainer.manifest.bundle_id,
        "device": explainer.device,
        "seed": plan.seed,
        "reference": plan.reference,
        "area": plan.area,
        "conditions": {
            one.name: {
                "text": one.text,
                "clips": made[one.name].clips,
                "windows": made[one.name].windows,
                "right": made[one.name].right,
                "classify_ms": median(made[one.name].classify_ms),
                "silence": {domain: asdict(found) for domain, found in made[one.name].silence.items()},
                "windows_of_silence_class": made[one.name].silent_class,
                "warnings": made[one.name].warnings,
            }
            for one in conditions
        },
    }


def _print(document: dict[str, Any], tables: dict[str, Table], *, intervals: bool) -> None:
    """The tables for people."""
    click.echo(click.style(document["bundle"], bold=True))
    for name, about in document["conditions"].items():
        silence = "; ".join(
            f"silence ({domain}) is heard as {found['label']} {found['score']:.0%}"
            for domain, found in about["silence"].items()
        )
        click.echo(
            f"{name}: {about['text']}. {about['clips']} clips, {about['windows']} windows, "
            f"{about['right'] / about['windows']:.1%} heard right in {about['classify_ms']:.1f} ms each; "
            f"{silence}"
        )
    click.echo()
    click.echo(tables["table"].text(intervals=intervals))
    if intervals and tables["differences"].rows:
        click.echo("\nmask minus the others, window by window")
        click.echo(tables["differences"].text(intervals=True))


def _write_records(path: Path, made: dict[str, Faithfulness]) -> None:
    """One line of JSON a record."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for one in made.values():
            for record in one.records:
                file.write(json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def _progress(total: int, label: str) -> Iterator[Any]:
    """A bar on stderr, on a terminal only; gives the function that is called after each clip."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=total, label=label, file=sys.stderr) as bar:
        yield lambda: bar.update(1)
