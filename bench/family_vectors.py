"""Writes the test vectors of the model families: tiny random checkpoints and what transformers makes of them.

    family_vectors.py [--out crates/model/tests/vectors] [--classifiers crates/engine/tests/vectors/classifiers] [NAME …]

One folder a vector, laid out as Hugging Face lays out a model, with beside it

cases.json             {"cases": [{"tokens": […], "types": […], "targets": […]}]}: token ids; segment ids for
                       encoders; for case 0 of models with a head what each position should predict, null for nothing
expected.safetensors   for case N: `logits_N` (tokens, vocabulary) of models with a head; `hidden_N` (tokens, width)
                       after the last norm; `pooled_N` (width) of encoders with a pooler; `embedding_N` (width), the
                       mean over tokens scaled to length 1, of encoders without a head; `logits_N` (labels) and what
                       they stand for, `scores_N`, of classifiers
gradients.safetensors  of models with a head that luban trains, for case 0: the gradient of the summed loss of its targets in nats, by
                       each tensor of the checkpoint

Every tensor is f32 and every case is run alone, so nothing is padded. All weights are random, norms and biases too:
a term that is left out shows. Widths are no multiple of a SIMD register, one case is longer than a cache block.
The same versions of torch and transformers write the same bytes.
"""

import argparse
import json
import zlib
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    ModernBertForSequenceClassification,
    ModernBertModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    RobertaConfig,
    RobertaForMaskedLM,
    RobertaForSequenceClassification,
    RobertaModel,
)

VOCAB = 67
POSITIONS = 80
CASE_LENGTHS = [9, 1, 70]
MATRIX_STD, VECTOR_STD = 0.25, 0.2


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    crates = Path(__file__).parent.parent / "crates"
    parser.add_argument("--out", type=Path, default=crates / "model/tests/vectors", metavar="DIR")
    default = crates / "engine/tests/vectors/classifiers"
    parser.add_argument("--classifiers", type=Path, default=default, metavar="DIR", help="where those go")
    parser.add_argument("names", nargs="*", metavar="NAME", help="vectors to write; all of them without any")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, (make, write_expected) in VECTORS.items():
        if options.names and name not in options.names:
            continue
        seed = zlib.crc32(name.encode())
        model = make()
        randomise(model, seed)
        folder = (options.classifiers if write_expected is write_classifier else options.out) / name
        folder.mkdir(parents=True, exist_ok=True)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        if name in OLDER_CONFIGS:
            rotary_base_as_before(folder / "config.json")
        write_expected(model, folder, make_cases(seed, model.config.pad_token_id))
        size_kb = sum(file.stat().st_size for file in folder.iterdir()) / 1000
        print(f"{name}: {size_kb:.0f} KB")
        assert size_kb < 150, f"{name} is too large for a test vector"


# The models


def llama_grouped():
    """Grouped key-value heads and a head of its own."""
    return LlamaForCausalLM(llama_config(num_key_value_heads=2, tie_word_embeddings=False, rope_theta=10000.0))


def llama_tied():
    """One key-value head, the head tied to the embedding, another rotary base and epsilon."""
    return LlamaForCausalLM(
        llama_config(num_key_value_heads=1, tie_word_embeddings=True, rope_theta=100000.0, rms_norm_eps=1e-3)
    )


def llama_scaled():
    """The rotation of Llama 3.1: of three wavelengths one stays, one is stretched, one lies between."""
    scaling = {
        "rope_type": "llama3",
        "rope_theta": 100.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    return LlamaForCausalLM(llama_config(tie_word_embeddings=True, rope_parameters=scaling))


def mistral():
    """Near sight in every layer."""
    config = llama_config(MistralConfig, 10000.0, num_key_value_heads=2, tie_word_embeddings=False, sliding_window=9)
    return MistralForCausalLM(config)


def qwen2():
    """Biases for queries, keys and values; near sight in the upper layer."""
    window = {"use_sliding_window": True, "sliding_window": 20, "max_window_layers": 1}
    config = llama_config(Qwen2Config, 1000000.0, num_key_value_heads=2, tie_word_embeddings=True, **window)
    return Qwen2ForCausalLM(config)


def qwen3():
    """Norms of each head; heads that are wider together than the model."""
    config = llama_config(Qwen3Config, 1000000.0, num_key_value_heads=1, tie_word_embeddings=True, head_dim=10)
    return Qwen3ForCausalLM(config)


def qwen3_moe():
    """Experts in every layer, of which a token takes two of five."""
    experts = {"num_experts": 5, "num_experts_per_tok": 2, "moe_intermediate_size": 20, "norm_topk_prob": True}
    config = llama_config(
        Qwen3MoeConfig, 1000000.0, num_key_value_heads=2, tie_word_embeddings=True, **experts, mlp_only_layers=[]
    )
    return Qwen3MoeForCausalLM(config)


def llama_config(kind=LlamaConfig, rope_theta=10000.0, rms_norm_eps=1e-5, **fields):
    fields = {"head_dim": 6, "rope_parameters": {"rope_type": "default", "rope_theta": rope_theta}} | fields
    return kind(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        rms_norm_eps=rms_norm_eps,
        bos_token_id=0,
        eos_token_id=0,
        attn_implementation="eager",
        **fields,
    )


def rotary_base_as_before(path):
    """Moves the rotary base to where files had it before transformers 5: most published checkpoints are such."""
    config = json.loads(path.read_text())
    rotation = config.pop("rope_parameters")
    if config["model_type"] == "modernbert":
        config["local_rope_theta"] = rotation["sliding_attention"]["rope_theta"]
        rotation = {**rotation["full_attention"]}
        config["global_rope_theta"] = rotation["rope_theta"]
        config["global_attn_every_n_layers"] = 3
        del config["layer_types"]
    config["rope_theta"] = rotation.pop("rope_theta")
    if rotation["rope_type"] != "default":
        config["rope_scaling"] = rotation
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def gpt2():
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCAB,
            n_positions=POSITIONS,
            n_embd=24,
            n_layer=2,
            n_head=3,
            n_inner=40,
            bos_token_id=0,
            eos_token_id=0,
            attn_implementation="eager",
        )
    )


def bert(pooler):
    return BertModel(bert_config(num_hidden_layers=2, num_attention_heads=3), add_pooling_layer=pooler)


def bert_masked_lm():
    return BertForMaskedLM(bert_config(num_hidden_layers=2, num_attention_heads=3))


def minilm():
    """The proportions of all-MiniLM-L6-v2: six layers, twelve heads, four times the width inside."""
    return BertModel(bert_config(num_hidden_layers=6, num_attention_heads=12))


def bert_config(**fields):
    return BertConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        max_position_embeddings=POSITIONS,
        attn_implementation="eager",
        **fields,
    )


def gemma3():
    """Near sight in the lower layer, a stretched rotation in the upper."""
    rotations = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        "full_attention": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0},
    }
    config = Gemma3TextConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        head_dim=10,
        query_pre_attn_scalar=14,
        max_position_embeddings=POSITIONS,
        sliding_window=12,
        layer_types=["sliding_attention", "full_attention"],
        rope_parameters=rotations,
        rms_norm_eps=1e-5,
        pad_token_id=0,
        attn_implementation="eager",
    )
    return Gemma3ForCausalLM(config)


def roberta_config():
    return RobertaConfig(
        vocab_size=VOCAB,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=3,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        pad_token_id=1,
        attn_implementation="eager",
    )


def modernbert_config():
    """Full sight in the first layer and the fourth, near sight between them."""
    return ModernBertConfig(
        vocab_size=VOCAB,
        hidden_size=20,
        intermediate_size=18,
        num_hidden_layers=4,
        num_attention_heads=2,
        max_position_embeddings=POSITIONS,
        local_attention=16,
        pad_token_id=VOCAB - 2,
        bos_token_id=0,
        eos_token_id=0,
        cls_token_id=0,
        sep_token_id=0,
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            "full_attention": {"rope_type": "default", "rope_theta": 5000.0},
        },
        attn_implementation="eager",
    )


def bert_classifier():
    """One of three labels."""
    labels = {0: "quiet", 1: "loud", 2: "neither"}
    config = bert_config(num_hidden_layers=2, num_attention_heads=3, id2label=labels)
    return BertForSequenceClassification(config)


def bert_cross_encoder():
    """One score for a pair of texts."""
    return BertForSequenceClassification(bert_config(num_hidden_layers=2, num_attention_heads=3, num_labels=1))


def roberta_classifier():
    """Any of four labels."""
    config = roberta_config()
    config.num_labels, config.problem_type = 4, "multi_label_classification"
    return RobertaForSequenceClassification(config)


def modernbert_classifier(pooling, labels, **fields):
    config = modernbert_config()
    config.classifier_pooling, config.num_labels = pooling, labels
    for name, value in fields.items():
        setattr(config, name, value)
    return ModernBertForSequenceClassification(config)


def randomise(model, seed):
    """Fills every parameter from the seed, in the order of names; norm weights lie around one."""
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            std = MATRIX_STD if parameter.dim() > 1 else VECTOR_STD
            parameter.normal_(0.0, std, generator=generator)
            if parameter.dim() == 1 and name.endswith("weight"):
                parameter += 1.0


def make_cases(seed, padding):
    """Without the padding token: its embedding gets no gradient, and in some families its neighbours' positions shift."""
    generator = torch.Generator().manual_seed(seed + 1)
    cases = [torch.randint(0, VOCAB, (length,), generator=generator) for length in CASE_LENGTHS]
    return cases if padding is None else [torch.where(case == padding, padding + 1, case) for case in cases]


# What is expected of them


def write_decoder(model, folder, cases):
    """Each token predicts the next; the last has no target."""
    cases = [{"tokens": tokens.tolist()} for tokens in cases]
    cases[0]["targets"] = cases[0]["tokens"][1:] + [None]
    write_with_head(model, folder, cases)


def write_served(model, folder, cases):
    """Of a model that luban serves and does not train."""
    write_with_head(model, folder, [{"tokens": tokens.tolist()} for tokens in cases])


def write_masked(model, folder, cases):
    """Every third position is to be restored."""
    cases = [{"tokens": tokens.tolist(), **segments(model, tokens, index)} for index, tokens in enumerate(cases)]
    masked = cases[0]["tokens"]
    cases[0]["targets"] = [(token + 1) % VOCAB if at % 3 == 1 else None for at, token in enumerate(masked)]
    write_with_head(model, folder, cases)


def write_with_head(model, folder, cases):
    expected = {}
    with torch.no_grad():
        for index, case in enumerate(cases):
            output = model(**inputs(case), output_hidden_states=True)
            expected[f"logits_{index}"] = output.logits[0].clone()
            expected[f"hidden_{index}"] = output.hidden_states[-1][0].clone()
    write(folder, expected, cases)
    if "targets" not in cases[0]:
        return
    rows = [at for at, target in enumerate(cases[0]["targets"]) if target is not None]
    targets = torch.tensor([cases[0]["targets"][at] for at in rows])
    F.cross_entropy(model(**inputs(cases[0])).logits[0, rows], targets, reduction="sum").backward()
    gradients = {name: parameter.grad.contiguous() for name, parameter in model.named_parameters()}
    save_file(gradients, folder / "gradients.safetensors")


def write_encoder(model, folder, cases):
    cases = [{"tokens": tokens.tolist(), **segments(model, tokens, index)} for index, tokens in enumerate(cases)]
    expected = {}
    with torch.no_grad():
        for index, case in enumerate(cases):
            output = model(**inputs(case))
            hidden = output.last_hidden_state[0]
            expected[f"hidden_{index}"] = hidden.clone()
            expected[f"embedding_{index}"] = F.normalize(hidden.mean(0), dim=0)
            if getattr(output, "pooler_output", None) is not None:
                expected[f"pooled_{index}"] = output.pooler_output[0].clone()
    write(folder, expected, cases)


def write_classifier(model, folder, cases):
    """Scores as the pipelines of transformers make them of logits."""
    cases = [{"tokens": tokens.tolist(), **segments(model, tokens, index)} for index, tokens in enumerate(cases)]
    kind, expected = model.config.problem_type, {}
    with torch.no_grad():
        for index, case in enumerate(cases):
            logits = model(**inputs(case)).logits[0]
            expected[f"logits_{index}"] = logits.clone()
            if kind == "regression":
                scores = logits
            elif kind == "multi_label_classification" or len(logits) == 1:
                scores = torch.sigmoid(logits)
            else:
                scores = torch.softmax(logits, dim=0)
            expected[f"scores_{index}"] = scores.clone()
    write(folder, expected, cases)


def segments(model, tokens, index):
    """The second half of the first case is its second segment, as in a sentence pair, where the model knows such."""
    if getattr(model.config, "type_vocab_size", 0) < 2:
        return {}
    return {"types": [int(index == 0 and 2 * at >= len(tokens)) for at in range(len(tokens))]}


def inputs(case):
    arrays = {"input_ids": torch.tensor([case["tokens"]])}
    if "types" in case:
        arrays["token_type_ids"] = torch.tensor([case["types"]])
    return arrays


def write(folder, expected, cases):
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors")
    lines = ",\n".join("    " + json.dumps(case) for case in cases)
    (folder / "cases.json").write_text(f'{{\n  "cases": [\n{lines}\n  ]\n}}\n')


VECTORS = {
    "llama-grouped": (llama_grouped, write_decoder),
    "llama-tied": (llama_tied, write_decoder),
    "llama-scaled": (llama_scaled, write_decoder),
    "mistral": (mistral, write_decoder),
    "qwen2": (qwen2, write_decoder),
    "qwen3": (qwen3, write_decoder),
    "qwen3-moe": (qwen3_moe, write_served),
    "gpt2": (gpt2, write_decoder),
    "bert": (lambda: bert(pooler=True), write_encoder),
    "bert-no-pooler": (lambda: bert(pooler=False), write_encoder),
    "bert-masked-lm": (bert_masked_lm, write_masked),
    "minilm": (minilm, write_encoder),
    "gemma3": (gemma3, write_decoder),
    "roberta": (lambda: RobertaModel(roberta_config(), add_pooling_layer=False), write_encoder),
    "roberta-masked-lm": (lambda: RobertaForMaskedLM(roberta_config()), write_masked),
    "modernbert": (lambda: ModernBertModel(modernbert_config()), write_encoder),
    "modernbert-masked-lm": (lambda: ModernBertForMaskedLM(modernbert_config()), write_masked),
    "bert-classifier": (bert_classifier, write_classifier),
    "bert-cross-encoder": (bert_cross_encoder, write_classifier),
    "roberta-classifier": (roberta_classifier, write_classifier),
    "modernbert-classifier": (lambda: modernbert_classifier("cls", 2, classifier_bias=True), write_classifier),
    "modernbert-regression": (
        lambda: modernbert_classifier("mean", 3, problem_type="regression"),
        write_classifier,
    ),
}
# Some vectors have the rotary base in `rope_theta`, the others in `rope_parameters`.
OLDER_CONFIGS = {"llama-grouped", "llama-scaled", "qwen3", "modernbert"}


if __name__ == "__main__":
    main()
