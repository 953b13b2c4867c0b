#!/usr/bin/env python3
"""What counting costs a value: Longshore, whylogs and Evidently on the same table, on the same machine, in one run.

    pip install whylogs==1.6.4 evidently==0.7.23 'pandas<3'
    python docs/benchmarks/monitoring_cost.py

Writes a table of normal numbers, has each of the three look at its second half with the first half as reference, and prints
one JSON object with nanoseconds a value (median of five). Peers read the table from memory; reading it is not counted for
anybody. whylogs only profiles; Evidently compares both halves, so its figure is over the values of both.
"""

import json
import statistics
import subprocess
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
ROWS, COLUMNS, REPEATS = 20_000, 30, 5


def ns_per_value(values, run):
    took = []
    for _ in range(REPEATS):
        begin = time.perf_counter_ns()
        run()
        took.append((time.perf_counter_ns() - begin) / values)
    return round(statistics.median(took), 1)


def longshore(table):
    command = ["cargo", "bench", "--quiet", "-p", "longshore-stats", "--bench", "stats", "--", "--table", str(table)]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main():
    warnings.simplefilter("ignore")
    numbers = np.random.default_rng(29).normal(size=(ROWS, COLUMNS))
    frame = pd.DataFrame(numbers, columns=[f"f{i}" for i in range(COLUMNS)])
    reference, current = frame.iloc[: ROWS // 2], frame.iloc[ROWS // 2 :].reset_index(drop=True)
    out = {"rows": len(current), "columns": COLUMNS}
    with tempfile.TemporaryDirectory() as scratch:
        table = Path(scratch) / "table.csv"
        frame.to_csv(table, index=False, float_format="%.17g")
        ours = longshore(table)
    out["longshore"] = ours["ns_per_value"]
    out["loop_that_does_nothing"] = ours["ns_per_value_of_nothing"]

    import whylogs

    out["whylogs"] = ns_per_value(current.size, lambda: whylogs.log(current))

    from evidently import Report
    from evidently.presets import DataDriftPreset

    out["evidently"] = ns_per_value(frame.size, lambda: Report([DataDriftPreset()]).run(current, reference))
    out["whylogs_over_longshore"] = round(out["whylogs"] / out["longshore"], 1)
    out["evidently_over_longshore"] = round(out["evidently"] / out["longshore"], 1)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
