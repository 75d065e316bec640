"""Tracking side by side: mlspine, `mlflow server` and an echo server, all asked by the same MLflow client."""
