#!/usr/bin/env bash
# ranx keeps equal scores in the order they were given in for a short list, and mixes them in a long one.
#
# A Run sorts its items by score with a sort that is not stable: up to a certain length it happens to be. A test on ten
# items shows the order of the input, a gallery of 1,000 shows neither that nor the order of names, so that a query whose
# right item ties with others gets an arbitrary rank.
#
# Seen on 2026-11-29, all scores equal, items given in the order 0, 1, 2 ...:
#   ranx 0.3.21   10 items: begins with 0 1 2; 1,000 items: begins with 657 658 659
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" >/dev/null
"$folder/env/bin/pip" install -q --disable-pip-version-check ranx==0.3.21 2>/dev/null
found=$("$folder/env/bin/python" -W ignore -c '
from ranx import Run

def order(n):
    run = Run({"q": {str(i): 1.0 for i in range(n)}})
    return [int(item) for item in run.run["q"]]

short, long = order(10), order(1000)
print("first of 1,000 equal items:", *long[:3], flush=True)
print("10 in order:", short == list(range(10)), "- 1,000 in order:", long == list(range(1000)))')
echo "ranx 0.3.21: $found"
[ "${found##*$'\n'}" = "10 in order: True - 1,000 in order: False" ] || {
  echo "changed: expected 10 in order, and 1,000 not" >&2
  exit 1
}
