"""The native decoder as a library: compiled once on the machine it runs on, kept in the cache, loaded by ctypes.

Knows C++ and its compiler, nothing of models.
"""

import ctypes
import hashlib
import logging
import os
import shlex
import shutil
import subprocess
import sysconfig
import tempfile
from functools import partial
from pathlib import Path

from webapp.engine.cpu import instructions

_log = logging.getLogger(__name__)

_SOURCE = Path(__file__).with_name("decoder.cpp")
_COMPILERS = (["c++"], ["g++"], ["clang++"])
# Without contraction every sum is made as decoder.cpp says, in every loop.
_FLAGS = ("-std=c++17", "-O3", "-ffp-contract=off", "-shared", "-fPIC", "-pthread", "-Wno-psabi")
# Clang on ARM knows no -march=native.
_NATIVE = "-mcpu=native" if "aarch64" in sysconfig.get_platform() else "-march=native"
_COMPILE_SECONDS = 300.0


class NativeUnavailable(Exception):
    """There is no native decoder for this machine or this model. The message is a phrase that says why."""


class MatrixStruct(ctypes.Structure):
    """struct Matrix of decoder.cpp."""

    _fields_ = (
        ("tiles", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("inputs", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("bits", ctypes.c_int32),
    )


class LayerStruct(ctypes.Structure):
    """struct Layer of decoder.cpp."""

    _fields_ = (
        ("query_key_value", MatrixStruct),
        ("output", MatrixStruct),
        ("gate_up", MatrixStruct),
        ("down", MatrixStruct),
        ("attention_norm", ctypes.c_void_p),
        ("mlp_norm", ctypes.c_void_p),
        ("keys", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
    )


class ModelStruct(ctypes.Structure):
    """struct Model of decoder.cpp."""

    _fields_ = (
        ("hidden", ctypes.c_int32),
        ("intermediate", ctypes.c_int32),
        ("heads", ctypes.c_int32),
        ("key_value_heads", ctypes.c_int32),
        ("head_dim", ctypes.c_int32),
        ("slot_length", ctypes.c_int32),
        ("layer_count", ctypes.c_int32),
        ("epsilon", ctypes.c_float),
        ("scale", ctypes.c_float),
        ("cosines", ctypes.c_void_p),
        ("sines", ctypes.c_void_p),
        ("layers", ctypes.POINTER(LayerStruct)),
        ("final_norm", ctypes.c_void_p),
        ("head", MatrixStruct),
    )


class NativeLibrary:
    """The functions of decoder.cpp, on a team of `threads` threads. Addresses are of float32 data unless said."""

    def __init__(self, path: Path, *, threads: int) -> None:
        library = ctypes.CDLL(str(path))
        pointer, number = ctypes.c_void_p, ctypes.c_int32
        library.jeton_start_team.argtypes = (number,)
        library.jeton_start_team.restype = pointer
        library.jeton_packed_bytes.argtypes = (number, number, number)
        library.jeton_packed_bytes.restype = ctypes.c_int64
        library.jeton_pack.argtypes = (pointer, pointer, number, number, number, pointer)
        library.jeton_pack.restype = number
        library.jeton_forward.argtypes = (pointer, ctypes.POINTER(ModelStruct), pointer, pointer, number, pointer)
        library.jeton_forward.restype = number
        team = library.jeton_start_team(threads)
        if not team:
            raise NativeUnavailable("there is no memory for it")
        self.packed_bytes = library.jeton_packed_bytes
        self._pack = partial(library.jeton_pack, team)
        self._forward = partial(library.jeton_forward, team)

    def pack(self, weights: int, to: int, *, outputs: int, inputs: int, bits: int) -> None:
        """Quantise a matrix of (outputs, inputs) floats into `packed_bytes` bytes. Raises MemoryError."""
        if self._pack(weights, outputs, inputs, bits, to):
            raise MemoryError

    def forward(self, model: ModelStruct, *, hidden: int, rows: int, count: int, logits: int | None) -> None:
        """Take rows, int32 pairs of slot and position, through the model. Raises MemoryError."""
        if self._forward(ctypes.byref(model), hidden, rows, count, logits):
            raise MemoryError


def load_library(cache_dir: Path, *, threads: int) -> NativeLibrary:
    """The library for this processor, compiled where the cache has none. Raises NativeUnavailable.

    Compiling takes about three seconds. Any number of processes may do it at once: the last one's file stays.
    """
    target = cache_dir / "native" / f"decoder-{_identity()}.so"
    try:
        return NativeLibrary(target, threads=threads)
    except (OSError, AttributeError):
        # It is not there, or damaged.
        return _compiled(target, threads=threads)


def _compiled(target: Path, *, threads: int) -> NativeLibrary:
    with tempfile.TemporaryDirectory(prefix="jeton-native-") as folder:
        unfinished = Path(folder) / target.name
        _run(*_compiler(), *_FLAGS, _NATIVE, str(_SOURCE), "-o", str(unfinished))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: the two folders may be on different file systems.
            beside = target.with_suffix(f".{os.getpid()}")
            shutil.copyfile(unfinished, beside)
            beside.replace(target)
        except OSError as error:
            _log.warning("the compiled decoder cannot be kept in %s: %s", target, error.strerror)
        try:
            return NativeLibrary(unfinished, threads=threads)
        except (OSError, AttributeError) as error:
            raise NativeUnavailable(f"its library cannot be loaded: {error}") from error


def _compiler() -> list[str]:
    wanted = shlex.split(os.environ.get("CXX", ""))
    found = next((command for command in ([wanted] if wanted else _COMPILERS) if shutil.which(command[0])), None)
    if found is None:
        raise NativeUnavailable("there is no C++ compiler; install g++")
    return found


def _identity() -> str:
    """Changes with the source, the flags, and the instructions this processor has, which -march=native stands for."""
    digest = hashlib.sha256(_SOURCE.read_bytes())
    digest.update(" ".join((*_FLAGS, _NATIVE, sysconfig.get_platform(), instructions())).encode())
    return digest.hexdigest()[:16]


def _run(*command: str) -> None:
    try:
        subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS, check=True)
    except subprocess.CalledProcessError as error:
        first_line = (error.stderr.strip().splitlines() or ["no message"])[0]
        raise NativeUnavailable(f"its compiler failed: {first_line}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NativeUnavailable(f"its compiler failed: {error}") from error
