"""Holds a model's logits in luban against those of Hugging Face transformers.

    transformers_logits.py MODEL --corpus CORPUS    a model artifact, on texts of the corpus's validation split
    transformers_logits.py --vectors                the small random models of the tests

MODEL is loaded by AutoModelForCausalLM and AutoTokenizer, as any other model is; luban gives its side by
`luban eval logits`. Both see the same texts and tokenize them themselves; the token ids must be the same. Ends with
an error when a logit differs by more than --tolerance.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from common import ROOT, luban, note, print_result, read_documents

TEXTS = 8
TEXT_CHARS = 2000
VECTORS = ROOT / "crates/model/tests/vectors"


def main():
    args = parse_args()
    if args.vectors:
        folders = sorted(folder for folder in VECTORS.iterdir() if folder.is_dir())
        results = [compare_vectors(folder) for folder in folders]
    else:
        results = [compare_artifact(args.model, args.corpus)]
    for result in results:
        print_result(bench="transformers_logits", **result, tolerance=args.tolerance)
    worst = max(result["difference_max"] for result in results)
    if not worst <= args.tolerance:  # a NaN is no agreement either
        sys.exit(f"logits differ by {worst}, more than {args.tolerance}")


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--corpus", type=Path, help="a corpus artifact whose validation texts are used")
    parser.add_argument("--vectors", action="store_true")
    parser.add_argument("--tolerance", type=float, default=1e-3)
    args = parser.parse_args()
    if args.vectors == (args.model is not None) or (args.model and not args.corpus):
        parser.error("give MODEL and --corpus, or --vectors")
    return args


def compare_artifact(model_dir, corpus):
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).eval()
    context = model.config.max_position_embeddings
    texts = [text[:TEXT_CHARS] for text in read_documents(corpus, "valid")[:TEXTS]]
    token_lists = [tokenizer(text, add_special_tokens=False)["input_ids"][:context] for text in texts]
    # luban tokenizes for itself; what both cut at the context's end is the same text only if the ids agree.
    ours = luban_outputs(model_dir, texts)
    differences, largest, tokens = [], 0.0, 0
    with torch.no_grad():
        for index, ids in enumerate(token_lists):
            assert ours[f"tokens_{index}"].tolist()[: len(ids)] == ids, f"text {index} is tokenized otherwise"
            expected = model(torch.tensor([ids])).logits[0]
            got = ours[f"logits_{index}"]
            assert got.shape == expected.shape, f"text {index}: {tuple(got.shape)}, not {tuple(expected.shape)}"
            differences.append((got - expected).abs().max().item())
            largest = max(largest, expected.abs().max().item())
            tokens += len(ids)
    return dict(
        model=str(model_dir),
        architecture=type(model).__name__,
        texts=len(texts),
        tokens=tokens,
        difference_max=max(differences),
        logit_max=round(largest, 3),
    )


def compare_vectors(folder):
    """The models of the tests, loaded afresh by transformers: neither side uses the expected values on disk."""
    cases = [case["tokens"] for case in json.loads((folder / "cases.json").read_text())["cases"]]
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder, dtype=torch.float32).eval()
    output = "logits" if architecture.endswith(("ForCausalLM", "ForMaskedLM", "LMHeadModel")) else "hidden"
    ours = luban_outputs(folder, cases)
    differences = []
    with torch.no_grad():
        for index, ids in enumerate(cases):
            result = model(torch.tensor([ids]))
            expected = (result.last_hidden_state if output == "hidden" else result.logits)[0]
            differences.append((ours[f"{output}_{index}"] - expected).abs().max().item())
    return dict(
        model=folder.name,
        architecture=type(model).__name__,
        texts=len(cases),
        tokens=sum(map(len, cases)),
        difference_max=max(differences),
    )


def luban_outputs(model_dir, prompts):
    """`tokens_N` and `logits_N`, or `hidden_N` of a model without a head, for each text or list of token ids."""
    with tempfile.TemporaryDirectory() as folder:
        prompt_file, out = Path(folder) / "prompts.jsonl", Path(folder) / "logits.safetensors"
        prompt_file.write_text("".join(json.dumps(prompt) + "\n" for prompt in prompts), encoding="utf-8")
        luban("eval", "logits", model_dir, "--prompt-file", prompt_file, "--out", out)
        note(f"luban eval logits {model_dir}: {out.stat().st_size} bytes")
        return load_file(out)


if __name__ == "__main__":
    main()
