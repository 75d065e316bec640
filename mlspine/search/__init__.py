"""Search: MLflow's filters and orders as SQL with parameters, and pages that do not shift while rows are added.

    query = build(RUNS, filter="metrics.loss < 0.1", order_by=["metrics.loss ASC"], max_results=100, within=[1])
    rows, next_token = fetch_page(query, db.read, columns="r.no, r.id", where=["r.lifecycle_stage = 'active'"])

Pure: text and values in, SQL text out. The five dialects say which fields there are and where they lie.
"""

from __future__ import annotations

from mlspine.search.dialects import EXPERIMENTS, LOGGED_MODELS, MODEL_VERSIONS, REGISTERED_MODELS, RUNS
from mlspine.search.fields import Dialect
from mlspine.search.grammar import Condition, SortItem, parse_filter, parse_order, sort_field
from mlspine.search.query import Query, build, fetch_page
from mlspine.search.sql import DatasetFilter

__all__ = [
    "EXPERIMENTS",
    "LOGGED_MODELS",
    "MODEL_VERSIONS",
    "REGISTERED_MODELS",
    "RUNS",
    "Condition",
    "DatasetFilter",
    "Dialect",
    "Query",
    "SortItem",
    "build",
    "fetch_page",
    "parse_filter",
    "parse_order",
    "sort_field",
]
