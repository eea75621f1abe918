"""Checkpoints and weights: bit for bit, whole or refused, and safe from a kill at any moment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from benchmark.errors import UserError
from benchmark.training import checkpoints, loop
from benchmark.training.checkpoints import differing_fields, load_checkpoint
from tests.paths import ROOT
from tests.toy import ToyBatches, toy_model
from tests.training.helpers import RECIPE, fresh, run, same_bits, state_of, toy_training

STAGES = [{"epochs": 2, "trainable": ["projection.*"]}, {"epochs": 3, "optimizer": "reset"}]
TRAINING = toy_training(stages=STAGES)


class Stopped(Exception):  # noqa: N818
    """Stands for whatever ends a run early."""


def stopping_batches(epoch_to_stop: int, step_to_stop: int) -> Any:
    """The toy's batches, of which those of one epoch break off."""

    class Stopping(ToyBatches):
        def __iter__(self) -> Any:
            for number, batch in enumerate(super().__iter__()):
                if self.epoch == epoch_to_stop and number == step_to_stop:
                    raise Stopped
                yield batch

    return lambda epoch: Stopping(0, epoch)


def timeless(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in line.items() if "seconds" not in key} for line in log]


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(("epoch", "step"), [(0, 2), (1, 3), (2, 0), (3, 1), (4, 3)])
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path, epoch: int, step: int, precision: str) -> None:
    training = toy_training(stages=STAGES, precision=precision)
    expected_model, expected = fresh(training, tmp_path / "whole")
    model = toy_model()
    with pytest.raises(Stopped):
        run(model, training, tmp_path / "cut", make_batches=stopping_batches(epoch, step))
    model = toy_model(seed=99)  # resuming does not depend on the initial weights, but for epoch 0
    if epoch == 0:
        model = toy_model()
    result = run(model, training, tmp_path / "cut", resume=True)
    assert result.resumed_from == (epoch or None)
    assert same_bits(model.state_dict(), expected_model.state_dict())
    stored, wanted = state_of(result.last_checkpoint), state_of(expected.last_checkpoint)
    for name in ("log_bytes", "log_sha256"):  # lines hold times
        stored.pop(name), wanted.pop(name)
    assert same_bits(stored, wanted)
    assert result.best_weights.read_bytes() == expected.best_weights.read_bytes()
    assert (result.best_epoch, result.best_value) == (expected.best_epoch, expected.best_value)
    assert timeless(result.log) == timeless(expected.log)


def test_a_run_killed_in_mid_epoch_resumes_to_the_same_bits(tmp_path: Path) -> None:
    """A real process, a real SIGKILL, in the middle of epoch 3."""
    script = textwrap.dedent(
        """
        import sys, time, torch
        from pathlib import Path
        from tests.toy import ToyBatches, toy_model
        from tests.training.helpers import run
        from tests.training.test_checkpoints import TRAINING

        class Slow(ToyBatches):
            def __iter__(self):
                for number, batch in enumerate(super().__iter__()):
                    if self.epoch == 3 and number == 2:
                        print("in epoch 3", flush=True)
                        time.sleep(600)
                    yield batch

        torch.set_num_threads(1)
        run(toy_model(), TRAINING, Path(sys.argv[1]), make_batches=lambda epoch: Slow(0, epoch))
        """
    )
    root = ROOT
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", script, str(tmp_path / "killed")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, cwd=root, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in epoch 3\n"
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        expected, _ = fresh(TRAINING, tmp_path / "whole")
        model = toy_model(seed=5)
        result = run(model, TRAINING, tmp_path / "killed", resume=True)
    finally:
        torch.set_num_threads(threads)
    assert result.resumed_from == 3
    assert same_bits(model.state_dict(), expected.state_dict())
    assert [line["epoch"] for line in result.log] == list(range(5))


# -------------------------------------------------------- kills between the files of an epoch's end


def interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, values: list[float]
) -> None:
    """Run until the function `name` of a module is called in epoch 2, and die there."""
    original = getattr(module, name)

    def dying(*arguments: Any) -> None:
        if (tmp_path / "log.jsonl").read_text(encoding="utf-8").count("\n") == 3:
            raise Stopped
        original(*arguments)

    scores = iter(values)
    monkeypatch.setattr(module, name, dying)
    with pytest.raises(Stopped):
        run(toy_model(), TRAINING, tmp_path, validate=lambda: {"rsum": next(scores)})
    monkeypatch.setattr(module, name, original)


def test_a_kill_between_log_and_checkpoint_repeats_the_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, monkeypatch, checkpoints, "save_checkpoint", [1, 2, 3])
    with (tmp_path / "log.jsonl").open("a", encoding="utf-8") as handle:
        handle.write('{"epoch":3,"loss')  # and a line that was cut off
    scores = iter([3.0, 4.0, 5.0])
    result = run(toy_model(), TRAINING, tmp_path, resume=True, validate=lambda: {"rsum": next(scores)})
    assert result.resumed_from == 2
    assert [line["epoch"] for line in result.log] == list(range(5))
    assert [line["validation"]["rsum"] for line in result.log] == [1, 2, 3, 4, 5]


def test_a_kill_between_checkpoint_and_best_weights_loses_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, monkeypatch, loop, "write_bytes", [1, 2, 9])
    assert state_of(tmp_path / "checkpoint.pt")["best_epoch"] == 2
    third = state_of(tmp_path / "checkpoint.pt")["model"]
    model = toy_model()
    result = run(model, TRAINING, tmp_path, resume=True, validate=lambda: {"rsum": 0.0})
    assert (result.resumed_from, result.best_epoch, result.best_value) == (3, 2, 9.0)
    assert same_bits(model.state_dict(), third)


def test_half_written_files_are_swept_and_do_no_harm(tmp_path: Path) -> None:
    fresh(TRAINING, tmp_path)
    (tmp_path / ".checkpoint.pt.abc123").write_bytes(b"half")
    run(toy_model(), TRAINING, tmp_path, resume=True)
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        "best.safetensors",
        "checkpoint.pt",
        "log.jsonl",
    ]


def test_a_failed_write_keeps_the_former_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh(TRAINING, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    state = load_checkpoint(tmp_path / "checkpoint.pt", "digest", RECIPE)

    def full(_values: Any, handle: Any) -> None:
        handle.write(b"PK")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        checkpoints.save_checkpoint(tmp_path / "checkpoint.pt", state)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert not list(tmp_path.glob(".checkpoint*"))


# ----------------------------------------------------------------------- finished runs and new ones


def test_a_finished_run_resumed_does_nothing_but_return_its_result(tmp_path: Path) -> None:
    model, expected = fresh(TRAINING, tmp_path)
    before = {item.name: (item.stat().st_mtime_ns, item.read_bytes()) for item in tmp_path.iterdir()}

    def never() -> dict[str, float]:
        raise AssertionError("validated")

    again = toy_model(seed=3)
    result = run(again, TRAINING, tmp_path, resume=True, validate=never)
    assert result.log == expected.log
    assert (result.best_epoch, result.best_value) == (expected.best_epoch, expected.best_value)
    assert (result.resumed_from, result.wall_seconds) == (5, expected.wall_seconds)
    assert same_bits(again.state_dict(), model.state_dict())
    assert {item.name: (item.stat().st_mtime_ns, item.read_bytes()) for item in tmp_path.iterdir()} == before


def test_a_new_run_sets_the_former_one_aside(tmp_path: Path) -> None:
    fresh(TRAINING, tmp_path)
    before = {item.name: item.read_bytes() for item in tmp_path.iterdir()}
    _, result = fresh(toy_training(stages=[{"epochs": 1}]), tmp_path)
    assert result.resumed_from is None
    assert len(result.log) == 1
    assert {item.name: item.read_bytes() for item in (tmp_path / "previous").iterdir()} == before


def test_resuming_where_nothing_is_begins_anew(tmp_path: Path) -> None:
    expected, _ = fresh(TRAINING, tmp_path / "whole")
    model, result = fresh(TRAINING, tmp_path / "empty", resume=True)
    assert result.resumed_from is None
    assert same_bits(model.state_dict(), expected.state_dict())


def test_a_lost_log_or_lost_best_weights_are_named(tmp_path: Path) -> None:
    values = iter([5.0, 1.0, 1.0, 1.0, 1.0])
    fresh(TRAINING, tmp_path, validate=lambda: {"rsum": next(values)})
    log = (tmp_path / "log.jsonl").read_bytes()
    (tmp_path / "log.jsonl").write_bytes(log[:100])
    with pytest.raises(UserError, match=rf"log\.jsonl: found 100 bytes, expected at least {len(log)}"):
        run(toy_model(), TRAINING, tmp_path, resume=True)
    (tmp_path / "log.jsonl").write_bytes(log)
    (tmp_path / "best.safetensors").unlink()
    with pytest.raises(UserError, match=r"best\.safetensors: expected the weights of epoch 0"):
        run(toy_model(), TRAINING, tmp_path, resume=True)


@pytest.mark.parametrize("change", [(b'{"epoch":1', b'{"epoch"=1'), (b'"loss":1', b'"loss":2')])
def test_a_changed_log_is_named(tmp_path: Path, change: tuple[bytes, bytes]) -> None:
    fresh(TRAINING, tmp_path)
    path = tmp_path / "log.jsonl"
    changed = path.read_bytes().replace(*change, 1)
    assert changed != path.read_bytes()
    path.write_bytes(changed)
    with pytest.raises(
        UserError, match=r"log\.jsonl: found sha256 \w{12}, expected \w{12}; put the log back"
    ):
        run(toy_model(), TRAINING, tmp_path, resume=True)
    assert path.read_bytes() == changed


# --------------------------------------------------------------------------- checkpoints that do not fit


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_named_and_left_as_it_is(tmp_path: Path, kept: float) -> None:
    fresh(TRAINING, tmp_path)
    path = tmp_path / "checkpoint.pt"
    data = path.read_bytes()
    cut = data[: int(kept if kept >= 1 else kept * len(data))]
    path.write_bytes(cut)
    model = toy_model()
    with pytest.raises(
        UserError, match=rf"checkpoint\.pt: not a readable checkpoint \({len(cut)} bytes"
    ) as caught:
        run(model, TRAINING, tmp_path, resume=True)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == cut
    assert same_bits(model.state_dict(), toy_model().state_dict())


def test_a_checkpoint_with_one_flipped_bit_is_refused(tmp_path: Path) -> None:
    """In the weights, where nothing but a checksum can tell."""
    model, _ = fresh(TRAINING, tmp_path)
    path = tmp_path / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    data[data.index(model.queue.numpy().tobytes()) + 5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="truncated or damaged"):
        run(toy_model(), TRAINING, tmp_path, resume=True)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "trapped"),))

    torch.save({"format": checkpoints.FORMAT, "model": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        run(toy_model(), TRAINING, tmp_path, resume=True)
    assert not (tmp_path / "trapped").exists()


def test_another_torch_file_is_no_checkpoint(tmp_path: Path) -> None:
    contents: list[Any] = [{"state_dict": {}}, [1, 2], {"format": checkpoints.FORMAT}]
    for content in contents:
        torch.save(content, tmp_path / "checkpoint.pt")
        with pytest.raises(UserError, match="not a training checkpoint of Rematch"):
            run(toy_model(), TRAINING, tmp_path, resume=True)


def test_a_checkpoint_of_another_method_names_both(tmp_path: Path) -> None:
    fresh(TRAINING, tmp_path)
    with pytest.raises(UserError, match=r"found a checkpoint of method 'toy', expected 'hat'"):
        run(toy_model(), TRAINING, tmp_path, resume=True, recipe={"method": "hat"}, recipe_digest="other")


def test_a_checkpoint_of_another_recipe_names_the_fields(tmp_path: Path) -> None:
    fresh(TRAINING, tmp_path)
    other = {"method": "toy", "training": {"seed": 1, "batch_size": 12}}
    with pytest.raises(UserError, match=r"another recipe \(training\.seed: 0, now 1\)"):
        run(toy_model(), TRAINING, tmp_path, resume=True, recipe=other, recipe_digest="other")
    with pytest.raises(UserError, match=r"another recipe; train anew"):
        run(toy_model(), TRAINING, tmp_path, resume=True, recipe_digest="other")


def test_a_checkpoint_whose_tensors_do_not_fit_is_named(tmp_path: Path) -> None:
    fresh(TRAINING, tmp_path)
    model = toy_model()
    model.momentum = nn.Linear(16, 3)
    with pytest.raises(
        UserError, match=r"'momentum\.weight': found float32 \(16, 16\), expected float32 \(3, 16\)"
    ):
        run(model, TRAINING, tmp_path, resume=True)


def test_differing_fields_of_nested_documents() -> None:
    stored = {"a": 1, "b": {"c": [1, {"d": 2}], "e": None}, "f": [1]}
    current = {"a": 1, "b": {"c": [1, {"d": 3}], "e": 0}, "f": [1, 2], "g": "new"}
    assert differing_fields(stored, current) == [
        "b.c.1.d: 2, now 3",
        "b.e: null, now 0",
        "f: [1], now [1, 2]",
        'g: null, now "new"',
    ]
    assert differing_fields(stored, json.loads(json.dumps(stored))) == []


# ------------------------------------------------------------------------------------- other devices


def test_a_training_that_goes_on_elsewhere_names_both_devices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(name: str, *, resume: bool = False, stop: Any = None) -> Any:
        monkeypatch.setattr(loop, "named_device", lambda _device: name)
        more = {} if stop is None else {"make_batches": stopping_batches(stop, 1)}
        return run(toy_model(), TRAINING, tmp_path, resume=resume, **more)

    with pytest.raises(Stopped):
        on("cuda: A", stop=1)
    with pytest.raises(Stopped):
        on("cuda: A", resume=True, stop=2)
    with pytest.raises(Stopped):
        on("cuda: B", resume=True, stop=3)
    result = on("cpu: C", resume=True)
    assert result.devices == ["cuda: A", "cuda: B", "cpu: C"]
    assert state_of(result.last_checkpoint)["devices"] == result.devices


def test_a_checkpoint_from_before_devices_were_named_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "named_device", lambda _device: "cuda: A")
    with pytest.raises(Stopped):
        run(toy_model(), TRAINING, tmp_path, make_batches=stopping_batches(1, 1))
    path = tmp_path / "checkpoint.pt"
    state = state_of(path)
    del state["devices"]
    torch.save(state, path)
    assert run(toy_model(), TRAINING, tmp_path, resume=True).devices == ["unknown", "cuda: A"]
