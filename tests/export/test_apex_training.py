"""`earmark train apex` from end to end: runs and bundles, going on, and what is refused."""

import json
import shutil

import pytest
from apex_sounds import two_folds, write_sounds
from command_line import invoke
from later import later
from tiny_model import tiny_adapter

import earmark
from earmark.errors import (
    RunError,
    SourceError,
)
from earmark.export.bundle.write import write_bundle
from earmark.export.training.apex.settings import ApexSettings
from earmark.export.training.options import ApexOptions
from earmark.export.training.settings import ClassifierSettings
from earmark.runtime.opening import open_bundle

later("onnxruntime")
later("torch")
models = later("apex_models")
train_apex = later("earmark.export.training.apex.recipe", "train_apex")
from_adapter = later("earmark.export.sources.adapter.source", "from_adapter")
load_run = later("earmark.export.sources.run.source", "load")
train_classifier = later("earmark.export.training.classifier", "train_classifier")

pytestmark = pytest.mark.trained
LABELS = ("low hum", "noise", "whistle")
FEW = ApexSettings(rounds=6, n_last=3, polish=2)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return two_folds(tmp_path_factory.mktemp("sounds"))


@pytest.fixture(scope="module")
def learnt(sounds, tmp_path_factory):
    """A finished run of a narrow classifier with U, and the summary of its training."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    settings = ClassifierSettings(epochs=2, batch_size=6, width=2, mels=16, window=1.0, val_fold=2)
    train_classifier(sounds, folder, settings)
    return folder, train_apex(folder, sounds, FEW)


def info_of(bundle):
    """index_info.json of the generation in force."""
    spec = open_bundle(bundle).manifest.prototypes
    return json.loads((bundle / "prototypes" / spec.generation / "index_info.json").read_text())


def test_a_run_keeps_u_and_export_folds_it_in(learnt, sounds, tmp_path):
    """The classifier's own split, the report, the golden logits, an additive account in turned channels."""
    run, summary = learnt
    assert summary.report.clips["train"].sounds == 12
    assert summary.report.clips["held_out"].sounds == 6
    assert set(summary.report.purity["square"]) == {"train", "held_out"}
    assert summary.report.invariance.fp64 < 1e-9
    assert summary.report.invariance.fp32 < 1e-3
    assert summary.report.invariance.same_top1 == 1.0
    assert summary.report.orthogonality < 1e-4
    assert set(summary.report.listed) == {"train", "held_out"}
    assert summary.report.rest["train"]["after"] < summary.report.rest["train"]["before"]
    assert not (run / "apex" / "maps").exists()
    assert {p.name for p in (run / "apex").iterdir()} == {
        "apex.json", "apex.safetensors", "apex_metrics.jsonl", "apex_loss.png"
    }  # fmt: skip
    write_bundle(load_run(run), tmp_path / "bundle")
    assert json.loads((tmp_path / "bundle" / "apex.json").read_text())["purity"] == summary.report.purity
    invoke("index", tmp_path / "bundle", sounds, code=0)
    assert info_of(tmp_path / "bundle")["apex"]["purity"] == summary.report.purity
    invoke("verify", tmp_path / "bundle", code=0)
    inspected = invoke("inspect", tmp_path / "bundle").output
    assert f"-> {summary.report.listed['train']['after']:.3f} (random U" in inspected
    clip = next((sounds / "whistle").iterdir())
    account = earmark.load(tmp_path / "bundle").explain(clip).channels
    total = sum(channel.contribution for channel in account.channels) + account.bias + account.remainder
    assert total == pytest.approx(account.logit, abs=1e-4)


def test_a_bundle_gets_a_generation_of_turned_channels(bundle, sounds, tmp_path):
    """No file of the bundle changes, its logits neither; U, report and index come as a new generation."""
    before = {p: p.read_bytes() for p in bundle.rglob("*") if p.is_file() and p.name != "bundle.json"}
    result = invoke(
        "train", "apex", bundle, sounds, "--val-fold", "2", "--rounds", "6", "--n-last", "3", code=0
    )
    assert "held out" in result.output
    assert all(path.read_bytes() == content for path, content in before.items())
    info = info_of(bundle)
    assert info["sources"] == 12
    assert info["apex"]["clips"]["held_out"]["sounds"] == 6
    clip = next((sounds / "whistle").iterdir())
    explained = earmark.load(bundle).explain(clip, methods=["prototypes"])
    account = explained.channels
    assert account.additive
    assert abs(account.error) < 1e-3
    # The index goes on with its U.
    more = write_sounds(tmp_path / "more", fold=3, clips=1, seed=5)
    invoke("index", bundle, more, code=0)
    grown = info_of(bundle)
    assert grown["embeddings_sha256"] == info["embeddings_sha256"]
    assert grown["apex"] == info["apex"]
    assert grown["sources"] == 15


def test_several_labels_by_attention(sounds, tmp_path):
    """Attention a class and several labels at once: each label asked for has its own sum."""
    adapter = tiny_adapter(decoder=False)
    adapter.task, adapter.pooling, adapter.attention = (
        "multi_label",
        "attention",
        models.AttentionOfClasses().eval(),
    )
    adapter.head = models.Attended(adapter.attention, adapter.linear).eval()
    write_bundle(from_adapter(adapter), tmp_path / "bundle")
    summary = train_apex(tmp_path / "bundle", sounds, FEW)
    assert summary.report.head == "additive"
    assert summary.report.invariance.fp64 < 1e-9
    explainer = earmark.load(tmp_path / "bundle")
    clip = next((sounds / "noise").iterdir())
    for index, label in enumerate(explainer.labels):
        result = explainer.explain(clip, target=label, methods=["prototypes"])
        account = result.channels
        assert account.additive
        assert account.logit == pytest.approx(float(result.logits[index]), abs=1e-5)
        assert abs(account.error) < 1e-3
        total = sum(channel.contribution for channel in account.channels) + account.bias + account.remainder
        assert total == pytest.approx(account.logit, abs=1e-4)


def test_an_interrupted_training_goes_on_exactly(bundle, sounds, tmp_path, monkeypatch):
    """Stopped in the middle and resumed, U is bit for bit that of a whole training; maps are reused."""
    from earmark.export.training.apex import learning, maps

    settings = ApexSettings(rounds=5, polish=2, n_last=3)
    twin = shutil.copytree(bundle, tmp_path / "twin")
    train_apex(twin, sounds, settings, ApexOptions(out=tmp_path / "whole"))
    learn, rounds = learning.learn_rotation, []

    def stopping(*args, on_round, **kwargs):
        def then(state):
            on_round(state)
            rounds.append(state.done)
            if len(rounds) == 6:
                raise KeyboardInterrupt

        return learn(*args, on_round=then, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(learning, "learn_rotation", stopping)
        with pytest.raises(RunError, match="--resume"):
            train_apex(bundle, sounds, settings, ApexOptions(out=tmp_path / "stopped"))
    with monkeypatch.context() as patch:
        patch.setattr(maps, "MapWriter", None)
        train_apex(bundle, sounds, settings, ApexOptions(out=tmp_path / "stopped", resume=True))
    files = [(tmp_path / name / "apex.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]
    metrics = [
        (tmp_path / name / "apex_metrics.jsonl").read_text().splitlines() for name in ("whole", "stopped")
    ]
    drop = [[{**json.loads(line), "seconds": 0} for line in lines] for lines in metrics]
    assert drop[0] == drop[1]


def test_a_cache_serves_the_next_training(bundle, sounds, tmp_path, monkeypatch):
    """Maps of the same model and sounds are heard once; other sounds are heard anew."""
    from earmark.export.training.apex import maps

    heard = []
    add = maps.MapWriter.add
    monkeypatch.setattr(
        maps.MapWriter, "add", lambda self, clip, **k: (heard.append(clip.name), add(self, clip, **k))
    )
    for name in ("one", "two"):
        train_apex(bundle, sounds, FEW, ApexOptions(out=tmp_path / name, cache=tmp_path / "cache"))
    assert len(heard) == 18
    other = write_sounds(tmp_path / "other", fold=1, clips=1, seed=9)
    train_apex(bundle, other, FEW, ApexOptions(out=tmp_path / "three", cache=tmp_path / "cache"))
    assert len(heard) == 21


def test_a_u_of_another_model_is_refused(learnt, sounds, tmp_path):
    """A U in the run of another classifier, at export and when its training is to go on."""
    run, _ = learnt
    other = tmp_path / "other"
    settings = ClassifierSettings(epochs=1, batch_size=6, width=2, mels=16, window=1.0, seed=5)
    train_classifier(sounds, other, settings)
    shutil.copytree(run / "apex", other / "apex")
    with pytest.raises(SourceError, match="another classifier"):
        load_run(other)
    invoke("train", "apex", other, sounds, "--resume", code=1, says="another classifier")
