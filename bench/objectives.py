#!/usr/bin/env python3
"""One run's line for objectives.sh: objectives.py NAME MODEL LOAD.

The losses are those that the run measured at its end, on all validation text; the masked loss of a model that did not
learn it is that of `luban eval masked`, which hides the same tokens, from MODEL.masked.json. LOAD is the machine's load
when the run was asked for.
"""

import json
import sys
from pathlib import Path

from common import print_result, read_manifest


def main():
    name, model, load = sys.argv[1:]
    metrics = read_manifest(model)["metrics"]
    masked = json.loads(Path(f"{model}.masked.json").read_text(encoding="utf-8"))
    encoder = name == "encoder"
    causal = None if encoder else metrics.get("validation_loss_causal", metrics["validation_loss"])
    print_result(
        bench="objectives",
        run=name,
        parameters=metrics["parameters"],
        steps=metrics["steps"],
        tokens=metrics["tokens"],
        seed=metrics["plan"]["seed"],
        precision=metrics["plan"]["precision"],
        causal_loss=causal,
        bits_per_byte=None if encoder else metrics["bits_per_byte"],
        masked_loss=metrics.get("validation_loss_masked", masked["masked_loss"]),
        middle_loss=metrics.get("validation_loss_middle"),
        seconds=round(metrics["seconds"], 1),
        tokens_per_second=round(metrics["tokens_per_second"]),
        load_before=float(load),
    )


if __name__ == "__main__":
    main()
