#!/usr/bin/env python3
"""Writes the reference that `tests/drift.rs` holds the commands to: NumPy's, SciPy's, scikit-learn's and Fairlearn's own
answers on public data. Run it again only to add a case; the committed files are the reference.

    pip install numpy==1.26.4 pandas==2.3.3 scipy==1.17.1 scikit-learn==1.9.1 fairlearn==0.15.0
    python make.py

Data, as bundled with scikit-learn: Wine recognition (Aeberhard, Forina, 1991; UCI, https://doi.org/10.24432/C5PC7J) and
Breast Cancer Wisconsin (Wolberg, Mangasarian, Street, Street, 1995; UCI, https://doi.org/10.24432/C5DW2B), both CC BY 4.0;
and numbers drawn here, for what real data lack: ties, few rows, unequal sizes, unseen values.
"""

import csv
import json
from pathlib import Path

import fairlearn.metrics as fair
import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance
from sklearn import metrics
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

HERE = Path(__file__).resolve().parent
RNG = np.random.default_rng(20)


def write(name, columns, rows):
    with open(HERE / name, "w", newline="") as f:
        out = csv.writer(f, lineterminator="\n")
        out.writerow(columns)
        out.writerows([[v if isinstance(v, str) else f"{v:.17g}" for v in row] for row in rows])


def numeric(ref, cur):
    edges = np.unique(np.quantile(ref, np.linspace(0, 1, 11)[1:-1]))
    count = lambda x: np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1)
    r, c = count(ref), count(cur)
    p, q = r / r.sum(), c / c.sum()
    pe, qe = np.where(p == 0, 1e-4, p), np.where(q == 0, 1e-4, q)
    ks = ks_2samp(ref, cur, method="auto")
    return {
        "decile_edges": edges.tolist(),
        "ref_counts": r.tolist(),
        "cur_counts": c.tolist(),
        "psi10_eps1e4": float(((pe - qe) * np.log(pe / qe)).sum()),
        "js10_base2": float(jensenshannon(p, q, base=2)),
        "hellinger10": float(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2)),
        "ks_stat": float(ks.statistic),
        "ks_p": float(ks.pvalue),
        "w1": float(wasserstein_distance(ref, cur)),
    }


def made(rows, shift):
    return np.column_stack([
        RNG.normal(shift, 1, rows),
        RNG.integers(0, 7, rows) + (RNG.random(rows) < shift) * 2,
        np.where(RNG.random(rows) < 0.6, 0.0, RNG.exponential(1 + shift, rows)),
        np.round(RNG.lognormal(0, 2, rows) * (1 + shift), 3),
        RNG.normal(1e9, 1 + shift, rows).astype(np.float32).astype(np.float64),
        np.full(rows, 3.5),
    ])


def scores(p, y, group):
    hit = p >= 0.5
    bins = np.minimum((p * 10).astype(int), 9)
    ece = sum(abs(y[bins == b].sum() - p[bins == b].sum()) for b in range(10)) / len(p)
    by = {"y_true": y, "y_pred": hit, "sensitive_features": group}
    return {
        "p": p.tolist(), "y": y.tolist(), "group": [str(g) for g in group],
        "acc": metrics.accuracy_score(y, hit), "f1": metrics.f1_score(y, hit), "auc": metrics.roc_auc_score(y, p),
        "brier": metrics.brier_score_loss(y, p), "logloss": metrics.log_loss(y, p), "ece10": float(ece),
        "dpd": fair.demographic_parity_difference(**by), "dpr": fair.demographic_parity_ratio(**by),
        "eod": fair.equalized_odds_difference(**by), "eor": fair.equalized_odds_ratio(**by),
        "eopp": fair.equal_opportunity_difference(**by),
    }


def main():
    out = {"numeric": {}, "categorical": {}, "classification": {}, "regression": {}}
    wine = load_wine()
    order = np.argsort(wine.data[:, 0] + RNG.normal(0, 0.7, len(wine.data)))
    names = ["normal", "whole", "heap", "skewed", "wide", "constant"]
    sets = {
        "wine": (wine.feature_names, wine.data[np.sort(order[:97])], wine.data[np.sort(order[97:])]),
        "made": (names, made(700, 0.0), made(431, 0.2)),
        "small": (names, made(8, 0.0), made(13, 0.5)),
        "large": (names[:1], RNG.normal(0, 1, (10_050, 1)), RNG.normal(0.02, 1, (900, 1))),
        "equal": (names[:1], RNG.normal(0, 1, (250, 1)), RNG.normal(0.15, 1, (250, 1))),
    }
    for name, (columns, ref, cur) in sets.items():
        write(f"{name}_ref.csv", columns, ref)
        write(f"{name}_cur.csv", columns, cur)
        # Read back by pandas, as a notebook would.
        ref, cur = (pd.read_csv(HERE / f"{name}_{side}.csv") for side in ("ref", "cur"))
        for column in columns:
            out["numeric"][f"{name}/{column}"] = numeric(ref[column].to_numpy(float), cur[column].to_numpy(float))
    ref = {"red": 120, "green": 300, "blue": 80}
    cur = {"red": 150, "green": 240, "blue": 95}
    stat, p, _, _ = chi2_contingency([list(ref.values()), list(cur.values())])
    out["categorical"]["colour"] = {"ref": ref, "cur": cur, "chi2_contingency": [stat, p]}
    cancer = load_breast_cancer()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.02))
    p = cross_val_predict(model, cancer.data, cancer.target, method="predict_proba")[:, 1]
    tercile = np.searchsorted(np.quantile(cancer.data[:, 1], [1 / 3, 2 / 3]), cancer.data[:, 1], side="right")
    out["classification"]["cancer"] = scores(p, cancer.target, np.array(["low", "middle", "high"])[tercile])
    y = (RNG.random(400) < 0.4).astype(int)
    tied = np.round(np.clip(RNG.normal(0.4 + 0.2 * y, 0.25), 0, 1), 2) * 0.999 + 0.0003
    out["classification"]["tied"] = scores(tied, y, np.where(RNG.random(400) < 0.7, "a", "b"))
    truth = RNG.normal(10, 3, 300)
    guess = truth + RNG.normal(0.4, 1, 300)
    out["regression"]["made"] = {
        "y": truth.tolist(), "p": guess.tolist(),
        "mae": metrics.mean_absolute_error(truth, guess), "rmse": metrics.root_mean_squared_error(truth, guess),
        "median_ae": metrics.median_absolute_error(truth, guess), "r2": metrics.r2_score(truth, guess),
    }
    (HERE / "drift.json").write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
