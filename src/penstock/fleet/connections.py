"""One connection of a server: uvicorn's protocol, which for itself waits for a request's head for ever, however long.

| a client that | is |
|---|---|
| sends no HTTP | answered 400, as an `ErrorBody` |
| sends a head of more than `HEAD_BYTES_MAX` | answered 431 |
| has not sent a whole head after `HEAD_S_MAX` | cut off |
| is sending a body `HEAD_S_MAX` after its answer | cut off |

All of that is before any token was looked at: whoever reaches the address could fill memory and descriptors otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from penstock.core.fleet.policy import HEAD_BYTES_MAX, HEAD_S_MAX
from penstock.fleet.errors import FleetError
from penstock.fleet.routes import REQUEST_ID, made_request_id


class Connection(HttpToolsProtocol):
    """`head_s_max`: from the first byte of a request, or the connection, to the end of its head; `HEAD_S_MAX`."""

    def __init__(self, *args: Any, head_s_max: float = HEAD_S_MAX, **named: Any) -> None:
        super().__init__(*args, **named)
        self._head_s_max = head_s_max
        self._head_bytes = 0
        self._is_in_head = True
        self._is_head_too_long = False
        self._is_refused = False
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As asyncio."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio."""
        self._calm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """As asyncio."""
        if self._is_refused:
            return
        if self._is_in_head:
            self._head_bytes += len(data)
            self._be_patient()
        super().data_received(data)
        if self._is_in_head and self._head_bytes > HEAD_BYTES_MAX and not self._is_refused:
            self._is_head_too_long = True
            self.send_400_response("")

    def on_headers_complete(self) -> None:
        """As httptools."""
        self._is_head_too_long = len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > HEAD_BYTES_MAX
        if self._is_head_too_long:
            raise httptools.HttpParserError("the head is too long")
        self._is_in_head, self._head_bytes = False, 0
        self._calm()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """As httptools."""
        self._is_in_head = True
        self._calm()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """As uvicorn."""
        super().on_response_complete()
        if not self._is_in_head:
            self._be_patient()

    def send_400_response(self, msg: str) -> None:
        """In place of uvicorn's, which is text. What comes after it is read: the answer would go with it otherwise."""
        self._is_refused = True
        if self._is_answering():
            self.transport.abort()
            return
        error = FleetError("INVALID_REQUEST", "this is no request of HTTP/1.1")
        if self._is_head_too_long:
            error = FleetError("HEAD_TOO_LARGE", f"address and headers have at most {HEAD_BYTES_MAX} bytes")
        body = error.body()
        told = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n"
        told += f"{REQUEST_ID}: {made_request_id()}\r\n\r\n"
        self.transport.write(STATUS_LINE[error.status] + told.encode() + body)
        self.transport.write_eof()
        self._be_patient()

    def _be_patient(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self._head_s_max, self._cut_off)

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _cut_off(self) -> None:
        self._patience = None
        if self._is_answering():
            self._be_patient()  # what came meanwhile has time until that is done
        else:
            self.transport.close()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete
