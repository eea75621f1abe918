"""The authors' files: a MatConvNet checkpoint, layouts, trunks by array count, shapes and FLOPs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from baselines.dualpath.batch_norm import DeviationNorm
from baselines.dualpath.build import build_trunk, vgg_of_timm
from baselines.dualpath.checkpoint import load_trunk, official_names, read_official, to_official, to_ours
from baselines.dualpath.checks.parity import parity_cases
from baselines.dualpath.checks.replay import build_recorded, load_model
from baselines.dualpath.config import DualPathConfig
from baselines.dualpath.trunks import TIMM_STD, VGG19, CaffeResNet50, official_factor
from baselines.published.golden import Recorded, read_arrays
from benchmark.checks.parity.report import compare
from benchmark.errors import UserError
from tests.baselines.dualpath.models import model_of

GOLDEN = Path("tests/golden/dualpath")
CHECKPOINT = GOLDEN / "net-epoch-1.mat"


def recorded() -> Recorded:
    found = read_arrays(GOLDEN / "eval_a.npz", {})
    assert isinstance(found, Recorded)
    return found


def test_the_checkpoint_holds_the_recorded_weights() -> None:
    model = build_recorded(recorded().config()).float()
    weights = read_official(CHECKPOINT, model)
    assert (weights.missing, weights.unexpected, weights.dropped) == ([], [], [])
    expected = load_model(recorded()).float().state_dict()
    assert weights.state.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights.state[name], tensor)
    assert all(compare("file", case).ok for case in parity_cases(CHECKPOINT))


def test_a_classifier_of_other_images_is_left_out() -> None:
    config = recorded().config()
    model = build_recorded({**config, "classes": 4}).float()
    weights = read_official(CHECKPOINT, model)
    assert weights.dropped == ["fcsharef", "fcshareb"]
    assert (weights.missing, weights.unexpected) == ([], [])
    model.load_state_dict(weights.state)


def test_a_checkpoint_of_another_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="array 'fc2f': found shape"):
        read_official(CHECKPOINT, build_recorded({**recorded().config(), "vocab": 5}))
    with pytest.raises(UserError, match=r"text\.units"):
        read_official(CHECKPOINT, model_of())
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3")
    with pytest.raises(UserError, match="not a readable"):
        read_official(tmp_path / "x.mat", build_recorded(recorded().config()))


def test_layouts_there_and_back() -> None:
    conv = torch.randn(4, 3, 2, 2)  # out, in, height, width
    official = to_official("conv.weight", conv)
    for out, channel, row, column in ((3, 2, 0, 1), (1, 0, 1, 0)):
        assert official[row, column, channel, out] == conv[out, channel, row, column]
    for name, ours in {
        "conv.weight": conv,
        "line.weight": torch.randn(4, 3, 2),
        "text.words.weight": torch.randn(5, 3),
        "classifier.weight": torch.randn(4, 3),
        "norm.moments": torch.randn(4, 2),
        "bias": torch.randn(4),
    }.items():
        assert torch.equal(to_ours(to_official(name, ours), name, ours), ours)
    cut = to_official("conv.weight", torch.randn(1, 3, 2, 2))[..., 0]  # MATLAB drops a last axis of 1
    assert to_ours(cut, "conv.weight", torch.zeros(1, 3, 2, 2)).shape == (1, 3, 2, 2)
    with pytest.raises(ValueError, match="found shape"):
        to_ours(np.zeros((1, 1, 3, 5), np.float32), "conv.weight", torch.zeros(4, 3, 1, 1))


# ------------------------------------------------------------------------------------------ trunks


def flops(trunk: nn.Module, side: int = 224) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        trunk.eval()(torch.empty(1, 3, side, side))
    return int(counter.get_total_flops())


def test_caffe_resnet50_has_the_official_arrays_shapes_and_cost() -> None:
    with torch.device("meta"):
        trunk = CaffeResNet50(0.001)
        names = trunk.official_names()
        assert len(names) == 213
        assert [name for name, _ in names[:6]] == [
            "conv1_filter",
            "conv1_bias",
            "bn_conv1_mult",
            "bn_conv1_bias",
            "bn_conv1_moments",
            "res2a_branch1_filter",
        ]
        assert {ours for _, ours in names} == set(trunk.state_dict())
        assert trunk(torch.empty(2, 3, 224, 224)).shape == (2, 2048, 1, 1)
        assert trunk(torch.empty(1, 3, 256, 340)).shape == (1, 2048, 2, 5)  # ceil(H / 32) - 6
    assert flops(trunk) / 2 == pytest.approx(3.86e9, rel=0.01)  # multiply-adds of the original ResNet-50
    assert trunk.stages[1][0].branch2a.stride == (2, 2)  # type: ignore[index]
    assert trunk.stages[1][0].branch2b.stride == (1, 1)  # type: ignore[index]


def test_vgg19_has_the_official_arrays_shapes_and_cost() -> None:
    with torch.device("meta"):
        trunk = VGG19()
        assert len(trunk.official_names()) == 36
        assert {ours for _, ours in trunk.official_names()} == set(trunk.state_dict())
        assert trunk.official_names()[0] == ("conv1_1f", "convs.conv1_1.weight")
        assert trunk(torch.empty(2, 3, 224, 224)).shape == (2, 4096, 1, 1)
        assert trunk(torch.empty(1, 3, 256, 320)).shape == (1, 4096, 2, 4)
    assert flops(trunk) / 2 == pytest.approx(19.63e9, rel=0.01)


def test_rates_of_trunk_arrays_by_their_place() -> None:
    with torch.device("meta"):
        for trunk, rates in (
            (CaffeResNet50(0.001), {"filter": 0.02, "bias": 0.02, "mult": 0.001, "moments": 0.001}),
            (VGG19(), {"f": 0.001, "b": 0.02}),
        ):
            for place, (name, _) in enumerate(trunk.official_names(), start=1):
                kind = name.rpartition("_")[2] if isinstance(trunk, CaffeResNet50) else name[-1]
                assert official_factor(place) == (0.0001 if place == 1 else rates[kind]), name


def test_a_trunk_is_read_from_matconvnet_s_file(tmp_path: Path) -> None:
    source = VGG19.__new__(VGG19)
    nn.Module.__init__(source)
    source.convs = nn.ModuleDict({"conv1_1": nn.Conv2d(3, 2, 3), "fc7": nn.Conv2d(2, 3, 1)})
    state = source.state_dict()
    arrays = {official: to_official(ours, state[ours]) for official, ours in source.official_names()}
    params = np.zeros((1, len(arrays) + 1), dtype=[("name", object), ("value", object)])
    for place, (name, value) in enumerate({**arrays, "fc8f": np.zeros((1, 1, 3, 9))}.items()):
        params[0, place] = (name, value)
    savemat(tmp_path / "net.mat", {"params": params})
    before = {name: value.clone() for name, value in state.items()}
    for value in state.values():
        value.zero_()
    load_trunk(tmp_path / "net.mat", source)
    assert all(torch.equal(value, before[name]) for name, value in source.state_dict().items())
    savemat(tmp_path / "less.mat", {"params": params[:, :1]})
    with pytest.raises(UserError, match="found no array 'conv1_1b'"):
        load_trunk(tmp_path / "less.mat", source)
    with pytest.raises(UserError, match="take timm_resnet50"):
        load_trunk(tmp_path / "none.mat", source)


def test_timm_s_resnet_has_this_method_s_norms() -> None:
    with torch.device("meta"):
        trunk = build_trunk(
            DualPathConfig.model_validate({"trunk": {"name": "timm_resnet50"}}), pretrained=False
        )
        assert sum(isinstance(part, DeviationNorm) for part in trunk.modules()) == 53
        assert not any(isinstance(part, nn.BatchNorm2d) for part in trunk.modules())


def test_timm_s_vgg_reads_unscaled_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"conv1_1": (3, 2, 3), "fc6": (2, 4, 1), "fc7": (4, 4, 1)}
    small = [(name, nn.Conv2d(i, o, k)) for name, (i, o, k) in sizes.items()]
    monkeypatch.setattr("baselines.dualpath.trunks._vgg_layers", lambda: iter(small))
    theirs = nn.Sequential(*(nn.Conv2d(i, o, k) for i, o, k in sizes.values()))
    trunk = vgg_of_timm(theirs)
    pixels = torch.randn(1, 3, 6, 6) * 60
    hidden = nn.functional.max_pool2d(
        theirs[0](pixels / (255 * torch.tensor(TIMM_STD).view(3, 1, 1))).relu(), 2
    )
    torch.testing.assert_close(trunk(pixels), theirs[2](theirs[1](hidden).relu()))


@pytest.mark.parametrize("name", ["caffe_resnet50", "vgg19", "small"])
def test_a_trunk_without_weights_to_fetch_says_so(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = DualPathConfig.model_validate({"trunk": {"name": name}})
    monkeypatch.setattr(nn.init, "kaiming_normal_", lambda weight: weight)
    with torch.device("meta"), pytest.raises(UserError, match="pretrained"):
        build_trunk(config, pretrained=True)


def test_every_tensor_of_a_model_has_an_official_name() -> None:
    model = build_recorded(recorded().config())
    assert {ours for _, ours in official_names(model)} == set(model.state_dict())
