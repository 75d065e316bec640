"""Who may do what: roles, the permissions they carry, and the models a token is limited to. Pure.

Every public method names one permission (`core/public.py`). A method is about the models and endpoints its
arguments name; a token with a scope may call only methods that name one, and only with names in its scope. So
listings of everything, and whatever else concerns the whole workspace, are not for such a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from mlspine.core.errors import Denied, MlspineError
from mlspine.core.ids import parse_model_ref
from mlspine.core.public import Permission
from mlspine.core.types import Actor, Role

ROLES: dict[Role, frozenset[Permission]] = {
    "viewer": frozenset({"read"}),
    "developer": frozenset({"read", "ship", "label"}),
    "approver": frozenset({"read", "approve"}),
    "operator": frozenset({"read", "label", "operate"}),
    "admin": frozenset(get_args(Permission)),
}
# Arguments that say which model or endpoint a call is about. Endpoints are named after their model.
SUBJECTS = ("endpoint", "name", "new_name", "model", "ref", "subject", "prepared")
# Arguments that may name files of the server, to be read or written there: for those who sit at it, and admins.
SERVER_FILES = {
    "predictions/add_labels": ("path",),
    "feeds/declare": ("source", "labels"),
    "feeds/schedule": ("source", "output"),
    "watching/read_from": ("source",),
}
# Methods without a subject that tell nothing of any one model, and change nothing of it.
UNSCOPED = frozenset({"status/refresh"})


def authorise(actor: Actor, path: str, permission: Permission) -> None:
    """Raise Denied unless the actor's role carries the permission."""
    if permission in ROLES[actor.role]:
        return
    wanted = roles_with(permission)
    raise Denied(
        f'{path} needs the role {" or ".join(wanted)}: the token "{actor.name}" has the role {actor.role}',
        hint=f"an admin grants it: mlspine tokens create NAME --role {wanted[0]}",
    )


def limit(actor: Actor, path: str, arguments: Mapping[str, Any]) -> None:
    """Raise Denied when the call concerns something outside the actor's scope, or a file of the server."""
    files = [name for name in SERVER_FILES.get(path, ()) if arguments.get(name)]
    if files and actor.role != "admin":
        raise Denied(
            f'{path}: {files[0]} may name files of the server: the token "{actor.name}" has the role {actor.role}',
            hint="send the content instead, or an admin grants it: mlspine tokens create NAME --role admin",
        )
    if not actor.scope or path in UNSCOPED:
        return
    scope = ", ".join(actor.scope)
    named = list(subjects(arguments))
    outside = [name for name in named if name not in actor.scope]
    if outside:
        raise Denied(
            f'the token "{actor.name}" is limited to {scope}: {outside[0]} is outside',
            hint=f"an admin grants it: mlspine tokens create NAME --role {actor.role} --scope {outside[0]}",
        )
    if not named:
        raise Denied(
            f'{path} concerns the whole workspace: the token "{actor.name}" is limited to {scope}',
            hint=f"name one, e.g. {actor.scope[0]}; or an admin grants all: mlspine tokens create NAME"
            f" --role {actor.role}",
        )


def subjects(arguments: Mapping[str, Any]) -> Iterator[str]:
    """The model or endpoint names a call's arguments name.

    >>> list(subjects({"ref": "churn:3", "reason": "newer rows"})), list(subjects({"subject": "endpoint:price"}))
    (['churn'], ['price'])
    """
    for parameter in SUBJECTS:
        value = arguments.get(parameter)
        if parameter == "prepared" and value is not None:
            yield value.name
        elif isinstance(value, str) and value:
            yield _name_in(parameter, value)


def roles_with(permission: Permission) -> list[Role]:
    """The roles that carry a permission, the least of them first.

    >>> roles_with("label")
    ['developer', 'operator', 'admin']
    """
    return [role for role, permissions in ROLES.items() if permission in permissions]


def _name_in(parameter: str, value: str) -> str:
    if parameter == "ref":
        try:
            return parse_model_ref(value).name
        except MlspineError:
            return value  # in nobody's scope; without one, the method itself says what is wrong with it
    if parameter == "subject":
        kind, _, name = value.partition(":")
        return name if kind in ("endpoint", "model") else value
    return value
