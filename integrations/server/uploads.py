"""The sound of a request: read piece by piece into a file without a name, and no further than is allowed.

Such a file is gone when it is closed, and when the process ends however it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from tempfile import SpooledTemporaryFile
from time import monotonic
from typing import IO, NamedTuple

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from ...printable import printable
from .admission import Gone
from .refusals import Refused
from .settings import (
    FIELD_BYTES,
    FORM_FIELDS,
    LONGEST_UPLOAD_S,
    NAME_LENGTH,
    SLOWEST_BYTES_S,
    SPOOL_BYTES,
    STALL_S,
    UPLOAD_S,
)

# The field of a form that holds the sound, and the name of a sound that has none.
FIELD = "sound"
UNNAMED = "upload"
_TYPES = "send the sound itself as audio/* or application/octet-stream, or a form as multipart/form-data"


class Upload(NamedTuple):
    """What was sent.

    file: the sound, at its begin; name: what it is called; size: in bytes
    fields: the form's other fields, as (name, value)
    """

    file: IO[bytes]
    name: str
    size: int
    fields: list[tuple[str, str]]


def check_head(request: Request, max_bytes: int) -> None:
    """Refuse by its head what need not be read: 413, 415, 400."""
    kind = _media_type(request)
    if kind != "multipart/form-data" and not kind.startswith("audio/") and kind not in _PLAIN:
        raise Refused(415, f"{printable(kind[:80]) or 'a body without a type'} is not taken: {_TYPES}")
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise Refused(415, "the body is compressed: send it as it is; FLAC and Ogg are taken")
    length = request.headers.get("content-length")
    if length is not None and int(length) > max_bytes:
        raise _too_large(max_bytes)


# What clients say of a file whose type they do not know; video/* is what browsers say of some Ogg and MP4.
_PLAIN = frozenset({"application/octet-stream", "application/ogg", "video/ogg", "video/webm", "video/mp4"})


@asynccontextmanager
async def received(request: Request, max_bytes: int) -> AsyncIterator[Upload]:
    """The upload of a request, until the block ends.

    Raises Refused: 400, 408, 413, 503; Gone where the client goes.
    """
    chunks = _chunks(request, max_bytes)
    form = _media_type(request) == "multipart/form-data"
    try:
        upload = await (_form(request, chunks) if form else _plain(chunks))
    except OSError as error:
        raise Refused(
            503, f"there is no room for the upload ({error.strerror or error}): try again later", retry_s=30
        ) from error
    try:
        yield upload
    finally:
        upload.file.close()


async def _chunks(request: Request, max_bytes: int) -> AsyncIterator[bytes]:
    """The body, piece by piece."""
    stream, size, begun = request.stream(), 0, monotonic()
    while True:
        left_s = begun + min(UPLOAD_S + size / SLOWEST_BYTES_S, LONGEST_UPLOAD_S) - monotonic()
        try:
            chunk = await asyncio.wait_for(anext(stream, None), min(STALL_S, max(0.0, left_s)))
        except TimeoutError as error:
            raise Refused(
                408, f"the body comes too slowly: {size} bytes in {monotonic() - begun:.0f} s"
            ) from error
        except ClientDisconnect as error:
            raise Gone from error
        if chunk is None:
            return
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


async def _plain(chunks: AsyncIterator[bytes]) -> Upload:
    """A body that is the sound itself."""
    file: SpooledTemporaryFile[bytes] = SpooledTemporaryFile(max_size=SPOOL_BYTES)  # noqa: SIM115
    try:
        # It writes in a thread what goes to the disk.
        upload = UploadFile(file, size=0)  # type: ignore[arg-type]
        async for chunk in chunks:
            await upload.write(chunk)
        await upload.seek(0)
    except BaseException:
        file.close()
        raise
    return Upload(file, UNNAMED, upload.size or 0, [])


async def _form(request: Request, chunks: AsyncIterator[bytes]) -> Upload:
    """A form with one sound."""
    _, given = parse_options_header(request.headers["content-type"])
    if given.get(b"charset", b"utf-8").lower() not in {b"utf-8", b"utf8"}:
        raise Refused(415, "the form's names are in another encoding: UTF-8 is taken")
    parser = MultiPartParser(
        request.headers,
        chunks,  # type: ignore[arg-type]  # any asynchronous iterator serves
        max_files=1,
        max_fields=FORM_FIELDS,
        max_part_size=FIELD_BYTES,
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refused(400, f"the form cannot be read: {printable(error.message)}") from error
    files = [(name, value) for name, value in form.multi_items() if isinstance(value, UploadFile)]
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    try:
        if [name for name, _ in files] != [FIELD]:
            raise Refused(
                400, f"the form holds no file in a field {FIELD!r}: send it as curl -F {FIELD}=@FILE"
            )
        [(_, upload)] = files
        # A part that was never finished is not there, so its file stands at its begin.
        return Upload(upload.file, (upload.filename or UNNAMED)[:NAME_LENGTH], upload.size or 0, fields)
    except BaseException:
        with suppress(OSError):
            for _, upload in files:
                upload.file.close()
        raise


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _too_large(max_bytes: int) -> Refused:
    return Refused(413, f"the upload is larger than {max_bytes} bytes: cut the sound, or send it as FLAC")
