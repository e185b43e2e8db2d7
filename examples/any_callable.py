"""When a model decides, from its scores alone: any callable from waveforms to probabilities."""

import numpy as np

import earmark

RATE = 16_000
time = np.arange(2 * RATE) / RATE
wave = 0.01 * np.random.default_rng(0).standard_normal(len(time)).astype(np.float32)
beep = (time > 0.8) & (time < 1.1)
wave[beep] += 0.5 * np.sin(2 * np.pi * 1000 * time[beep])


def probability_of_a_beep(waveforms: np.ndarray) -> np.ndarray:
    """Waveforms [B, N] -> probabilities [B]: a stand-in for a model of yours."""
    spectrum = np.abs(np.fft.rfft(waveforms, axis=1)) / waveforms.shape[1]
    tone = spectrum[:, int(1000 * waveforms.shape[1] / RATE)]
    return 1 / (1 + np.exp(-(200 * tone - 3)))


segments = earmark.segments(probability_of_a_beep, wave, RATE)
for index in segments.top(3):
    start, end = segments.start_s[index], segments.end_s[index]
    print(f"{start:.2f}-{end:.2f} s: {segments.importance[index]:+.2f} ± {segments.uncertainty[index]:.2f}")
print(f"{segments.calls} calls, held-out R2 {segments.r2:.2f}")
