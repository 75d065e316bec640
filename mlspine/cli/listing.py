"""Groups of commands in which naming a thing lists what is there of it."""

from __future__ import annotations

import click


class ListingGroup(click.Group):
    """`mlspine GROUP [NAME]` is `mlspine GROUP list [NAME]`: a first word that is no subcommand is a name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        asks_for_help = bool(args) and args[0] in ctx.help_option_names
        if not asks_for_help and (not args or args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)
