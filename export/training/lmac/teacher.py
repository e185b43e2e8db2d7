"""A teacher: a trained decoder, in a run or in a bundle, whose masks another decoder learns to follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ....errors import RunError
from ....runtime.bundle.open import MANIFEST, Bundle
from ....runtime.inference.session import Sessions
from ..listener import Heard, Listener, fingerprint
from ..run_directory import RunDirectory
from .loss import Teacher
from .trained import read_trained


def load_teacher(path: str | Path, listener: Listener) -> Teacher:
    """The teacher at `path`: a run directory with a decoder over the same classifier, or a bundle.

    Raises RunError where it is neither, or has other labels, another spectrogram or another classifier.
    """
    folder = Path(path)
    if (folder / MANIFEST).is_file():
        return _of_bundle(folder, listener)
    if RunDirectory(folder, "decoder").config_path.is_file():
        return _of_run(folder, listener)
    raise RunError(
        f"{folder}: no teacher; name a run directory with a trained decoder, or a bundle with masks"
    )


def _of_run(folder: Path, listener: Listener) -> Teacher:
    run = RunDirectory(folder, "decoder")
    form, decoder = read_trained(run)
    if run.read_config().get("classifier_sha256") != fingerprint(listener.source):
        raise RunError(
            f"{folder}: this teacher explains another classifier; only over the same one are its masks right"
        )
    decoder.to(device=listener.device, dtype=listener.dtype)

    @torch.no_grad()
    def teach(heard: Heard, target: torch.Tensor) -> torch.Tensor:
        mask: torch.Tensor = decoder(*heard.fed(form.inputs, target))
        return mask

    return teach


def _of_bundle(folder: Path, listener: Listener) -> Teacher:
    bundle = Bundle.open(folder)
    manifest, source = bundle.manifest, listener.source
    if list(manifest.labels) != list(source.labels):
        raise RunError(
            f"{folder}: this teacher has other labels ({', '.join(manifest.labels[:5])}), so other masks"
        )
    stage = manifest.stage("decoder")
    if stage is None:
        raise RunError(f"{folder}: this teacher has no decoder, hence no masks to follow")
    if manifest.analysis != source.analysis or manifest.sample_rate != source.sample_rate:
        raise RunError(f"{folder}: this teacher's spectrogram is another; its masks do not fit")
    if manifest.rescore != "spectrogram" or source.rescore != "spectrogram":
        raise RunError(f"{folder}: only classifiers of spectrograms can be taught by a bundle; name a run")
    sessions = Sessions(bundle, "cpu")
    entry = next(spec.inputs[0].name for spec in manifest.stages if spec.name == "classifier")

    def teach(heard: Heard, target: torch.Tensor) -> torch.Tensor:
        spectrum = heard.spectrum.detach().cpu().float().numpy()
        taps = sessions.run("classifier", {entry: spectrum})
        given = {**taps, "stft": spectrum, "target": target.cpu().numpy().astype(np.int64)}
        mask = sessions.run("decoder", {one.name: given[one.name] for one in stage.inputs}, ["mask"])["mask"]
        return torch.from_numpy(mask).to(listener.device)

    return teach
