"""`mlspine:` URIs in the user's own MLflow client, by MLflow's plugin entry points. See docs/tracking.md."""
