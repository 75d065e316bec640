"""Asking a loaded release its model's sentinels, before it takes traffic and while it has it."""

from __future__ import annotations

from typing import NamedTuple

from mlspine.core.errors import Denied, Invalid
from mlspine.core.types import Actor, ModelVersion
from mlspine.ports import Deployer
from mlspine.registry.sentinels import Missed, Sentinels, compare

_SHOWN_ID = 8


class Examined(NamedTuple):
    """How many sentinels were asked, and which were answered otherwise than they have to be."""

    asked: int
    missed: tuple[Missed, ...]


class Examiner:
    """Asks by the serving process, where the release is loaded; what is asked is in no log and no counter."""

    def __init__(self, *, sentinels: Sentinels, deployer: Deployer) -> None:
        self._sentinels = sentinels
        self._deployer = deployer

    def ask(self, model: str, release_hash: str) -> Examined:
        """Ask a loaded release. Raises Unavailable when it is not loaded or does not answer."""
        cases = self._sentinels.cases(model)
        if not cases:
            return Examined(0, ())
        try:
            answers = self._deployer.ask(release_hash, [case.inputs for case in cases])
        except Invalid as exc:
            # A release may take other inputs than the one they were made for.
            says = "; ".join([exc.message, *exc.details[:3]])
            return Examined(len(cases), tuple(Missed(id=case.id, says=says) for case in cases))
        return Examined(len(cases), tuple(compare(cases, answers)))

    def examine(self, target: ModelVersion, cause: str, actor: Actor) -> tuple[str, ...]:
        """What a release that is about to take traffic answers otherwise; kept as evidence.

        Raises Denied then, but for the way back: that is only warned about.
        """
        asked, missed = self.ask(target.model, target.release_hash)
        if not asked:
            return ()
        self._sentinels.keep_result(target.model, target.release_hash, asked=asked, missed=missed, actor=actor)
        said = told(missed)
        if missed and cause != "rollback":
            raise Denied(
                f"{target.model}:{target.version} answers {len(missed)} of {asked} sentinels otherwise than it has to",
                details=said,
                hint=f"mend the model, or take a case back: mlspine sentinels remove {target.model} ID",
            )
        return said


def told(missed: tuple[Missed, ...]) -> tuple[str, ...]:
    """Each miss as a line.

    >>> told((Missed(id="0190aaaabbbbcccc", says="expected 1, got 0"),))
    ('sentinel bbbbcccc: expected 1, got 0',)
    """
    return tuple(f"sentinel {each.id[-_SHOWN_ID:]}: {each.says}" for each in missed)
