"""Writes the test vectors of training: tiny random models, tokens, and the loss of each of PyTorch's steps.

    curve_vectors.py [--out crates/train/tests/vectors]

One folder a model, laid out as Hugging Face lays out a model, with beside it

tokens.safetensors  `tokens` (steps, sequences, length + 1), I32: a text that a random automaton writes, which can be
                    learnt
expected.json       {"schedule": {…}, "losses": […], "gradient_norms": […]}: of each step in f32, the loss in nats before
                    the weights changed and the gradient's norm before clipping; the schedule as luban writes it
muon.json           the same with PyTorch's Muon for the matrices inside blocks, its products in f32, at twice AdamW's
                    learning rate; for Llama alone, whose queries, keys and values are matrices of their own

Training is that of curve.py. The weights are larger than those of a model that begins, so that every part of it
matters from the first step on, and gradients are clipped. The same versions of torch and transformers write the same
bytes.
"""

import argparse
import inspect
import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from torch.optim import _muon
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from common import ROOT
from curve import FLOOR, SEED, WEIGHT_DECAY, adamw, learning_rate, train

VOCAB = 67
STEPS, SEQUENCES, LENGTH = 20, 4, 24
PEAK, WARMUP = 1e-2, 4
MUON_TIMES = 2
STD = 0.15


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "crates/train/tests/vectors", metavar="DIR")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for name, make in {"llama": llama, "gpt2": gpt2}.items():
        torch.manual_seed(SEED)
        write(make(), out / name)
        if name == "llama":
            write_muon(out / name)
        size_kb = sum(file.stat().st_size for file in (out / name).iterdir()) / 1000
        print(f"{name}: {size_kb:.0f} KB")


def write(model, folder):
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"tokens": automaton()}, folder / "tokens.safetensors")
    write_points(train(model, automaton(), rates()), folder / "expected.json")


def write_muon(folder):
    model = LlamaForCausalLM.from_pretrained(folder)
    hidden = [value for name, value in model.named_parameters() if ".layers." in name and value.dim() == 2]
    optimizer = Both(hidden, [value for value in model.parameters() if all(value is not other for other in hidden)])
    write_points(train(model, automaton(), rates(), optimizer), folder / "muon.json")


class Both:
    """PyTorch's Muon for some parameters and its AdamW for the others, as one optimizer to `train`."""

    def __init__(self, hidden, others):
        # Its own code, but for the rounding of the products' factors to bf16.
        source = inspect.getsource(_muon._zeropower_via_newtonschulz)
        exec(source.replace("torch.bfloat16", "torch.float32"), _muon.__dict__)
        self.muon = torch.optim.Muon(hidden, weight_decay=WEIGHT_DECAY, momentum=0.95)
        self.adamw = adamw(others)
        self.param_groups = self.adamw.param_groups

    def step(self):
        for group in self.muon.param_groups:
            group["lr"] = MUON_TIMES * self.adamw.param_groups[0]["lr"]
        self.muon.step()
        self.adamw.step()

    def zero_grad(self):
        self.muon.zero_grad()
        self.adamw.zero_grad()


def rates():
    options = SimpleNamespace(steps=STEPS, learning_rate=PEAK, warmup=WARMUP)
    return [learning_rate(step, options) for step in range(STEPS)]


def write_points(points, path):
    schedule = {"peak": PEAK, "floor": FLOOR, "warmup-steps": WARMUP, "steps": STEPS, "decay": "cosine"}
    losses, norms = ([point[what] for point in points] for what in ("loss", "gradient_norm"))
    expected = {"schedule": schedule, "losses": losses, "gradient_norms": norms}
    path.write_text(json.dumps(expected, indent=1) + "\n")


def llama():
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
        initializer_range=STD,
    )
    return LlamaForCausalLM(config)


def gpt2():
    no_dropout = dict(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    config = GPT2Config(
        vocab_size=VOCAB,
        n_positions=LENGTH,
        n_embd=24,
        n_inner=40,
        n_layer=2,
        n_head=3,
        initializer_range=STD,
        bos_token_id=0,
        eos_token_id=0,
        **no_dropout,
    )
    return GPT2LMHeadModel(config)


def automaton():
    """Most tokens are followed by one and the same, the rest by any."""
    generator = torch.Generator().manual_seed(SEED)
    successor = torch.randperm(VOCAB, generator=generator)
    shape = (STEPS, SEQUENCES, LENGTH + 1)
    chance, tokens = torch.rand(shape, generator=generator), torch.randint(0, VOCAB, shape, generator=generator)
    for at in range(1, LENGTH + 1):
        follows = chance[..., at] < 0.8
        tokens[..., at] = torch.where(follows, successor[tokens[..., at - 1]], tokens[..., at])
    return tokens.int()


if __name__ == "__main__":
    main()
