"""Who may do what: every public method of every room, with every role, and within a scope."""

from __future__ import annotations

import inspect

import pytest

from mlspine.core.errors import Denied
from mlspine.core.public import Surface, surface
from mlspine.core.types import Actor
from mlspine.governance import access
from mlspine.workspace import ROOMS

METHODS = {f"{room}/{method.name}": method for room, service in ROOMS.items() for method in surface(service)}
# Arguments that say nothing of which model or endpoint a call concerns. An argument that does belongs in
# access.SUBJECTS; one that may name a file of the server in access.SERVER_FILES.
HARMLESS = {
    *("alias", "all_matches", "as_of_ms", "before", "by", "cause", "days", "every", "for_s", "from_at_ms", "kind"),
    *("key", "life_s", "limit", "log", "message", "mode", "open_only", "parent", "reason", "release_hash", "role"),
    *("at_ms", "causes", "rows", "said", "schedule_id", "scope", "sql", "task", "to_at_ms", "token", "version", "why"),
    *("archive_existing", "digest", "filter", "max_results", "order_by", "page_token", "run_id", "stage"),
    *("experiment", "lowest", "metric", "older_than_s", "run", "runs", "view"),
    *("foreign_name", "foreign_version", "registry"),  # of a registry elsewhere
    *("labels", "output", "path", "source"),
    *("label", "prediction", "right", "sentinel", "size"),  # of what was drawn for review, and known cases
    *("blocks", "column", "names"),  # of columns, or what stands together
    *("cohort", "salt", "share", "unit"),  # how requests are divided
    *("guards", "own_env"),
    *("canary", "hours", "margin", "promotes", "step_minutes", "step_requests"),  # what a canary goes through
    # They hold names within: their methods name no subject besides, so no token with a scope may call them.
    *("attempt", "comparison", "drilled"),
}
NOT_FILES = {("predictions/add_labels", "source")}  # a description, stored with each label


def test_every_role_that_exists_carries_reading_and_only_admins_administer() -> None:
    assert [role for role in access.ROLES if "read" not in access.ROLES[role]] == []
    assert access.roles_with("administer") == ["admin"]
    assert access.roles_with("approve") == ["approver", "admin"]
    assert access.roles_with("operate") == ["operator", "admin"]
    assert access.roles_with("ship") == ["developer", "admin"]
    assert access.roles_with("label") == ["developer", "operator", "admin"]


def test_the_argument_that_names_a_model_is_known_for_every_method() -> None:
    unknown = {
        f"{path}: {name}"
        for path, method in METHODS.items()
        for name in method.parameters
        if name not in HARMLESS and name not in access.SUBJECTS
    }
    assert unknown == set(), "say in access.SUBJECTS or here whether it names a model or endpoint"


def test_no_argument_that_may_name_a_file_of_the_server_escapes() -> None:
    suspicious = {"path", "file", "folder", "directory", "source", "labels", "output", "data", "url", "glob"}
    open_ones = {
        (path, name)
        for path, method in METHODS.items()
        for name in method.parameters
        if name in suspicious and name not in access.SERVER_FILES.get(path, ())
    }
    assert open_ones == NOT_FILES
    for path, names in access.SERVER_FILES.items():
        for name in names:
            with pytest.raises(Denied, match="files of the server"):
                access.limit(Actor(name="ci", kind="client", role="operator"), path, {name: "/etc/passwd"})
            access.limit(Actor(name="root", kind="client", role="admin"), path, {name: "/etc/passwd"})


@pytest.mark.parametrize("path", sorted(METHODS))
def test_a_token_with_a_scope_reaches_exactly_what_is_inside(path: str) -> None:
    actor = Actor(name="ci", kind="client", role="admin", scope=("churn",))
    named = [name for name in METHODS[path].parameters if name in access.SUBJECTS and name != "prepared"]
    if "prepared" not in METHODS[path].parameters:
        if path in access.UNSCOPED:
            access.limit(actor, path, {})
        else:
            with pytest.raises(Denied, match="whole workspace"):
                access.limit(actor, path, _with_defaults(METHODS[path]))
    for name in named:
        access.limit(actor, path, {name: _spelled(name, "churn")})
        with pytest.raises(Denied, match="limited to churn: price is outside"):
            access.limit(actor, path, {name: _spelled(name, "price")})
        with pytest.raises(Denied, match="whole workspace"):
            access.limit(actor, path, {name: ""})


def test_every_subject_of_a_call_must_be_inside() -> None:
    actor = Actor(name="ci", kind="client", role="operator", scope=("churn", "price"))
    access.limit(actor, "x/y", {"endpoint": "churn", "ref": "price@champion"})
    with pytest.raises(Denied, match="ads is outside"):
        access.limit(actor, "x/y", {"endpoint": "churn", "ref": "ads:1"})


@pytest.mark.parametrize(
    "subject", ["release:churn", "token:churn", "workspace", "churn", "endpoint:", "Endpoint:churn"]
)
def test_of_the_ledger_only_lines_about_its_own_endpoints_and_models_are_in_a_scope(subject: str) -> None:
    actor = Actor(name="ci", kind="client", role="viewer", scope=("churn",))
    if subject == "churn":  # no line is about a bare name: nothing is told
        access.limit(actor, "governance/entries", {"subject": subject})
        return
    with pytest.raises(Denied):
        access.limit(actor, "governance/entries", {"subject": subject})


def test_owners_and_mlspine_itself_are_not_limited() -> None:
    for actor in (Actor(name="ada"), Actor(name="mlspine", kind="system")):
        for path, method in METHODS.items():
            access.authorise(actor, path, method.permission)
            access.limit(actor, path, {"path": "x", "source": "y"})


def _with_defaults(method: Surface) -> dict[str, object]:
    return {name: default for name, (_, default) in method.parameters.items() if default is not inspect.Parameter.empty}


def _spelled(parameter: str, name: str) -> str:
    return {"ref": f"{name}:3", "subject": f"endpoint:{name}"}.get(parameter, name)
