"""NVIDIA's `tritonclient[http]`, unchanged, against a running agent: list, check, and infer in every encoding.

    python triton_client.py --url 127.0.0.1:8700 --model meter-digits --version 1.0.0 --golden golden.npz

Prints one line a check; any difference is an exception and a non-zero exit.
"""

import argparse

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

TOLERANCE = 1e-4


def check(what: str, passed: bool, found: object) -> None:
    """Prints a check that passed; stops at one that did not."""
    if not passed:
        raise SystemExit(f"FAILED {what}: {found!r}")
    print(f"ok {what}")


def refused(what: str, status: set[str], call) -> None:
    """The server must answer with one of these statuses, and say why."""
    try:
        found = call()
    except InferenceServerException as error:
        check(f"{what} is refused", str(error.status()) in status and len(error.message()) > 5, error)
        return
    check(f"{what} is refused", False, found)


def inputs(tensors: dict[str, np.ndarray], binary: bool) -> list[triton.InferInput]:
    """Client-side tensors, in the binary extension or as JSON."""
    made = []
    for name, array in tensors.items():
        tensor = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array, binary_data=binary)
        made.append(tensor)
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="host:port of the agent's API")
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--golden", required=True, help=".npz with input.<name> and output.<name>")
    arguments = parser.parse_args()
    golden = np.load(arguments.golden)
    given = {n.removeprefix("input."): golden[n] for n in golden.files if n.startswith("input.")}
    expected = {n.removeprefix("output."): golden[n] for n in golden.files if n.startswith("output.")}
    model, version = arguments.model, arguments.version

    with triton.InferenceServerClient(arguments.url, concurrency=2) as client:
        check("server is live", client.is_server_live(), None)
        check("server is ready", client.is_server_ready(), None)
        check("model is ready", client.is_model_ready(model), None)
        check("version is ready", client.is_model_ready(model, version), None)
        check("another model is not ready", not client.is_model_ready("no-such-model"), None)
        check("another version is not ready", not client.is_model_ready(model, "99.0.0"), None)

        server = client.get_server_metadata()
        check("server says binary tensors", "binary_tensor_data" in server["extensions"], server)
        index = client.get_model_repository_index()
        listed = [m for m in index if m["name"] == model and m.get("version") == version]
        check("repository index lists the model", len(listed) == 1 and listed[0]["state"] == "READY", index)

        for metadata in (client.get_model_metadata(model), client.get_model_metadata(model, version)):
            check("metadata names the model", metadata["name"] == model and version in metadata["versions"], metadata)
            for kind, tensors in (("inputs", given), ("outputs", expected)):
                described = {t["name"]: t for t in metadata[kind]}
                check(f"metadata names the {kind}", sorted(described) == sorted(tensors), metadata)
                for name, array in tensors.items():
                    found = described[name]
                    fits = found["datatype"] == np_to_triton_dtype(array.dtype) and len(found["shape"]) == array.ndim
                    check(f"metadata describes {name}", fits, found)

        for binary_in in (True, False):
            for binary_out in (True, False):
                wanted = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in expected]
                answer = client.infer(model, inputs(given, binary_in), outputs=wanted, request_id="mine")
                what = f"{'binary' if binary_in else 'JSON'} in, {'binary' if binary_out else 'JSON'} out"
                check(f"{what}: id is echoed", answer.get_response()["id"] == "mine", answer.get_response())
                for name, array in expected.items():
                    found = answer.as_numpy(name)
                    check(f"{what}: shape of {name}", found is not None and found.shape == array.shape, found)
                    check(f"{what}: {name}", bool(np.allclose(found, array, rtol=0, atol=TOLERANCE)), found)

        answer = client.infer(model, inputs(given, True), model_version=version)
        check("all outputs when none is named", all(answer.as_numpy(n) is not None for n in expected), answer.get_response())
        parameters = answer.get_response().get("parameters", {})
        check("the answer carries a prediction id", bool(parameters.get("prediction_id")), answer.get_response())
        handle = client.async_infer(model, inputs(given, True))
        check("asynchronous inference", handle.get_result().as_numpy(next(iter(expected))) is not None, None)

        name, array = next(iter(given.items()))
        wrong = {**given, name: array.astype(np.float64)}
        refused("a wrong dtype", {"400"}, lambda: client.infer(model, inputs(wrong, True)))
        wrong = {**given, name: array[..., :-1].copy()}
        refused("a wrong shape", {"400"}, lambda: client.infer(model, inputs(wrong, True)))
        wrong = {f"{name}-misspelt": array}
        refused("a wrong input name", {"400"}, lambda: client.infer(model, inputs(wrong, True)))
        refused("an unknown model", {"404"}, lambda: client.infer("no-such-model", inputs(given, True)))
        check("server is still ready", client.is_server_ready(), None)


if __name__ == "__main__":
    main()
