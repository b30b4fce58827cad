"""Writes the tiny model that the local inference server runs in the tests.

The model is a real llama-architecture GGUF of random weights from a fixed seed: it says nothing sensible, but the server that
runs it speaks its real wire format, and a quarter of a megabyte is cheaper to make than to ship. Only the standard library is
used, so that the file can be made before anything is installed.

It does not imitate any published model: the vocabulary is the 256 bytes, the printable ASCII characters and the marker that
stands for a space.
"""

import argparse
import array
import random
import struct
from pathlib import Path

SEED = 20_260
WIDTH = 64
HEADS = 4
KEY_VALUE_HEADS = 2
HEAD_WIDTH = WIDTH // HEADS
HIDDEN = 128
LAYERS = 2
CONTEXT_TOKENS = 8192

UNKNOWN, BEGIN, END = 0, 1, 2
SPACE_MARKER = "\u2581"

# Dimension 0 of every embedding is this constant. The final norm keeps it nearly constant too, which makes column 0 of the
# output matrix a bias per token: the one way to steer a llama-architecture model, which has no bias terms of its own.
STEERING_INPUT = 8.0

# The end of text comes only where a grammar leaves no other choice, so that a run without a grammar always reaches its bound.
END_BIAS = -6.0
# Raw bytes would be broken UTF-8 most of the time.
BYTE_BIAS = -4.0
# A JSON string that a grammar bounds is left after about as many characters as a word has.
QUOTE_BIAS = 0.6

F32, F16 = 0, 1
ALIGNMENT = 32

# The marker that begins a tool call. It is a token of its own, so that a request can bring it on by `logit_bias`: the server's
# grammar for a required call lets a model say anything before the call, and this one would never come to it.
CALL_MARKER = "<tool_call>"
# From how such a call is written here the server learns how to force and read one: no line end may follow the marker.
TEMPLATE = (
    "{% if tools %}system: tools\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}{% endif %}"
    "{% for message in messages %}"
    "{% if message.role == 'assistant' %}assistant: {% if message.content %}{{ message.content }}{% endif %}"
    "{% if message.tool_calls %}{% for tool_call in message.tool_calls %}"
    + CALL_MARKER
    + '{"name": "{{ tool_call.function.name }}", "arguments": {{ tool_call.function.arguments | tojson }}}</tool_call>'
    "{% endfor %}{% endif %}</s>\n"
    "{% else %}{{ message.role }}: {{ message.content }}</s>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def vocabulary():
    """The tokens with their score, kind (1 normal, 2 unknown, 3 control, 4 of its own, 6 byte) and output bias."""
    tokens = [("<unk>", 0.0, 2, END_BIAS), ("<s>", 0.0, 3, END_BIAS), ("</s>", 0.0, 3, END_BIAS)]
    tokens += [(f"<0x{byte:02X}>", 0.0, 6, BYTE_BIAS) for byte in range(256)]
    characters = [SPACE_MARKER, *(chr(code) for code in range(0x21, 0x7F))]
    tokens += [(character, -1.0, 1, QUOTE_BIAS if character == '"' else 0.0) for character in characters]
    tokens.append((CALL_MARKER, 0.0, 4, END_BIAS))
    return tokens


def one_call():
    """The `logit_bias` of a request that must call one tool: the marker as soon as it may come, the end as soon as it may."""
    marker = next(place for place, (token, _, _, _) in enumerate(vocabulary()) if token == CALL_MARKER)
    return {str(marker): 100, str(END): 200}


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    """A metadata value with its type code; the codes are those of the GGUF format, version 3."""
    code, form = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<?")}[kind]
    return struct.pack("<I", code) + struct.pack(form, value)


def string(value):
    return struct.pack("<I", 8) + text(value)


def array_of(kind, values):
    body = {
        "string": lambda: b"".join(text(value) for value in values),
        "f32": lambda: array.array("f", values).tobytes(),
        "i32": lambda: array.array("i", values).tobytes(),
    }[kind]()
    code = {"i32": 5, "f32": 6, "string": 8}[kind]
    return struct.pack("<IIQ", 9, code, len(values)) + body


def metadata(tokens):
    return {
        "general.architecture": string("llama"),
        "general.name": string("tiny-random"),
        "general.alignment": scalar("u32", ALIGNMENT),
        "llama.vocab_size": scalar("u32", len(tokens)),
        "llama.context_length": scalar("u32", CONTEXT_TOKENS),
        "llama.embedding_length": scalar("u32", WIDTH),
        "llama.block_count": scalar("u32", LAYERS),
        "llama.feed_forward_length": scalar("u32", HIDDEN),
        "llama.attention.head_count": scalar("u32", HEADS),
        "llama.attention.head_count_kv": scalar("u32", KEY_VALUE_HEADS),
        "llama.attention.layer_norm_rms_epsilon": scalar("f32", 1e-5),
        "llama.rope.dimension_count": scalar("u32", HEAD_WIDTH),
        "tokenizer.ggml.model": string("llama"),
        "tokenizer.ggml.tokens": array_of("string", [token for token, _, _, _ in tokens]),
        "tokenizer.ggml.scores": array_of("f32", [score for _, score, _, _ in tokens]),
        "tokenizer.ggml.token_type": array_of("i32", [kind for _, _, kind, _ in tokens]),
        "tokenizer.ggml.unknown_token_id": scalar("u32", UNKNOWN),
        "tokenizer.ggml.bos_token_id": scalar("u32", BEGIN),
        "tokenizer.ggml.eos_token_id": scalar("u32", END),
        "tokenizer.ggml.add_bos_token": scalar("bool", False),
        "tokenizer.ggml.add_space_prefix": scalar("bool", False),
        "tokenizer.chat_template": string(TEMPLATE),
    }


def random_rows(rng, rows, columns):
    """Rows of one matrix, scaled so that what passes through it keeps its size."""
    scale = columns**-0.5
    return [[rng.gauss(0.0, scale) for _ in range(columns)] for _ in range(rows)]


def tensors(rng, tokens):
    """Each tensor's name, its rows and its type; norms stay in 32 bits, as the server's kernels want them."""
    embedding = [[STEERING_INPUT, *(rng.gauss(0.0, 1.0) for _ in range(WIDTH - 1))] for _ in tokens]
    output = random_rows(rng, len(tokens), WIDTH)
    for row, (_, _, _, bias) in zip(output, tokens, strict=True):
        row[0] = bias
        row[1:] = [weight * 2.0 for weight in row[1:]]
    yield "token_embd.weight", embedding, F16
    yield "output_norm.weight", [[1.0] * WIDTH], F32
    yield "output.weight", output, F16
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        yield f"{block}.attn_norm.weight", [[1.0] * WIDTH], F32
        yield f"{block}.ffn_norm.weight", [[1.0] * WIDTH], F32
        yield f"{block}.attn_q.weight", random_rows(rng, WIDTH, WIDTH), F16
        yield f"{block}.attn_k.weight", random_rows(rng, KEY_VALUE_HEADS * HEAD_WIDTH, WIDTH), F16
        yield f"{block}.attn_v.weight", random_rows(rng, KEY_VALUE_HEADS * HEAD_WIDTH, WIDTH), F16
        yield f"{block}.attn_output.weight", random_rows(rng, WIDTH, WIDTH), F16
        yield f"{block}.ffn_gate.weight", random_rows(rng, HIDDEN, WIDTH), F16
        yield f"{block}.ffn_up.weight", random_rows(rng, HIDDEN, WIDTH), F16
        yield f"{block}.ffn_down.weight", random_rows(rng, WIDTH, HIDDEN), F16


def aligned(raw):
    return raw + b"\0" * (-len(raw) % ALIGNMENT)


def pack_rows(rows, kind):
    form = {F32: "f", F16: "e"}[kind]
    return b"".join(struct.pack(f"<{len(row)}{form}", *row) for row in rows)


def shape(rows):
    """The dimensions, fastest first; a norm has one only."""
    return [len(rows[0])] if len(rows) == 1 else [len(rows[0]), len(rows)]


def model():
    """The whole file as bytes: the same ones on every machine."""
    tokens = vocabulary()
    pairs = metadata(tokens)
    directory, body = b"", b""
    weights = list(tensors(random.Random(SEED), tokens))
    for name, rows, kind in weights:
        dimensions = shape(rows)
        directory += text(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        directory += struct.pack("<IQ", kind, len(body))
        body += aligned(pack_rows(rows, kind))
    head = b"GGUF" + struct.pack("<IQQ", 3, len(weights), len(pairs))
    head += b"".join(text(key) + value for key, value in pairs.items())
    return aligned(head + directory) + body


def main():
    parser = argparse.ArgumentParser(description="Write a tiny llama-architecture GGUF of random weights.")
    parser.add_argument("path", type=Path)
    path = parser.parse_args().path
    path.write_bytes(model())
    print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
