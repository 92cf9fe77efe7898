"""Writes the test vectors of low-rank adapters: random ones of the family vectors' models, and what PEFT makes of them.

    adapter_vectors.py [--out crates/engine/tests/vectors] [NAME …]

One folder a vector, `adapter-NAME`, as PEFT saves an adapter, with beside it

base.txt               the name of the model's folder in crates/model/tests/vectors
expected.safetensors   for case N of that model: `logits_N` (tokens, vocabulary) with the adapter

Needs the package peft beside those of requirements.txt. The same versions write the same bytes.
"""

import argparse
import json
import zlib
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).parent.parent
BASES = ROOT / "crates/model/tests/vectors"
LLAMA_MAPS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
VECTORS = {
    # Every map of the blocks.
    "llama": ("llama-grouped", {"r": 4, "lora_alpha": 6, "target_modules": LLAMA_MAPS}),
    # Some maps, with ranks and alphas of their own, over the root of the rank.
    "patterns": (
        "qwen3",
        {
            "r": 3,
            "lora_alpha": 5,
            "use_rslora": True,
            "target_modules": ["q_proj", "v_proj", "down_proj"],
            "rank_pattern": {"v_proj": 6, "layers.1.mlp.down_proj": 2},
            "alpha_pattern": {"q_proj": 9},
        },
    ),
    # Queries, keys and values in one matrix, and all matrices transposed.
    "gpt2": ("gpt2", {"r": 4, "lora_alpha": 8, "target_modules": ["c_attn", "c_proj", "c_fc"], "fan_in_fan_out": True}),
    # Norms after each part, near sight.
    "gemma": ("gemma3", {"r": 2, "lora_alpha": 4, "target_modules": LLAMA_MAPS, "layers_to_transform": [1]}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "crates/engine/tests/vectors", metavar="DIR")
    parser.add_argument("names", nargs="*", metavar="NAME", help="vectors to write; all of them without any")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, (base, settings) in VECTORS.items():
        if not options.names or name in options.names:
            write(options.out / f"adapter-{name}", name, base, settings)


def write(folder, name, base, settings):
    model = AutoModelForCausalLM.from_pretrained(BASES / base, dtype=torch.float32, attn_implementation="eager")
    cases = [torch.tensor(case["tokens"]) for case in json.loads((BASES / base / "cases.json").read_text())["cases"]]
    plain = logits(model, cases)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", base_model_name_or_path=base, **settings))
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    with torch.no_grad():
        for parameter_name, parameter in sorted(model.named_parameters()):
            if "lora_" in parameter_name:
                parameter.normal_(0.0, 0.2, generator=generator)
    model.eval()
    adapted = logits(model, cases)
    assert all((adapted[key] - plain[key]).abs().max() > 0.1 for key in plain), "the adapter must show"
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    # Sets come in any order, and the model's place is this machine's.
    config = json.loads(path.read_text()) | {"base_model_name_or_path": base}
    config["target_modules"] = sorted(config["target_modules"])
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "base.txt").write_text(base + "\n")
    save_file(adapted, folder / "expected.safetensors")
    for file in folder.iterdir():
        file.chmod(0o644)
    print(f"{folder.name}: {sum(file.stat().st_size for file in folder.iterdir()) / 1000:.0f} KB")


def logits(model, cases):
    with torch.no_grad():
        return {f"logits_{index}": model(tokens[None]).logits[0].clone() for index, tokens in enumerate(cases)}


if __name__ == "__main__":
    main()
