#!/usr/bin/env bash
# faiss gives another nearest neighbour of the same query for k = 1 than for k = 5, where scores are equal.
#
# A flat index keeps the same items among the first k, those of the lowest numbers, but lists equal scores from the
# highest number down. The first column of a search with k = 10 is therefore not the result of a search with k = 1:
# R@1 that is read off one search for all K differs from R@1 of a search of its own wherever captions or pictures are
# duplicates.
#
# Seen on 2026-11-29, five copies of each vector:
#   faiss-cpu 1.15.1   k = 1: 0; k = 5: 4 3 2 1 0; k = 3: 2 1 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" >/dev/null
"$folder/env/bin/pip" install -q --disable-pip-version-check faiss-cpu==1.15.1 numpy==2.4.6 2>/dev/null
found=$("$folder/env/bin/python" -c '
import faiss
import numpy as np

vectors = np.repeat(np.eye(8, dtype="float32"), 5, axis=0)
index = faiss.IndexFlatIP(8)
index.add(vectors)
print("; ".join(f"k = {k}: " + " ".join(map(str, index.search(vectors[:1], k)[1][0])) for k in (1, 3, 5)))')
echo "faiss-cpu 1.15.1: $found"
[ "$found" = "k = 1: 0; k = 3: 2 1 0; k = 5: 4 3 2 1 0" ] || {
  echo "changed: expected 0, then 2 1 0, then 4 3 2 1 0" >&2
  exit 1
}
