"""Models in formats that are no source: which way leads from them to one. Never torch."""

from __future__ import annotations

import zipfile
from pathlib import Path

from ...errors import SourceError

_TF2ONNX = "pip install tf2onnx, then: python -m tf2onnx.convert {what} {path} --opset 17 --output model.onnx"
STATE = (
    "holds weights without the model (or pickled code, which is never loaded): build the model in Python "
    "and give module:factory, a function that returns an earmark.export.Adapter (docs/adapters.md), or write "
    "a graph by torch.onnx.export(model.eval(), (torch.zeros(1, N),), 'model.onnx', dynamo=True)"
)
_CORE_ML = (
    "is a Core ML model, from which no graph can be made; give the model it was converted from, as an .onnx "
    "file or module:factory"
)
# By the end of the name: what it is, and what leads on.
_WAYS = {
    ".tflite": "is a TensorFlow Lite model; "
    + _TF2ONNX.format(what="--tflite", path="{path}")
    + " (where it lacks an operator, as RFFT or REDUCE_MIN of BirdNET, convert the SavedModel or Keras model "
    "that the file was made from, by --saved-model DIR)",
    ".pb": "is a TensorFlow graph; "
    + _TF2ONNX.format(what="--graphdef", path="{path}")
    + " --inputs NAME:0 --outputs NAME:0",
    ".h5": "is a Keras model; " + _TF2ONNX.format(what="--keras", path="{path}"),
    ".keras": "is a Keras model; write a graph by keras.saving.load_model('{path}').export('model.onnx', "
    "format='onnx')",
    ".ort": "is a graph in onnxruntime's own format; give the .onnx file that it was made from",
    ".engine": "is a TensorRT engine of one GPU; give the .onnx file that it was made from",
    ".plan": "is a TensorRT engine of one GPU; give the .onnx file that it was made from",
    ".mlmodel": _CORE_ML,
    ".mlpackage": _CORE_ML,
    ".safetensors": STATE,
    ".pt": STATE,
    ".pth": STATE,
    ".ckpt": STATE,
    ".bin": STATE,
}


# Endings of checkpoints, which may be of PANNs.
CHECKPOINTS = (".pt", ".pth", ".ckpt")


def refuse_foreign(text: str) -> None:
    """Raise SourceError where `text` names a model in a format that is no source, with the way out of it."""
    path = Path(text)
    # A package of Core ML is a folder.
    if path.is_dir() and path.suffix.lower() != ".mlpackage":
        if (path / "saved_model.pb").is_file():
            raise SourceError(
                f"{text}: is a TensorFlow SavedModel; {_TF2ONNX.format(what='--saved-model', path=text)}"
            )
        return
    way = _WAYS.get(path.suffix.lower())
    if way is None or not path.exists():
        return
    if way is STATE and _is_torchscript(path):
        raise SourceError(
            f"{text}: is TorchScript, which is code; write a graph by torch.onnx.export(torch.jit.load("
            f"'{text}').eval(), (torch.zeros(1, N),), 'model.onnx', dynamo=False, input_names=['wave'], "
            "dynamic_axes={'wave': {0: 'batch', 1: 'samples'}}), N the samples of a window"
        )
    if path.suffix.lower() not in CHECKPOINTS:
        raise SourceError(f"{text}: {way.replace('{path}', text)}")


def _is_torchscript(path: Path) -> bool:
    """Whether the file is an archive with code, which weights alone have not."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return False
