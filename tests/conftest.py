"""Fixtures that several test files share."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import pytest
from browsers import CHROMIUMS, installed
from changed_bundle import rewrite

# Before torch is imported: on tensors as small as the tests' threads only wait for each other, and on a busy
# machine they wait long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Each takes a gigabyte, and fixtures of the session are made once in each.
MOST_WORKERS = 4


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """`pytest` alone tests on all cores, file by file, if pytest-xdist is there; named tests run in here."""
    options = config.option
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    here = "PYTEST_XDIST_WORKER" in os.environ or options.collectonly or options.usepdb
    if not whole or here or not config.pluginmanager.hasplugin("xdist"):
        return
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    if options.numprocesses is None and options.dist == "no" and workers > 1:
        options.numprocesses, options.dist = workers, "loadscope"


def pytest_runtest_setup() -> None:
    """In tests `torch.onnx.export` collects its 1,500 operators once, not for every graph."""
    registration = sys.modules.get("torch.onnx._internal.exporter._registration")
    if registration is not None and not hasattr(registration.ONNXRegistry.from_torchlib, "cache_info"):
        registry = registration.ONNXRegistry
        registry.from_torchlib = staticmethod(functools.cache(registry.from_torchlib))


def tiny_adapter(seed: int = 0, *, decoder: bool = True):
    """A compact CNN on log-mel with a decoder, 16 kHz, three classes, seeded random weights.

    Feature map [B, 16, T // 4, 5] over 40 triangular bands; max + mean pooling and a linear head.
    """
    torch = pytest.importorskip("torch")
    from torch import nn

    from earmark.export import Adapter, AnalysisSpec

    analysis = AnalysisSpec(n_fft=512, window_length=400, hop=160, window="hann")
    bins, bands = 257, 40

    class Bands(nn.Module):
        def __init__(self):
            super().__init__()
            edges = torch.linspace(0, bins - 1, bands + 2)
            bin_ = torch.arange(bins).float()[:, None]
            rise = (bin_ - edges[:-2]) / (edges[1:-1] - edges[:-2])
            fall = (edges[2:] - bin_) / (edges[2:] - edges[1:-1])
            self.register_buffer("bank", torch.minimum(rise, fall).clamp(min=0))

        def forward(self, stft):
            power = stft[..., 0] ** 2 + stft[..., 1] ** 2
            return torch.log1p(torch.sqrt(power + 1e-14) @ self.bank)

    class Features(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 8, 3, padding=1, bias=False),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.AvgPool2d((2, 4)),
                nn.Conv2d(8, 16, 3, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
            )

        def forward(self, features):
            return self.layers(features.unsqueeze(1))

    class Head(nn.Module):
        def __init__(self, linear):
            super().__init__()
            self.linear = linear

        def forward(self, z):
            reduced = z.mean(dim=3)
            return self.linear(reduced.amax(dim=2) + reduced.mean(dim=2))

    class Decoder(nn.Module):
        """Mask [B, T, bins] from the feature map, upsampled, and the band spectrum."""

        def __init__(self):
            super().__init__()
            self.mix = nn.Conv2d(16, 1, 1)
            self.local = nn.Conv2d(1, 1, (3, 5), padding=(1, 2))
            self.spread = nn.Linear(bands, bins)

        def forward(self, z, spectrum):
            coarse = self.mix(z)
            frames = spectrum.shape[1]
            index = torch.clamp(torch.arange(frames) // 4, max=coarse.shape[2] - 1)
            near = coarse.index_select(2, index).repeat_interleave(8, dim=3)
            return torch.sigmoid(self.spread((near + self.local(spectrum.unsqueeze(1))).squeeze(1)))

    torch.manual_seed(seed)
    features, linear = Features(), nn.Linear(16, 3)
    with torch.no_grad():
        features.layers[1].running_mean.uniform_(-0.5, 0.5)
        features.layers[1].running_var.uniform_(0.5, 2.0)
        linear.weight.mul_(6.0)
    step = 8000 / 5
    return Adapter(
        name="tiny",
        labels=["low hum", "whistle", "noise"],
        sample_rate=16000,
        analysis=analysis,
        front_end=Bands(),
        feature_map=features,
        head=Head(linear),
        linear=linear,
        pooling="max_mean",
        decoder=Decoder() if decoder else None,
        window_seconds=1.0,
        minimum_seconds=0.1,
        frame_seconds=4 * 160 / 16000,
        bands_hz=[(row * step, (row + 1) * step) for row in range(5)],
        description="A tiny model with random weights, for tests.",
        licence="Apache-2.0",
        attribution="earmark's tests",
    )


@pytest.fixture(scope="session")
def recipe_folder():
    """The module recipe_folder.py beside this file."""
    pytest.importorskip("torch")
    import recipe_folder

    return recipe_folder


@pytest.fixture(scope="session")
def make_tiny_adapter():
    """The function that makes the tiny model's `Adapter`."""
    pytest.importorskip("torch")
    return tiny_adapter


@pytest.fixture(scope="session")
def tiny_source():
    """The tiny model as a `Source`."""
    pytest.importorskip("torch")
    from earmark.export.sources.adapter.source import from_adapter

    return from_adapter(tiny_adapter())


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory) -> Path:
    """A real bundle of the tiny model. Shared: copy it before changing it."""
    from earmark.export import export_bundle

    path = tmp_path_factory.mktemp("bundles") / "tiny"
    export_bundle(tiny_adapter(), path)
    return path


@pytest.fixture(scope="session")
def interpreters():
    """The module components_bundle.py beside this file: interpreters without PyTorch."""
    pytest.importorskip("sklearn")
    import components_bundle

    return components_bundle


@pytest.fixture(scope="session")
def learnt_components(interpreters):
    """Dictionary [F, 16] and theta [8, 16] for the shipped bundle, learnt from synthesised clips."""
    from earmark.evaluation.synthesis import make_clip
    from earmark.runtime.explainer import SHIPPED, load

    labels = load(SHIPPED, device="cpu").labels
    clips = [
        (make_clip(label, [6, number, index], snr_db=20.0).waveform, [label])
        for number, label in enumerate(labels)
        for index in range(3)
    ]
    return interpreters.learn(SHIPPED, clips, 16)


@pytest.fixture(scope="session")
def components_bundle(interpreters, learnt_components, tmp_path_factory) -> Path:
    """The shipped bundle with components. Shared: copy it before changing it."""
    from earmark.runtime.explainer import SHIPPED

    return interpreters.write(SHIPPED, tmp_path_factory.mktemp("components") / "bundle", *learnt_components)


@pytest.fixture
def without_decoder(tmp_path):
    """The shipped bundle as it would be without a decoder."""
    from earmark.runtime.explainer import SHIPPED

    folder = tmp_path / "without_decoder"
    shutil.copytree(SHIPPED, folder)

    def change(manifest):
        manifest["stages"] = [stage for stage in manifest["stages"] if stage["name"] != "decoder"]
        manifest["explainers"].remove("mask")
        del manifest["mask_targets"], manifest["files"]["decoder.onnx"]

    rewrite(folder, change)
    (folder / "decoder.onnx").unlink()
    return folder


@pytest.fixture(scope="session")
def write_sounds():
    """The function of apex_sounds.py beside this file: class folders of hums, noise and whistles."""
    spec = importlib.util.spec_from_file_location(
        "earmark_tests_apex_sounds", Path(__file__).with_name("apex_sounds.py")
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.write_sounds


@pytest.fixture(scope="module")
def explainer(tiny_bundle):
    """Over the tiny model's bundle; other files have fixtures of this name for other bundles."""
    import earmark

    return earmark.load(tiny_bundle, device="cpu")


@pytest.fixture(scope="module")
def shipped():
    """Over the bundle that comes with the package."""
    import earmark
    from earmark.runtime.explainer import SHIPPED

    with earmark.load(SHIPPED, device="cpu") as explainer:
        yield explainer


@pytest.fixture(scope="module")
def variant(tiny_bundle, tmp_path_factory):
    """Makes a bundle of the tiny model whose manifest says something else about window or level."""
    import earmark

    def make(window=(), **changes):
        path = tmp_path_factory.mktemp("variant") / "bundle"
        shutil.copytree(tiny_bundle, path)

        def change(manifest):
            manifest["window"] |= dict(window)
            manifest |= changes

        rewrite(path, change)
        return earmark.load(path, "cpu")

    return make


@pytest.fixture(scope="module")
def playwright():
    """Playwright, at work."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as started:
        yield started


@pytest.fixture(scope="module")
def chromium(playwright):
    """The system's Chromium, with a microphone that beeps; whether it is allowed, each test says."""
    arguments = ["--no-sandbox", "--use-fake-device-for-media-stream"]
    browser = playwright.chromium.launch(executable_path=installed(CHROMIUMS), args=arguments)
    yield browser
    browser.close()
