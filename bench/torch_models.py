"""The models of the comparisons in plain PyTorch, as a practitioner would write them for speed on a CPU.

Projections of the same input are one matrix (q k v; gate and up), attention is scaled_dot_product_attention, the
optimizer is the fused AdamW: each of these favours PyTorch.
"""

from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F


@dataclass
class LlamaShape:
    """A Llama-style decoder with tied embeddings."""

    vocab: int
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_width: int
    ffn: int
    positions: int
    theta: float = 10000.0
    epsilon: float = 1e-5
    # Of the adapters of attention's maps; all else is frozen where there are any.
    lora_rank: int = 0


class Llama(nn.Module):
    """Token ids (batch, length) to hidden states (batch, length, width); `logits` of those."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocab, shape.width)
        self.blocks = nn.ModuleList(LlamaBlock(shape) for _ in range(shape.layers))
        self.norm = RmsNorm(shape.width, shape.epsilon)
        exponents = torch.arange(0, shape.head_width, 2) / shape.head_width
        angles = torch.outer(torch.arange(shape.positions).float(), shape.theta**-exponents).repeat(1, 2)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        if shape.lora_rank:
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(".adapters." in name)

    def forward(self, inputs):
        length = inputs.shape[1]
        cos, sin = self.cos[:length], self.sin[:length]
        hidden = self.tokens(inputs)
        for block in self.blocks:
            hidden = block(hidden, cos, sin)
        return self.norm(hidden)

    def logits(self, hidden):
        return F.linear(hidden, self.tokens.weight)

    def loss(self, inputs, targets):
        """Mean nats a target."""
        return F.cross_entropy(self.logits(self(inputs)).flatten(0, 1).float(), targets.flatten())


class LlamaBlock(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.kv_heads, self.head_width = shape.heads, shape.kv_heads, shape.head_width
        self.qkv = nn.Linear(shape.width, (shape.heads + 2 * shape.kv_heads) * shape.head_width, bias=False)
        self.out = nn.Linear(shape.heads * shape.head_width, shape.width, bias=False)
        self.gate_up = nn.Linear(shape.width, 2 * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.width, bias=False)
        self.norm1 = RmsNorm(shape.width, shape.epsilon)
        self.norm2 = RmsNorm(shape.width, shape.epsilon)
        if shape.lora_rank:
            query, kv = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
            maps = {"q": (shape.width, query), "k": (shape.width, kv), "v": (shape.width, kv)}
            maps["out"] = (query, shape.width)
            self.adapters = nn.ModuleDict({name: Lora(*sizes, shape.lora_rank) for name, sizes in maps.items()})
        else:
            self.adapters = None

    def forward(self, x, cos, sin):
        x = x + self.attention(self.norm1(x), cos, sin)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)

    def attention(self, x, cos, sin):
        batch, length, _ = x.shape
        mapped = self.qkv(x)
        if self.adapters is not None:
            mapped = mapped + torch.cat([self.adapters[name](x) for name in "qkv"], -1)
        heads = mapped.view(batch, length, self.heads + 2 * self.kv_heads, self.head_width).transpose(1, 2)
        q, k, v = heads.split([self.heads, self.kv_heads, self.kv_heads], 1)
        q, k = (rotate(part, cos, sin).to(v.dtype) for part in (q, k))
        if self.kv_heads < self.heads:
            k, v = (part.repeat_interleave(self.heads // self.kv_heads, 1) for part in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        mixed = mixed.transpose(1, 2).reshape(batch, length, -1)
        out = self.out(mixed)
        return out if self.adapters is None else out + self.adapters["out"](mixed)


class Lora(nn.Module):
    """What is learnt beside a frozen map (Hu et al. 2021); alpha is twice the rank."""

    def __init__(self, inputs, outputs, rank):
        super().__init__()
        self.a = nn.Linear(inputs, rank, bias=False)
        self.b = nn.Linear(rank, outputs, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x):
        return self.b(self.a(x)) * 2.0


def rotate(x, cos, sin):
    """Rotary position embedding; the halves of a head are the two coordinates, as in Hugging Face's layout."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class RmsNorm(nn.Module):
    def __init__(self, width, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x):
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), self.epsilon)


@dataclass
class GptShape:
    """GPT-2 (norm before, causal), or BERT (norm after, full attention, masked-LM head)."""

    vocab: int
    layers: int
    width: int
    heads: int
    positions: int
    is_bert: bool = False
    # Of the embedding and of what each part of a block adds, as in luban; attention's own weights keep theirs.
    dropout: float = 0.0


class Gpt(nn.Module):
    """Token ids (batch, length) to hidden states; tied embeddings, learned positions."""

    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        self.tokens = nn.Embedding(shape.vocab, shape.width)
        self.positions = nn.Embedding(shape.positions, shape.width)
        self.blocks = nn.ModuleList(GptBlock(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)  # after the embedding in BERT, before the head in GPT-2
        if shape.is_bert:
            self.transform = nn.Linear(shape.width, shape.width)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, inputs):
        hidden = self.tokens(inputs) + self.positions.weight[: inputs.shape[1]]
        if self.shape.is_bert:
            hidden = self.norm(hidden)
        if self.shape.dropout:
            hidden = F.dropout(hidden, self.shape.dropout, self.training)
        for block in self.blocks:
            hidden = block(hidden)
        return hidden if self.shape.is_bert else self.norm(hidden)

    def loss(self, inputs, targets, chosen=None):
        """Mean nats a target. A masked LM predicts the positions `chosen` of the flattened batch only."""
        hidden, targets = self(inputs).flatten(0, 1), targets.flatten()
        if self.shape.is_bert:
            hidden, targets = F.gelu(self.transform(hidden[chosen])), targets[chosen]
        return F.cross_entropy(F.linear(hidden, self.tokens.weight).float(), targets)


class GptBlock(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.heads, self.is_bert, self.dropout = shape.heads, shape.is_bert, shape.dropout
        self.qkv = nn.Linear(shape.width, 3 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)
        self.up = nn.Linear(shape.width, 4 * shape.width)
        self.down = nn.Linear(4 * shape.width, shape.width)
        self.norm1 = nn.LayerNorm(shape.width)
        self.norm2 = nn.LayerNorm(shape.width)

    def forward(self, x):
        if self.is_bert:
            x = self.norm1(x + self.dropped(self.attention(x)))
            return self.norm2(x + self.dropped(self.down(F.gelu(self.up(x)))))
        x = x + self.dropped(self.attention(self.norm1(x)))
        return x + self.dropped(self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh")))

    def dropped(self, branch):
        return F.dropout(branch, self.dropout, self.training) if self.dropout else branch

    def attention(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3 * self.heads, -1).transpose(1, 2).chunk(3, 1)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=not self.is_bert)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, width))
