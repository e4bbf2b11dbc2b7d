"""GGUF files as small as can be, written by hand: what the reader under test reads is not written by it."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from penstock.fleet.orders import Model

TEXT, ARRAY, U32, U64, F32, BOOL = 8, 9, 4, 10, 6, 7
LAYOUTS = {U32: "<I", U64: "<Q", F32: "<f", BOOL: "<?"}
F32_TENSOR, Q4_K_TENSOR = 0, 12


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: int, value: Any) -> bytes:
    return text(key) + struct.pack("<I", kind) + (text(value) if kind == TEXT else struct.pack(LAYOUTS[kind], value))


def texts(key: str, values: list[str]) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, TEXT, len(values)) + b"".join(map(text, values))


def numbers(key: str, values: list[int]) -> bytes:
    return text(key) + struct.pack("<IIQ", ARRAY, U32, len(values)) + struct.pack(f"<{len(values)}I", *values)


def tensor(name: str, dimensions: list[int], kind: int = F32_TENSOR, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<{len(dimensions)}Q", *dimensions)
    return text(name) + struct.pack("<I", len(dimensions)) + sizes + struct.pack("<IQ", kind, offset)


def gguf(pairs: list[bytes], tensors: list[bytes] | None = None, data: int = 0, version: int = 3) -> bytes:
    """`data`: bytes of tensors, after the padding."""
    tensors = tensors or []
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + b"".join((*pairs, *tensors))
    return head + (bytes(-len(head) % 32 + data) if data else b"")


PAIRS = [
    pair("general.architecture", TEXT, "llama"),
    pair("general.name", TEXT, "Tiny"),
    pair("general.file_type", U32, 15),
    pair("llama.context_length", U32, 2_048),
    pair("llama.block_count", U32, 2),
    pair("llama.embedding_length", U32, 64),
    pair("llama.attention.head_count", U32, 4),
    pair("llama.attention.head_count_kv", U32, 2),
    texts("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "a", "ü"]),
    pair("tokenizer.ggml.eos_token_id", U32, 2),
    pair("general.quantized", BOOL, True),
]
TENSORS = [tensor("a", [64, 2]), tensor("b", [8], offset=512)]
DATA_BYTES = 544
TINY = gguf(PAIRS, TENSORS, DATA_BYTES)


def write_model(path: Path, padding: bytes = b"") -> Path:
    """A whole file; with `padding` after it, another one of the same model."""
    path.write_bytes(TINY + padding)
    return path


def llama(name: str, path: Path | str, **more: Any) -> Model:
    return Model(name=name, backend="llama", path=str(path), **more)
