"""Pairs the lines of bench/tokenizer.sh: luban's speed over that of Hugging Face's library, and whether the ids agree."""

import json
import math
import sys

from common import print_result


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    pairs = list(zip(lines[::2], lines[1::2]))
    print(f"{'tokenizer':10} {'text':24} {'threads':>7} {'luban MB/s':>11} {'hf MB/s':>9} {'ratio':>6} {'luban us':>9}  ids")
    ratios, equal = [], True
    for luban, hf in pairs:
        speed = "one_by_one_mb_s" if luban["threads"] == 1 else "batch_mb_s"
        ratio = luban[speed] / hf[speed]
        same = luban["ids_sha256"] == hf["ids_sha256"] and luban["tokens"] == hf["tokens"]
        equal &= same
        ratios.append(ratio)
        print(
            f"{luban['tokenizer']:10} {luban['text']:24} {luban['threads']:7} {luban[speed]:11.1f} {hf[speed]:9.2f}"
            f" {ratio:6.1f} {luban['piece_us']:9.2f}  {'same' if same else 'DIFFERENT'}"
        )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print_result(bench="tokenizer", ratio_min=min(ratios), ratio_geometric_mean=mean, ids_equal=equal)
    if not equal:
        sys.exit("the ids differ")


if __name__ == "__main__":
    main()
