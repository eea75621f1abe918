#!/usr/bin/env bash
# pytrec_eval ranks equal scores by the item's name, from the last to the first, and compares scores in float32.
#
# trec_eval, which it wraps, sorts the run anew whatever order it was given in. Items that score the same stand in
# descending order of their names as strings, so that caption-9 is the best and caption-10 comes after caption-11: with
# coarse scores (float16, hash codes) the numbers depend on how items are named. MTEB and BEIR compute theirs with it.
#
# Seen on 2026-11-29, eleven captions with one score:
#   pytrec-eval-terrier 0.5.11   order: 9 8 7 6 5 4 3 2 11 10 1; 0.5 and 0.5 + 1e-9: a tie
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" >/dev/null
"$folder/env/bin/pip" install -q --disable-pip-version-check pytrec-eval-terrier==0.5.11 2>/dev/null
found=$("$folder/env/bin/python" -c '
import pytrec_eval

def rank(item, scores):
    evaluator = pytrec_eval.RelevanceEvaluator({"q": {item: 1}}, {"recip_rank"})
    return round(1 / evaluator.evaluate({"q": scores})["q"]["recip_rank"])

scores = {f"caption-{i}": 0.5 for i in range(1, 12)}
order = sorted(scores, key=lambda item: rank(item, scores))
near = rank("a", {"a": 0.5 + 1e-9, "b": 0.5})
print("order:", *(item.split("-")[1] for item in order), "and the item that is better by 1e-9 has rank", near)')
echo "pytrec-eval-terrier 0.5.11: $found"
[ "$found" = "order: 9 8 7 6 5 4 3 2 11 10 1 and the item that is better by 1e-9 has rank 2" ] || {
  echo "changed: expected descending names, and rank 2" >&2
  exit 1
}
