# SPDX-License-Identifier: Apache-2.0
"""Functions of tensors, compiled and recorded as CUDA graphs."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import torch
from torch import Tensor

from asd_perception.errors import is_out_of_memory

P = ParamSpec("P")
Result = TypeVar("Result")
TRITON = find_spec("triton") is not None  # it comes with the CUDA builds of torch for Linux
WARM_UP = 3
"""Calls before a recording: kernels are compiled, and libraries choose their algorithms."""


class RecordedCall(Generic[Result]):
    """A function of tensors, on one stream, recorded as a CUDA graph and replayed from then on.

    The function must neither wait for the GPU nor do anything on the host that a later call needs.
    `result` keeps its place in memory: each replay writes into it. Where the function cannot be
    recorded it is called every time, which is said in the log: slower, and the same answers.
    Running out of memory is no such case, and raised.
    The function, and with it what it reads, is kept: the graph reads from there.
    """

    def __init__(self, function: Callable[[], Result], stream: torch.cuda.Stream) -> None:
        """function: reads its inputs from tensors that stay in place."""
        self._function = function
        with torch.cuda.stream(stream), torch.inference_mode():
            for _ in range(WARM_UP):
                self.result = function()
            stream.synchronize()
            self._graph: torch.cuda.CUDAGraph | None = None
            self.failure: str | None = None  # why it is not recorded
            recording = recorded(function, stream)
            if isinstance(recording, str):
                self.failure = recording
                logging.getLogger(__name__).warning(
                    "a part of the network cannot be recorded as a CUDA graph and runs slower: %s",
                    self.failure,
                )
            else:
                self._graph, self.result = recording
                self.replay()  # recording computes nothing
            stream.synchronize()

    @torch.inference_mode()
    def replay(self) -> Result:
        """Compute `result` anew, on the present stream, which must be the recording's."""
        if self._graph is not None:
            self._graph.replay()
        else:
            for kept, new in zip(
                tensors_of(self.result), tensors_of(self._function()), strict=True
            ):
                kept.copy_(new)
        return self.result


def recorded(
    function: Callable[[], Result], stream: torch.cuda.Stream
) -> tuple[torch.cuda.CUDAGraph, Result] | str:
    """The CUDA graph of a function and what it writes to, or why there is none, in one line.

    stream: the present one, on which the function has been called before. It is called once more.
    Running out of memory is raised.
    """
    graph = torch.cuda.CUDAGraph()
    try:
        # A recording that fails leaves PyTorch's allocator in disorder, so what waits is found out
        # before one is begun.
        mode = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("error")
        try:
            function()
        finally:
            torch.cuda.set_sync_debug_mode(mode)
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            result = function()
    except RuntimeError as error:
        return _why_not_recorded(error)
    return graph, result


def _why_not_recorded(error: RuntimeError) -> str:
    """The cause in one line. One that ran out of memory is raised: it would again at each call."""
    cause = error.__context__ or error  # where a recording fails, its end fails, too
    if is_out_of_memory(cause):
        raise cause
    return " ".join(str(cause).split())


class CompiledCall(Generic[P, Result]):
    """`torch.compile`, anew for each shape of the inputs; without Triton the function itself.

    What cannot be compiled runs as it is: the log says why, and `fallbacks` counts such parts of
    the function.
    """

    def __init__(self, function: Callable[P, Result]) -> None:
        self.fallbacks = 0
        self._run = torch.compile(function, dynamic=False) if TRITON else function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Result:
        if not TRITON:
            return self._run(*args, **kwargs)
        before = _frames_not_compiled()
        # The limit is on a line of code, which all detectors of a process share.
        with torch._dynamo.config.patch(suppress_errors=True, recompile_limit=1000):
            result = self._run(*args, **kwargs)
        self.fallbacks += _frames_not_compiled() - before
        return result


def _frames_not_compiled() -> int:
    """Python frames of this process that torch.compile has tried in vain so far."""
    frames = torch._dynamo.utils.counters["frames"]
    return frames["total"] - frames["ok"]


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in nested tuples, in their order."""
    if isinstance(value, Tensor):
        return [value]
    return [x for item in value for x in tensors_of(item)] if isinstance(value, tuple) else []


def compile_caches() -> dict[str, Path]:
    """Where compiled code is kept from one process to the next, by the variables that say so."""
    from torch._inductor.runtime.runtime_utils import cache_dir  # torch has no public way

    own = Path(os.environ.get("TRITON_HOME", Path.home())) / ".triton" / "cache"
    # torch.compile sets the first; what it compiles by Triton may lie within.
    return {
        "TORCHINDUCTOR_CACHE_DIR": Path(cache_dir()),
        "TRITON_CACHE_DIR": Path(os.environ.get("TRITON_CACHE_DIR", own)),
    }
