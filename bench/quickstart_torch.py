"""The quickstart's pre-training in PyTorch: same corpus, tokenizer, model, optimizer and minutes.

    quickstart_torch.py OUT --minutes 3 [--mode best|f32|bf16] [--compile] [--threads 2]

OUT is the folder that `luban quickstart --out OUT` left. The model's shape, the batch, the learning rate, the decay
of weights and the clipping are read from OUT/model, so that both programs train the same thing.

What counts as time: the steps, with cutting batches, but not encoding the corpus, not building or compiling the
model, and not the evaluation. Training stops when the minutes are over. Warm-up and decay follow the time that has
passed, so that the learning rate is at its floor exactly when it stops: PyTorch loses nothing by a wrong forecast of
the number of steps. `best` tries a few steps of f32 and of bf16 (autocast) first, untimed, and takes the faster.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer

from common import median_seconds, note, peak_rss_mb, print_result, read_documents, read_manifest
from torch_models import Llama, LlamaShape
from validation import evaluate, stream

EMBEDDING_STD = 0.02
LINEAR_STD = 0.55  # over the square root of the inputs
LOG_SECONDS = 15


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    plan = read_manifest(args.out / "model")["metrics"]["plan"]
    config = json.loads((args.out / "model/config.json").read_text())
    model = Llama(llama_shape(config))
    initialise(model)
    tokenizer = Tokenizer.from_file(str(args.out / "tokenizer/tokenizer.json"))
    eos = config["eos_token_id"]
    sequences = training_sequences(tokenizer, eos, args.out / "corpus", plan["context"])
    note(f"{len(sequences)} sequences of {plan['context']} tokens, {count(model) / 1e6:.2f} M parameters")

    trainer = Trainer(model, sequences, plan, args)
    mode = trainer.mode = trainer.faster_mode() if args.mode == "best" else args.mode
    trainer.warm_up()
    trainer.train(60 * args.minutes)
    result = evaluate(lambda ids: model.logits(model(ids)), tokenizer, eos, args.out / "corpus", plan["context"])
    print_result(
        bench="quickstart_torch",
        bits_per_byte=result["bits_per_byte"],
        perplexity=result["perplexity"],
        tok_s=round(trainer.steps * trainer.batch_tokens / trainer.seconds, 1),
        steps=trainer.steps,
        seconds=round(trainer.seconds, 1),
        tokens=trainer.steps * trainer.batch_tokens,
        parameters=count(model),
        mode=mode,
        compile=args.compile,
        threads=args.threads,
        peak_rss_mb=peak_rss_mb(),
        torch=torch.__version__,
    )


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--mode", choices=["best", "f32", "bf16"], default="best")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def llama_shape(config):
    assert config["model_type"] == "llama" and config["tie_word_embeddings"], config
    return LlamaShape(
        vocab=config["vocab_size"],
        layers=config["num_hidden_layers"],
        width=config["hidden_size"],
        heads=config["num_attention_heads"],
        kv_heads=config["num_key_value_heads"],
        head_width=config["head_dim"],
        ffn=config["intermediate_size"],
        positions=config["max_position_embeddings"],
        theta=config["rope_theta"],
        epsilon=config["rms_norm_eps"],
    )


def initialise(model):
    """As luban does: normal, what writes to the residual stream scaled down by the root of twice the depth."""
    residual = 1 / math.sqrt(2 * len(model.blocks))
    torch.nn.init.normal_(model.tokens.weight, std=EMBEDDING_STD)
    for block in model.blocks:
        for linear, scale in ((block.qkv, 1), (block.gate_up, 1), (block.out, residual), (block.down, residual)):
            torch.nn.init.normal_(linear.weight, std=scale * LINEAR_STD / math.sqrt(linear.in_features))


def count(model):
    return sum(parameter.numel() for parameter in model.parameters())


def training_sequences(tokenizer, eos, corpus, context):
    """(sequences, context + 1) token ids: each token of the stream is a target once."""
    ids = stream(tokenizer, eos, read_documents(corpus, "train"))
    return ids.unfold(0, context + 1, context)


class Trainer:
    """The training loop: batches in a new random order each epoch, until the time is over."""

    def __init__(self, model, sequences, plan, args):
        self.model, self.sequences, self.plan = model, sequences, plan
        self.loss_of = torch.compile(model.loss) if args.compile else model.loss
        self.mode = args.mode
        self.batch_tokens = plan["sequences"] * plan["context"]
        self.optimizer = make_optimizer(model, plan["optimizer"])
        self.random = torch.Generator().manual_seed(args.seed)
        self.order = torch.empty(0, dtype=torch.long)
        self.steps, self.seconds = 0, 0.0

    def faster_mode(self):
        batch = self.next_batch()
        seconds = {}
        for self.mode in ("f32", "bf16"):
            seconds[self.mode] = median_seconds(lambda: self.backward(batch), 5, seconds_max=10.0)
        note(f"ms a step without the optimizer: {({mode: round(1000 * s) for mode, s in seconds.items()})}")
        return min(seconds, key=seconds.get)

    def warm_up(self):
        """Compiles and fills caches, changes no weight."""
        self.backward(self.next_batch())
        self.optimizer.zero_grad(set_to_none=True)

    def train(self, seconds):
        start = logged = time.perf_counter()
        while (passed := time.perf_counter() - start) < seconds:
            self.set_learning_rate(passed / seconds)
            self.optimizer.zero_grad(set_to_none=True)
            loss = self.backward(self.next_batch())
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan["optimizer"]["clip-norm"])
            self.optimizer.step()
            self.steps += 1
            if time.perf_counter() - logged > LOG_SECONDS:
                logged = time.perf_counter()
                rate = self.steps * self.batch_tokens / (logged - start)
                note(f"{logged - start:6.0f} s, step {self.steps}, loss {loss:.3f}, {rate:.0f} tokens/s")
        self.seconds = time.perf_counter() - start

    def backward(self, batch):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.mode == "bf16"):
            loss = self.loss_of(batch[:, :-1], batch[:, 1:])
        loss.backward()
        return loss.item()

    def next_batch(self):
        wanted = self.plan["sequences"]
        while len(self.order) < wanted:
            epoch = torch.randperm(len(self.sequences), generator=self.random)
            self.order = torch.cat([self.order, epoch])
        chosen, self.order = self.order[:wanted], self.order[wanted:]
        return self.sequences[chosen]

    def set_learning_rate(self, share):
        """Linear warm-up, then the plan's decay to its floor, over the share of the time that has passed."""
        schedule = self.plan["schedule"]
        warmup = schedule["warmup-steps"] / schedule["steps"]
        if share < warmup:
            factor = max(share / warmup, 1 / schedule["warmup-steps"])
        else:
            done = (share - warmup) / (1 - warmup)
            left = 0.5 * (1 + math.cos(math.pi * done)) if schedule["decay"] == "cosine" else 1 - done
            factor = schedule["floor"] + (1 - schedule["floor"]) * left
        for group in self.optimizer.param_groups:
            group["lr"] = schedule["peak"] * factor


def make_optimizer(model, settings):
    """Matrices decay, the embedding too; norms do not."""
    matrices = [parameter for parameter in model.parameters() if parameter.dim() > 1]
    vectors = [parameter for parameter in model.parameters() if parameter.dim() == 1]
    groups = [
        {"params": matrices, "weight_decay": settings["weight-decay"]},
        {"params": vectors, "weight_decay": 0.0},
    ]
    betas = (settings["beta1"], settings["beta2"])
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=settings["epsilon"], fused=True)


if __name__ == "__main__":
    main()
