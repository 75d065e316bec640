"""Ask a running endpoint from Python: typed answers, retries within a deadline, connections kept open."""

from mlspine.client.answers import Predictions
from mlspine.client.asking import Client

__all__ = ["Client", "Predictions"]
