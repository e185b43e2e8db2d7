"""`earmark.export` as programs use it: from an adapter to a bundle with prototypes, in two calls."""

import numpy as np
import pytest
import soundfile
from runtime_sounds import RATE, run_python, tone
from tiny_model import tiny_adapter

import earmark
import earmark.export
from earmark.export import IndexReport, export_bundle, index_bundle


def test_no_pytorch_is_needed_before_the_first_export():
    run_python("""
        import sys
        sys.modules["torch"] = None
        import earmark
        from earmark.export import AnalysisSpec, export_bundle, index_bundle
        for refused in (lambda: earmark.export.Adapter, lambda: export_bundle("module:factory", "bundle")):
            try:
                refused()
            except earmark.MissingDependencyError as error:
                assert "torch" in str(error) and "earmark[cpu,export]" in str(error), error
            else:
                raise AssertionError
    """)


def test_an_adapter_becomes_a_bundle_with_prototypes(tmp_path):
    steps = []
    manifest = export_bundle(
        tiny_adapter(),
        tmp_path / "bundle",
        name="mine",
        decoder=False,
        window_seconds=0.5,
        aggregate="max",
        licence="CC0-1.0",
        progress=steps.append,
    )
    assert (manifest.name, manifest.licence, manifest.explainers) == ("mine", "CC0-1.0", [])
    assert (manifest.window.seconds, manifest.window.aggregate) == (0.5, "max")
    assert manifest.parity.fp32["logits"].max_abs < 1e-4
    assert "converting" in steps
    for number, label in enumerate(manifest.labels):
        (tmp_path / "data" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / label / "a.wav", tone(0.5, seed=number), RATE)
    report = index_bundle(tmp_path / "bundle", tmp_path / "data")
    assert isinstance(report, IndexReport)
    assert report.added == len(manifest.labels)
    with earmark.load(tmp_path / "bundle", "cpu") as explainer:
        assert explainer.methods == ["prototypes"]
        result = explainer.explain((tone(0.5, seed=0), RATE))
    assert result.prototypes["square"][0].clip == f"{manifest.labels[0]}/a.wav"
    with pytest.raises(earmark.BundleError, match="exists"):
        export_bundle(tiny_adapter(), tmp_path / "bundle")


def test_what_is_no_source_is_refused(tmp_path):
    with pytest.raises(earmark.SourceError, match="module:factory"):
        export_bundle("nothing", tmp_path / "bundle")
    (tmp_path / "silence").mkdir()
    soundfile.write(tmp_path / "silence" / "a.wav", np.zeros(RATE), RATE)
    with pytest.raises(earmark.DataError, match="not silent"):
        export_bundle(tiny_adapter(), tmp_path / "bundle", sounds=tmp_path / "silence")
    assert not (tmp_path / "bundle").exists()
