"""login, logout, tokens: commands about working from another machine."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mlspine.cli import render
from mlspine.core.errors import Invalid

if TYPE_CHECKING:
    from mlspine.governance.tokens import NewToken, Token
    from mlspine.remote import Whoami

UNITS_S = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


@click.command()
@click.argument("url")
@click.option("--token-file", type=click.Path(path_type=Path), help="Read the token from this file; '-' is stdin.")
@render.json_option
def login(url: str, token_file: Path | None, as_json: bool) -> None:
    """Act on the workspace of the server at URL, its control port, from now on: commands and notebooks alike.

    The token comes from --token-file, else MLSPINE_TOKEN, else it is asked for. It is kept where only you can read it.

    \b
    Example:
      mlspine login https://ml.example:8081
    """
    from mlspine.login import Login, clean_url, keep
    from mlspine.remote import ApiClient

    url = clean_url(url)
    token = _token(token_file)
    me = ApiClient(url, token).whoami()
    file = keep(Login(url=url, token=token, name=me.name))
    render.emit({"url": url, "file": str(file), "me": me}, as_json=as_json, text=lambda: _login_text(url, me, file))


@click.command()
@render.json_option
def logout(as_json: bool) -> None:
    """Forget the login: commands act on this machine again. The token stays valid until it is revoked.

    \b
    Example:
      mlspine logout
    """
    from mlspine.login import forget

    was = forget()
    text = f"logged out of {was.url}; commands act on this machine" if was else "nobody was logged in"
    render.emit({"url": was.url if was else ""}, as_json=as_json, text=lambda: text)


@click.group(invoke_without_command=True)
@render.json_option
@click.pass_context
def tokens(context: click.Context, as_json: bool) -> None:
    """Who may act on this workspace from other machines: every token, its role, its limits, its end.

    \b
    Examples:
      mlspine tokens
      mlspine tokens create ci --role developer --scope churn --expires 30d
      mlspine tokens revoke ci
    """
    if context.invoked_subcommand is not None:
        return
    from mlspine.control import connect

    known = connect().tokens.known()
    render.emit(known, as_json=as_json, text=lambda: _tokens_text(known))


@tokens.command()
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "developer", "approver", "operator", "admin"]),
    required=True,
    help="What it may do; docs/team.md has the table.",
)
@click.option("--scope", multiple=True, metavar="MODEL", help="Only this model and its endpoint; repeatable.")
@click.option("--expires", default="90d", show_default=True, metavar="TIME", help="How long it holds: 12h, 90d, 26w.")
@render.json_option
def create(name: str, role: str, scope: tuple[str, ...], expires: str, as_json: bool) -> None:
    """Make a token called NAME. It is printed once and kept nowhere: hand it over, or store it, now.

    \b
    Example:
      mlspine tokens create ci --role developer --scope churn --expires 30d
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    made = connect().tokens.create(
        name,
        role=role,  # type: ignore[arg-type]  # click's Choice has already limited it to Role
        scope=scope,
        life_s=_seconds(expires),
        actor=this_actor(),
    )
    render.emit(made, as_json=as_json, text=lambda: _made_text(made))


@tokens.command()
@click.argument("name")
@click.option("--reason", default="", help="Kept with the change.")
@render.json_option
def revoke(name: str, reason: str, as_json: bool) -> None:
    """Take back the token NAME: the next request with it is refused.

    \b
    Example:
      mlspine tokens revoke ci --reason "left the team"
    """
    from mlspine.control import connect
    from mlspine.folder import this_actor

    revoked = connect().tokens.revoke(name, actor=this_actor(), reason=reason)
    text = f"{render.bold(revoked.name)} is revoked; recorded as: mlspine ledger token:{revoked.name}"
    render.emit(revoked, as_json=as_json, text=lambda: text)


def _token(file: Path | None) -> str:
    if file is not None:
        token = sys.stdin.read() if str(file) == "-" else file.expanduser().read_text()
    else:
        token = os.environ.get("MLSPINE_TOKEN") or str(click.prompt("Token", hide_input=True))
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise Invalid("that is no token", hint="one line as printed by: mlspine tokens create NAME --role ROLE")
    return token


def _seconds(text: str) -> int:
    """A duration as people write it.

    >>> _seconds("90d"), _seconds("12h")
    (7776000, 43200)
    """
    given = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    if given is None:
        raise Invalid(f"{text!r} is no duration", hint="a number and m, h, d or w, e.g. --expires 90d")
    return int(given.group(1)) * UNITS_S[given.group(2)]


def _login_text(url: str, me: Whoami, file: Path) -> str:
    lines = [f"{render.bold(url)} knows you as {me.name}, {me.role}{_limited(me.scope)}", f"  kept in {file}"]
    if url.startswith("http://"):
        from urllib.parse import urlsplit

        from mlspine.core.address import is_loopback

        if not is_loopback(urlsplit(url).hostname or ""):
            lines.append(f"  {render.mark('amber')} without https whoever is between here and there reads the token")
    return "\n".join([*lines, "Commands and notebooks act there now; to act on this machine again: mlspine logout"])


def _made_text(made: NewToken) -> str:
    token = made.token
    return "\n".join(
        [
            f"{render.bold(token.name)} is {token.role}{_limited(token.scope)}"
            f" until {render.when(token.expires_at_ms)} UTC",
            "",
            f"  {made.secret}",
            "",
            "It is shown this once. On the other machine: mlspine login URL",
            f"To take it back: mlspine tokens revoke {token.name}",
        ]
    )


def _tokens_text(known: list[Token]) -> str:
    if not known:
        return "no token yet\nNext: mlspine tokens create NAME --role developer"
    rows = [
        (
            each.name,
            each.role,
            ", ".join(each.scope) or "all",
            each.state,
            render.when(each.expires_at_ms),
            render.when(each.last_used_at_ms) if each.last_used_at_ms else "never",
            each.created_by,
        )
        for each in known
    ]
    head = ("token", "role", "limited to", "state", "until (UTC)", "last used", "made by")
    return render.table(rows, head=head, indent="")


def _limited(scope: tuple[str, ...]) -> str:
    return f", limited to {', '.join(scope)}" if scope else ""
