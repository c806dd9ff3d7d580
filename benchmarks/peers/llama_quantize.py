"""Writes a GGUF file's weights again as Q4_0, whose kernels llama.cpp packs anew for the processor's wide registers."""

import sys

import llama_cpp  # pyright: ignore[reportMissingImports]


def main(source: str, target: str) -> None:
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
    parameters.allow_requantize = True
    if llama_cpp.llama_model_quantize(source.encode(), target.encode(), parameters):
        raise SystemExit(f"llama.cpp cannot quantise {source}")


if __name__ == "__main__":
    main(*sys.argv[1:])
