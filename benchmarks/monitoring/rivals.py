"""What other rules and libraries say of the same windows: unchanged ones, and ones with a planted change.

Splits, windows and changes are those of `quiet.py` with the same seed, judged by
  common rules   here, with scipy: two-sample KS or chi-squared per column (at 5%; at 1% over the number of
                 columns), PSI on ten reference deciles above 0.2; a column that is all but missing is asked nothing
  evidently      in an interpreter of its own, `--rivals-python PATH`, with its defaults
  mlspine        as in `quiet.py`: significant, and WARNING

    python -m benchmarks.monitoring.rivals --family flights --splits 6 --windows 5 [--rivals-python PATH]

An alarm is any column that drifted, and for evidently also its verdict on the whole table (half of the columns).
Found means that the column with the change is among those named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# This file is also what the rival's interpreter runs: nothing of mlspine may be imported at the top.

SIZES = (500, 2_000, 10_000)
SHOWN = ("mean +0.1 sd", "category +5 pp", "missing +2 pp")
Named = dict[str, list[str]]  # rule -> columns it names


def main(arguments: Iterable[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Other rules on the windows of the quiet study.")
    parser.add_argument("--family", choices=("flights", "stops"), default="flights")
    parser.add_argument("--splits", type=int, default=6)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--planted", type=int, default=8, help="planted changes of each kind per split")
    parser.add_argument("--rivals-python", type=Path, help="an interpreter with evidently")
    parser.add_argument("--answer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(None if arguments is None else list(arguments))
    if given.answer:
        _answer(given.answer)
        return
    _compare(given)


# ---------------------------------------------------------------- here


def _compare(given: argparse.Namespace) -> None:
    from benchmarks.monitoring.families import load, versions

    began = time.monotonic()
    family = load(given.family)
    quiet: dict[tuple[int, str], list[bool]] = {}
    found: dict[tuple[str, str], list[bool]] = {}
    told = ""
    for split in range(given.splits):
        reference, windows, baseline = _windows(family, given, split)
        said = [_common(reference, rows) | _mlspine(baseline, rows) for _, _, _, rows in windows]
        if given.rivals_python:
            theirs, told = _asked(given.rivals_python, family, reference, [rows for *_, rows in windows])
            said = [{**ours, **other} for ours, other in zip(said, theirs, strict=True)]
        for (n, what, column, _), named in zip(windows, said, strict=True):
            for rule, columns in named.items():
                if what:
                    found.setdefault((what, rule), []).append(column in columns)
                else:
                    quiet.setdefault((n, rule), []).append(bool(columns))
        print(f"split {split + 1} of {given.splits}, {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    lines = [
        f"python -m benchmarks.monitoring.rivals --family {given.family} --splits {given.splits} "
        f"--windows {given.windows} --seed {given.seed} --planted {given.planted}",
        f"{versions()}{', ' + told if told else ''}",
        "",
        *_table(quiet, found),
        "",
        f"took {time.monotonic() - began:.0f} s by the clock",
    ]
    print("\n".join(lines))


def _windows(family: Any, given: argparse.Namespace, split: int) -> tuple[Any, list[tuple[int, str, str, Any]], Any]:
    """(reference rows, (rows, change, column, window rows) per window, mlspine's baseline)."""
    from benchmarks.monitoring.families import kinds_of, rows_of
    from benchmarks.monitoring.power import plants
    from benchmarks.monitoring.quiet import PLANTED_ROWS, drawn_rows, plant
    from mlspine.stats.baseline import take_baseline

    # The generator is drawn from in order, so fewer windows than in the quiet study are the first of a size only
    # where as many are drawn there: all 25 are drawn, and some are used.
    picked, drawn = drawn_rows(family, windows=25, seed=given.seed, split=split)
    reference = rows_of(family.columns, picked, family.studied)
    found: list[tuple[int, str, str, Any]] = []
    for n in SIZES:
        for index in drawn[n][: given.windows]:
            found.append((n, "", "", rows_of(family.columns, index, family.studied)))
    changes = plants(family)
    for what in SHOWN:
        own = [(i, change) for i, change in enumerate(changes) if change.what == what]
        chosen = np.random.default_rng([given.seed, split]).permutation(len(own))[: given.planted]
        for i, change in (own[j] for j in chosen.tolist()):
            rows = rows_of(family.columns, drawn[PLANTED_ROWS][i % 25], family.studied)
            rows[change.column] = plant(change, rows[change.column], seed=given.seed, split=split)
            found.append((PLANTED_ROWS, what, change.column, rows))
    baseline = take_baseline(reference, kinds_of(family, family.studied), seed=split)
    return reference, found, baseline


def _mlspine(baseline: Any, rows: Any) -> Named:
    from benchmarks.monitoring.quiet import _judge
    from mlspine.monitoring.drift import RANK
    from mlspine.stats.profile import profile

    report = _judge(baseline, profile(baseline.inputs, rows))
    return {
        "mlspine: significant": [f.name for f in report.features if f.named],
        "mlspine: WARNING": [f.name for f in report.features if RANK[f.severity] >= RANK["WARNING"]],
    }


def _common(reference: Any, rows: Any) -> Named:
    p, psi = {}, {}
    for name in reference:
        before, after = _known(reference[name]), _known(rows[name])
        if not (before.size and after.size):
            continue
        p[name], psi[name] = _levels(before, after) if before.dtype.kind in "OUb" else _numbers(before, after)
    return {
        "any KS or chi-squared p < 5%": [name for name in p if p[name] < 0.05],
        "the same at 1% over columns": [name for name in p if p[name] < 0.01 / len(reference)],
        "any PSI > 0.2": [name for name in psi if psi[name] > 0.2],
    }


def _known(values: Any) -> Any:
    if values.dtype == object:
        kept = [value for value in values.tolist() if value is not None and value == value]
        return np.array([str(value) for value in kept], dtype=object)
    if values.dtype.kind == "M":
        return values[~np.isnat(values)].astype(np.int64).astype(np.float64)
    return values[~np.isnan(values)] if values.dtype.kind == "f" else values


def _levels(before: Any, after: Any) -> tuple[float, float]:
    from scipy import stats

    levels, place = np.unique(np.concatenate([before.astype(str), after.astype(str)]), return_inverse=True)
    h, g = (np.bincount(x, minlength=levels.size) for x in (place[: before.size], place[before.size :]))
    p = float(stats.chi2_contingency(np.stack([h, g]), correction=False).pvalue) if levels.size > 1 else 1.0
    return p, _psi(h / h.sum(), g / g.sum())


def _numbers(before: Any, after: Any) -> tuple[float, float]:
    from scipy import stats

    edges = np.unique(np.quantile(before, np.arange(1, 10) / 10))
    h, g = (np.bincount(np.searchsorted(edges, x), minlength=edges.size + 1) for x in (before, after))
    p = float(stats.ks_2samp(before, after, method="asymp").pvalue)
    return p, _psi(h / h.sum(), g / g.sum())


def _psi(p: Any, q: Any) -> float:
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    return float(((q - p) * np.log(q / p)).sum())


def _asked(python: Path, family: Any, reference: Any, windows: list[Any]) -> tuple[list[Named], str]:
    """What the rival says of each window, and its version."""
    import pandas as pd

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for i, rows in enumerate([reference, *windows]):
            pd.DataFrame(rows).to_parquet(folder / f"{i}.parquet")
        kinds = {name: family.kinds[name] for name in reference}
        (folder / "kinds.json").write_text(json.dumps(kinds))
        subprocess.run([str(python), __file__, "--answer", str(folder)], check=True, stdout=subprocess.DEVNULL)
        answer = json.loads((folder / "answer.json").read_text())
    return answer["named"], answer["told"]


def _table(quiet: dict[tuple[int, str], list[bool]], found: dict[tuple[str, str], list[bool]]) -> list[str]:
    rules = list(dict.fromkeys(rule for _, rule in quiet))
    heads = [f"{n:,} rows" for n in SIZES] + list(SHOWN)
    lines = [f"  {'rule':<30}" + "".join(f"{head:>22}" for head in heads)]
    for rule in rules:
        cells = [_share(quiet[n, rule]) for n in SIZES] + [_share(found[what, rule]) for what in SHOWN]
        lines.append(f"  {rule:<30}" + "".join(f"{cell:>22}" for cell in cells))
    windows = {n: len(quiet[n, rules[0]]) for n in SIZES}
    changes = {what: len(found[what, rules[0]]) for what in SHOWN}
    return [
        f"unchanged windows alarming: {windows}; changes found at 2,000 rows: {changes}; 95% intervals of Wilson",
        "",
        *lines,
    ]


def _share(hits: list[bool]) -> str:
    n, share, z = len(hits), sum(hits) / len(hits), 1.96
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return f"{share:.0%} [{max(0, middle - half):.0%}, {min(1, middle + half):.0%}]"


# ---------------------------------------------------------------- in the rival's interpreter


def _answer(folder: Path) -> None:
    import evidently
    import pandas as pd
    from evidently import DataDefinition, Dataset

    kinds = json.loads((folder / "kinds.json").read_text())
    definition = DataDefinition(
        numerical_columns=[name for name, kind in kinds.items() if kind == "numeric"],
        categorical_columns=[name for name, kind in kinds.items() if kind in ("categorical", "boolean", "text")],
        datetime_columns=[name for name, kind in kinds.items() if kind == "datetime"],
    )

    def read(i: int) -> Any:
        return Dataset.from_pandas(pd.read_parquet(folder / f"{i}.parquet"), data_definition=definition)

    before = read(0)
    count = len(list(folder.glob("*.parquet"))) - 1
    named = [dict(_evidently(before, read(i + 1))) for i in range(count)]
    told = f"evidently {evidently.__version__} on pandas {pd.__version__}"
    (folder / "answer.json").write_text(json.dumps({"named": named, "told": told}))


def _evidently(before: Any, after: Any) -> Iterator[tuple[str, list[str]]]:
    from evidently import Report
    from evidently.presets import DataDriftPreset

    metrics = Report([DataDriftPreset()]).run(after, before).dict()["metrics"]
    drifted, share = [], 0.0
    for metric in metrics:
        config = metric["config"]
        if "column" not in config:
            share = float(metric["value"]["share"])
            continue
        value, threshold = float(metric["value"]), float(config["threshold"])
        by_p = "p_value" in metric["metric_name"] or "p-value" in metric["metric_name"]
        if value < threshold if by_p else value >= threshold:
            drifted.append(config["column"])
    yield "evidently: any column", drifted
    yield "evidently: half the columns", drifted if share >= 0.5 else []


if __name__ == "__main__":
    main()
