"""Decoders as modules: any length, any bins; rows that are spread, stretched, and measured."""

import json

import msgspec
import numpy as np
import pytest
from later import later

from earmark.errors import RunError
from earmark.runtime.bundle.manifest import AnalysisSpec

torch = later("torch")
stranger_model = later("stranger_model")
stranger = later("stranger_model", "stranger")
nn = later("torch.nn")
CompactClassifier = later("earmark.export.models.compact_classifier", "CompactClassifier")
CompactDecoder = later("earmark.export.models.compact_decoder", "CompactDecoder")
spread = later("earmark.export.models.compact_decoder", "spread")
stretched = later("earmark.export.models.scales", "stretched")
decoder_form = later("earmark.export.training.forms", "decoder_form")
Scale = later("earmark.export.models.scales", "Scale")
measure_scales = later("earmark.export.models.scales", "measure_scales")
mel_rows = later("earmark.export.models.scales", "mel_rows")
stft = later("earmark.export.graphs.stft", "stft")

pytestmark = pytest.mark.trained


@pytest.mark.parametrize("architecture", ["compact", "reference"])
def test_any_length_and_any_bin_count(architecture):
    source = stranger()
    form = decoder_form(source, architecture, 8)
    decoder = form.build().eval()
    for seconds in (0.25, 0.2513, 0.5, 0.777, 1.0, 1.31):
        inputs = stranger_model.inputs_of(source, form, seconds)
        with torch.no_grad():
            mask = decoder(*inputs)
        frames = 1 + round(seconds * stranger_model.RATE) // stranger_model.ANALYSIS.hop
        assert mask.shape == (1, frames, stranger_model.ANALYSIS.n_fft // 2 + 1)
        assert 0.0 <= float(mask.min()) <= float(mask.max()) <= 1.0


def test_form_survives_its_record_and_damage_is_named():
    form = decoder_form(stranger(), "compact", 8)
    record = json.loads(msgspec.json.encode(form))
    assert msgspec.convert(record, type(form)) == form
    with pytest.raises(RunError, match="damaged"):
        msgspec.convert({**record, "bands": 63}, type(form)).build()


def test_measured_scales_are_where_the_classifiers_rows_are():
    torch.manual_seed(0)
    analysis = AnalysisSpec(n_fft=640, window_length=640, hop=320, window="hann")
    model = CompactClassifier(640, 16000, 5).eval()

    def taps_of(waveform):
        names = ["logmel", "map1", "map2", "map3", "map4"]
        with torch.no_grad():
            return dict(zip(names, model(stft(waveform, analysis))[1:], strict=True))

    scales = measure_scales(taps_of, 51, 16000, 16000)
    assert [scale.tap for scale in scales] == ["map1", "map2", "map3", "map4"]
    for index, scale in enumerate(scales):
        rows = 64 // 2**index
        assert (scale.rows, scale.stride, scale.channels) == (rows, 2**index, 24 * 2**index)
        true = np.array(mel_rows(64, 16000, rows, 2**index))
        # Deep rows see far; those at the edges past the end.
        off = np.abs(np.interp(scale.hz, true, np.arange(rows)) - np.arange(rows))
        assert off[1:-1].max() < 0.7
        assert np.median(off) < 0.5


def test_a_map_without_frequency_axis_speaks_for_all_bands():
    random = torch.Generator().manual_seed(0)

    def taps_of(waveform):
        level = waveform.abs().mean() * torch.ones(1, 4, 10, 6)
        return {"flat": level + 0.01 * torch.rand(1, 4, 10, 6, generator=random)}

    (scale,) = measure_scales(taps_of, 100, 8000, 8000)
    assert scale == Scale(tap="flat", channels=4, rows=6, stride=10, hz=[])
    matrix = spread(scale.hz, [100.0, 200.0], 6, 2)
    assert torch.allclose(matrix, torch.full((6, 2), 1 / 6))


def test_spreading_keeps_what_is_constant_and_what_is_linear_in_pitch():
    rows = mel_rows(32, 16000, 32, 1)
    matrix = spread(rows, mel_rows(64, 16000, 64, 1), 32, 64)
    assert torch.allclose(matrix.sum(0), torch.ones(64))
    spread_index = torch.arange(32.0) @ matrix
    assert bool((spread_index.diff() >= -1e-6).all())


@pytest.mark.parametrize(
    ("coarse", "fine", "rows"), [(1, 1, 9), (8, 4, 62), (4, 2, 127), (3, 1, 30), (7, 3, 40)]
)
def test_rows_are_stretched_as_by_whole_numbers(coarse, fine, rows):
    x = torch.arange(10.0).reshape(1, 1, 10, 1)
    wanted = [min(row * fine // coarse, 9) for row in range(rows)]
    assert stretched(x, coarse, rows, fine).reshape(-1).tolist() == wanted


def test_the_spectrum_is_seen_four_cells_at_a_time():
    """One convolution over 2x2 patches is what cells side by side as channels are."""
    torch.manual_seed(0)
    scales = [Scale(tap="map", channels=3, rows=8, stride=4, hz=list(np.linspace(200.0, 7000.0, 8)))]
    decoder = CompactDecoder(scales, 64, 16000, 2, bands=16, width=4, coarse=1, from_stft=False).eval()
    logmel = torch.rand(2, 11, 16)
    side_by_side = nn.functional.pixel_unshuffle(stretched(logmel.unsqueeze(1), 1, 12), 2)
    torch.testing.assert_close(decoder.seen(logmel), decoder.spectrum(side_by_side), atol=1e-6, rtol=1e-6)


def test_over_features_neither_the_level_nor_the_scale_of_a_maps_channels_matters():
    torch.manual_seed(0)
    scales = [Scale(tap="map", channels=3, rows=8, stride=4, hz=list(np.linspace(200.0, 7000.0, 8)))]
    how = {"bands": 16, "width": 4, "coarse": 1, "from_stft": True, "on_features": True}
    decoder = CompactDecoder(scales, 512, 16000, 2, **how)
    spectrum, tokens, target = torch.randn(2, 12, 257, 2), torch.randn(2, 3, 3, 8), torch.tensor([0, 1])
    uneven = tokens * torch.tensor([0.1, 1.0, 30.0])[:, None, None] + 2.0
    with torch.no_grad():
        mask = decoder(spectrum, tokens, target)
        torch.testing.assert_close(decoder(0.1 * spectrum, uneven, target), mask, atol=0.01, rtol=0.0)
        assert float((decoder(spectrum, tokens.flip(3), target) - mask).abs().max()) > 0.05
