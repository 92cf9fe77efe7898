#!/usr/bin/env bash
# Does luban compute the same on lesser CPUs? isa.sh [ISA…]
#
# For each instruction set (avx512bf16 and avx512bf16fma where the machine has them, avx512, avx2, scalar): the tests of
# the kernels and of the tensors, and then the whole way, small: some of this project's own sources to a corpus, a
# tokenizer, a model trained for STEPS (10) steps in f32, in bf16 and in int8, int8 weights, perplexity and a
# completion. One JSON line each.
# The models must be, to the bit, those that this machine trains when nothing is forced. SKIP_TESTS=1 runs the whole way
# only; THREADS (2).
set -euo pipefail
# What fails within $(…) stops this too.
shopt -s inherit_errexit
here=$(cd "$(dirname "$0")" && pwd)
root=$here/..
luban=${LUBAN:-$root/target/release/luban}
threads=${THREADS:-2}
steps=${STEPS:-10}
isas=("$@")
if [ $# -eq 0 ]; then
    isas=(avx512 avx2 scalar)
    if grep -qw avx512_bf16 /proc/cpuinfo; then isas=(avx512bf16 avx512bf16fma "${isas[@]}"); fi
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The whole way; prints the digests of the weights, and the perplexity.
whole_way() {
    local out=$work/${LUBAN_CPU:-native}
    local quiet=(--threads "$threads" --log error)
    "$luban" "${quiet[@]}" data build --data "$root/crates/kernels/src" --max-bytes 300000 --out "$out/corpus" >&2
    "$luban" "${quiet[@]}" tokenizer train --corpus "$out/corpus" --vocab-size 400 --out "$out/tokenizer" >&2
    local digests=()
    for precision in f32 bf16 int8; do
        "$luban" "${quiet[@]}" pretrain --corpus "$out/corpus" --tokenizer "$out/tokenizer" --width 32 --layers 2 \
            --heads 2 --context 32 --batch 128 --steps "$steps" --precision "$precision" --seed 1 \
            --out "$out/$precision" >&2
        digests+=("$(sha256sum <"$out/$precision/model.safetensors" | cut -c1-16)")
    done
    "$luban" "${quiet[@]}" quantize "$out/f32" --out "$out/quantized" >&2
    "$luban" "${quiet[@]}" generate "$out/quantized" --prompt "fn main() {" --max-tokens 8 >&2
    local perplexity
    perplexity=$("$luban" "${quiet[@]}" eval perplexity "$out/quantized" --data "$out/corpus" --max-bytes 2000 --json |
        sed 's/.*"perplexity":\([0-9.]*\).*/\1/')
    echo "${digests[*]} $perplexity"
}

native=$(whole_way)
failed=0
for isa in "${isas[@]}"; do
    export LUBAN_CPU=$isa
    tests=skipped
    if [ -z "${SKIP_TESTS:-}" ]; then
        (cd "$root" && cargo test -q -p luban-kernels -p luban-tensor >&2) && tests=passed || tests=failed
    fi
    start=$(date +%s)
    found=$(whole_way)
    seconds=$(($(date +%s) - start))
    same=$([ "$found" = "$native" ] && echo true || echo false)
    read -r f32 bf16 int8 perplexity <<<"$found"
    echo "{\"bench\": \"isa\", \"isa\": \"$isa\", \"tests\": \"$tests\", \"weights_f32\": \"$f32\"," \
        "\"weights_bf16\": \"$bf16\", \"weights_int8\": \"$int8\", \"int8_perplexity\": $perplexity, \"same_as_native\": $same," \
        "\"seconds\": $seconds}"
    [ "$same" = true ] && [ "$tests" != failed ] || failed=1
done
exit $failed
