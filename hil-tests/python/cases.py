"""Inputs for the real models that `real_models.py` brings, and what ONNX Runtime answers to them.

    python cases.py MODELS_DIR NAME OUT.npz [--seed N]

prints `NAME=DIMS` for each input whose shape the file leaves open (what `longshore bundle build --shape` takes), and
writes `input.<name>` and `output.<name>` arrays, which is what `longshore bundle build --golden` takes. The values are
seeded and of the kind that each model is fed in real life.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime

from real_models import MODELS

SAMPLE_RATE_HZ = 16000


def value(rng: np.random.Generator, dims: tuple[int, ...], dtype: str) -> np.ndarray:
    """One input: signal-like floats, bytes, or the sample rate (the only scalar that these models take)."""
    if dtype == "f32":
        return (rng.standard_normal(dims) * 0.2).astype(np.float32)
    if dtype == "i32":
        return rng.integers(0, 256, dims).astype(np.int32)
    if dtype == "i64" and not dims:
        return np.array(SAMPLE_RATE_HZ, dtype=np.int64)
    raise SystemExit(f"no values for an input of {dims}:{dtype}")


def session(path: Path) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU, quiet."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def case(folder: Path, name: str, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and ONNX Runtime's outputs, by tensor name."""
    rng = np.random.default_rng(seed)
    runner = session(folder / f"{name}.onnx")
    inputs = {
        tensor.name: value(rng, dims, dtype)
        for tensor, (dims, dtype) in zip(runner.get_inputs(), MODELS[name].inputs, strict=True)
    }
    names = [tensor.name for tensor in runner.get_outputs()]
    return inputs, dict(zip(names, runner.run(names, inputs), strict=True))


def open_shapes(folder: Path, name: str) -> list[str]:
    """The shape to use for each input that the graph leaves open."""
    tensors = session(folder / f"{name}.onnx").get_inputs()
    return [
        f"{tensor.name}={','.join(str(d) for d in dims)}"
        for tensor, (dims, _) in zip(tensors, MODELS[name].inputs, strict=True)
        if list(tensor.shape) != list(dims)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Golden vectors for one model, computed by ONNX Runtime.")
    parser.add_argument("models", type=Path)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    inputs, outputs = case(arguments.models, arguments.name, arguments.seed)
    tensors = {f"input.{n}": a for n, a in inputs.items()} | {f"output.{n}": a for n, a in outputs.items()}
    np.savez(arguments.out, **tensors)
    print("\n".join(open_shapes(arguments.models, arguments.name)))


if __name__ == "__main__":
    main()
