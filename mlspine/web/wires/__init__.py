"""One file per wire: how its requests read, how its answers are written, and its error table."""
