#!/usr/bin/env bash
# torchmetrics says of the same scores that the right item is first and that it is not, where scores are equal.
#
# RetrievalHitRate takes the first k by torch.topk, RetrievalMRR sorts by torch.argsort; the two order equal scores in
# their own ways, and neither goes by place. A hit at 1 and a reciprocal rank below 1 then come from one query. Its
# RetrievalRecall divides by the number of right items: 0.2 for an image whose five captions come first, where the field
# counts 1 (that is RetrievalHitRate).
#
# Seen on 2026-11-29, ten equal scores, the right item at place 0 (torch 2.14.1, CPU):
#   torchmetrics 1.9.0   hit rate at 1: 1.0, reciprocal rank: 0.11
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/env" >/dev/null
if "$python" -c "import torch" 2>/dev/null; then # this Python has torch: only the rest is installed beside it
  "$folder/env/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder/site" torchmetrics==1.9.0 lightning-utilities==0.15.3 2>/dev/null
else
  "$folder/env/bin/pip" install -q --disable-pip-version-check torchmetrics==1.9.0 numpy 2>/dev/null
  python="$folder/env/bin/python"
fi
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
found=$("$python" -W ignore -c '
import torch
from torchmetrics.retrieval import RetrievalHitRate, RetrievalMRR

scores, query = torch.full((10,), 0.5), torch.zeros(10, dtype=torch.long)
differ = []
for place in range(10):
    right = torch.arange(10) == place
    hit = float(RetrievalHitRate(top_k=1)(scores, right, indexes=query))
    reciprocal = float(RetrievalMRR()(scores, right, indexes=query))
    if (hit == 1) != (reciprocal == 1):
        differ.append(f"place {place}: hit rate at 1 {hit:.1f}, reciprocal rank {reciprocal:.2f}")
print("; ".join(differ) or "they agree")')
echo "torchmetrics 1.9.0: $found"
[ "$found" != "they agree" ] || {
  echo "changed: expected a place where the two differ" >&2
  exit 1
}
