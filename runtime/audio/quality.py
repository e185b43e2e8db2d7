"""What a sound lacks that a model needs: warned of, never mended."""

from __future__ import annotations

import numpy as np

from ...forks import fork_waits
from ..values.arrays import FloatArray, Values

# A mean above this share of the peak is no sound: recordings stay below a hundredth.
_OFFSET = 0.1
# Below this share of the loudest channel's peak (-80 dB) a channel is silent.
_SILENT = 1e-4
# Channels that agree less than this cancel in their mean, by 13 dB and more.
_INVERTED = -0.9
# Full scale, within a 12-bit step; and the share of samples there above which peaks are lost.
_FULL, _CLIPPED = 1.0 - 2.0**-12, 0.01
# Fewer samples than this say nothing of means.
_FEWEST = 256


class Quality:
    """Collects what is needed to judge a sound, block by block."""

    def __init__(self, channels: int) -> None:
        self._count = 0
        self._full = 0
        self._peaks = np.zeros(channels)
        self._sums = np.zeros(channels)
        self._products = np.zeros((channels, channels))

    @fork_waits
    def add(self, block: FloatArray, peaks: FloatArray) -> None:
        """The next block [channels, n] of finite samples; peaks [channels]: its highest absolute values."""
        self._count += block.shape[1]
        self._peaks = np.maximum(self._peaks, peaks)
        with np.errstate(over="ignore", invalid="ignore"):
            # As `sum`, in a third of its time.
            self._sums += np.einsum("it->i", block)
            if len(block) > 1:
                # A product of few rows is not worth the threads of a matrix product.
                few = len(block) <= 4
                self._products += np.einsum("it,jt->ij", block, block) if few else block @ block.T
        if peaks.max() >= _FULL:
            self._full += int(np.count_nonzero(np.abs(block) >= _FULL))

    def warnings(self, peak: float) -> list[str]:
        """One line for each fault. peak: of all the sound, above 0."""
        if self._count < _FEWEST:
            return []
        lines = []
        means = self._sums / self._count
        worst = float(means[np.abs(means).argmax()])
        if abs(worst) > _OFFSET * peak:
            lines.append(
                f"the sound has a DC offset of {worst:+.3f} (peak {peak:.3f}): what a model makes of that is "
                "not known; take the mean away first"
            )
        # Float sound above full scale is loud, not clipped.
        if peak <= 2.0 - _FULL and self._full > _CLIPPED * self._count * len(self._peaks):
            share = self._full / (self._count * len(self._peaks))
            lines.append(f"{share:.0%} of the samples are at full scale: the sound is clipped")
        return lines + (self._of_channels(means) if len(means) > 1 else [])

    def _of_channels(self, means: Values) -> list[str]:
        """What is wrong between channels, whose mean is what the model hears."""
        lines = []
        silent = self._peaks <= _SILENT * self._peaks.max()
        if silent.any():
            which = ", ".join(str(index + 1) for index in np.flatnonzero(silent))
            lines.append(
                f"channel {which} of {len(silent)} is silent: the mean of all channels, which the model "
                "hears, is weaker for it"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            spread = self._products / self._count - np.outer(means, means)
            power = np.sqrt(np.maximum(np.diag(spread), 0.0))
            scale = np.outer(power, power)
            agree = np.divide(spread, scale, out=np.zeros_like(spread), where=scale > 0.0)
        agree[silent] = 0.0
        agree[:, silent] = 0.0
        agree[~np.isfinite(agree)] = 0.0
        first, second = np.unravel_index(int(agree.argmin()), agree.shape)
        if agree[first, second] < _INVERTED:
            one, two = sorted((int(first) + 1, int(second) + 1))
            lines.append(
                f"channels {one} and {two} are inverted (correlation {agree[first, second]:.2f}): they "
                "cancel in the mean of all channels, which the model hears; give one of them alone"
            )
        return lines
