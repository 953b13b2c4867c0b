"""Canonical JSON as the reference implementation of TUF writes it, of random trees.

    python canonical_json.py SEED COUNT

Prints one line a tree: the tree as ordinary JSON in one of several layouts, and the canonical form, both in hex.
"""

import json
import random
import sys

from securesystemslib.formats import encode_canonical

CHARACTERS = "abzAZ09 _-/\\\"\n\t\r\x00\x01\x1f\x7f\x80äßé€漢字\ud7ff\ue000\ufffd\uffff😀\U0010ffff"


def text(dice: random.Random) -> str:
    return "".join(dice.choice(CHARACTERS) for _ in range(dice.randrange(8)))


def tree(dice: random.Random, depth: int) -> object:
    kind = dice.randrange(7 if depth else 5)
    if kind == 0:
        return dice.choice([None, True, False])
    if kind in (1, 2):
        return dice.choice([0, 1, -1, 2**53 - 1, -(2**53 - 1), dice.randrange(-(2**53) + 1, 2**53)])
    if kind in (3, 4):
        return text(dice)
    if kind == 5:
        return [tree(dice, depth - 1) for _ in range(dice.randrange(5))]
    return {text(dice): tree(dice, depth - 1) for _ in range(dice.randrange(6))}


def main() -> None:
    dice = random.Random(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        value = {"signed": tree(dice, 6)}
        layout = dice.choice(
            [{}, {"indent": 1}, {"indent": 4, "sort_keys": True}, {"separators": (",", ":"), "ensure_ascii": False}]
        )
        written = json.dumps(value, **layout).encode()
        print(written.hex(), encode_canonical(value).encode().hex())


main()
