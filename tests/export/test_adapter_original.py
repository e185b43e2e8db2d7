"""`Adapter.original`: parts that are not the model's pipeline are refused."""

from dataclasses import replace

import pytest
from later import later

from earmark.errors import SourceError
from earmark.export import Adapter, TokenGrid
from earmark.export.sources import open_source
from earmark.runtime.bundle.manifest import AnalysisSpec

torch = later("torch")
nn = later("torch.nn")

RATE = 8000


def adapter(hop=80, **more):
    """Log-magnitudes, one convolution and a mean; `original` has a hop of 80."""
    torch.manual_seed(0)

    class LogMagnitude(nn.Module):
        def forward(self, stft):
            return torch.log1p(stft.square().sum(-1))

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 6, 3, 2, 1)

        def forward(self, features):
            return torch.relu(self.conv(features.unsqueeze(1)))

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 2)

        def forward(self, z):
            # The sum tells frames of another hop from these.
            return self.linear(z.sum(dim=2).mean(dim=2))

    front, body, head = LogMagnitude(), Body(), Head()

    def original(waveform):
        stft = torch.stft(
            waveform, 256, 80, window=torch.hann_window(256), pad_mode="reflect", return_complex=True
        )
        return head(body(front(torch.view_as_real(stft.transpose(1, 2)))))

    analysis = AnalysisSpec(n_fft=256, window_length=256, hop=hop, window="hann", padding="reflect")
    return Adapter(
        **{
            "name": "net", "labels": ["a", "b"], "sample_rate": RATE, "front_end": front, "feature_map": body,
            "head": head, "analysis": analysis, "window_seconds": 1.0, "minimum_seconds": 0.1,
            "original": original, **more,
        }
    )  # fmt: skip


def test_the_reference_is_the_original():
    given = adapter()
    source = open_source(given)
    wave = 0.1 * torch.randn(2, RATE, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(source.reference.logits(wave), given.original(wave))


def test_another_hop_is_refused_and_agrees_with_itself_without_the_original():
    wrong = adapter(hop=40)
    with pytest.raises(SourceError, match=r"other logits than `original`.*hop"):
        open_source(wrong)
    open_source(replace(wrong, original=None))


def test_large_logits_may_differ_by_more():
    given = adapter()
    with torch.no_grad():
        given.head.linear.weight *= 1e4
    assert given.original(torch.ones(1, RATE)).abs().max() > 100
    open_source(given)
    with torch.no_grad():
        off = 1e-3 * given.original(torch.ones(1, RATE)).abs().max()
    with pytest.raises(SourceError, match="other logits than `original`"):
        open_source(replace(given, original=lambda wave: given.original(wave) + off))


@pytest.mark.parametrize(
    ("original", "says"),
    [
        (lambda wave: wave[:, :3], r"gives \[2, 3\]; logits \[2, 2\]"),
        (lambda wave: {"logits": wave}, "gives dict"),
        (lambda wave: wave.missing, "failed on .*AttributeError"),
    ],
)
def test_an_original_that_gives_no_logits_is_refused(original, says):
    with pytest.raises(SourceError, match=says):
        open_source(adapter(original=original))


def test_layers_of_a_transformer_are_scales():
    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 8)

        def forward(self, tokens):
            return (torch.tanh(self.linear(tokens)), None)

    class Body(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Conv1d(1, 8, 160, 160)
            self.layers = nn.ModuleList([Layer(), Layer()])

        def forward(self, wave):
            tokens = self.embed(wave.unsqueeze(1)).transpose(1, 2)
            for layer in self.layers:
                tokens = layer(tokens)[0]
            return tokens

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(8, 2)

        def forward(self, tokens):
            return self.linear(tokens.mean(dim=1))

    source = open_source(
        adapter(
            rescore="waveform", front_end=nn.Identity(), feature_map=Body(), head=Head(), original=None,
            tokens=TokenGrid(rows=1, order="time", skip=0), scales=["layers.0"],
        )
    )  # fmt: skip
    assert source.taps["layers_0"] == ["batch", 8, "frames_layers_0", 1]
