"""Makes a GGUF model of random weights that llama.cpp loads: `.llama/bin/python tests/llama/tiny.py PATH`.

Half a megabyte: two layers of width 64, some 400 tokens (control, all bytes, letters), a chat template.
"""

import string
import sys

import gguf  # type: ignore[import-not-found] # both are of .llama, not of .venv
import numpy as np  # type: ignore[import-not-found]

LAYERS, WIDTH, HEADS, FORWARD, CONTEXT = 2, 64, 4, 128, 131_072
TEMPLATE = "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:"


def vocabulary() -> tuple[list[str], list[int]]:
    """Tokens and their types: 2 unknown, 3 control, 6 byte, 1 text."""
    texts = [*string.ascii_letters, *string.digits, "▁", *(f"▁{letter}" for letter in string.ascii_lowercase)]
    texts += [a + b for a in "aeiou" for b in "nrstlmdk"] + ["▁the", "▁and", "ing", "er", ".", ",", "!", "?", "\n"]
    texts += ["▁" + word for word in ("of", "to", "in", "it")]
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *dict.fromkeys(texts)]
    return tokens, [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)]


def write_model(path: str) -> None:
    """The same bytes each time."""
    writer, random = gguf.GGUFWriter(path, "llama"), np.random.default_rng(7)
    tokens, types = vocabulary()
    writer.add_name("Tiny")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(number) for number in range(len(tokens))])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template(TEMPLATE)

    def add(name: str, *shape: int) -> None:
        writer.add_tensor(f"{name}.weight", (random.standard_normal(shape) / 8).astype(np.float32))

    add("token_embd", len(tokens), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, dtype=np.float32))
    add("output", len(tokens), WIDTH)
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(WIDTH, dtype=np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add(f"blk.{layer}.{name}", WIDTH, WIDTH)
        add(f"blk.{layer}.ffn_gate", FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_up", FORWARD, WIDTH)
        add(f"blk.{layer}.ffn_down", WIDTH, FORWARD)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    write_model(sys.argv[1])
