#!/usr/bin/env python3
"""Trains the three versions of `meter-digits` and writes everything `longshore bundle build` wants.

    python train.py            # writes <version>/{model.onnx,golden.npz,reference.csv,card.md} and field/stream.csv
    python train.py --check    # trains again into memory and compares with the committed files; changes nothing

What always holds:
  * the field stream is held out: no version ever saw one of its rows;
  * every random choice has a seed, arithmetic is float64 on one thread, and training is a fixed number of Adam steps,
    so another machine gets the same probabilities to about 1e-14 (`--check` allows 1e-5);
  * a reference has labels only where the version was not trained: on rows it learnt by heart its scores are worth too much;
  * a version's golden outputs are its own, so they say "this is the model I exported", never "this is a good model".

Data: Optical Recognition of Handwritten Digits (E. Alpaydin, C. Kaynak, 1998), UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, CC BY 4.0, as bundled with scikit-learn (`sklearn.datasets.load_digits`).
"""

import argparse
import csv
import io
import string
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from skl2onnx.helpers.onnx_helper import select_model_inputs_outputs
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

HERE = Path(__file__).resolve().parent
SEED = 2024
FIELD_ROWS = 800
GOLDEN_ROWS = 16
INK_MAX = 16.0
OPSET = 17
TOLERANCE = 1e-5
PIXELS = [f"pixel_{row}_{column}" for row in range(8) for column in range(8)]


@dataclass(frozen=True)
class Rows:
    """Pictures of digits: ink per pixel, 0 to 16, and the digit."""

    pixels: np.ndarray
    labels: np.ndarray

    def take(self, index: np.ndarray) -> "Rows":
        return Rows(self.pixels[index], self.labels[index])


@dataclass(frozen=True)
class Recipe:
    """How one version is trained: on which rows, and how hard."""

    version: str
    parent: str | None
    hidden: int
    alpha: float
    epochs: int
    learning_rate: float
    batch: int
    story: str
    data: str


RECIPES = [
    Recipe("1.0.0", None, 24, 1e-2, 120, 3e-3, 32,
           "The first version: a small network, trained on the few pictures that were there when the project began.",
           "275 pictures drawn at random from all that are not in the field stream: 220 to train on, 55 to validate."),
    Recipe("1.1.0", "1.0.0", 96, 1e-3, 200, 1e-3, 32,
           "The improvement: a wider network, trained on every picture collected since.",
           "All 997 pictures that are not in the field stream: 897 to train on, 100 to validate."),
    Recipe("1.2.0", "1.1.0", 64, 1e-4, 250, 5e-3, 16,
           "Retrained on \"the freshest data\", which came from a single collection session and so from a few hands only. "
           "Validated on pictures of that same session, it looks fine and sounds sure. In the field, where everybody "
           "writes, it is clearly worse than 1.1.0: its data lack variation, which neither its golden vectors nor its own "
           "validation can show. It is here to be caught by a rollout.",
           "Rows 130 to 259 of the set as far as they are not in the field stream (one stretch of it, so few writers): "
           "four fifths to train on, one fifth to validate."),
]


def load() -> tuple[Rows, Rows, np.ndarray]:
    """The pool to train from, the field stream, and the pool's row numbers in scikit-learn's order."""
    digits = load_digits()
    everything = Rows(digits.data.astype(np.float64), digits.target.astype(np.int64))
    order = np.random.default_rng(SEED).permutation(len(everything.labels))
    return everything.take(order[FIELD_ROWS:]), everything.take(order[:FIELD_ROWS]), order[FIELD_ROWS:]


def split(recipe: Recipe, pool: Rows, numbers: np.ndarray) -> tuple[Rows, Rows]:
    """The rows a version trains on and those it validates on (the pool is in random order already)."""
    if recipe.version == "1.0.0":
        return pool.take(np.arange(220)), pool.take(np.arange(220, 275))
    if recipe.version == "1.1.0":
        return pool.take(np.arange(897)), pool.take(np.arange(897, len(numbers)))
    session = np.flatnonzero((numbers >= 130) & (numbers < 260))
    cut = len(session) * 4 // 5
    return pool.take(session[:cut]), pool.take(session[cut:])


def fit(recipe: Recipe, rows: Rows) -> MLPClassifier:
    """Trains on ink scaled to 0..1, then folds the scale into the first layer: the model takes raw ink."""
    model = MLPClassifier(
        hidden_layer_sizes=(recipe.hidden,), alpha=recipe.alpha, solver="adam", learning_rate_init=recipe.learning_rate,
        batch_size=recipe.batch, max_iter=recipe.epochs, n_iter_no_change=recipe.epochs, tol=0.0, random_state=SEED,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of epochs is what makes it repeatable
        model.fit(rows.pixels / INK_MAX, rows.labels)
    model.coefs_[0] = model.coefs_[0] / INK_MAX
    return model


def export(recipe: Recipe, model: MLPClassifier) -> onnx.ModelProto:
    """ONNX with one input, `pixels` FP32 [N,64], and one output, `probabilities` FP32 [N,10]."""
    # zipmap=False: a tensor, not a list of maps. The label output would only repeat the largest probability.
    exported = to_onnx(model, initial_types=[("pixels", FloatTensorType([None, len(PIXELS)]))],
                       options={id(model): {"zipmap": False}}, target_opset=OPSET, name=f"meter-digits-{recipe.version}")
    exported = select_model_inputs_outputs(exported, ["probabilities"])
    # The label output's leftovers.
    used = {name for node in exported.graph.node for name in node.input}
    kept = [tensor for tensor in exported.graph.initializer if tensor.name in used]
    del exported.graph.initializer[:]
    exported.graph.initializer.extend(kept)
    domains = {node.domain for node in exported.graph.node}
    kept = [opset for opset in exported.opset_import if opset.domain in domains]
    del exported.opset_import[:]
    exported.opset_import.extend(kept)
    # Selecting outputs loses their shapes; say them, and call the batch axis N on both sides.
    for tensor, width in ((exported.graph.input[0], len(PIXELS)), (exported.graph.output[0], 10)):
        tensor.CopyFrom(onnx.helper.make_tensor_value_info(tensor.name, onnx.TensorProto.FLOAT, ["N", width]))
    onnx.checker.check_model(exported, full_check=True)
    return exported


def run(model: bytes, pixels: np.ndarray) -> np.ndarray:
    """Probabilities by ONNX Runtime, FP32 [N,10]."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"pixels": pixels.astype(np.float32)})[0]


def score(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy, and the median of the largest probability."""
    return float((probabilities.argmax(axis=1) == labels).mean()), float(np.median(probabilities.max(axis=1)))


def table(*parts: tuple[Rows, bool]) -> bytes:
    """CSV with a header: one column a pixel, and the digit last, which stays empty in parts that are not to be labelled."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(PIXELS + ["label"])
    for rows, with_labels in parts:
        for pixels, label in zip(rows.pixels, rows.labels):
            writer.writerow([int(p) for p in pixels] + [int(label) if with_labels else ""])
    return text.getvalue().encode()


def golden(model: bytes, rows: Rows) -> bytes:
    """Some validation rows and what this very model says to them."""
    pixels = rows.pixels[:GOLDEN_ROWS].astype(np.float32)
    file = io.BytesIO()
    np.savez(file, **{"input.pixels": pixels, "output.probabilities": run(model, pixels)})
    return file.getvalue()


def card(recipe: Recipe, train: Rows, own: tuple[float, float], field: tuple[float, float]) -> bytes:
    """The model card, from card.md.in and what was measured."""
    template = string.Template((HERE / "card.md.in").read_text())
    return template.substitute(
        version=recipe.version, story=recipe.story, data=recipe.data, hidden=recipe.hidden, rows=len(train.labels),
        own_accuracy=f"{own[0]:.3f}", own_confidence=f"{own[1]:.3f}",
        field_accuracy=f"{field[0]:.3f}", field_confidence=f"{field[1]:.3f}", field_rows=FIELD_ROWS,
    ).encode()


def build() -> tuple[dict[str, bytes], list[str]]:
    """Every generated file by its path here, and a line to print for each version."""
    pool, field, numbers = load()
    files = {"field/stream.csv": table((field, True))}
    lines = []
    for recipe in RECIPES:
        train, validate = split(recipe, pool, numbers)
        model = export(recipe, fit(recipe, train)).SerializeToString(deterministic=True)
        own = score(run(model, validate.pixels), validate.labels)
        outside = score(run(model, field.pixels), field.labels)
        files[f"{recipe.version}/model.onnx"] = model
        files[f"{recipe.version}/golden.npz"] = golden(model, validate)
        files[f"{recipe.version}/reference.csv"] = table((train, False), (validate, True))
        files[f"{recipe.version}/card.md"] = card(recipe, train, own, outside)
        lines.append(f"{recipe.version}: {len(train.labels)} rows; own validation {own[0]:.1%} right, median confidence "
                     f"{own[1]:.3f}; field {outside[0]:.1%} right, median confidence {outside[1]:.3f}")
    return files, lines


def differences(files: dict[str, bytes]) -> list[str]:
    """What differs between the committed files and those just made: models by their outputs, the rest exactly."""
    field = np.loadtxt(io.BytesIO(files["field/stream.csv"]), delimiter=",", skiprows=1)[:, : len(PIXELS)]
    found = []
    for path, made in files.items():
        if not (HERE / path).is_file():
            found.append(f"{path}: not there")
            continue
        committed = (HERE / path).read_bytes()
        if path.endswith(".onnx"):
            apart = float(np.abs(run(made, field) - run(committed, field)).max())
            print(f"{path}: outputs differ by at most {apart:.1e} over {len(field)} rows")
            if not apart <= TOLERANCE:
                found.append(f"{path}: outputs differ by {apart:.1e}, more than {TOLERANCE:.0e}")
        elif path.endswith(".npz"):
            old, new = np.load(io.BytesIO(committed)), np.load(io.BytesIO(made))
            for name in sorted(set(old.files) | set(new.files)):
                if name not in old.files or name not in new.files or not np.allclose(old[name], new[name], 0, TOLERANCE):
                    found.append(f"{path}: {name} differs")
        elif committed != made:
            found.append(f"{path}: differs")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Train the example models, or check that training gives them again.")
    parser.add_argument("--check", action="store_true", help="compare with the committed files; write nothing")
    arguments = parser.parse_args()
    with threadpool_limits(limits=1):
        files, lines = build()
    print("\n".join(lines))
    if arguments.check:
        found = differences(files)
        print("\n".join(found) if found else "everything matches")
        return 1 if found else 0
    for path, content in files.items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
