"""A run directory: a readable config, safetensors weights, a metrics file, a plot. Nothing is pickled.

    config.json              the classifier: labels, sound, analysis, architecture, how it was trained
    classifier.safetensors   its weights
    decoder.json, decoder.safetensors        the same for the L-MAC decoder
    interpreter.json, interpreter.safetensors    for the L2I interpreter, and dictionary.npz
    apex/apex.json, apex/apex.safetensors    the learnt U and its report
    <part>_metrics.jsonl, <part>_loss.png    one line an epoch, and the plot
    <part>_resume.safetensors                while training is not finished: everything to go on exactly

Every file appears whole or not at all, and what a killed run left is removed by the next one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import nn

from ....errors import RunError
from ....prototypes_index.atomic import write_whole
from .config import FORMAT, VERSION, AnyConfig, Config

# One line of the metrics: the number of the epoch (or round), its loss and figures.
Row = Mapping[str, float]
Record = TypeVar("Record")
RunPart = Literal["classifier", "decoder", "interpreter", "apex"]


def holds_classifier(folder: Path) -> bool:
    """Whether a folder is the run directory of a classifier, begun or finished."""
    return RunDirectory(folder, "classifier").config_path.is_file()


@dataclass(frozen=True)
class RunDirectory:
    """The files of one part (classifier, decoder or interpreter) of a run."""

    path: Path
    part: RunPart

    @property
    def config_path(self) -> Path:
        """The part's config."""
        return self.path / ("config.json" if self.part == "classifier" else f"{self.part}.json")

    @property
    def weights_path(self) -> Path:
        """The finished weights."""
        return self.path / f"{self.part}.safetensors"

    @property
    def resume_path(self) -> Path:
        """What a resumed training goes on from; not there once finished."""
        return self.path / f"{self.part}_resume.safetensors"

    @property
    def metrics_path(self) -> Path:
        """One JSON line an epoch."""
        return self.path / f"{self.part}_metrics.jsonl"

    @property
    def begun(self) -> bool:
        """Whether the part's training was ever started here."""
        return self.config_path.exists() or self.weights_path.exists()

    def read_config(self, kind: type[AnyConfig]) -> AnyConfig:
        """The part's config, as the class that describes it.

        Raises RunError where it is missing, damaged, or from a newer earmark.
        """
        try:
            document = msgspec.json.decode(self.config_path.read_bytes())
        except FileNotFoundError as error:
            raise RunError(f"{self.config_path}: not there, so this is no run directory") from error
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise RunError(f"{self.config_path}: cannot be read ({error})") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise RunError(f"{self.config_path}: not the config of an earmark run")
        version = document.get("version")
        if not isinstance(version, int) or version > VERSION:
            raise RunError(
                f"{self.config_path}: version {version!r}, and this earmark reads up to {VERSION}; install a "
                "newer earmark"
            )
        try:
            return msgspec.convert(document, kind)
        except msgspec.ValidationError as error:
            raise RunError(f"{self.config_path} is damaged or of an older earmark ({error})") from error

    def write_config(self, config: Config) -> None:
        """Write the part's config."""
        self.path.mkdir(parents=True, exist_ok=True)
        text = json.dumps(msgspec.to_builtins(config), indent=2, ensure_ascii=False, allow_nan=False)
        write_whole(self.config_path, f"{text}\n".encode())

    def write_weights(self, state: Mapping[str, torch.Tensor]) -> None:
        """Write the finished weights and drop the resume state."""
        write_whole(self.weights_path, save({k: v.contiguous() for k, v in state.items()}))
        self.resume_path.unlink(missing_ok=True)

    def read_weights(self) -> dict[str, torch.Tensor]:
        """The finished weights. Raises RunError where they are missing or damaged."""
        if not self.weights_path.is_file():
            if self.resume_path.is_file():
                raise RunError(
                    f"{self.path}: the training of the {self.part} is not finished; go on with --resume"
                )
            raise RunError(f"{self.weights_path}: not there; train the {self.part} first")
        try:
            return load_file(self.weights_path)
        except (SafetensorError, OSError) as error:
            raise RunError(f"{self.weights_path}: damaged ({error}); train the {self.part} again") from error

    def fill(self, model: nn.Module) -> None:
        """Load the finished weights into `model`, frozen and in evaluation mode.

        Raises RunError where they are missing, damaged, or of another model.
        """
        try:
            model.load_state_dict(self.read_weights(), strict=True)
        except RuntimeError as error:
            if isinstance(error, RunError):
                raise
            detail = " ".join(str(error).split())[:200]
            raise RunError(f"{self.weights_path}: does not fit {self.config_path.name}: {detail}") from error
        model.eval().requires_grad_(requires_grad=False)

    def write_state(self, tensors: Mapping[str, torch.Tensor], state: object) -> None:
        """Write all that a resumed training needs: tensors and a record that msgspec encodes, in one file."""
        record = msgspec.json.encode(state).decode()
        write_whole(
            self.resume_path, save({k: v.contiguous() for k, v in tensors.items()}, {"state": record})
        )

    def read_state(self, kind: type[Record]) -> tuple[dict[str, torch.Tensor], Record] | None:
        """What `write_state` wrote, or None. Raises RunError where it is damaged or of another training."""
        if not self.resume_path.is_file():
            return None
        try:
            with safe_open(self.resume_path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
                state = msgspec.json.decode((file.metadata() or {})["state"], type=kind)
        except (SafetensorError, OSError, KeyError, msgspec.MsgspecError) as error:
            raise RunError(f"{self.resume_path}: damaged ({error}); start the training again") from error
        return tensors, state

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Write the metrics file: one JSON object a line, one line an epoch."""
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_whole(self.metrics_path, text.encode())

    def read_metrics(self) -> list[Row]:
        """The metrics, one record an epoch; empty where there are none."""
        if not self.metrics_path.is_file():
            return []
        try:
            rows = [json.loads(line) for line in self.metrics_path.read_text(encoding="utf-8").splitlines()]
            return msgspec.convert(rows, list[Row])
        except (ValueError, msgspec.ValidationError) as error:
            raise RunError(f"{self.metrics_path}: damaged ({error}); train the {self.part} again") from error

    def plot(self, rows: Sequence[Row], curves: Mapping[str, Sequence[str]]) -> None:
        """Draw `<part>_loss.png`: one panel for each entry of `curves`, titled by its key."""
        import io

        # Not pyplot: no global state, no display.
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 2.8 * len(curves)), layout="constrained")
        for index, (title, names) in enumerate(curves.items()):
            axes = figure.add_subplot(len(curves), 1, index + 1)
            for name in names:
                points = [(row["epoch"], row[name]) for row in rows if row.get(name) is not None]
                if points:
                    axes.plot(*zip(*points, strict=True), label=name)
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
            if axes.lines:
                axes.legend()
        image = io.BytesIO()
        figure.savefig(image, format="png", dpi=110)
        write_whole(self.path / f"{self.part}_loss.png", image.getvalue())
