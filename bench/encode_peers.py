"""Sentences per second of all-MiniLM-L6-v2 in int8 in OpenVINO or ONNX Runtime, as `luban bench encode` measures them.

    encode_peers.py openvino    MODEL --texts FILE.csv --calibrate FILE.csv [--batches 8,16,32,64]
    encode_peers.py onnxruntime MODEL --texts FILE.csv
    encode_peers.py openvino    MODEL --grid --calibrate FILE.csv

MODEL is the folder with config.json, model.safetensors and tokenizer.json. With --texts: sentences a second from
characters to vectors over the whole file, for each size of batch, in the order of the file and sorted by tokens, each
batch padded to its longest sentence, and cosines to PyTorch's f32. With --grid: batches of random sentences of one
length.

OpenVINO's int8 model is made by NNCF, which finds fixed scales of activations from --calibrate; ONNX Runtime's by its
own dynamic quantizer, a scale for each output of a weight. Both are exported from the same PyTorch module, once, to
--cache.
"""

import argparse
import csv
import os
import statistics
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from common import median_seconds, note, print_result

TOKENS_MAX = 256
CALIBRATION_TEXTS = 300
GRID = [(batch, length) for batch in (1, 8, 32) for length in (16, 64, 128)]
CPU_FLAGS = ("avx512_vnni", "avx512_bf16")


def main():
    args = parse_args()
    check_cpu()
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    runtime = {"openvino": OpenVino, "onnxruntime": OnnxRuntime}[args.runtime]
    with redirect_stdout(sys.stderr):  # exporters and quantizers talk
        encoder = runtime(args)
    conditions = dict(bench="encode_peers", runtime=args.runtime, version=encoder.version, threads=args.threads)
    if args.grid:
        for batch, length in GRID:
            rate = measure_shape(encoder, batch, length)
            print_result(**conditions, batch=batch, length=length, sentences_s=rate)
    else:
        measure_texts(args, encoder, conditions)


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", choices=["openvino", "onnxruntime"])
    parser.add_argument("model", type=Path)
    parser.add_argument("--texts", type=Path, metavar="FILE.csv")
    parser.add_argument("--calibrate", type=Path, metavar="FILE.csv")
    parser.add_argument("--column", default="text")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--batches", type=lambda text: [int(part) for part in text.split(",")], default=[8, 16, 32, 64])
    parser.add_argument("--orders", type=lambda text: text.split(","), default=["file", "sorted"])
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--cosines", action="store_true", help="compare the vectors with PyTorch's in f32")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cache", type=Path, default=Path(__file__).parent / ".models/exported")
    args = parser.parse_args()
    if args.grid == (args.texts is not None):
        parser.error("give --texts or --grid")
    return args


def check_cpu():
    """Both runtimes choose their kernels by the CPU at hand, so that is what must have the instructions."""
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    missing = [flag for flag in CPU_FLAGS if flag not in flags]
    if missing:
        sys.exit(f"this CPU has no {' and no '.join(missing)}: the peers would not be at their best here")


# What is measured


def measure_texts(args, encoder, conditions):
    tokenizer, texts = load_tokenizer(args.model), read_column(args.texts, args.column)
    expected = reference(args.model, [ids for ids in tokenize(tokenizer, texts)]) if args.cosines else None
    for order in args.orders:
        for batch in args.batches:
            vectors = embed(encoder, tokenizer, texts, order, batch)
            seconds = []
            for _ in range(args.repetitions):
                start = time.perf_counter()
                embed(encoder, tokenizer, texts, order, batch)
                seconds.append(time.perf_counter() - start)
            cosines = {} if expected is None else compare(vectors, expected)
            rate = len(texts) / statistics.median(seconds)
            print_result(**conditions, texts=len(texts), order=order, batch=batch, sentences_s=rate, **cosines)


def measure_shape(encoder, batch, length):
    ids = np.random.default_rng(0).integers(1000, 29000, (batch, length))
    mask = np.ones_like(ids)
    return batch / median_seconds(lambda: encoder.run(ids, mask), rounds=5, warmup=3, seconds_min=0.5, seconds_max=10)


def embed(encoder, tokenizer, texts, order, batch):
    """The vectors of all texts, in the order of the texts."""
    tokens = tokenize(tokenizer, texts)
    indices = list(range(len(texts)))
    if order == "sorted":
        indices.sort(key=lambda index: len(tokens[index]))
    vectors = [None] * len(texts)
    for start in range(0, len(indices), batch):
        chosen = indices[start : start + batch]
        for index, vector in zip(chosen, encoder.run(*padded([tokens[index] for index in chosen]))):
            vectors[index] = vector
    return np.stack(vectors)


def compare(vectors, expected):
    length = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    cosine = (vectors * expected).sum(axis=1) / length
    return dict(cosine_min=float(cosine.min()), cosine_mean=float(cosine.mean()))


# Texts and tokens


def load_tokenizer(model):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(TOKENS_MAX)
    return tokenizer


def tokenize(tokenizer, texts):
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts)]


def padded(sequences):
    longest = max(map(len, sequences))
    ids = np.zeros((len(sequences), longest), np.int64)
    mask = np.zeros_like(ids)
    for row, sequence in enumerate(sequences):
        ids[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = 1
    return ids, mask


def read_column(path, column):
    with open(path, newline="", encoding="utf-8") as file:
        return [row[column] for row in csv.DictReader(file)]


# The module, and the two runtimes


def torch_module(model):
    import torch
    import torch.nn.functional as F
    from transformers import AutoModel

    class Sentences(torch.nn.Module):
        """Hidden states to their mean over the tokens, of length 1."""

        def __init__(self):
            super().__init__()
            self.bert = AutoModel.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")

        def forward(self, ids, mask):
            hidden = self.bert(input_ids=ids, attention_mask=mask).last_hidden_state
            weights = mask[:, :, None].to(hidden.dtype)
            return F.normalize((hidden * weights).sum(1) / weights.sum(1), dim=1)

    return Sentences().eval()


def reference(model, tokens):
    import torch

    module = torch_module(model)
    vectors = []
    with torch.inference_mode():
        for sequence in tokens:
            ids, mask = padded([sequence])
            vectors.append(module(torch.from_numpy(ids), torch.from_numpy(mask))[0].numpy())
    return np.stack(vectors)


def exported(args):
    """The module as an ONNX file with free sizes of batch and length."""
    path = args.cache / "minilm.onnx"
    if not path.exists():
        import torch

        args.cache.mkdir(parents=True, exist_ok=True)
        example = tuple(map(torch.from_numpy, padded([[101, 7592, 2088, 102], [101, 102]])))
        free = {0: "batch", 1: "length"}
        unfinished = path.with_suffix(".unfinished")
        torch.onnx.export(
            torch_module(args.model),
            example,
            str(unfinished),
            input_names=["ids", "mask"],
            output_names=["vectors"],
            dynamic_axes={"ids": free, "mask": free, "vectors": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
        os.replace(unfinished, path)
        note(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return path


class OpenVino:
    """OpenVINO with weights and activations in int8, both with fixed scales."""

    def __init__(self, args):
        import openvino

        self.version = openvino.__version__.split("-")[0]
        core = openvino.Core()
        capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        missing = {"INT8", "BF16"} - set(capabilities)
        if missing:
            sys.exit(f"OpenVINO reports no {' and no '.join(sorted(missing))} on this CPU: it would be no fair peer")
        path = args.cache / "minilm-openvino-int8.xml"
        if not path.exists():
            openvino.save_model(self.quantized(core.read_model(exported(args)), args), path, compress_to_fp16=False)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # of what is not int8
            "INFERENCE_NUM_THREADS": args.threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.request = core.compile_model(core.read_model(path), "CPU", settings).create_infer_request()

    def quantized(self, model, args):
        import nncf

        if args.calibrate is None:
            sys.exit("OpenVINO's int8 model is not there yet and needs --calibrate FILE.csv")
        texts = read_column(args.calibrate, args.column)
        # From all over the file: it is sorted by intent.
        texts = texts[:: max(1, len(texts) // CALIBRATION_TEXTS)][:CALIBRATION_TEXTS]
        tokens = tokenize(load_tokenizer(args.model), texts)
        samples = [dict(zip(("ids", "mask"), padded([sequence]))) for sequence in tokens]
        transformer = nncf.ModelType.TRANSFORMER
        return nncf.quantize(model, nncf.Dataset(samples), model_type=transformer, subset_size=len(samples))

    def run(self, ids, mask):
        return self.request.infer({"ids": ids, "mask": mask})[0]


class OnnxRuntime:
    """ONNX Runtime with weights in int8 and scales of activations found at run time."""

    def __init__(self, args):
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic

        self.version = onnxruntime.__version__
        path = args.cache / "minilm-onnxruntime-int8.onnx"
        if not path.exists():
            unfinished = path.with_suffix(".unfinished")
            # Some tensors' types are not inferred; 1 is ONNX's number for f32.
            extra = {"DefaultTensorType": 1}
            quantize_dynamic(
                exported(args), unfinished, weight_type=QuantType.QInt8, per_channel=True, extra_options=extra
            )
            os.replace(unfinished, path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(self, ids, mask):
        return self.session.run(None, {"ids": ids, "mask": mask})[0]


if __name__ == "__main__":
    main()
