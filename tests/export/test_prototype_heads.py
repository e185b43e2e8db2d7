"""The account over other heads and other U: weights read from graphs, U, gradients."""

import json
import shutil

import msgspec
import numpy as np
import pytest
import soundfile
from later import later

import earmark
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import engine_of
from earmark.runtime.inference.window import WindowPlan
from earmark.runtime.methods.protocol import Sound
from earmark.runtime.methods.prototypes.explanation import PrototypesExplanation
from earmark.runtime.methods.prototypes.generation import open_generation
from earmark.runtime.methods.prototypes.places import FoldedHead, places_of
from earmark.runtime.methods.prototypes.search import Search

later("torch")


RATE = 16000


def graph_of(source, path, turned):
    from earmark.export.graphs.embeddings import embeddings_model

    spec = source.feature_map
    embeddings_model(path, spec, source.taps[spec.tap], source.head, turned)
    return path


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder, random = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for label, hertz in (("low hum", 150), ("noise", 900), ("whistle", 3500)):
        (folder / label).mkdir()
        for take in "abc":
            wave = 0.3 * np.sin(2 * np.pi * hertz * random.uniform(0.8, 1.2) * np.arange(RATE) / RATE)
            wave += 0.05 * random.standard_normal(RATE)
            soundfile.write(folder / label / f"{take}x.wav", wave, RATE)
    return folder


@pytest.fixture(scope="module")
def indexed(tiny_source, tiny_bundle, sounds, tmp_path_factory):
    """Bundles with those sounds indexed: U = I, and a random U."""
    from earmark.evaluation.prototypes.purity import random_rotation
    from earmark.export.prototypes.build import index_bundle

    folder, made = tmp_path_factory.mktemp("indexed"), {}
    for name, turned in (("identity", None), ("turned", random_rotation(16, 1))):
        shutil.copytree(tiny_bundle, folder / name)
        graph = graph_of(tiny_source, folder / f"{name}.onnx", turned)
        index_bundle(folder / name, sounds, embeddings=graph)
        made[name] = earmark.load(folder / name, device="cpu"), turned
    return made


def method_of(explainer):
    generation = open_generation(engine_of(explainer).bundle.path, engine_of(explainer).manifest)
    tap, graph = engine_of(explainer).manifest.feature_map.tap, generation.folder / "embeddings.onnx"
    return Search(
        engine_of(explainer).manifest,
        generation,
        lambda z: engine_of(explainer).sessions.run_graph(graph, {tap: z}),
    )


@pytest.mark.parametrize("name", ["identity", "turned"])
def test_the_heads_weights_are_read_from_the_graph(indexed, tiny_source, sounds, name):
    explainer, turned = indexed[name]
    method = method_of(explainer)
    (heard,) = engine_of(explainer).windows(open_sound(sounds / "noise/ax.wav", None, RATE))
    z = heard.taps[method.feature_map.tap]
    outputs = method.embed(z)
    maps = {key: outputs[key][0] for key in ("square", "time", "frequency")}
    weight = tiny_source.head.layers[0].weight.astype(np.float64)
    if turned is not None:
        weight = weight @ np.linalg.inv(turned.astype(np.float64))
    for target in range(3):
        slope = (
            FoldedHead()
            .weights_of(
                method.feature_map,
                method.embed,
                [z],
                outputs,
                places_of(maps, method.generation.views),
                target,
            )
            .slope
        )
        # Max + mean of a constant map is twice its value.
        np.testing.assert_allclose(slope, 2 * weight[target], atol=1e-4)


def test_turned_channels_are_shown_in_every_view(indexed, sounds):
    explainer, _ = indexed["turned"]
    clip = sounds / "whistle/bx.wav"
    for label in explainer.labels:
        result = explainer.explain(clip, target=label, methods=["prototypes"])
        account = result.channels
        total = sum(one.contribution for one in account) + account.bias + account.remainder
        assert total == pytest.approx(account.logit, abs=1e-5)
        assert account.error < 1e-4
        assert all(set(one.views) == {"square", "time", "frequency", "time_frequency"} for one in account)
        for view, found in result.prototypes.items():
            assert found[0].clip == "whistle/bx.wav", view
            assert found[0].similarity == pytest.approx(1.0, abs=1e-4)


def test_gradient_times_activation_is_not_called_a_sum(indexed, sounds):
    explainer, _ = indexed["identity"]
    manifest = engine_of(explainer).manifest
    spec = msgspec.structs.replace(manifest.feature_map, additive=False, gradient=True)
    plain = method_of(explainer)
    method = Search(
        msgspec.structs.replace(manifest, feature_map=spec),
        plain.generation,
        plain.embed,
    )
    opened = open_sound(sounds / "noise/ax.wav", None, RATE)
    account = PrototypesExplanation(method, Sound(opened.samples, 1, WindowPlan(RATE, RATE)), 1)
    for heard in engine_of(explainer).windows(opened):
        account.add(heard, account.ask(heard))
    fields = account.finish().fields()
    channels = fields["channels"]
    assert (channels.kind, channels.additive, channels.bias, channels.remainder) == (
        "gradient",
        False,
        None,
        None,
    )
    assert "no sum holds" in channels.note
    assert channels.note in channels.sum
    assert " = " not in channels.sum
    assert all(one.contribution is not None for one in channels)
    assert fields["prototypes"]["time"][0].clip == "noise/ax.wav"
    json.dumps(channels.to_dict(), allow_nan=False)
