"""What kinds of models people have, what each is explained by, and the command for it: README's table."""

from __future__ import annotations

from dataclasses import dataclass

_ONNX = "earmark export model.onnx -o bundle --labels labels.txt --sample-rate 8000"
_OPEN = f"{_ONNX} --window 0.5"


@dataclass(frozen=True)
class ModelKind:
    """A row of the table.

    Attributes:
        model: What the model is.
        gives: What its bundle explains by.
        command: What exports it.
        test: The test that runs it, where it is not that of the table: file::function.

    """

    model: str
    gives: str
    command: str
    test: str = ""


KINDS = (
    ModelKind("`.onnx`: waveforms of any length, logits", "segments", _OPEN),
    ModelKind("of a fixed length", "segments", _ONNX),
    ModelKind("that ends in a sigmoid", "segments", f"{_OPEN} --task multi_label --scores probabilities"),
    ModelKind("that ends in a softmax", "segments", f"{_OPEN} --scores probabilities"),
    ModelKind(
        "that gives values (a regression)",
        "segments: what raises and what lowers a value",
        f"{_OPEN} --task regression",
    ),
    ModelKind(
        "with scores of frames",
        "segments",
        f"{_OPEN} --task multi_label --scores probabilities --reduce max",
    ),
    ModelKind("with a recurrent state", "segments", f"{_OPEN} --state h=zeros"),
    ModelKind(
        "with a tensor before pooling",
        "segments, prototypes after `earmark index`; contributions that add up where the head is linear",
        f"{_OPEN} --feature-map active --map-axes ct",
    ),
    ModelKind(
        "with an embedding beside the scores",
        "segments, prototypes of whole windows",
        f"{_OPEN} --scores-output y --feature-map pooled --map-axes c",
    ),
    ModelKind(
        "of tokens (AST)",
        "segments, prototypes",
        f"{_ONNX} --frontend ast --feature-map TENSOR --map-axes nc --map-tokens 12,frequency,2 --map-bands "
        "EDGES",
        "tests/export/test_onnx_tokens.py::test_tokens_are_laid_out_and_their_order_is_checked",
    ),
    ModelKind(
        "that takes features",
        "segments",
        f"{_ONNX} --frontend ast",
        "tests/export/test_frontends.py::test_another_graph_is_the_front_end",
    ),
    ModelKind(
        "any of these, with sounds to train on",
        "masks as well",
        "earmark train lmac model.onnx DATA -o run, then --decoder run",
        "tests/export/test_onnx_masks.py::test_end_to_end",
    ),
    ModelKind(
        "a run of `earmark train`",
        "masks, segments, components and prototypes as trained",
        "earmark export run -o bundle",
        "tests/export/test_training_folders.py",
    ),
    ModelKind(
        "a SpeechBrain folder of an interpret recipe",
        "masks, segments, prototypes with contributions",
        "earmark export results/psi/1234 -o bundle",
        "tests/export/test_speechbrain.py::test_full_size_end_to_end",
    ),
    ModelKind(
        "a Hugging Face folder",
        "segments, prototypes, masks after `earmark train lmac`",
        "earmark export folder -o bundle",
        "tests/export/test_hugging_face_models.py::test_bundles_answer_as_the_original_pipeline",
    ),
    ModelKind(
        "a PANNs checkpoint",
        "segments, prototypes, masks after `earmark train lmac`",
        "earmark export Cnn14.pth -o bundle",
        "tests/export/test_panns.py::test_a_fine_tuned_checkpoint_becomes_a_bundle",
    ),
    ModelKind(
        "any PyTorch model",
        "what its adapter names, masks after `earmark train lmac`",
        "earmark export my_model:adapter -o bundle",
        "tests/export/test_exporting.py::test_an_adapter_becomes_a_bundle_with_prototypes",
    ),
    ModelKind(
        "TensorFlow, TorchScript, Core ML, TensorRT",
        "the way to an `.onnx` file",
        "earmark export model.tflite -o bundle",
        "tests/export/test_inspect_graph.py::test_other_formats_are_told_the_way",
    ),
)


def table() -> str:
    """The table as README has it."""
    rows = [f"| {kind.model} | {kind.gives} | `{kind.command}` |" for kind in KINDS]
    return "\n".join(["| your model | explained by | command |", "| --- | --- | --- |", *rows])
