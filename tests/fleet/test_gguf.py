"""What a GGUF file says of its model, and that a file which lies costs nothing and is told apart."""

from __future__ import annotations

import io
import struct
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.fleet.catalogue.gguf import Metadata, NotGguf, read_gguf
from tests.fleet.gguf_files import (
    DATA_BYTES,
    PAIRS,
    Q4_K_TENSOR,
    TENSORS,
    TEXT,
    TINY,
    U32,
    U64,
    gguf,
    numbers,
    pair,
    tensor,
    text,
    texts,
)

ARCHITECTURE = pair("general.architecture", TEXT, "llama")


def read(data: bytes) -> Metadata:
    return read_gguf(io.BytesIO(data), len(data))


def refused(data: bytes) -> str:
    with pytest.raises(NotGguf) as caught:
        read(data)
    assert caught.value.fix
    return caught.value.message


@pytest.mark.parametrize("version", [2, 3])
def test_it_says_what_the_model_is(version: int) -> None:
    assert read(gguf(PAIRS, TENSORS, DATA_BYTES, version)) == Metadata(
        version=version,
        architecture="llama",
        name="Tiny",
        quantisation="Q4_K_M",
        context=2_048,
        vocabulary=5,
        eos=2,
        parameters=136,
        tensors=2,
        layers=2,
        cache_bytes_per_token=2 * 2 * (16 + 16) * 2,
        bytes=len(TINY),
    )


@pytest.mark.parametrize(("number", "name"), [(15, "Q4_K_M"), (17, "Q5_K_M"), (7, "Q8_0"), (1, "F16"), (32, "BF16")])
def test_the_quantisation_has_its_usual_name(number: int, name: str) -> None:
    assert read(gguf([ARCHITECTURE, pair("general.file_type", U32, number)])).quantisation == name


def test_a_file_that_names_no_quantisation_is_called_after_its_tensors() -> None:
    tensors = [tensor("a", [256, 4], Q4_K_TENSOR), tensor("b", [8], offset=576)]
    assert read(gguf([ARCHITECTURE], tensors, 608)).quantisation == "Q4_K"


def test_the_cache_follows_heads_that_differ_by_layer() -> None:
    sizes = [("llama.block_count", 3), ("llama.embedding_length", 64), ("llama.attention.head_count", 4)]
    heads = numbers("llama.attention.head_count_kv", [4, 0, 2])
    said = read(gguf([ARCHITECTURE, *(pair(key, U32, value) for key, value in sizes), heads]))
    assert said.cache_bytes_per_token == (4 + 0 + 2) * (16 + 16) * 2


def test_a_long_array_is_counted_and_passed_over() -> None:
    said = read(gguf([ARCHITECTURE, texts("tokenizer.ggml.tokens", ["x"] * 3_000), numbers("n", list(range(3_000)))]))
    assert said.vocabulary == 3_000


def test_what_a_terminal_would_obey_is_left_out_of_the_name() -> None:
    assert read(gguf([ARCHITECTURE, pair("general.name", TEXT, "\x1b[31mred\n")])).name == "[31mred"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is no GGUF file"),
        (b"<!DOCTYPE html><html>", "is no GGUF file"),
        (b"GGUF", "ends at byte 4"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "version 1"),
        (b"GGUF" + struct.pack("<IQQ", 4, 0, 0), "version 4"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), "damaged"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), "ends at byte 32"),
        (gguf([text("k") + struct.pack("<I", 99)]), "unknown type 99"),
        (gguf([text("k") + struct.pack("<IIQ", 9, 9, 1)]), "unknown type 9"),
        (gguf([text("k") + struct.pack("<IIQ", 9, 4, 2**61)]), "in the middle"),
        (gguf([text("k") + struct.pack("<IIQ", 9, 8, 2**61)]), "in the middle"),
        (gguf([ARCHITECTURE, text("k") + struct.pack("<IQ", TEXT, 2**20)]), "in the middle"),
        (gguf([text("k" * 5_000) + struct.pack("<II", 4, 1)]), "a key of more than"),
        (gguf([pair("general.name", TEXT, "x")]), "architecture"),
        (gguf([ARCHITECTURE], [tensor("a", [1] * 9)], 32), "9 dimensions"),
        (gguf([ARCHITECTURE, pair("general.alignment", U64, 2**40)], TENSORS, DATA_BYTES), "alignment"),
        (TINY[:-1], "truncated: 1 of"),
        (TINY[:-DATA_BYTES], "truncated: "),
    ],
)
def test_a_file_that_is_no_sound_gguf_is_told_what_it_is(data: bytes, said: str) -> None:
    assert said in refused(data)


def test_wherever_a_file_is_cut_it_is_said_and_not_loaded() -> None:
    assert all(refused(TINY[:end]) for end in range(len(TINY)))


@pytest.mark.parametrize("kind", [TEXT, 9])
def test_a_length_that_lies_takes_no_memory(kind: int) -> None:
    lie = struct.pack("<IQ", U32, 2**40) if kind == 9 else struct.pack("<Q", 2**40)
    data = gguf([text("k") + struct.pack("<I", kind) + lie])
    tracemalloc.start()
    try:
        refused(data)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@settings(deadline=None)
@given(st.data())
def test_a_file_with_wrong_bytes_is_read_or_refused_and_never_anything_else(data: st.DataObject) -> None:
    wrong = bytearray(TINY)
    for _ in range(data.draw(st.integers(1, 4))):
        wrong[data.draw(st.integers(0, len(wrong) - 1))] = data.draw(st.integers(0, 255))
    try:
        read(bytes(wrong))
    except NotGguf as error:
        assert error.message and error.fix
