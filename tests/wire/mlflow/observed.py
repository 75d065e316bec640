"""What one client saw of two servers, normalised, and where the two part."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, NamedTuple

from tests.wire.mlflow.clients import Client, play, salt
from tests.wire.mlflow.compare import Difference, compare
from tests.wire.mlflow.normalise import normalise
from tests.wire.mlflow.servers import Server

Steps = list[dict[str, Any]]


class Observed(NamedTuple):
    """theirs and ours: the normalised steps by flow."""

    client: Client
    theirs: dict[str, Steps]
    ours: dict[str, Steps]

    @property
    def broken(self) -> list[str]:
        """The flows that did not come to their end against their server: nothing can be learnt from them."""
        last = (steps[-1] for steps in self.theirs.values())
        return [f"{step['flow']}: {step['error']}" for step in last if "error" in step]

    @property
    def differences(self) -> list[Difference]:
        found = (compare(steps, self.ours[flow], client=self.client.name) for flow, steps in self.theirs.items())
        return list(itertools.chain.from_iterable(found))


def observe(client: Client, server: Server, folder: Path, flows: list[str] | None = None) -> dict[str, Steps]:
    """Play the client's flows against a server: the normalised steps of each flow."""
    place = folder / f"{client.name} against {server.name}"
    place.mkdir(parents=True)
    steps = play(client, server, place, flows)
    by_flow = {flow: list(group) for flow, group in itertools.groupby(steps, key=lambda step: str(step["flow"]))}
    return {flow: normalise(group, salt=salt(client)) for flow, group in by_flow.items()}
