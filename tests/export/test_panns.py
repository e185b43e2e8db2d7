"""PANNs' checkpoints, against torchlibrosa's formulas and the network of their paper, written out here."""

from itertools import pairwise

import numpy as np
import pytest
from command_line import invoke
from later import later
from refusals import refuses

import earmark
from earmark.errors import SourceError
from earmark.export.exporting import export_bundle
from earmark.export.frontends.matrices import mel_matrix
from earmark.export.sources import open_source
from earmark.export.sources.onnx.frontends import describe

torch = later("torch")
nn = later("torch.nn")
functional = later("torch.nn.functional")
write_tones = later("tones", "write_tones")

RATE, N_FFT, HOP = 8000, 256, 80
LABELS = ["high", "low", "noise"]


def tensors(kind, prefix="", head="fc_audioset"):
    """A state dict of few channels under the names of PANNs' classes."""
    generator = torch.Generator().manual_seed(0)
    state = {}

    def conv(name, outputs, inputs, kernel):
        scale = (2.0 / (inputs * kernel * kernel)) ** 0.5
        state[name] = scale * torch.randn(outputs, inputs, kernel, kernel, generator=generator)

    def norm(name, width):
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)
        state[f"{name}.running_mean"] = 0.1 * torch.randn(width, generator=generator)
        state[f"{name}.running_var"] = 1 + 0.1 * torch.rand(width, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(5)

    phase = np.outer(np.arange(N_FFT // 2 + 1), np.arange(N_FFT)) * 2 * np.pi / N_FFT
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    for name, values in (("real", np.cos(phase)), ("imag", -np.sin(phase))):
        kernel = torch.from_numpy(values * window).float()[:, None]
        state[f"spectrogram_extractor.stft.conv_{name}.weight"] = kernel
    over = {"sample_rate": RATE, "stft": {"n_fft": N_FFT, "hop": HOP}, "mel": {"high_hz": 4000.0}}
    bank = mel_matrix(describe("panns", over).description)
    state["logmel_extractor.melW"] = torch.from_numpy(bank).float()
    norm("bn0", 64)
    # Decibels lie around -30.
    state["bn0.running_mean"] -= 30.0
    state["bn0.running_var"] *= 200.0
    if kind == "MobileNetV1":
        widths = (4, 6, 6, 6, 8, 8, 10, 10, 10, 10, 10, 10, 12, 12)
        conv("features.0.0.weight", 4, 1, 3)
        norm("features.0.2", 4)
        for index, (inputs, outputs) in enumerate(pairwise(widths), 1):
            conv(f"features.{index}.0.weight", inputs, 1, 3)
            norm(f"features.{index}.2", inputs)
            conv(f"features.{index}.4.weight", outputs, inputs, 1)
            norm(f"features.{index}.5", outputs)
        last = 12
    else:
        inputs, kernel = 1, 5 if kind == "Cnn6" else 3
        for index in range(1, 7 if kind == "Cnn14" else 5):
            outputs = 3 + index
            conv(f"conv_block{index}.conv1.weight", outputs, inputs, kernel)
            norm(f"conv_block{index}.bn1", outputs)
            if kind != "Cnn6":
                conv(f"conv_block{index}.conv2.weight", outputs, outputs, kernel)
                norm(f"conv_block{index}.bn2", outputs)
            inputs = last = outputs
    for name, rows, columns in (("fc1", last, last), (head, len(LABELS), last)):
        state[f"{name}.weight"] = 0.5 * torch.randn(rows, columns, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(rows, generator=generator)
    return {(key if key.startswith("fc_transfer") else prefix + key): value for key, value in state.items()}


def normed(x, state, name):
    return functional.batch_norm(
        x, state[f"{name}.running_mean"], state[f"{name}.running_var"], state[f"{name}.weight"],
        state[f"{name}.bias"],
    )  # fmt: skip


def logits_of(kind, state, sounds):
    """What PANNs' own code computes of waveforms [B, N]."""
    padded = np.pad(sounds, ((0, 0), (N_FFT // 2, N_FFT // 2)), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT, axis=1)[:, ::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)
    power = np.abs(np.fft.rfft(frames * window, axis=2)) ** 2
    mel = power @ state["logmel_extractor.melW"].double().numpy()
    x = torch.from_numpy(10 * np.log10(np.maximum(mel, 1e-10))).float()[:, None]
    x = normed(x.transpose(1, 3), state, "bn0").transpose(1, 3)
    if kind == "MobileNetV1":
        for index, stride in enumerate((2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)):
            groups = x.shape[1] if index else 1
            x = functional.conv2d(x, state[f"features.{index}.0.weight"], padding=1, groups=groups)
            x = torch.relu(normed(functional.avg_pool2d(x, stride), state, f"features.{index}.2"))
            if index:
                x = functional.conv2d(x, state[f"features.{index}.4.weight"])
                x = torch.relu(normed(x, state, f"features.{index}.5"))
    else:
        for index in range(1, 7 if kind == "Cnn14" else 5):
            for number in (1,) if kind == "Cnn6" else (1, 2):
                weight = state[f"conv_block{index}.conv{number}.weight"]
                x = functional.conv2d(x, weight, padding=weight.shape[2] // 2)
                x = torch.relu(normed(x, state, f"conv_block{index}.bn{number}"))
            x = functional.avg_pool2d(x, 2) if index < 6 else x
    x = x.mean(dim=3)
    x = x.amax(dim=2) + x.mean(dim=2)
    x = torch.relu(functional.linear(x, state["fc1.weight"], state["fc1.bias"]))
    return functional.linear(x, state["fc_audioset.weight"], state["fc_audioset.bias"]).numpy()


def write(folder, state, labels=LABELS):
    path = folder / "net.pth"
    torch.save({"iteration": 10, "model": state}, path)
    if labels:
        (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    return path


def sounds_of(seconds):
    time = np.arange(int(seconds * RATE)) / RATE
    tones = 0.3 * np.sin(2 * np.pi * np.array([[500.0], [2000.0]]) * time)
    return (tones + 0.05 * np.random.default_rng(0).standard_normal(tones.shape)).astype("float32")


@pytest.mark.parametrize("kind", ["Cnn6", "Cnn10", "Cnn14", "MobileNetV1"])
def test_networks_answer_as_their_own_code(tmp_path, kind):
    state = tensors(kind)
    source = open_source(write(tmp_path, state))
    assert (source.sample_rate, source.task, source.labels) == (RATE, "multi_label", LABELS)
    sounds = sounds_of(1.5)
    with torch.no_grad():
        answers = source.forward_pass(torch.from_numpy(sounds))
        reference = source.reference.logits(torch.from_numpy(sounds)).numpy()
    expected = logits_of(kind, state, sounds)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(answers["logits"].numpy(), expected, atol=1e-4)
    np.testing.assert_allclose(reference, expected, atol=1e-4)
    pooled = answers["feature_map"].mean(dim=3)
    pooled = (pooled.amax(dim=2) + pooled.mean(dim=2)).double().numpy()
    np.testing.assert_allclose(source.head.logits(pooled[:, None]), expected, atol=1e-4)
    for scale in source.scales:
        frames, rows = answers[scale.tap].shape[2:]
        assert abs(frames - (1 + 12000 // HOP) / scale.stride) <= 1
        assert rows == scale.rows == len(scale.hz) == 64 // scale.stride


def test_a_fine_tuned_checkpoint_becomes_a_bundle(tmp_path):
    state = tensors("Cnn10", prefix="base.", head="fc_transfer")
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n1,/m/1,noise\n0,/m/0,hum\n2,/m/2,"tone, high"\n'
    )
    path = write(tmp_path, state, labels=None)
    said = []
    manifest = export_bundle(path, tmp_path / "bundle", on_doubt=said.append, window_seconds=1.0)
    assert any("80 samples" in one for one in said)
    assert (manifest.task, manifest.labels) == ("single_label", ["hum", "noise", "tone, high"])
    assert manifest.feature_map.gradient
    plain = {key.removeprefix("base.").replace("fc_transfer", "fc_audioset"): v for key, v in state.items()}
    (sound, _) = sounds_of(0.9)
    with earmark.load(tmp_path / "bundle", device="cpu") as explainer:
        logits = explainer.explain(sound, sample_rate=RATE, methods=[]).logits
    np.testing.assert_allclose(logits, logits_of("Cnn10", plain, sound[None])[0], atol=1e-4)


def test_what_is_no_checkpoint_of_panns_is_refused(tmp_path):
    state = tensors("Cnn6")
    path = write(tmp_path, state, labels=None)
    refuses(SourceError, r"says no labels; put labels\.txt beside it", open_source, path)
    write(tmp_path, state, labels=["a"])
    refuses(SourceError, "1 labels for 3 scores", open_source, path)
    write(tmp_path, {key: value for key, value in state.items() if "fc1" not in key})
    refuses(SourceError, r"key 'fc1\.weight' is missing.*module:factory", open_source, path)
    write(tmp_path, {**state, "logmel_extractor.melW": state["logmel_extractor.melW"] * 2})
    refuses(SourceError, "not the mel bands of PANNs at 8000 Hz", open_source, path)
    torch.save({"model": nn.Linear(2, 2)}, path)
    refuses(SourceError, "not a plain state dict", open_source, path)


@pytest.mark.slow
def test_masks_are_trained_over_a_checkpoint(tmp_path):
    path = write(tmp_path, tensors("Cnn10", prefix="base.", head="fc_transfer"))
    data, run, bundle = tmp_path / "data", tmp_path / "run", tmp_path / "bundle"
    data.mkdir()
    write_tones(data)
    invoke("train", "lmac", path, data, "-o", run, "--epochs", 1, code=0)
    invoke("export", path, "--decoder", run, "-o", bundle, code=0)
    with earmark.load(bundle, device="cpu") as explainer:
        assert "mask" in explainer.explain(sounds_of(1.0)[0], sample_rate=RATE).parts
