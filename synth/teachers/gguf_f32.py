"""The exact float32 file of a quantised GGUF: the same weights, without the rounding of a server
that computes in int8.

Measured: a Q4_1 file served by llama.cpp differs from a transformers forward pass over the same
weights by 0.105 nat of mean top-20 KL; the expanded file by less than 0.004 nat a token.
"""

from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter
from gguf.quants import dequantize
from numpy.typing import NDArray

_REWRITTEN = {"general.architecture", "general.file_type", "general.quantization_version"}
ALL_F32 = 0  # llama.cpp's LlamaFileType


def gguf_f32(source: Path, target: Path) -> None:
    """Copy all metadata and write every tensor as float32, one tensor in memory at a time."""
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(target, architecture)
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in _REWRITTEN:
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind == GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, sub_type=inner)
    writer.add_file_type(ALL_F32)
    for tensor in reader.tensors:
        shape = _shape(tensor.shape)
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), int(np.prod(shape)) * 4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in reader.tensors:
        plain = tensor.tensor_type == GGMLQuantizationType.F32
        data = tensor.data if plain else dequantize(tensor.data, tensor.tensor_type)
        exact = np.ascontiguousarray(data, dtype=np.float32).reshape(_shape(tensor.shape))
        writer.write_tensor_data(exact)
    writer.close()


def _shape(dimensions: NDArray[np.uint64]) -> tuple[int, ...]:
    """GGUF lists the fastest axis first."""
    return tuple(int(size) for size in reversed(dimensions))
