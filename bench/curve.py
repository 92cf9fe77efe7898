"""Holds the loss of every training step of luban against PyTorch's: same data, same first weights, f32.

    curve.py [--families llama gpt2] [--steps 200] [--learning-rate 1e-3] [--warmup 10] [--seed 7] [--control]
        [--keep DIR]

For each family a model of about three million parameters with tied embeddings is made by transformers from the seed
and saved; the sources of the pinned transformers package, byte by byte, are the tokens. PyTorch trains it in f32 with
AdamW, the gradient clipped, warm-up and cosine; `luban bench curve` trains the saved model on the same tokens, in f32
and in bf16. A step's loss depends on all weights, so on everything that the steps before it did. A table goes to
standard error, one JSON line a family to standard output; it ends with an error when the losses of any step differ by
more than --tolerance. `luban_bf16_ratio` is for information: the mean loss of luban's last 20 steps in bf16 over that
in f32.

--control trains with PyTorch in f64 too, and says how far both f32 curves are from that: what rounding alone does.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from common import luban, note, print_result

SEED = 7
SEQUENCES, LENGTH = 4, 128
# luban's own constants, which its command has no options for.
BETAS, EPSILON, WEIGHT_DECAY, CLIP_NORM, FLOOR = (0.9, 0.95), 1e-8, 0.1, 1.0, 0.05
LAST_STEPS = 20
ROWS_SHOWN = 11


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    schedule = [learning_rate(step, args) for step in range(args.steps)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        tokens = source_tokens(args.steps, args.seed)
        save_file({"tokens": tokens}, folder / "tokens.safetensors")
        results = [compare(family, folder, tokens, schedule, args) for family in args.families]
    for result in results:
        print_result(bench="curve", **result)
    if not all(result["holds"] for result in results):
        sys.exit(f"the losses of a step differ by more than {args.tolerance}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--warmup", type=int, default=10)
    parser.add_argument("--tolerance", type=float, default=1e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED, help="of the first weights and of the order of the data")
    parser.add_argument("--control", action="store_true", help="train with PyTorch in f64 too")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave models, tokens and curves there")
    return parser.parse_args()


# Both sides


def compare(family, folder, tokens, schedule, args):
    torch.manual_seed(args.seed)
    model = FAMILIES[family]()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    model.save_pretrained(folder / family)
    curves = {
        "torch": train(model, tokens, schedule),
        "luban": luban_curve(folder, family, "f32", args),
        "luban_bf16": luban_curve(folder, family, "bf16", args),
    }
    if args.control:
        model = AutoModelForCausalLM.from_pretrained(folder / family, dtype=torch.float64)
        curves["torch_f64"] = train(model, tokens, schedule)
    (folder / f"{family}.json").write_text(json.dumps(curves))
    for step, (point, rate) in enumerate(zip(curves["luban"], schedule)):
        assert math.isclose(point["learning_rate"], rate, rel_tol=1e-12), f"the learning rates of step {step} differ"
    show(family, curves)
    differences = apart(curves, "luban", "torch")
    largest = max(differences)
    result = dict(
        family=family,
        parameters=parameters,
        steps=len(differences),
        loss_first=curves["torch"][0]["loss"],
        loss_last=curves["torch"][-1]["loss"],
        difference_max=largest,
        at_step=1 + differences.index(largest),
        gradient_norm_difference_relative_max=max(apart(curves, "luban", "torch", norm_relative)),
        luban_bf16_ratio=last_loss(curves["luban_bf16"]) / last_loss(curves["luban"]),
        tolerance=args.tolerance,
        holds=len(curves["luban"]) == args.steps and all(each <= args.tolerance for each in differences),
    )
    if args.control:
        result["luban_to_f64_max"] = max(apart(curves, "luban", "torch_f64"))
        result["torch_to_f64_max"] = max(apart(curves, "torch", "torch_f64"))
    return result


def adamw(parameters):
    """AdamW as luban has it."""
    parameters = list(parameters)
    decays = [parameter for parameter in parameters if parameter.dim() > 1]
    others = [parameter for parameter in parameters if parameter.dim() <= 1]
    groups = [dict(params=decays, weight_decay=WEIGHT_DECAY), dict(params=others, weight_decay=0.0)]
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)


def train(model, tokens, schedule, optimizer=None):
    """Trains as luban does; what it saw of each step."""
    optimizer = optimizer or adamw(model.parameters())
    points = []
    for batch, rate in zip(tokens, schedule):
        batch = batch.long()
        logits = model(batch[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad()
        points.append(dict(step=len(points) + 1, loss=loss.item(), gradient_norm=norm.item()))
    return points


def luban_curve(folder, family, precision, args):
    options = ["--steps", args.steps, "--learning-rate", args.learning_rate, "--warmup", args.warmup]
    files = ["--model", folder / family, "--tokens", folder / "tokens.safetensors"]
    lines = luban("bench", "curve", *files, *options, "--precision", precision, "--threads", args.threads, "--json")
    return [json.loads(line) for line in lines.splitlines()]


def learning_rate(step, args):
    """A line up to the peak, half a cosine down to the floor; steps are counted from 0."""
    if step < args.warmup:
        return args.learning_rate * (step + 1) / args.warmup
    done = (step + 1 - args.warmup) / max(args.steps - args.warmup, 1)
    return args.learning_rate * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * done)))


# Models and data


def llama():
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config)


def gpt2():
    config = GPT2Config(
        vocab_size=256,
        n_positions=LENGTH,
        n_embd=256,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    return GPT2LMHeadModel(config)


FAMILIES = {"llama": llama, "gpt2": gpt2}


def source_tokens(steps, seed):
    """The models of transformers as bytes, cut into sequences: steps × sequences × (length + 1)."""
    files = sorted((Path(transformers.__file__).parent / "models").glob("*/modeling_*.py"))
    text = b"".join(file.read_bytes() for file in files)
    # From all of them, not the first models alone.
    stride = len(text) // (steps * SEQUENCES)
    assert stride > LENGTH, f"{steps * SEQUENCES * (LENGTH + 1)} bytes are needed, the sources have {len(text)}"
    starts = torch.randperm(steps * SEQUENCES, generator=torch.Generator().manual_seed(seed)) * stride
    cut = [list(text[start : start + LENGTH + 1]) for start in starts.tolist()]
    return torch.tensor(cut, dtype=torch.int32).view(steps, SEQUENCES, LENGTH + 1)


# Figures


def apart(curves, one, other, measure=lambda a, b: abs(a["loss"] - b["loss"])):
    return [measure(a, b) for a, b in zip(curves[one], curves[other])]


def norm_relative(a, b):
    return abs(a["gradient_norm"] / b["gradient_norm"] - 1)


def last_loss(points):
    return statistics.mean(point["loss"] for point in points[-LAST_STEPS:])


def show(family, curves):
    names = list(curves)
    note(" | ".join([f"{family}: step", *names, "|luban - torch|"]))
    differences = apart(curves, "luban", "torch")
    last = len(differences) - 1
    for index in sorted({round(last * row / (ROWS_SHOWN - 1)) for row in range(ROWS_SHOWN)}):
        losses = [f"{curves[name][index]['loss']:.6f}" for name in names]
        note(" | ".join([str(index + 1), *losses, f"{differences[index]:.1e}"]))


if __name__ == "__main__":
    main()
