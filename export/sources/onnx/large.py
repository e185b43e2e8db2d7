"""Read a large .onnx without its weights: each then lies, as one beside the graph would, in the file itself.

Parsed as a whole, weights are in memory several times over: in the file's bytes, in the message, in each copy
of it and in each session. Left where they are, onnxruntime maps them. The wire format is protobuf's; the
numbers of fields are those of onnx.proto.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import onnx

# Smaller files are parsed as they are; smaller weights stay in the graph.
LARGE_FILE_BYTES = 1 << 28
_LARGE_WEIGHT_BYTES = 1 << 20
# ModelProto.graph, GraphProto.initializer, TensorProto.raw_data.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def read_without_weights(path: Path) -> onnx.ModelProto:
    """The model, whose large weights have `path` itself as their external data.

    Raises ValueError where the file is no protobuf, and what protobuf raises where it is no model.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        view = memoryview(held)
        try:
            pieces = [*_model(view, path.name)]
        finally:
            view.release()
    model = onnx.ModelProto()
    model.ParseFromString(b"".join(pieces))
    return model


def _model(view: memoryview, name: str) -> Iterator[bytes]:
    for field, kind, start, first, last in _fields(view, 0, len(view)):
        if (field, kind) == (_GRAPH, _BYTES):
            yield _message(_GRAPH, b"".join(_graph(view, first, last, name)))
        else:
            yield bytes(view[start:last])


def _graph(view: memoryview, begin: int, end: int, name: str) -> Iterator[bytes]:
    for field, kind, start, first, last in _fields(view, begin, end):
        large = (field, kind) == (_INITIALIZER, _BYTES) and last - first >= _LARGE_WEIGHT_BYTES
        yield (
            _message(_INITIALIZER, b"".join(_tensor(view, first, last, name)))
            if large
            else bytes(view[start:last])
        )


def _tensor(view: memoryview, begin: int, end: int, name: str) -> Iterator[bytes]:
    for field, kind, start, first, last in _fields(view, begin, end):
        if (field, kind) != (_RAW_DATA, _BYTES) or last - first < _LARGE_WEIGHT_BYTES:
            yield bytes(view[start:last])
            continue
        place = onnx.TensorProto(data_location=onnx.TensorProto.EXTERNAL)
        for key, value in (("location", name), ("offset", first), ("length", last - first)):
            place.external_data.add(key=key, value=str(value))
        # Fields of a message may follow each other in any order.
        yield place.SerializeToString()


def _fields(view: memoryview, at: int, end: int) -> Iterator[tuple[int, int, int, int, int]]:
    """Number and kind of each field, where it begins, and where its value begins and ends."""
    while at < end:
        start = at
        tag, at = _varint(view, at, end)
        kind = tag & 7
        if kind == _VARINT:
            first, last = at, _varint(view, at, end)[1]
        elif kind == _BYTES:
            length, first = _varint(view, at, end)
            last = first + length
        elif kind in (_FIXED32, _FIXED64):
            first, last = at, at + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError("it is no protobuf")
        if last > end:
            raise ValueError("it is cut short")
        yield tag >> 3, kind, start, first, last
        at = last


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= end:
            raise ValueError("it is cut short")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is no protobuf")


def _message(field: int, content: bytes) -> bytes:
    """A field that holds a message."""
    return _encoded(field << 3 | _BYTES) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
