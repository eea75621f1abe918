"""Parity of all methods: golden files pass whole, and copies with a wrong number, weight, array or setting do not.

Mistakes in a method's formulas are in the tests of the method.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from baselines.rcar.checks.parity import SIGNED
from benchmark.errors import UserError
from benchmark.method import ParityCase
from tests.baselines.golden_files import GOLDEN, Arrays, cases_at, computed, failed, golden_cases, load, save

FILES = {
    "hat": ["full_i2t", "full_t2i", "cross_attention", "triplet_loss"],
    "sgraf": [*(path.stem for path in sorted((GOLDEN / "sgraf").glob("s*.npz"))), "loss_cases"],
    "rcar": [*(path.stem for path in sorted((GOLDEN / "rcar").glob("?2?_*.npz"))), "loss_cases"],
    "user": [
        *("eval", "gpo", "image_encoder", "image_encoder_lambda", "text_encoder", "uto_loss"),
        *("train_two_steps_official", "train_two_steps_soft"),
    ],
    "dualpath": [
        *("rankloss_0", "rankloss_1", "rankloss_2", "softmaxlog_0", "softmaxlog_1", "eval_a", "eval_b"),
        *("mining_a", "stage1_a", "stage1_b_mask_ignore", "stage2_a", "stage2_b_mask"),
    ],
    "vse_infty": ["gpo", "text_encoder", "loss_cases", "region_encoder", "region_encoder_5"],
}
ALL = [f"{method}/{name}.npz" for method, names in FILES.items() for name in names]
OTHERS = {
    "hat": {"ranks.npz", "state_dict_manifest.json", "text_preprocess.json"},
    "sgraf": {"rank_cases.npz"},
    "rcar": set[str](),
    "user": {"caption_augmentation.json"},
    "dualpath": {"metric_0.npz", "metric_1.npz", "text_encoding.json", "layer_lists.json", "net-epoch-1.mat"},
    "vse_infty": set[str](),
}
"""Files beside them, whose tests are elsewhere."""
CHANGED = [
    *(file for file in ALL if file.startswith(("hat/", "sgraf/"))),
    *(
        f"rcar/{name}.npz"
        for name in ("i2t_rcar3_saturated", "t2i_rcr2", "t2i_rar3", "i2t_base", "loss_cases")
    ),
    *(f"user/{name}.npz" for name in FILES["user"] if name != "train_two_steps_official"),
    *(f"dualpath/{name}.npz" for name in ("eval_a", "stage2_a", "rankloss_1")),
    "vse_infty/region_encoder.npz",
]
"""Files of which copies are changed: all kinds."""


def method_of(file: str) -> str:
    return file.split("/")[0]


@pytest.mark.parametrize("method", FILES)
def test_the_golden_folder_is_complete(method: str) -> None:
    found = {path.name for path in (GOLDEN / method).iterdir()} - {"README.md"}
    known = {f"{name}.npz" for name in FILES[method]} | OTHERS[method]
    assert known <= found
    assert {name for name in found if name.endswith(".npz")} <= known
    assert len(FILES["rcar"]) == 17
    assert len(FILES["sgraf"]) == 6


@pytest.mark.parametrize("file", ALL)
def test_golden_files_pass_and_every_array_is_compared_whole(file: str) -> None:
    arrays, cases = load(file), golden_cases(file)
    assert failed(list(cases)) == set()
    names = [case.name for case in cases]
    assert len(set(names)) == len(names)
    assert {name for name in names if name in arrays} == computed(arrays)
    more = {name.split(" ")[0] for name in names if name not in arrays}
    if method_of(file) == "user":  # what the file's configuration records
        assert more <= {
            *("outputs/step1/unmoved", "outputs/step2/unmoved", "training_flags_after_step"),
            *("config/i2t", "config/t2i", "config/rsum"),
        }
    else:
        assert more == set()
    for case in cases:
        if case.name in arrays and not case.name.endswith("_json"):
            np.testing.assert_array_equal(case.expected, arrays[case.name])


# ---------------------------------------------------------------------------------------- one wrong number


NOT_MOVED = ("_json", "caption_index")
"""Numbers in text, and indices that decide what is computed."""


def place_to_move(file: str, case: ParityCase, arrays: Arrays, generator: np.random.Generator) -> int:
    """An entry that is compared: not all are."""
    flat = arrays[case.name].reshape(-1)
    where = int(generator.integers(flat.size))
    if case.name.endswith(("bert_last_hidden", "word_emb")):
        return 0  # places after a caption's last are not compared
    if case.name.startswith("after_step/"):  # stepped weights are, where the gradient has a sign
        gradients = np.abs(arrays.get(case.name.replace("after_step/", "grads/"), flat))
        return int(gradients.argmax()) if gradients.max() > SIGNED else where
    if (
        case.relative and method_of(file) == "rcar"
    ):  # a larger largest number would move the tolerance with it
        return int(np.abs(flat).argmin())
    return int(np.abs(flat).argmax()) if method_of(file) == "dualpath" else where


def moved_by_ten_tolerances(file: str, seed: int) -> tuple[Arrays, set[str]]:
    """The arrays of a file, one number of each wrong; and the names of the wrong arrays."""
    arrays, wrong, generator = load(file), set(), np.random.default_rng(seed)
    for case in golden_cases(file):
        if case.name not in arrays or case.name.endswith(NOT_MOVED):
            continue
        flat = arrays[case.name].reshape(-1).copy()
        where = place_to_move(file, case, arrays, generator)
        step = 10 * case.tolerance * ((float(np.abs(case.expected).max()) or 1.0) if case.relative else 1.0)
        step += 10 * case.share * abs(float(flat[where]))
        step = max(step, 1 if flat.dtype.kind in "iu" or not case.tolerance else 0)
        value = flat[where] + (step if generator.random() < 0.5 else -step)
        if np.asarray(value).astype(flat.dtype) == flat[where]:
            continue
        flat[where] = value
        arrays[case.name] = flat.reshape(arrays[case.name].shape)
        wrong.add(case.name)
    return arrays, wrong


@pytest.mark.parametrize("file", CHANGED)
@pytest.mark.parametrize("seed", [0, 1])
def test_one_wrong_number_fails_its_array_and_no_other(file: str, seed: int, tmp_path: Path) -> None:
    arrays, wrong = moved_by_ten_tolerances(file, seed)
    assert len(wrong) > 0.9 * len([name for name in computed(arrays) if not name.endswith(NOT_MOVED)])
    found = failed(cases_at(method_of(file), save(tmp_path / "x.npz", arrays)))
    signless = {name for name in wrong if name.startswith("after_step/") and method_of(file) == "rcar"}
    assert wrong - signless <= found
    if method_of(file) != "user":  # there a changed number of one step is read by the next
        assert found <= wrong


WEIGHTS = [
    ("hat/full_i2t.npz", "vit_model.layers.0.downsample.reduction.weight", "vit_stage_1", "bert_layer_3"),
    ("hat/full_t2i.npz", "vit_model.layers.0.downsample.reduction.weight", "vit_stage_1", "bert_layer_3"),
    *(
        (f"sgraf/{name}.npz", "sim_enc.sim_tranloc_w.weight", "sim_loc", "context")
        for name in FILES["sgraf"]
        if name != "loss_cases"
    ),
    *(
        (
            f"rcar/{name}.npz",
            "sim_enc.alv_modules.0.sim_transform_w.weight",
            "alv_modules.0",
            "attn0/wcontext",
        )
        for name in ("i2t_rcar3_saturated", "t2i_rcr2", "t2i_rar3")
    ),
    ("user/train_two_steps_soft.npz", "q/img/fc.weight", "step2/total", "unheard_of"),
    ("user/train_two_steps_soft.npz", "k/txt/linear.weight", "step1/total", "unheard_of"),
    ("dualpath/eval_a.npz", "fc2_1_2f", "txt_emb", "img_emb"),
    ("dualpath/eval_b.npz", "fc1_1bn_m", "img_emb", "txt_emb"),
    ("dualpath/mining_a.npz", "fc2f", "f_txt", "f_img"),
    ("dualpath/stage1_a.npz", "fcsharef", "step1/objective_img", "step1/fc1_1bn"),
]
"""A file, one of its weights, an output that depends on it and one that does not."""


@pytest.mark.parametrize(("file", "weight", "moved", "kept"), WEIGHTS)
def test_wrong_weights_fail(file: str, weight: str, moved: str, kept: str, tmp_path: Path) -> None:
    arrays = load(file)
    arrays[f"weights/{weight}"] = arrays[f"weights/{weight}"] * np.float32(1.05) + np.float32(0.01)
    found = failed(cases_at(method_of(file), save(tmp_path / "x.npz", arrays)))
    assert any(name.endswith(f"/{moved}") for name in found), found
    assert not any(name.endswith(f"/{kept}") for name in found), found


# ------------------------------------------------------------------- files that are broken or something else


@pytest.mark.parametrize(
    "file", [file for file in CHANGED if not file.startswith(("rcar/i2t_rcar3", "user/train"))]
)
def test_a_file_is_recognised_by_its_content(file: str, tmp_path: Path) -> None:
    shutil.copy(GOLDEN / file, tmp_path / "held-out")
    cases = cases_at(method_of(file), tmp_path / "held-out")
    assert [case.name for case in cases] == [case.name for case in golden_cases(file)]


@pytest.mark.parametrize(
    ("file", "key"),
    [
        *(("hat/full_i2t.npz", f"outputs/{key}") for key in ("eval/vit_stage_7", "eval/bert_layer_12")),
        *(("sgraf/sgr_base.npz", f"outputs/eval/{key}") for key in ("cap0/sgr_step4", "cap5/score")),
        ("rcar/t2i_rcar2.npz", "outputs/trace/alv_modules.7"),
        ("rcar/t2i_rcar2.npz", "after_step/unheard_of"),
        ("user/train_two_steps_official.npz", "outputs/unheard_of"),
        *((file, "outputs/unheard_of") for file in CHANGED if "train" not in file),
    ],
)
def test_an_array_that_nothing_answers_to_is_an_error(file: str, key: str, tmp_path: Path) -> None:
    arrays = {**load(file), key: np.zeros(3, dtype=np.float32)}
    with pytest.raises(UserError):
        cases_at(method_of(file), save(tmp_path / "x.npz", arrays))


@pytest.mark.parametrize(
    ("file", "gone"),
    [
        *(
            ("hat/full_i2t.npz", gone)
            for gone in ("outputs/eval/sims", "weights/vit_model.norm.weight", "inputs/lengths")
        ),
        *(
            ("sgraf/saf_base.npz", gone)
            for gone in ("outputs/eval/sims", "weights/txt_enc.embed.weight", "inputs/train/lengths")
        ),
        ("sgraf/saf_base.npz", "outputs/train/grad_norm"),
        *(
            ("rcar/i2t_rcar2.npz", gone)
            for gone in ("outputs/eval/sims", "weights/txt_enc.embed.weight", "inputs/train_lengths")
        ),
        *(
            ("user/train_two_steps_official.npz", gone)
            for gone in ("inputs/v_queue", "weights/q/txt/linear.bias", "inputs/step2/lengths")
        ),
        ("dualpath/eval_b.npz", "weights/fc2f"),
        ("vse_infty/region_encoder.npz", "weights/mlp.layers.0.bias"),
    ],
)
def test_a_file_that_lacks_what_it_must_hold_is_an_error(file: str, gone: str, tmp_path: Path) -> None:
    arrays = load(file)
    del arrays[gone]
    with pytest.raises(UserError) as caught:
        cases_at(method_of(file), save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        *(
            ("rcar/i2t_rcar2.npz", changes)
            for changes in ({"self_regulator": "only_rcr"}, {"embed_size": 17}, {"rcar_step": 3})
        ),
        *(
            ("sgraf/saf_base.npz", changes)
            for changes in ({"module_name": "SGR"}, {"embed_size": 17}, {"num_region": 35})
        ),
    ],
)
def test_an_impossible_configuration_is_an_error(
    file: str, changes: dict[str, object], tmp_path: Path
) -> None:
    arrays = load(file)
    arrays["config"] = np.array(json.dumps({**json.loads(str(arrays["config"])), **changes}))
    with pytest.raises(UserError) as caught:
        cases_at(method_of(file), save(tmp_path / "x.npz", arrays))
    assert "\n" not in str(caught.value)


FOREIGN = {
    "hat": [
        "hat/ranks.npz",
        "hat/text_preprocess.json",
        "evaluation/random_40x200.npz",
        "sgraf/saf_base.npz",
    ],
    "sgraf": [
        "sgraf/rank_cases.npz",
        "hat/triplet_loss.npz",
        "hat/full_i2t.npz",
        "hat/state_dict_manifest.json",
    ],
    "rcar": ["hat/triplet_loss.npz", "hat/full_i2t.npz", "sgraf/loss_cases.npz", "sgraf/saf_base.npz"],
    "user": ["hat/triplet_loss.npz", "sgraf/loss_cases.npz", "rcar/t2i_rcar2.npz"],
    "vse_infty": ["user/train_two_steps_soft.npz", "user/uto_loss.npz", "hat/full_i2t.npz"],
    "dualpath": ["hat/full_i2t.npz", "hat/state_dict_manifest.json", "dualpath/text_encoding.json"],
}


@pytest.mark.parametrize("method", FOREIGN)
def test_other_files_are_left_to_others(method: str, tmp_path: Path) -> None:
    for file in FOREIGN[method]:
        assert cases_at(method, GOLDEN / file) == [], file
    for name, content in (("notes.txt", b"nothing"), ("net.mat", b"nothing"), ("other.json", b'{"a": 1}')):
        (tmp_path / name).write_bytes(content)
        assert cases_at(method, tmp_path / name) == [], name
    broken = tmp_path / "broken.npz"
    broken.write_bytes((GOLDEN / "hat/triplet_loss.npz").read_bytes()[:400])
    with pytest.raises(UserError):
        cases_at(method, broken)
