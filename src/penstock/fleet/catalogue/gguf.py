"""Reads what a GGUF file says of its model. The file is somebody else's: nothing is believed before it is checked
against the size of the file, and what is kept of it is small, whatever a length says.

    magic "GGUF", version u32, tensors u64, pairs u64
    pairs:   key (text), type u32, value             text: length u64, bytes
    tensors: name (text), dimensions u32, u64 each, type u32, offset u64
    tensor data, aligned
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass, field
from math import prod
from typing import Any, BinaryIO, Final

from penstock.core.policy import Frozen
from penstock.fleet.catalogue.gguf_types import FILE_TYPES, SCALARS, TENSOR_TYPES

MAGIC: Final = b"GGUF"
VERSIONS: Final = (2, 3)
PAIRS_MAX: Final = 4_096
TENSORS_MAX: Final = 1_000_000
DIMENSIONS_MAX: Final = 8
TEXT_BYTES_MAX: Final = 4_096
"""Of a key, or of a text that is kept; a longer text is passed over."""
ITEMS_KEPT_MAX: Final = 512
"""Of an array of numbers; a longer one is counted and passed over."""
ALIGNMENT: Final = 32
ALIGNMENT_MAX: Final = 65_536
TEXT, ARRAY = 8, 9


class NotGguf(Exception):
    """The bytes are no model that can be loaded. `fix`: what to do."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message, self.fix = message, fix


DOWNLOAD_AGAIN: Final = "download it again, and give its --sha256"


class Metadata(Frozen):
    """What a GGUF file says of its model. 0 or empty: it does not say."""

    version: int
    architecture: str
    name: str = ""
    quantisation: str = ""
    """`Q4_K_M`, `Q8_0`, `F16` ..."""
    context: int = 0
    """Tokens that it was trained for."""
    vocabulary: int = 0
    eos: int = -1
    parameters: int = 0
    tensors: int = 0
    layers: int = 0
    cache_bytes_per_token: int = 0
    """Of the KV cache, with 16-bit values."""
    parts: int = 1
    bytes: int = 0


@dataclass(frozen=True)
class Skipped:
    """A value that was passed over; of an array, how many items it has."""

    items: int = 0


@dataclass
class _Reading:
    """`size` bytes of `file`, read from the beginning."""

    file: BinaryIO
    size: int
    at: int = 0

    def take(self, count: int) -> bytes:
        self._within(count)
        data = self.file.read(count)
        if len(data) < count:
            raise _truncated(self.at + len(data))
        self.at += count
        return data

    def skip(self, count: int) -> None:
        self._within(count)
        self.file.seek(count, 1)
        self.at += count

    def whole(self, layout: struct.Struct) -> Any:
        return layout.unpack(self.take(layout.size))[0]

    def text(self) -> str | Skipped:
        count = self.whole(U64)
        if count > TEXT_BYTES_MAX:
            self.skip(count)
            return Skipped()
        return self.take(count).decode(errors="replace")

    def _within(self, count: int) -> None:
        if count > self.size - self.at:
            raise _truncated(self.size)


U32 = struct.Struct("<I")
U64 = struct.Struct("<Q")


def _truncated(at: int) -> NotGguf:
    return NotGguf(f"the file ends at byte {at:,}, in the middle of what it says of itself", DOWNLOAD_AGAIN)


def _malformed(what: str) -> NotGguf:
    return NotGguf(f"is damaged: {what}", DOWNLOAD_AGAIN)


def read_gguf(file: BinaryIO, size: int) -> Metadata:
    """Of a file of `size` bytes, opened at its beginning. Raises `NotGguf`, `OSError`."""
    reading = _Reading(file, size)
    version = _read_version(reading)
    tensors, pairs = reading.whole(U64), reading.whole(U64)
    if tensors > TENSORS_MAX or pairs > PAIRS_MAX:
        raise _malformed(f"it says that it has {tensors:,} tensors and {pairs:,} values")
    said = dict(_read_pair(reading) for _ in range(pairs))
    seen = _read_tensors(reading, tensors)
    _check_data(reading, seen, _number(said, "general.alignment") or ALIGNMENT)
    return _metadata(version, said, seen, size)


def _read_version(reading: _Reading) -> int:
    if reading.size < 4 or reading.take(4) != MAGIC:
        fix = "give a *.gguf file; others are converted with llama.cpp's convert_hf_to_gguf.py"
        raise NotGguf("is no GGUF file", fix)
    version = int(reading.whole(U32))
    if version in VERSIONS:
        return version
    if int.from_bytes(version.to_bytes(4, "big"), "little") in VERSIONS:
        raise NotGguf("is a GGUF file of a big-endian machine", "get the little-endian one")
    raise NotGguf(f"is GGUF of version {version}: 2 and 3 can be read", "convert it with llama.cpp of today")


def _read_pair(reading: _Reading) -> tuple[str, Any]:
    key = reading.text()
    if not isinstance(key, str):
        raise _malformed(f"a key of more than {TEXT_BYTES_MAX:,} bytes")
    return key, _read_value(reading, reading.whole(U32))


def _read_value(reading: _Reading, kind: int) -> Any:
    if kind == TEXT:
        return reading.text()
    if kind == ARRAY:
        return _read_array(reading, reading.whole(U32), reading.whole(U64))
    if kind in SCALARS:
        return reading.whole(SCALARS[kind])
    raise _malformed(f"a value of the unknown type {kind}")


def _read_array(reading: _Reading, kind: int, items: int) -> Any:
    if kind == TEXT:
        return _skip_texts(reading, items)
    if kind not in SCALARS:
        raise _malformed(f"an array of the unknown type {kind}")
    layout = SCALARS[kind]
    if items > ITEMS_KEPT_MAX:
        reading.skip(items * layout.size)
        return Skipped(items)
    return [reading.whole(layout) for _ in range(items)]


def _skip_texts(reading: _Reading, items: int) -> Skipped:
    if items * U64.size > reading.size - reading.at:
        raise _truncated(reading.size)
    for _ in range(items):
        reading.skip(reading.whole(U64))
    return Skipped(items)


@dataclass
class _Tensors:
    """`end`: where the data of the last one ends, from the beginning of all data."""

    parameters: int = 0
    end: int = 0
    number: int = 0
    types: Counter[int] = field(default_factory=Counter)


def _read_tensors(reading: _Reading, count: int) -> _Tensors:
    seen = _Tensors(number=count)
    for _ in range(count):
        reading.text()
        dimensions = reading.whole(U32)
        if dimensions > DIMENSIONS_MAX:
            raise _malformed(f"a tensor of {dimensions:,} dimensions")
        elements = prod(reading.whole(U64) for _ in range(dimensions))
        kind, offset = reading.whole(U32), reading.whole(U64)
        seen.parameters += elements
        seen.types[kind] += elements
        seen.end = max(seen.end, offset + _tensor_bytes(kind, elements))
    return seen


def _tensor_bytes(kind: int, elements: int) -> int:
    if kind not in TENSOR_TYPES:
        return 0
    _, block, block_bytes = TENSOR_TYPES[kind]
    return elements // block * block_bytes


def _check_data(reading: _Reading, seen: _Tensors, alignment: int) -> None:
    if alignment > ALIGNMENT_MAX:
        raise _malformed(f"an alignment of {alignment:,}")
    begin = -(-reading.at // alignment) * alignment
    if seen.number and begin + seen.end > reading.size:
        missing = begin + seen.end - reading.size
        raise NotGguf(f"is truncated: {missing:,} of {begin + seen.end:,} bytes are missing", DOWNLOAD_AGAIN)


def _metadata(version: int, said: dict[str, Any], seen: _Tensors, size: int) -> Metadata:
    architecture = _text(said, "general.architecture")
    if not architecture:
        raise NotGguf("does not say its architecture", "give the file of a model, not of a vocabulary or an adapter")
    return Metadata(
        version=version,
        architecture=architecture,
        name=_text(said, "general.name"),
        quantisation=_quantisation(said, seen),
        context=_number(said, f"{architecture}.context_length"),
        vocabulary=_number(said, f"{architecture}.vocab_size") or _items(said, "tokenizer.ggml.tokens"),
        eos=_number(said, "tokenizer.ggml.eos_token_id", -1),
        parameters=seen.parameters,
        tensors=seen.number,
        layers=_number(said, f"{architecture}.block_count"),
        cache_bytes_per_token=_cache_bytes(said, architecture),
        parts=_number(said, "split.count") or 1,
        bytes=size,
    )


def _quantisation(said: dict[str, Any], seen: _Tensors) -> str:
    if (named := FILE_TYPES.get(_number(said, "general.file_type", -1))) is not None:
        return named
    commonest = max(seen.types, key=lambda kind: (seen.types[kind], -kind), default=-1)
    return TENSOR_TYPES[commonest][0] if commonest in TENSOR_TYPES else ""


def _cache_bytes(said: dict[str, Any], architecture: str) -> int:
    """Two bytes for each value of each key and value vector of each layer."""
    layers, heads = _number(said, f"{architecture}.block_count"), _number(said, f"{architecture}.attention.head_count")
    width = _number(said, f"{architecture}.embedding_length") // heads if heads > 0 else 0
    key = _number(said, f"{architecture}.attention.key_length") or width
    value = _number(said, f"{architecture}.attention.value_length") or width
    shared = said.get(f"{architecture}.attention.head_count_kv")
    every = shared if isinstance(shared, list) else [shared if isinstance(shared, int) else heads] * min(layers, 10_000)
    return sum(n for n in every if isinstance(n, int) and n > 0) * (key + value) * 2


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return "".join(filter(str.isprintable, value[:256])) if isinstance(value, str) else ""


def _number(said: dict[str, Any], key: str, otherwise: int = 0) -> int:
    value = said.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def _items(said: dict[str, Any], key: str) -> int:
    value = said.get(key)
    return value.items if isinstance(value, Skipped) else 0
