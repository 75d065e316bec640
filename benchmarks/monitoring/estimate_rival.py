"""NannyML's CBPE on streams, by the interpreter it is installed for: reads and writes files only.

    PYTHON estimate_rival.py FOLDER

Each FOLDER/NAME.csv: window, score, label, held_out. The reference is the held-out rows, in six chunks or more;
each later window is one chunk. FOLDER/NAME.out: window, value, lo, hi.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

import nannyml  # noqa: E402
import pandas as pd  # noqa: E402


def main(folder: str) -> None:
    for source in sorted(Path(folder).glob("*.csv")):
        estimated(pd.read_csv(source)).to_csv(source.with_suffix(".out"), index=False)


def estimated(rows: pd.DataFrame) -> pd.DataFrame:
    rows["prediction"] = (rows["score"] > 0.5).astype(int)
    reference, rest = rows[rows["held_out"] == 1], rows[rows["held_out"] == 0]
    size = int(rest.groupby("window").size().median())
    estimator = nannyml.CBPE(
        y_pred_proba="score",
        y_pred="prediction",
        y_true="label",
        metrics=["roc_auc"],
        problem_type="classification_binary",
        chunk_size=min(size, max(1, len(reference) // 6)),
    )
    estimator.fit(reference.reset_index(drop=True))
    found = []
    for window, part in rest.groupby("window"):
        estimator.chunker = nannyml.chunk.SizeBasedChunker(chunk_size=len(part))
        frame = estimator.estimate(part.drop(columns="label").reset_index(drop=True)).filter(period="analysis").to_df()
        own = frame["roc_auc"].iloc[0]
        ends = own["lower_confidence_boundary"], own["upper_confidence_boundary"]
        found.append((window, own["value"], *ends))
    return pd.DataFrame(found, columns=["window", "value", "lo", "hi"])


if __name__ == "__main__":
    main(sys.argv[1])
