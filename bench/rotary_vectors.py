"""Writes how transformers turns heads whose rotation is scaled, for the tests of configurations.

    rotary_vectors.py > crates/model/tests/rotary.json

A list of {"config": a Llama's configuration, "inverse_frequencies": […], "attention_factor": what cosines and sines are
multiplied by}. Dynamic scaling is that of a text as long as the context that the configuration names.
"""

import json

from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

CONTEXT = 32768
CASES = [
    ("linear", {"factor": 4.0}, 10000.0),
    ("dynamic", {"factor": 4.0, "original_max_position_embeddings": 8192}, 10000.0),
    ("dynamic", {"factor": 2.0, "original_max_position_embeddings": CONTEXT}, 500000.0),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 8192}, 10000.0),
    ("yarn", {"factor": 4.0, "original_max_position_embeddings": 8192, "truncate": False}, 1000000.0),
    ("yarn", {"factor": 16.0, "original_max_position_embeddings": 2048, "beta_fast": 24.0, "beta_slow": 2.0}, 10000.0),
    ("yarn", {"factor": 8.0, "original_max_position_embeddings": 4096, "attention_factor": 1.25}, 10000.0),
    ("yarn", {"factor": 8.0, "original_max_position_embeddings": 4096, "mscale": 0.7, "mscale_all_dim": 0.3}, 10000.0),
    (
        "llama3",
        {
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        500000.0,
    ),
]


def vector(kind: str, fields: dict, theta: float) -> dict:
    scaling = {"rope_type": kind, **fields}
    config = {
        "model_type": "llama",
        "vocab_size": 32,
        "hidden_size": 256,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "hidden_act": "silu",
        "max_position_embeddings": CONTEXT,
        "rope_theta": theta,
        "rope_scaling": scaling,
    }
    read = dict(config)
    read["rope_scaling"] = dict(scaling)
    length = None
    if kind == "dynamic":
        # Its formula counts from the context that the configuration names; the older one stands there for a moment.
        length = CONTEXT
        read["max_position_embeddings"] = scaling["original_max_position_embeddings"]
    theirs = LlamaConfig(**{name: value for name, value in read.items() if name != "model_type"})
    inverse, attention = ROPE_INIT_FUNCTIONS[kind](theirs, device="cpu", seq_len=length)
    return {"config": config, "inverse_frequencies": inverse.tolist(), "attention_factor": float(attention)}


if __name__ == "__main__":
    print(json.dumps([vector(*case) for case in CASES], indent=1))
