"""Holds models that Luban writes against transformers: every test vector is read and written again, whole and in
several files, loaded by transformers from there, and must give the hidden states and logits of the original.

    cargo build -p luban-model --example resave
    family_saved.py [--resave target/debug/examples/resave] [--vectors crates/model/tests/vectors]
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM

ROOT = Path(__file__).parent.parent
PART_BYTES = 12_000
TOLERANCE = 1e-6


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resave", type=Path, default=ROOT / "target/debug/examples/resave", metavar="FILE")
    parser.add_argument("--vectors", type=Path, default=ROOT / "crates/model/tests/vectors", metavar="DIR")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for folder in sorted(options.vectors.iterdir()):
        with tempfile.TemporaryDirectory() as temporary:
            for limit in [[], [str(PART_BYTES)]]:
                target = Path(temporary) / f"model{len(limit)}"
                subprocess.run([options.resave, folder, target, Path(temporary) / "home", *limit], check=True)
                files = len(list(target.glob("*.safetensors")))
                worst = compare(folder, target)
                print(f"{folder.name}, {files} files: {worst:.1e} apart")
                assert worst < TOLERANCE


def compare(original, saved):
    """The largest difference from the original's expected values, relative to the largest of them."""
    config = AutoConfig.from_pretrained(saved)
    kind = config.architectures[0]
    loader = AutoModelForCausalLM if "CausalLM" in kind or "LMHead" in kind else AutoModel
    loader = AutoModelForMaskedLM if "MaskedLM" in kind else loader
    model, info = loader.from_pretrained(saved, output_loading_info=True, attn_implementation="eager")
    missing = [name for name in info["missing_keys"] if "pooler" not in name]
    assert not missing and not info["unexpected_keys"] and not info["mismatched_keys"], info
    model.eval()
    expected = load_file(original / "expected.safetensors")
    worst = 0.0
    for index, case in enumerate(json.loads((original / "cases.json").read_text())["cases"]):
        arrays = {"input_ids": torch.tensor([case["tokens"]])}
        if "types" in case:
            arrays["token_type_ids"] = torch.tensor([case["types"]])
        with torch.no_grad():
            output = model(**arrays, output_hidden_states=True)
        found = {f"hidden_{index}": output.hidden_states[-1][0]}
        if hasattr(output, "logits"):
            found[f"logits_{index}"] = output.logits[0]
        for name, tensor in found.items():
            scale = expected[name].abs().max()
            worst = max(worst, ((tensor - expected[name]).abs().max() / scale).item())
    return worst


if __name__ == "__main__":
    main()
