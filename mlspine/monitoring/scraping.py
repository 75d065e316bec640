"""The scrape configuration that Prometheus needs to read what mlspine exposes. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

SCRAPE_FILE = "prometheus.yml"
JOB = "mlspine"
EVERY = "15s"
TOKEN_FILE = "mlspine.token"


def scrape_document(*, predictions_url: str, control_url: str, rules_file: str) -> dict[str, Any]:
    """A whole prometheus.yml: traffic from the prediction port, judgements and quality from the control port.

    The control port wants a token with the role viewer, read from a file beside this one.

    >>> made = scrape_document(predictions_url="http://127.0.0.1:8080", control_url="http://127.0.0.1:8081",
    ...     rules_file="mlspine.rules.yml")
    >>> [each["static_configs"][0]["targets"] for each in made["scrape_configs"]]
    [['127.0.0.1:8080'], ['127.0.0.1:8081']]
    """
    return {
        "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
        "rule_files": [rules_file],
        "scrape_configs": [
            _job(predictions_url, part="inference"),
            _job(control_url, part="control") | {"authorization": {"type": "Bearer", "credentials_file": TOKEN_FILE}},
        ],
    }


def _job(url: str, *, part: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "job_name": f"{JOB}-{part}",
        "scheme": parts.scheme,
        "metrics_path": "/metrics",
        "static_configs": [{"targets": [parts.netloc], "labels": {"job": JOB, "part": part}}],
    }
