"""Running a recorded run again: its code rebuilt, its command repeated, its metrics compared."""

from mlspine.reproducing.service import Account, reproduce

__all__ = ["Account", "reproduce"]
