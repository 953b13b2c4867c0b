"""python-tuf's `ngclient`, unchanged, against our repository: refresh, look up, download, and refuse what is foreign.

    python tuf_client.py --root 1.root.json --url http://127.0.0.1:8080 --root-version 2 TARGET...

Prints one line a check; any difference is an exception and a non-zero exit.
"""

import argparse
import json
import tempfile
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.ngclient import Updater


def updater(folder: Path, url: str, root: bytes) -> Updater:
    """A client with an empty trust store of its own."""
    for name in ("metadata", "targets"):
        (folder / name).mkdir(parents=True)
    return Updater(
        str(folder / "metadata"),
        f"{url}/trust/",
        target_dir=str(folder / "targets"),
        target_base_url=f"{url}/targets/",
        bootstrap=root,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--root-version", type=int, required=True)
    parser.add_argument("target", nargs="+")
    args = parser.parse_args()
    root = args.root.read_bytes()
    with tempfile.TemporaryDirectory() as place:
        client = updater(Path(place, "good"), args.url, root)
        client.refresh()
        version = json.loads(Path(place, "good/metadata/root.json").read_bytes())["signed"]["version"]
        if version != args.root_version:
            raise SystemExit(f"FAILED root version {version}, expected {args.root_version}")
        print(f"ok refreshed, root version {version}")
        for name in args.target:
            info = client.get_targetinfo(name)
            if info is None:
                raise SystemExit(f"FAILED {name} was not found")
            path = client.download_target(info)
            print(f"ok {name}: {Path(path).stat().st_size} bytes, custom {json.dumps(info.custom)}")
        if client.get_targetinfo(args.target[0] + "x") is not None:
            raise SystemExit("FAILED a target that nobody approved was found")
        print("ok what nobody approved is not found")

        tree = json.loads(root)
        tree["signed"]["expires"] = "2040-01-01T00:00:00Z"
        try:
            updater(Path(place, "bad"), args.url, json.dumps(tree).encode()).refresh()
        except (RepositoryError, ValueError) as error:
            print(f"ok a changed root is refused: {type(error).__name__}")
        else:
            raise SystemExit("FAILED a changed root was accepted")


main()
