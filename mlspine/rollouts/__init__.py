"""Bringing a release forward step by step, on evidence, and watching what was switched."""
