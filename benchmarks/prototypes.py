"""The tables of docs/apex.md: what U changes in nearest prototypes, and what their places are worth.

    python benchmarks/prototypes.py run NAME BUNDLE INDEXED ASKED records.jsonl [--draws 4] [--seed 0]
    python benchmarks/prototypes.py table records.jsonl

`run` indexes INDEXED in copies of BUNDLE (its embeddings graph with a trained U folded in) three times, with
U = I, with its own U and with a random one, explains ASKED with each, and writes a line of JSON a clip, view
and U. The deletion check is made with the trained U alone. `table` pools what the file holds (one NAME a
model), with intervals over source recordings.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Literal, get_args

import msgspec
import onnx
from measuring import run_main

import earmark
from earmark.errors import SourceError
from earmark.evaluation.data.folder import list_sounds
from earmark.evaluation.prototypes.judge import PrototypeJudgement, PrototypeRecord, judge_prototypes
from earmark.evaluation.prototypes.purity import random_rotation
from earmark.evaluation.report import json_ready
from earmark.evaluation.settings import FILLS, PrototypeSettings
from earmark.evaluation.statistics import paired
from earmark.export.graphs.embeddings import embeddings_model
from earmark.export.graphs.heads import facts_in
from earmark.export.prototypes.build import index_bundle
from earmark.runtime.opening import open_bundle

Kind = Literal["identity", "trained", "random"]
KINDS: tuple[Kind, ...] = get_args(Kind)


class PrototypeLine(msgspec.Struct):
    """What `run` writes of a clip and view: the set's name, which U, and the record."""

    model: str
    u: Kind
    record: PrototypeRecord


def run(
    name: str,
    bundle: Path,
    indexed: Path,
    asked: Path,
    records: Path,
    *,
    draws: int = 4,
    only: Kind | None = None,
    seed: int = 0,
) -> None:
    """Index, explain and judge; draws: random regions per place, 0: no deletion check; only: this U alone."""
    clips = list_sounds(asked, fewest_classes=1).clips
    with tempfile.TemporaryDirectory() as temporary:
        for kind in [only] if only else KINDS:
            copy = Path(temporary) / kind
            shutil.copytree(bundle, copy)
            graph = Path(temporary) / f"{kind}.onnx"
            _fold(copy, kind, graph, seed)
            index_bundle(copy, indexed, extend=False, embeddings=graph)
            explainer = earmark.load(copy, device="cpu")
            fills = FILLS if kind == "trained" and draws else ()
            settings = PrototypeSettings(fills=fills, draws=draws, seed=seed)
            made = judge_prototypes(explainer, clips, settings)
            with records.open("a", encoding="utf-8") as stream:
                for record in made.records:
                    stream.write(json.dumps(json_ready(PrototypeLine(name, kind, record))) + "\n")
            print(f"{name} {kind}: {made.clips} clips, {made.right} right", file=sys.stderr)


def table(records: Path, *, seed: int = 0) -> None:
    """Print a table a U, and of the shares trained minus identity, paired."""
    lines = msgspec.json.Decoder(PrototypeLine).decode_lines(records.read_bytes())
    made = {kind: _judgement(lines, kind) for kind in KINDS}
    for kind, judged in made.items():
        print(f"\nU: {kind}; {judged.clips} clips of {len({one.model for one in lines})} models")
        print(judged.table(seed=seed).text(intervals=True))
    print("\nshare of the nearest 5 with the input's label, minus that with U = I")
    for kind in ("trained", "random"):
        for view in dict.fromkeys(one.view for one in made["identity"].records):
            own, raw = (
                [one for one in made[which].records if one.view == view] for which in (kind, "identity")
            )
            gap = paired(
                [one.share for one in own],
                [one.share for one in raw],
                [one.recording for one in own],
                seed=seed,
            )
            print(f"{kind:<8} {view:<15} {gap:+.3f}")


def _fold(bundle: Path, kind: Kind, path: Path, seed: int) -> None:
    """Write the embeddings graph with that U to `path`."""
    manifest = open_bundle(bundle).manifest
    spec, stage = manifest.feature_map, manifest.stage("embeddings")
    if spec is None or stage is None:
        raise SourceError(f"{bundle}: has no embeddings graph")
    head, own = facts_in(onnx.load(str(bundle / stage.file)))
    if own is None:
        raise SourceError(f"{bundle}: no U is folded in; train one with earmark train apex and export")
    drawn = random_rotation(spec.channels, seed)
    rotation = {"identity": None, "trained": own, "random": drawn}[kind]
    dims = {tensor.name: tensor.dims for tensor in stage.inputs}
    attention = dims.get(spec.attention) if spec.attention is not None else None
    embeddings_model(path, spec, dims[spec.tap], head, rotation, attention_dims=attention)


def _judgement(lines: list[PrototypeLine], kind: Kind) -> PrototypeJudgement:
    some = [line for line in lines if line.u == kind]
    clips = len({(line.model, line.record.clip) for line in some})
    return PrototypeJudgement([line.record for line in some], clips)


if __name__ == "__main__":
    run_main(run, table)
