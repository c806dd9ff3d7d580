"""Zeroed memory that is taken page by page as it is written, and can be given back. For the CPU, on Linux."""

import ctypes
import mmap

import torch
from torch import Tensor


def anonymous_zeros(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor of zeros that takes no memory yet; to read it takes none either."""
    count = torch.Size(shape).numel()
    # Private: of a shared map, whose pages are a file's, each page that is read is taken too.
    memory = mmap.mmap(-1, count * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def give_back(tensor: Tensor) -> None:
    """Make a contiguous part of an `anonymous_zeros` tensor zero, and give its whole pages back to the system."""
    assert tensor.is_contiguous()
    flat = tensor.reshape(-1)
    start, end = flat.data_ptr(), flat.data_ptr() + flat.nbytes
    first, last = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE, end // mmap.PAGESIZE * mmap.PAGESIZE
    if first >= last or _madvise(first, last - first, mmap.MADV_DONTNEED) != 0:
        flat.zero_()
        return
    flat[: (first - start) // flat.itemsize] = 0
    flat[flat.numel() - (end - last) // flat.itemsize :] = 0


_madvise = ctypes.CDLL(None).madvise
_madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
