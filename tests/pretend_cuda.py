"""A pretended GPU: tensors on the CPU that carry a placement, so that a mix of devices fails where there is no GPU.

Placement belongs to a tensor's storage. Inside `pretended_gpu()`, what is made on "cuda" or moved there is made on the
CPU and marked; a marked tensor says that its device is cuda:0; an operation on marked and other tensors raises as on a
GPU, and so does `.numpy()`, or a generator of the other device. Numbers and control flow are real.

Not seen: CUDA's own kernels, and mixes inside the formulas of torch's backward pass (those of methods are seen).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils import clip_grad
from torch.utils._python_dispatch import TorchDispatchMode

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
GIGABYTE = 2**30
aten = torch.ops.aten

MAKERS = (
    *("arange", "empty", "eye", "full", "linspace", "ones", "scalar_tensor", "tensor", "zeros"),
    *("rand", "randint", "randn", "randperm"),
    *("empty_like", "full_like", "ones_like", "rand_like", "randint_like", "randn_like", "zeros_like"),
)
"""Functions of torch that make a tensor on a device that they are given."""
NEW = ("new_empty", "new_full", "new_ones", "new_tensor", "new_zeros")
INDEXING = {
    *(aten.index.Tensor, aten.index_put.default, aten.index_put_.default),
    *(aten._index_put_impl_.default, aten._unsafe_index.Tensor, aten._unsafe_index_put.default),
}
"""Operations whose indices may lie on the CPU, from where they are copied."""
FILLING = {aten.fill_.Tensor, aten.fill.Tensor, aten.masked_fill_.Tensor, aten.masked_fill.Tensor}
"""Operations that take a number from the CPU, beside those that go element by element."""
WAITING = {
    *(aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default, aten.equal.default),
    *(aten._unique2.default, aten.unique_dim.default, aten.repeat_interleave.Tensor),
}
"""Operations whose result the host needs before it can go on."""


class PlacementError(RuntimeError):
    """The error of a GPU that was given something from the CPU, or the other way round."""


class PretendedGPU(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Where tensors lie, and what was done on the GPU."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._held: dict[int, StorageWeakRef] = {}
        self._open = 0
        """Copies that Python code asked for, and that may go from one device to the other."""
        self.free = 70 * GIGABYTE
        """Bytes that the GPU says are free."""
        self.ops: Counter[str] = Counter()
        """Operations on the GPU."""
        self.waits: Counter[str] = Counter()
        """Operations after which the host waits for the GPU."""

    def holds(self, tensor: Tensor) -> bool:
        """Return True if a tensor lies on the GPU."""
        return tensor.untyped_storage()._cdata in self._held

    def put(self, tensor: Tensor) -> Tensor:
        """Let a tensor, which nobody holds on the CPU, lie on the GPU."""
        storage = tensor.untyped_storage()
        if storage._cdata not in self._held:
            self._held[storage._cdata] = _reference(storage)  # keeps the number from being used again
        return tensor

    def move(self, tensor: Tensor, to_gpu: bool) -> Tensor:
        """A copy on the given side; the tensor itself where it is there already."""
        if self.holds(tensor) == to_gpu:
            return tensor
        with torch._C._DisableTorchDispatch():
            copy = tensor.clone()
        if not to_gpu:
            self.waits[".cpu()"] += 1
        return self.put(copy) if to_gpu else copy

    # ------------------------------------------------------------------------- every operation

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Leave torch's compiler alone, which takes seconds to load."""
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = list(_tensors((*args, *kwargs.values())))
        placed = [self.holds(tensor) for tensor in tensors]
        if not any(placed):
            return func(*args, **kwargs)
        self.ops[str(func)] += 1
        if func in WAITING or (func in INDEXING and any(_is_mask(index) for index in args[1])):
            self.waits[str(func)] += 1
        self._check(func, args, tensors, placed)
        result = func(*args, **kwargs)
        if func is not aten.copy_.default:  # what is copied to stays where it is
            made = result[:1] if func is aten._pack_padded_sequence.default else [result]
            for tensor in _tensors(made):
                self.put(tensor)
        return result

    def _check(self, func: Any, args: Sequence[Any], tensors: list[Tensor], placed: list[bool]) -> None:
        """Raise PlacementError for what CUDA would refuse."""
        if func is aten._pack_padded_sequence.default:
            if self.holds(args[1]):
                raise PlacementError("'lengths' argument should be a 1D CPU int64 tensor, found cuda:0")
            return
        if all(placed) or func is aten.detach.default:
            return
        if func is aten.copy_.default:
            if not self._open and placed[1]:  # a composite of torch made room where its input lies
                self.put(tensors[0])
            return
        node = torch._C._current_autograd_node()
        if node is not None and not isinstance(node, BackwardCFunction):  # a formula of torch's backward pass
            for tensor in tensors:
                if tensor.ndim and tensor.is_floating_point():
                    self.put(tensor)
            return
        if func in INDEXING and self.holds(args[0]):
            values = [args[2]] if len(args) > 2 and args[2].ndim else []
            if all(map(self.holds, values)):
                self.waits[f"{func} by indices on the CPU"] += 1
                return
        single = all(there or not tensor.ndim for tensor, there in zip(tensors, placed, strict=True))
        name = func._schema.name.removeprefix("aten::")
        by_element = torch.Tag.pointwise in func.tags or func in FILLING or name.startswith("_foreach_")
        if single and by_element and (placed[0] or not name.endswith("_")):
            return  # a number on the CPU beside tensors on the GPU
        found = ", ".join(
            f"{tuple(tensor.shape)} on {'cuda:0' if there else 'cpu'}"
            for tensor, there in zip(tensors, placed, strict=True)
        )
        raise PlacementError(f"{func}: Expected all tensors to be on the same device: {found}")


_reference: Callable[[Any], StorageWeakRef] = StorageWeakRef


def _is_mask(index: Tensor | None) -> bool:
    """Return True for an index whose rows have to be counted first."""
    return index is not None and index.dtype in (torch.bool, torch.uint8)


def _tensors(values: Any) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


class _Generator(torch.Generator):
    """A generator of the CPU that knows which device it was made for."""

    place: torch.device

    def __new__(cls, device: Any = CPU) -> _Generator:
        made = super().__new__(cls)
        made.place = torch.device(device)
        return made


# --------------------------------------------------------------------------------- Python's side


@contextmanager
def pretended_gpu() -> Iterator[PretendedGPU]:
    """Pretend, until the block ends, that there is one GPU; what lies on it cannot be used afterwards."""
    gpu = PretendedGPU()
    with ExitStack() as stack:

        def patch(owner: Any, name: str, value: Any) -> None:
            stack.enter_context(mock.patch.object(owner, name, value))

        for owner, changes in (
            (torch.Tensor, _of_tensors(gpu)),
            (torch, {name: _maker(gpu, getattr(torch, name)) for name in MAKERS}),
            (torch, {"as_tensor": partial(_as_tensor, torch.as_tensor), "Generator": _Generator}),
            (torch, _of_autocast()),
            (torch.cuda, _of_cuda(gpu)),
            (torch.backends.cudnn, {"is_acceptable": lambda _tensor: False}),
            (clip_grad, {"_group_tensors_by_device_and_dtype": _grouped}),
            (torch.accelerator, {"current_accelerator": lambda *_, **__: None}),  # it is asked about graphs
        ):
            for name, value in changes.items():
                patch(owner, name, value)
        patch(torch.autocast, "__init__", _as_cpu(torch.autocast.__init__, place=1))
        stack.enter_context(gpu)
        yield gpu


def _maker(gpu: PretendedGPU, make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function that makes a tensor, on the device that it is given."""

    @wraps(make)
    def made(*args: Any, device: Any = None, generator: Any = None, **options: Any) -> Tensor:
        there = args[0].device if args and isinstance(args[0], Tensor) else CPU
        wanted = there if device is None else torch.device(device)
        if generator is not None:
            options["generator"] = _checked(generator, wanted)
        if wanted.type == "meta":
            return make(*args, device=wanted, **options)
        result = make(*args, **options) if device is None else make(*args, device=CPU, **options)
        if device is None:
            return result
        return gpu.put(result) if wanted.type == "cuda" else gpu.move(result, to_gpu=False)

    return made


def _checked(generator: torch.Generator, wanted: torch.device) -> torch.Generator:
    found = getattr(generator, "place", CPU)
    if found.type != wanted.type:
        raise PlacementError(f"Expected a '{wanted.type}' device type for generator but found '{found.type}'")
    return generator


def _as_tensor(make: Callable[..., Tensor], data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    result = make(data, dtype=dtype)
    return result if device is None else result.to(device)


def _of_tensors(gpu: PretendedGPU) -> dict[str, Any]:
    """Attributes of tensors that know about devices."""
    base = {
        name: getattr(torch.Tensor, name) for name in ("to", "numpy", "__array__", "tolist", "new_tensor")
    }

    def to(self: Tensor, *args: Any, copy: bool = False, **options: Any) -> Tensor:
        if args and isinstance(args[0], Tensor):
            args = (args[0].device, args[0].dtype, *args[1:])
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **options)
        if device is not None and device.type == "meta":
            bare: Tensor = base["to"](self, *args, **options)
            return bare
        result = self if dtype is None else base["to"](self, dtype)
        if layout is not None:
            result = base["to"](result, memory_format=layout)
        moved: Tensor = result if device is None else gpu.move(result, to_gpu=device.type == "cuda")
        return moved.clone() if copy and moved is self else moved

    def on_cpu(name: str) -> Callable[..., Any]:
        def read(self: Tensor, *args: Any, **options: Any) -> Any:
            if gpu.holds(self):
                raise PlacementError(
                    "can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host "
                    "memory first."
                )
            return base[name](self, *args, **options)

        return read

    def tolist(self: Tensor) -> Any:
        gpu.waits["tolist"] += gpu.holds(self)
        return base["tolist"](self)

    def asked(name: str) -> Callable[..., Any]:
        """A copy that Python code asks for, and not a composite of torch."""
        real = getattr(torch.Tensor, name)

        def copy(self: Tensor, *args: Any, **options: Any) -> Any:
            gpu._open += 1
            try:
                return real(self, *args, **options)
            finally:
                gpu._open -= 1

        return copy

    def new(name: str) -> Callable[..., Tensor]:
        real = getattr(torch.Tensor, name)

        def made(self: Tensor, *args: Any, device: Any = None, **options: Any) -> Tensor:
            wanted = self.device if device is None else torch.device(device)
            result: Tensor = real(self, *args, **options)
            return gpu.put(result) if wanted.type == "cuda" else gpu.move(result, to_gpu=False)

        return made

    def deepcopy(real: Callable[..., Tensor], self: Tensor, memo: dict[int, Any]) -> Tensor:
        copy = real(self, memo)
        return gpu.put(copy) if gpu.holds(self) else copy

    copied = torch.Tensor.__deepcopy__
    return {
        "to": to,
        "cpu": lambda self, **_: to(self, CPU),
        "cuda": lambda self, *_, **__: to(self, GPU),
        "numpy": on_cpu("numpy"),
        "__array__": on_cpu("__array__"),
        "__deepcopy__": lambda self, memo: deepcopy(copied, self, memo),
        "tolist": tolist,
        "copy_": asked("copy_"),
        "__setitem__": asked("__setitem__"),
        "device": property(lambda self: GPU if gpu.holds(self) else _real_device(self)),
        "is_cuda": property(gpu.holds),
        "is_cpu": property(lambda self: not gpu.holds(self)),
        "get_device": lambda self: 0 if gpu.holds(self) else -1,
        "pin_memory": lambda self, *_: self,
        **{name: new(name) for name in NEW},
    }


def _grouped(tensors: Any, *args: Any, **options: Any) -> Any:
    """Torch's groups of tensors by device and type; it asks the storage for the device, which is the CPU."""
    groups = _real_groups(tensors, *args, **options)
    return {(tensors[0][0].device, dtype): group for (_, dtype), group in groups.items()}


_real_groups: Callable[..., Any] = clip_grad._group_tensors_by_device_and_dtype  # type: ignore[attr-defined]
_real_device: Callable[[Tensor], torch.device] = torch._C.TensorBase.device.__get__


def _of_cuda(gpu: PretendedGPU) -> dict[str, Any]:
    """The functions of torch.cuda that the project calls."""
    values: dict[str, Any] = {
        "is_available": True,
        "device_count": 1,
        "current_device": 0,
        "is_current_stream_capturing": False,
        "init": None,
        "synchronize": None,
        "empty_cache": None,
        "reset_peak_memory_stats": None,
        "max_memory_allocated": 10 * GIGABYTE,
        "get_device_name": "Pretended GPU",
        "get_device_capability": (9, 0),
        "get_arch_list": ["sm_90"],
    }
    fixed = {name: (lambda *_, value=value: value) for name, value in values.items()}
    return {**fixed, "mem_get_info": lambda *_: (gpu.free, 80 * GIGABYTE)}


def _of_autocast() -> dict[str, Any]:
    """Autocast of the CPU in place of the GPU's."""
    return {name: _as_cpu(getattr(torch, name)) for name in ("is_autocast_enabled", "get_autocast_dtype")}


def _as_cpu(function: Callable[..., Any], place: int = 0) -> Callable[..., Any]:
    """The function with `cpu` where its argument at `place` is `cuda`."""

    @wraps(function)
    def called(*args: Any, **options: Any) -> Any:
        given = list(args)
        if len(given) > place and given[place] == "cuda":
            given[place] = "cpu"
        if options.get("device_type") == "cuda":
            options["device_type"] = "cpu"
        return function(*given, **options)

    return called
