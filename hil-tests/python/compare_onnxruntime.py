"""The agent's answers beside ONNX Runtime's, for one real model, on inputs that are not its golden vectors.

    python compare_onnxruntime.py --url 127.0.0.1:8700 --models DIR --name silero-vad [--cases 5]

Prints the largest absolute difference of each output; more than 1e-4 is a non-zero exit.
"""

import argparse
from pathlib import Path

import numpy as np
import tritonclient.http as triton

from cases import case
from triton_client import check, inputs

TOLERANCE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port of the agent's API")
    parser.add_argument("--models", required=True, type=Path, help="what real_models.py wrote")
    parser.add_argument("--name", required=True)
    parser.add_argument("--cases", type=int, default=5)
    arguments = parser.parse_args()
    largest: dict[str, float] = {}
    with triton.InferenceServerClient(arguments.url, network_timeout=120.0, connection_timeout=120.0) as client:
        for seed in range(100, 100 + arguments.cases):
            given, expected = case(arguments.models, arguments.name, seed)
            answer = client.infer(arguments.name, inputs(given, True))
            for name, array in expected.items():
                found = answer.as_numpy(name)
                check(f"seed {seed}: shape of {name}", found is not None and found.shape == array.shape, found)
                apart = float(np.abs(found.astype(np.float64) - array).max())
                check(f"seed {seed}: {name} within {TOLERANCE:g}", apart <= TOLERANCE, apart)
                largest[name] = max(largest.get(name, 0.0), apart)
    for name, apart in largest.items():
        print(f"{arguments.name}: {name} differs by at most {apart:.1e}")


if __name__ == "__main__":
    main()
