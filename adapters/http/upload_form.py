"""Takes a multipart upload apart while it arrives: at no time is more of it in memory than one piece."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Final

from streaming_form_data import ParseFailedException, StreamingFormDataParser
from streaming_form_data.targets import BaseTarget

from adapters.http.bodies import FORM_OVERHEAD_BYTES_MAX
from domain.mvc import TEXT_LENGTH_MAX

_PATIENT_BYTES_MAX: Final = 256
_MVC_BYTES_MAX: Final = 4 * TEXT_LENGTH_MAX

# RFC 2046, 5.1.1.
_BOUNDARY: Final = re.compile(
    r"""multipart/form-data\s*;.*?\bboundary=(?:"([\w'()+,\-./:=? ]{0,69}[\w'()+,\-./:=?])"|([\w'+\-.]{1,70}))""",
    re.ASCII | re.IGNORECASE,
)
_NO_FORM: Final = "the body is not the form that its content type promises, with the fields `patient`, `mvc` and `file` alone"


class NotAForm(Exception):
    """The request's content type is not multipart/form-data with a boundary."""


class MalformedForm(Exception):
    """The body is not the form that its content type promises, or its fields are not those expected. The message says which."""


class _File(BaseTarget):  # type: ignore[misc]  # the library has no types
    """The field with the file. What has arrived of it waits in `pieces`."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.bytes = 0
        self.started = False
        self.finished = False

    def on_start(self) -> None:
        if self.started:
            raise MalformedForm("the field `file` is there twice; upload one recording a request")
        if not self.multipart_filename:
            raise MalformedForm("the field `file` must be a file with a name")
        self.started = True

    def on_data_received(self, chunk: bytes) -> None:
        self.pieces.append(bytes(chunk))
        self.bytes += len(chunk)

    def on_finish(self) -> None:
        self.finished = True


class _Field(BaseTarget):  # type: ignore[misc]
    """A field of text."""

    def __init__(self, name: str, file: _File, *, bytes_max: int) -> None:
        super().__init__()
        self._bytes_max = bytes_max
        self._name = name
        self._file = file
        self._bytes = b""
        self.text: str | None = None

    def on_start(self) -> None:
        if self._file.started:
            raise MalformedForm(f"the field `{self._name}` must come before `file`")
        if self.text is not None or self._bytes:
            raise MalformedForm(f"the field `{self._name}` is there twice")

    def on_data_received(self, chunk: bytes) -> None:
        self._bytes += chunk
        if len(self._bytes) > self._bytes_max:
            raise MalformedForm(f"the field `{self._name}` is longer than {self._bytes_max} bytes")

    def on_finish(self) -> None:
        try:
            self.text = self._bytes.decode()
        except UnicodeDecodeError:
            raise MalformedForm(f"the field `{self._name}` is not UTF-8") from None


class UploadForm:
    """The form of an upload: `patient` and `mvc`, if at all, then `file`. Call `read_head`, then iterate `chunks` once.

    Both raise MalformedForm, and what the body's stream raises.
    """

    def __init__(self, body: AsyncIterator[bytes], content_type: str) -> None:
        found = _BOUNDARY.match(content_type)
        if found is None:
            raise NotAForm("an upload is multipart/form-data with a boundary, and the fields `patient`, `mvc` and `file`")
        boundary = found[1] or found[2]
        self._body = body
        self._bytes = 0
        self._file = _File()
        self._patient = _Field("patient", self._file, bytes_max=_PATIENT_BYTES_MAX)
        self._mvc = _Field("mvc", self._file, bytes_max=_MVC_BYTES_MAX)
        self._parser = StreamingFormDataParser({"content-type": f'multipart/form-data; boundary="{boundary}"'}, strict=True)
        self._parser.register("patient", self._patient)
        self._parser.register("mvc", self._mvc)
        self._parser.register("file", self._file)

    @property
    def file_name(self) -> str:
        """The file's name, as the client gave it: not to be opened."""
        return self._file.multipart_filename or ""

    @property
    def patient_code(self) -> str | None:
        """What stands in the field `patient`; None if it is empty or not there."""
        return self._patient.text or None

    @property
    def mvc(self) -> str:
        """What stands in the field `mvc`, as it was sent."""
        return self._mvc.text or ""

    async def read_head(self) -> None:
        """Reads up to where the file begins."""
        async for chunk in self._body:
            self._take(chunk)
            if self._file.started:
                return
        raise MalformedForm("the field `file` is missing")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The file, as it arrives. What is not whole ends with MalformedForm."""
        for piece in self._taken_pieces():
            yield piece
        async for chunk in self._body:
            self._take(chunk)
            for piece in self._taken_pieces():
                yield piece
        if not self._file.finished:
            raise MalformedForm("the form is not whole: the body does not end with its last boundary")

    def _taken_pieces(self) -> list[bytes]:
        pieces, self._file.pieces = self._file.pieces, []
        return pieces

    def _take(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        try:
            self._parser.data_received(chunk)
        except ParseFailedException:
            raise MalformedForm(_NO_FORM) from None
        if self._bytes - self._file.bytes > FORM_OVERHEAD_BYTES_MAX and not (self._file.started and not self._file.finished):
            raise MalformedForm(f"all but the file must fit into {FORM_OVERHEAD_BYTES_MAX} bytes")
