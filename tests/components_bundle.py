"""An interpreter without PyTorch: NMF activations by multiplicative updates, as a graph, and a fitted theta.

H is what Lee and Seung's updates find for X = log1p|STFT| and a dictionary that scikit-learn learnt; z is its
mean over time; theta is a logistic regression from z to the labels. Honest, if weaker than a trained one.
"""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
from changed_bundle import sign
from onnx import TensorProto, helper, numpy_helper
from saved_graph import node

import earmark
from earmark.runtime.audio.sound import open_sound
from earmark.runtime.explainer import engine_of

UPDATES = 20


def learn(bundle: Path, clips: list[tuple[np.ndarray, list[str]]], count: int):
    """Dictionary W [F, K] and theta [C, K] from (waveform at the bundle's rate, labels)."""
    from sklearn.decomposition import MiniBatchNMF
    from sklearn.linear_model import LogisticRegression

    with earmark.load(bundle, device="cpu") as explainer:
        labels, rate = explainer.labels, engine_of(explainer).manifest.sample_rate
        spectra = []
        for waveform, _ in clips:
            opened = open_sound((waveform, rate), None, rate)
            heard = next(iter(engine_of(explainer).windows(opened)))
            spectra.append(np.log1p(np.hypot(heard.stft[..., 0], heard.stft[..., 1])))
    model = MiniBatchNMF(count, init="nndsvda", random_state=0, max_iter=30, alpha_W=0.0, alpha_H=0.0)
    with warnings.catch_warnings():
        # Not converged is good enough.
        warnings.simplefilter("ignore")
        model.fit(np.concatenate(spectra) + 1e-7)
    columns = np.maximum(model.components_.T, 1e-9)
    columns = (columns / np.linalg.norm(columns, axis=0)).astype(np.float32)
    pooled = np.stack([activate(columns, one).mean(axis=0) for one in spectra])
    scale = pooled.std(axis=0) + 1e-6
    theta = np.zeros((len(labels), count))

    def fitted(wanted):
        return LogisticRegression(C=30.0, fit_intercept=False, max_iter=2000).fit(pooled / scale, wanted)

    if all(len(own) == 1 for _, own in clips):
        model = fitted([own[0] for _, own in clips])
        theta[[labels.index(label) for label in model.classes_]] = model.coef_ / scale
    else:
        for row, label in enumerate(labels):
            theta[row] = fitted([label in own for _, own in clips]).coef_[0] / scale
    return columns, theta.astype(np.float32)


def activate(columns: np.ndarray, spectrum: np.ndarray, updates: int = UPDATES) -> np.ndarray:
    """H [T, K] of X [T, F]: what the graph computes."""
    product = spectrum @ columns
    found = product.copy()
    for _ in range(updates):
        found = found * product / (found @ (columns.T @ columns) + 1e-9)
    return found


def graph(columns: np.ndarray, theta: np.ndarray, updates: int = UPDATES) -> onnx.ModelProto:
    """The stage "interpreter" over the listenable STFT."""
    bins, count = columns.shape
    classes = len(theta)
    weights = {
        "W": columns,
        "gram": columns.T @ columns,
        "theta_t": np.ascontiguousarray(theta.T),
        "tiny": np.float32([1e-9]),
        "one": np.float32([1.0]),
        "last": np.int64([-1]),
        "time": np.int64([1]),
    }
    nodes = [
        node("Mul", "stft stft", "squares"),
        node("ReduceSum", "squares last", "power", keepdims=0),
        node("Sqrt", "power", "magnitude"),
        node("Add", "magnitude one", "raised"),
        node("Log", "raised", "spectrum"),
        node("MatMul", "spectrum W", "product"),
    ]
    last = "product"
    for step in range(updates):
        nodes += [
            node("MatMul", f"{last} gram", f"model_{step}"),
            node("Add", f"model_{step} tiny", f"floored_{step}"),
            node("Div", f"product floored_{step}", f"ratio_{step}"),
            node("Mul", f"{last} ratio_{step}", f"found_{step}"),
        ]
        last = f"found_{step}"
    nodes += [
        node("Transpose", last, "activations", perm=[0, 2, 1]),
        node("ReduceMean", f"{last} time", "pooled", keepdims=0),
        node("MatMul", "pooled theta_t", "logits"),
    ]
    tensor = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "interpreter",
            [tensor("stft", TensorProto.FLOAT, ["batch", "frames", bins, 2])],
            [
                tensor("activations", TensorProto.FLOAT, ["batch", count, "frames"]),
                tensor("pooled", TensorProto.FLOAT, ["batch", count]),
                tensor("logits", TensorProto.FLOAT, ["batch", classes]),
            ],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=9,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def facts(columns: np.ndarray, theta: np.ndarray, labels: list[str], rate: int) -> list[dict]:
    """A `ComponentSpec` a column."""
    bin_hz = 0.5 * rate / (len(columns) - 1)
    made = []
    for column, weights in zip(columns.T, theta.T, strict=True):
        strong = np.flatnonzero(column >= 0.5 * column.max())
        made.append(
            {
                "peak_hz": float(column.argmax() * bin_hz),
                "bandwidth_hz": float((strong[-1] - strong[0] + 1) * bin_hz),
                "label": labels[int(weights.argmax())],
                "clip": f"{labels[int(weights.argmax())]}/1-1-A.flac",
                "start_s": 0.25,
                "end_s": 0.75,
            }
        )
    return made


def write(source: Path, target: Path, columns: np.ndarray, theta: np.ndarray, **changed) -> Path:
    """Copy the bundle `source` to `target`, with interpreter, dictionary and golden answers.

    changed: fields of the manifest's components, or `task`
    """
    shutil.copytree(source, target)
    manifest = json.loads((target / "bundle.json").read_text())
    onnx.save(graph(columns, theta), str(target / "interpreter.onnx"))
    np.savez(target / "dictionary.npz", dictionary=columns, theta=theta)
    bins, count = columns.shape
    dims = {
        "activations": ["batch", count, "frames"],
        "pooled": ["batch", count],
        "logits": ["batch", len(theta)],
    }
    manifest["stages"].append(
        {
            "name": "interpreter",
            "file": "interpreter.onnx",
            "data": [],
            "opset": 20,
            "inputs": [{"name": "stft", "dtype": "float32", "dims": ["batch", "frames", bins, 2]}],
            "outputs": [{"name": n, "dtype": "float32", "dims": d} for n, d in dims.items()],
        }
    )
    manifest["explainers"].append("components")
    manifest["task"] = changed.pop("task", manifest["task"])
    manifest["components"] = {
        "count": count,
        "file": "dictionary.npz",
        "sample_rate": manifest["sample_rate"],
        "analysis": manifest["analysis"],
        "threshold": 0.3 if manifest["task"] == "multi_label" else 0.2,
        "by_design": False,
        "components": facts(columns, theta, manifest["labels"], manifest["sample_rate"]),
        **changed,
    }
    (target / "bundle.json").write_text(json.dumps(manifest))
    sign(target, "interpreter.onnx", "dictionary.npz")
    _golden(target, columns, theta)
    sign(target, "golden.npz")
    return target


def _golden(bundle: Path, columns: np.ndarray, theta: np.ndarray) -> None:
    """Add the interpreter's answers, by NumPy, to the golden ones."""
    from earmark.runtime.audio.stft import forward
    from earmark.runtime.bundle.open import read_manifest

    analysis = read_manifest(bundle).analysis
    with np.load(bundle / "golden.npz") as file:
        arrays = dict(file)
    for name in [name for name in arrays if name.startswith("waveform")]:
        index = name.rpartition("_")[2]
        spectra = np.log1p(np.abs(forward(arrays[name], analysis)))
        found = np.stack([activate(columns, one) for one in spectra]).astype(np.float32)
        arrays[f"activations_{index}"] = np.ascontiguousarray(found.transpose(0, 2, 1))
        arrays[f"pooled_{index}"] = found.mean(axis=1)
        arrays[f"interpreted_{index}"] = found.mean(axis=1) @ theta.T
    np.savez_compressed(bundle / "golden.npz", **arrays)
