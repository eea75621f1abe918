#!/usr/bin/env bash
# submitit's local executor hides all GPUs from a job unless gpus_per_node is given.
#
# The same function, tried on one's own machine before it goes to the cluster, then trains on the CPU: its process has
# CUDA_VISIBLE_DEVICES set to nothing, whatever it was before. With gpus_per_node=2 it is "0,1", again whatever it was, so
# that jobs side by side share the first cards. The debug executor, in the same process, leaves it as it is.
#
# Seen on 2026-11-29, with CUDA_VISIBLE_DEVICES=3 outside (no GPU is needed):
#   submitit 1.5.4   local ''; local with gpus_per_node=2 '0,1'; debug '3'
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env" >/dev/null
"$folder/env/bin/pip" install -q --disable-pip-version-check submitit==1.5.4 2>/dev/null
found=$(cd "$folder" && CUDA_VISIBLE_DEVICES=3 "$folder/env/bin/python" -W ignore -c '
import os

import submitit

def visible():
    return os.environ.get("CUDA_VISIBLE_DEVICES", "unset")

def seen(cluster, **more):
    executor = submitit.AutoExecutor(folder="jobs", cluster=cluster)
    executor.update_parameters(timeout_min=1, **more)
    return executor.submit(visible).result()

print(repr(seen("local")), repr(seen("local", gpus_per_node=2)), repr(seen("debug")))' 2>/dev/null)
echo "submitit 1.5.4, local, local with two GPUs, debug: $found"
[ "$found" = "'' '0,1' '3'" ] || {
  echo "changed: expected '' '0,1' '3'" >&2
  exit 1
}
