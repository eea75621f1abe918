#!/usr/bin/env bash
# open_clip and transformers cut pictures of 640 x 427 one column apart, for the same CLIP.
#
# Both resize the shorter side to 224 and cut the middle out. What is left over is odd for some sizes: 335 columns of a
# 640 x 427 picture, among the commonest of MSCOCO. torchvision's CenterCrop, in open_clip, rounds half to even, to column
# 56; the processor of transformers rounds down, to column 55. So the same weights see other pixels, and zero-shot scores
# of the two libraries differ on these pictures; on those of 640 x 480 or 500 x 375 they see the same.
#
# Seen on 2026-11-29, mean absolute difference of two tensors whose values go from about -2 to 2 (torchvision 0.29.1):
#   open_clip_torch 3.3.0, transformers 5.24.0   640 x 480: 0.0000; 640 x 427: 0.27; moved by one column: 0.0001
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python=${PYTHON:-python3}
"$python" -m venv "$folder/env" >/dev/null
if "$python" -c "import torchvision, transformers" 2>/dev/null; then # only the rest is installed beside them
  "$folder/env/bin/pip" install -q --disable-pip-version-check --no-deps --target "$folder/site" open-clip-torch==3.3.0 ftfy==6.3.1 wcwidth 2>/dev/null
else
  "$folder/env/bin/pip" install -q --disable-pip-version-check open-clip-torch==3.3.0 transformers==5.24.0 numpy 2>/dev/null
  python="$folder/env/bin/python"
fi
export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
found=$(HF_HOME="$folder/cache" HF_HUB_OFFLINE=1 "$python" -W ignore -c '
import numpy as np
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from transformers import CLIPImageProcessor

theirs = image_transform_v2(PreprocessCfg(size=224, interpolation="bicubic"), is_train=False)
processor = CLIPImageProcessor(size={"shortest_edge": 224}, crop_size=224)
draws = np.random.default_rng(0)
for width, height in ((640, 480), (640, 427)):
    small = Image.fromarray(draws.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8))
    picture = small.resize((width, height), Image.BICUBIC)
    one = theirs(picture).numpy()
    two = np.asarray(processor(picture, return_tensors="pt")["pixel_values"][0])
    same, moved = np.abs(one - two).mean(), np.abs(one[:, :, :-1] - two[:, :, 1:]).mean()
    print(f"{width} x {height}:", "the same" if same < 1e-3 else "one column apart" if moved < 1e-3 else "others", end="; ")' 2>/dev/null)
echo "open_clip_torch 3.3.0 and transformers: $found"
[ "$found" = "640 x 480: the same; 640 x 427: one column apart; " ] || {
  echo "changed: expected one column apart at 640 x 427 alone" >&2
  exit 1
}
