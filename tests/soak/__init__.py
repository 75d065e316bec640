"""Half an hour of what nobody should send: `python -m tests.soak`, part of `make soak`."""
