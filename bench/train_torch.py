"""Training speed of PyTorch on the shapes of `luban bench train`.

    train_torch.py CONFIG [--mode f32|bf16] [--compile] [--threads 2] [--steps 5]

CONFIG is tiny, small, gpt2_b4 (GPT-2 124M), bert (BERT-base, masked LM), llama (SmolLM2-135M), llama_lora (the
same, frozen, with adapters of rank 8 on q, k, v and out) or shakespeare (nanoGPT's
10.7 million parameters for characters, with its dropout). A step is forward,
backward and fused AdamW on a batch of random tokens; the median is reported. bf16 is autocast with f32 weights,
gradients and optimizer state. `gflops` counts matrix products: 6 a weight and token, causal attention at half of
full, a masked LM's head on 15 % of the positions.
"""

import argparse
from dataclasses import replace

import torch

from common import median_seconds, peak_rss_mb, print_result
from torch_models import Gpt, GptShape, Llama, LlamaShape

MASKED_SHARE = 0.15
SMOLLM2 = LlamaShape(
    vocab=49152, layers=30, width=576, heads=9, kv_heads=3, head_width=64, ffn=1536, positions=512, theta=1e5
)
# Shape, sequences in a batch, tokens in a sequence.
CONFIGS = {
    "tiny": (GptShape(vocab=256, layers=4, width=128, heads=4, positions=512), 32, 128),
    "small": (GptShape(vocab=4096, layers=6, width=384, heads=6, positions=512), 16, 256),
    "gpt2_b4": (GptShape(vocab=50257, layers=12, width=768, heads=12, positions=512), 4, 256),
    "bert": (GptShape(vocab=30522, layers=12, width=768, heads=12, positions=512, is_bert=True), 8, 128),
    "llama": (SMOLLM2, 2, 512),
    "llama_lora": (replace(SMOLLM2, lora_rank=8), 2, 512),
    "shakespeare": (GptShape(vocab=67, layers=6, width=384, heads=6, positions=256, dropout=0.2), 32, 256),
}


def main():
    args = parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    shape, batch, length = CONFIGS[args.config]
    model = Llama(shape) if isinstance(shape, LlamaShape) else Gpt(shape)
    step = make_step(model, shape, batch, length, args)
    step_s = median_seconds(step, args.steps)
    tokens = batch * length
    print_result(
        bench="train_torch",
        config=args.config,
        precision=args.mode,
        compile=args.compile,
        threads=args.threads,
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        tok_s=round(tokens / step_s, 1),
        step_ms=round(1000 * step_s, 2),
        gflops=round(tokens * flops_per_token(shape, length) / step_s / 1e9, 1),
        peak_rss_mb=peak_rss_mb(),
        torch=torch.__version__,
    )


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", choices=CONFIGS)
    parser.add_argument("--mode", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model (needs a C++ compiler)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="least number of timed steps")
    return parser.parse_args()


def make_step(model, shape, batch, length, args):
    optimizer = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=1e-4, fused=True)
    inputs = torch.randint(0, shape.vocab, (batch, length))
    targets = torch.randint(0, shape.vocab, (batch, length))
    loss_of = torch.compile(model.loss) if args.compile else model.loss
    more = {}
    if getattr(shape, "is_bert", False):
        more["chosen"] = torch.randperm(batch * length)[: int(MASKED_SHARE * batch * length)]

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=args.mode == "bf16"):
            loss = loss_of(inputs, targets, **more)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def flops_per_token(shape, length):
    """Floating-point operations of forward and backward in matrix products, a token."""
    width, layers, head_share, attention = shape.width, shape.layers, 1, 6
    if isinstance(shape, LlamaShape):
        q, kv = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
        block = 2 * width * q + 2 * width * kv + 3 * width * shape.ffn
    else:
        block = 12 * width * width
        if shape.is_bert:
            head_share, attention = MASKED_SHARE, 12
    weights = layers * block + head_share * shape.vocab * width
    per_weight = 4 if getattr(shape, "lora_rank", 0) else 6
    return per_weight * weights + attention * layers * length * width


if __name__ == "__main__":
    main()
