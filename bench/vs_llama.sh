#!/usr/bin/env bash
# Decode and prefill of `esa` and of a `llama-bench` that you have, in turn, on one shape:
#
#   bench/vs_llama.sh LLAMA_BENCH MODEL_DIR MODEL.gguf [WEIGHTS] [DEPTHS] [ROUNDS]
#
# MODEL_DIR and MODEL.gguf are the same model; WEIGHTS (int8) is what esa keeps, the GGUF being of a
# like type: int8 and Q8_0, int4 and Q4_0, stored and BF16. DEPTHS: 0,4096,32768. Each round runs
# both programs once; ratios are of the medians. ESA_BENCH, THREADS, PROMPT, DECODE, SPARSE_CONFIG,
# LLAMA_ARGS (such as "-ctk q8_0 -ctv q8_0") change what they say.
set -euo pipefail

if [[ $# -lt 3 ]]; then
  sed -n '2,12s/^# \{0,1\}//p' "$0"
  exit 2
fi
llama=$1 model=$2 gguf=$3 weights=${4:-int8} depths=${5:-0,4096,32768} rounds=${6:-5}
esa=${ESA_BENCH:-"$(dirname "$0")/../build/bin/esa"}
threads=${THREADS:-$(nproc)} prompt=${PROMPT:-512} decode=${DECODE:-32}
sparse_config=${SPARSE_CONFIG:-'{"sparse_ratio": 0.2}'}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

for depth in ${depths//,/ }; do
  for ((round = 1; round <= rounds; ++round)); do
    echo "depth $depth, round $round of $rounds" >&2
    # shellcheck disable=SC2086
    "$llama" -m "$gguf" -t "$threads" -fa 1 -p "$prompt" -n "$decode" -d "$depth" -r 1 -o json \
      ${LLAMA_ARGS:-} > "$work/llama-$depth-$round.json" 2> "$work/llama.log" ||
      { cat "$work/llama.log" >&2; exit 1; }
    "$esa" bench --model "$model" --weights "$weights" --threads "$threads" --depths "$depth" \
      --sparse dense,ESA --sparse-config "$sparse_config" --prompt "$prompt" \
      --decode "$decode" --rounds 1 --fake-kv --json > "$work/esa-$depth-$round.json"
  done
done

python3 - "$work" "$depths" "$rounds" << 'PYTHON'
import json, statistics, sys

work, depths, rounds = sys.argv[1], sys.argv[2].split(","), int(sys.argv[3])
print(f"{'depth':>8} {'':<14}{'decode t/s':>12}{'ratio':>8}{'prefill t/s':>13}{'ratio':>8}{'cores':>8}")
for depth in depths:
    llama, ours, cores = {"decode": [], "prefill": []}, {}, []
    for r in range(1, rounds + 1):
        for run in json.load(open(f"{work}/llama-{depth}-{r}.json")):
            llama["prefill" if run["n_prompt"] else "decode"].append(run["avg_ts"])
        run = json.load(open(f"{work}/esa-{depth}-{r}.json"))
        c = run["ceilings"]
        cores.append(c["f32_operations_per_second"] / c["f32_operations_per_second_one_thread"])
        for row in run["rows"]:
            figures = ours.setdefault(row["sparse"], {"decode": [], "prefill": []})
            figures["decode"].append(row["decode_tokens_per_second"])
            figures["prefill"].append(row["prefill_tokens_per_second"])
    base = {name: statistics.median(v) if v else 0 for name, v in llama.items()}
    probe = f"{statistics.median(cores):.2f}"
    print(f"{depth:>8} {'llama-bench':<14}{base['decode']:>12.2f}{'':>8}{base['prefill']:>13.1f}{'':>8}{probe:>8}")
    for name, figures in ours.items():
        d, p = statistics.median(figures["decode"]), statistics.median(figures["prefill"])
        rd = f"{d / base['decode']:.2f}" if base["decode"] else "-"
        rp = f"{p / base['prefill']:.2f}" if base["prefill"] else "-"
        print(f"{depth:>8} {'esa ' + name:<14}{d:>12.2f}{rd:>8}{p:>13.1f}{rp:>8}")
PYTHON
