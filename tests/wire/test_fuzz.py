"""Requests nobody would send, made from our own OpenAPI document and from hostile texts: refused, never a 500.

A few of each kind in the ordinary run, the same ones every time; MLSPINE_FUZZ=200 tries as many new ones of each.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sqlite3
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, openapi
from schemathesis.schemas import APIOperation
from starlette.types import ASGIApp

import mlspine.workspace
from mlspine.backends.postgres import PostgresDatabase
from mlspine.backends.sqlite import SqliteDatabase
from mlspine.core.types import Actor
from mlspine.ports import Param, Row, Transaction
from mlspine.web.app import make_app
from mlspine.workspace import Workspace
from tests.postgres import postgres_schema
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
JSON = "application/json"
AT = "/api/2.0/mlflow"
FILES = "/api/2.0/mlflow-artifacts"
FUZZ = os.environ.get("MLSPINE_FUZZ")
MANY = int(FUZZ or 120)
FEW = int(FUZZ or 6)
# In every text of a request, and in nothing else: an SQL text that holds it was put together from a request.
MARK = "Zq9"
NUMBER = 481_516_234_2


class Reached(sqlite3.Connection):
    """A connection that keeps the texts it was asked to run."""

    texts: set[str]

    def execute(self, sql: str, /, *args: Any) -> sqlite3.Cursor:
        self.texts.add(sql)
        return super().execute(sql, *args)


class WatchedDatabase(SqliteDatabase):
    """SQLite whose parser is listened to."""

    def __init__(self, path: Path) -> None:
        self.texts: set[str] = set()
        super().__init__(path)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, timeout=30, factory=Reached
        )
        assert isinstance(connection, Reached)
        connection.texts = self.texts
        connection.execute("pragma case_sensitive_like = on")
        return connection


class WatchedPostgres(PostgresDatabase):
    """Postgres whose statements are listened to on their way out."""

    def __init__(self, url: str) -> None:
        self.texts: set[str] = set()
        super().__init__(url)

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        self.texts.add(sql)
        return super().read(sql, **params)

    @contextlib.contextmanager
    def write(self, *, synced: bool = True) -> Iterator[Transaction]:
        with super().write(synced=synced) as tx:
            yield WatchedTransaction(tx, self.texts)


class WatchedTransaction:
    def __init__(self, inner: Transaction, texts: set[str]) -> None:
        self._inner = inner
        self._texts = texts

    def execute(self, sql: str, /, **params: Param) -> int:
        self._texts.add(sql)
        return self._inner.execute(sql, **params)

    def read(self, sql: str, /, **params: Param) -> list[Row]:
        self._texts.add(sql)
        return self._inner.read(sql, **params)

    def attempt(self) -> contextlib.AbstractContextManager[None]:
        return self._inner.attempt()


class World(NamedTuple):
    app: ASGIApp
    texts: set[str]
    known: dict[str, list[str]]  # ids and names that exist, by the field that takes them

    def send(self, method: str, path: str, body: object = None, *, query: str = "") -> Reply:
        try:
            return ask(self.app, method, path, body, query=query, token=OWN, content_type=JSON)
        except Exception as exc:  # what was answered with 500 is raised here once more
            raise AssertionError(f"{method} {path}?{query} {body!r:.2000}") from exc

    def post(self, path: str, **body: object) -> Any:
        reply = self.send("POST", AT + path, body)
        assert reply.status == 200, reply
        return reply.json


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A workspace with something of everything, so that requests come further than "there is no such run"."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        patch.chdir(folder)
        if request.param == "postgres":
            url = stack.enter_context(postgres_schema())
            database: WatchedDatabase | WatchedPostgres = WatchedPostgres(url)
        else:
            database = WatchedDatabase(folder / "store.db")
        patch.setattr(mlspine.workspace, "open_database", lambda *_: database)
        workspace = stack.enter_context(contextlib.closing(Workspace.open(folder / ".mlspine")))
        app = make_app(workspace, token=OWN, owner=Actor(name="ada"))
        yield _filled(World(app, database.texts, {}))


def _filled(world: World) -> World:
    experiment = world.post("/experiments/create", name=f"{MARK} one")["experiment_id"]
    run = world.post("/runs/create", experiment_id=experiment, run_name=f"{MARK} run")["run"]["info"]["run_id"]
    world.post(
        "/runs/log-batch",
        run_id=run,
        metrics=[{"key": f"{MARK}/m", "value": n, "timestamp": n, "step": n} for n in range(4)],
        params=[{"key": f"{MARK}/p", "value": MARK}],
        tags=[{"key": f"{MARK}/t", "value": MARK}],
    )
    world.post("/registered-models/create", name=MARK)
    model = world.post("/logged-models", experiment_id=experiment, name="lm", source_run_id=run)["model"]["info"]
    world.post("/model-versions/create", name=MARK, source=model["artifact_uri"], model_id=model["model_id"])
    return world._replace(
        known={
            "experiment_id": [experiment, "0"],
            "run_id": [run],
            "run_uuid": [run],
            "name": [MARK, f"{MARK} one"],
            "version": ["1"],
            "model_id": [model["model_id"]],
            "experiment_ids": [experiment, "0"],
            "run_ids": [run],
            "key": [f"{MARK}/m", f"{MARK}/p", f"{MARK}/t"],
            "metric_key": [f"{MARK}/m"],
            "model": [MARK],
            "ref": [f"{MARK}@1"],
        }
    )


def tried(examples: int) -> settings:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=FUZZ is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def never_500(reply: Reply, *asked: object) -> None:
    assert reply.status < 500 or reply.status == 501, (*asked, reply.status, reply.body[:2000])


# ---------------------------------------------------------------- what the document allows


@functools.cache
def _document(app: ASGIApp) -> dict[str, Any]:
    document: dict[str, Any] = ask(app, "GET", "/openapi.json", token=OWN).json
    return document


def _with_known(case: Case, known: dict[str, list[str]], pick: int) -> None:
    """Put what exists in the place of what was made up, in two of three cases."""
    for part in (case.body, case.query, case.path_parameters):
        if not isinstance(part, dict) or pick % 3 == 0:
            continue
        for name in part.keys() & known.keys():
            values = known[name]
            value = values[pick % len(values)]
            part[name] = [value] if isinstance(part[name], list) else value


def test_no_request_the_document_describes_is_answered_500(world: World) -> None:
    """Every route of the MLflow wire and of /api/<room>/<method>, with what its schema allows."""
    document = _document(world.app)
    operations = [each.ok() for each in openapi.from_dict(document).get_all_operations()]
    assert len(operations) == sum(len(ways) for ways in document["paths"].values())
    for operation in operations:
        _try(world, operation)


def _try(world: World, operation: APIOperation[Any, Any, Any, Any]) -> None:
    @tried(FEW)
    @given(case=operation.as_strategy(), pick=st.integers(0, 5))
    def answered(case: Case, pick: int) -> None:
        _with_known(case, world.known, pick)
        path = case.path
        for name, value in (case.path_parameters or {}).items():
            path = path.replace(f"{{{name}}}", urllib.parse.unquote(str(value)))
        body = case.body if isinstance(case.body, dict | list | str | int) else None
        query = urllib.parse.urlencode(case.query or {}, doseq=True)
        never_500(world.send(case.method, path, body, query=query), case.method, path, case.query, body)

    answered()


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def test_no_field_of_a_wrong_type_is_answered_500(world: World) -> None:
    document = _document(world.app)
    for path, ways in document["paths"].items():
        for method in ways if "mlflow" in path else ():
            where = path.replace("{model_id}", world.known["model_id"][0]).replace("{tag_key}", MARK)
            _try_types(world, method.upper(), where, _fields(document, path, method))


def _try_types(world: World, method: str, path: str, fields: list[str]) -> None:
    @tried(FEW)
    @given(st.dictionaries(st.sampled_from(fields or ["x"]), ANY_JSON, max_size=6) | ANY_JSON)
    def answered(body: Any) -> None:
        asked = body if isinstance(body, dict) or method != "GET" else {"x": body}
        never_500(_ask(world, method, path, asked), method, path, asked)

    answered()


def _fields(document: dict[str, Any], path: str, method: str) -> list[str]:
    operation = document["paths"][path][method]
    if "requestBody" not in operation:
        return [each["name"] for each in operation["parameters"] if each["in"] == "query"]
    schema = operation["requestBody"]["content"][JSON]["schema"]
    return sorted(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]].get("properties", {}))


# ---------------------------------------------------------------- hostile texts, and where they must not arrive

HOSTILE = (
    *(f"{MARK}'; drop table run; --", f'{MARK}"', f"{MARK}`", f"{MARK}\\", f"{MARK}%_", f"{MARK}\0", f"{MARK}\n"),
    *(f":{MARK}", f"${{{MARK}}}", f"{MARK}' or '1'='1", f"{MARK}/../..", f"../{MARK}", MARK * 300, f"{MARK}\ud800"),
    *(f"{MARK}\u202e", f"%2e%2e%2f{MARK}", f"{MARK}?", f"{MARK}#", f"{MARK}//{MARK}", f"/{MARK}", f"{MARK};"),
)
hostile = st.sampled_from(HOSTILE) | st.text(max_size=12).map(lambda text: MARK + text)
WORDS = """
    metrics. params. tags. attributes. attribute. dataset. run_id status name start_time experiment_id version_number
    creation_time source_path model_id `b` "b" 'b' ( ) , . = != <> < <= > >= LIKE ILIKE IN NOT IS NULL AND OR ASC DESC
    1 -2.5 1e999 nan 9223372036854775808
"""
word = st.sampled_from(WORDS.split()) | hostile | hostile.map(lambda text: f"'{text}'") | st.just(str(NUMBER))
sentence = st.lists(word, max_size=8).map(" ".join)
condition = st.builds(
    lambda field, key, sign, value: f"{field}{key} {sign} {value}",
    st.sampled_from(["params.", "tags.", "metrics.", "attributes.", ""]),
    st.sampled_from(["run_id", "name", "status", "version_number", "start_time", "alias", "source_path"])
    | hostile.map(lambda text: '"' + text.replace('"', "") + '"')
    | hostile.map(lambda text: "`" + text.replace("`", "") + "`"),
    st.sampled_from(["=", "!=", ">", "<=", "LIKE", "ILIKE", "IN", "IS", "IS NOT", "NOT IN"]),
    hostile.map(lambda text: "'" + text.replace("'", "") + "'")
    | st.sampled_from([str(NUMBER), "NULL", f"('{MARK}', '{MARK}b')", "1.5"]),
)
search = sentence | st.lists(condition, min_size=1, max_size=3).map(" and ".join)
order = sentence | st.builds(lambda key, way: f"{key} {way}", st.sampled_from(["metrics.", "tags."]), word) | hostile
token = hostile | sentence | st.binary(max_size=30).map(lambda each: each.hex())
SEARCHES = (
    *(("POST", "/experiments/search"), ("POST", "/runs/search"), ("GET", "/registered-models/search")),
    *(("GET", "/model-versions/search"), ("POST", "/logged-models/search")),
)


def _clean(world: World) -> None:
    reached = [text for text in world.texts if MARK in text or str(NUMBER) in text]
    assert reached == []


@pytest.mark.parametrize(("method", "path"), SEARCHES)
def test_no_search_is_answered_500_and_none_of_its_words_reaches_the_parser_of_the_store(
    world: World, method: str, path: str
) -> None:
    good = set[int]()

    @tried(MANY)
    @given(search, st.lists(order, max_size=2), st.none() | token, st.none() | st.integers(-3, 60_000))
    def answered(words: str, order_by: list[str], page_token: str | None, max_results: int | None) -> None:
        known = world.known["experiment_id"]
        asked = {"filter": words, "order_by": order_by, "page_token": page_token, "max_results": max_results}
        asked |= {"experiment_ids": known} if path in ("/runs/search", "/logged-models/search") else {}
        reply = _ask(world, method, AT + path, {key: value for key, value in asked.items() if value is not None})
        good.add(reply.status)
        never_500(reply, path, asked)
        _clean(world)

    answered()
    for value in (f"'{MARK}'", f"'{MARK}'' or 1=1'"):  # what is understood is bound, not written
        reply = _ask(world, method, AT + path, {"filter": f"name = {value}", "experiment_ids": ["0"], "max_results": 3})
        good.add(reply.status)
    assert {200, 400} <= good
    _clean(world)


def _ask(world: World, method: str, path: str, asked: dict[str, Any]) -> Reply:
    if method != "GET":
        return world.send(method, path, json.dumps(asked).encode())
    return world.send(method, path, query=urllib.parse.urlencode(asked, doseq=True, errors="surrogatepass"))


TEXTS = (
    ("GET", "/runs/get", ("run_id",)),
    ("GET", "/experiments/get", ("experiment_id",)),
    ("GET", "/experiments/get-by-name", ("experiment_name",)),
    ("GET", "/metrics/get-history", ("run_id", "metric_key", "page_token")),
    ("GET", "/artifacts/list", ("run_id", "path", "page_token")),
    ("GET", "/registered-models/get", ("name",)),
    ("GET", "/registered-models/alias", ("name", "alias")),
    ("GET", "/model-versions/get", ("name", "version")),
    ("POST", "/experiments/create", ("name", "artifact_location")),
    ("POST", "/experiments/set-experiment-tag", ("experiment_id", "key", "value")),
    ("POST", "/runs/create", ("experiment_id", "run_name", "user_id")),
    ("POST", "/runs/log-parameter", ("run_id", "key", "value")),
    ("POST", "/runs/set-tag", ("run_id", "key", "value")),
    ("POST", "/runs/delete-tag", ("run_id", "key")),
    ("POST", "/registered-models/create", ("name", "description")),
    ("POST", "/registered-models/set-tag", ("name", "key", "value")),
    ("POST", "/registered-models/alias", ("name", "alias", "version")),
    ("POST", "/model-versions/create", ("name", "source", "run_id", "description")),
    ("POST", "/logged-models", ("experiment_id", "name", "source_run_id", "model_type")),
    ("DELETE", "/registered-models/delete-tag", ("name", "key")),
)


@pytest.mark.parametrize(("method", "path", "fields"), TEXTS)
def test_no_id_name_or_text_is_answered_500_or_reaches_the_parser_of_the_store(
    world: World, method: str, path: str, fields: tuple[str, ...]
) -> None:
    @tried(max(FEW, MANY // 3))
    @given(st.fixed_dictionaries({name: st.sampled_from(world.known.get(name, [MARK])) | hostile for name in fields}))
    def answered(asked: dict[str, str]) -> None:
        never_500(_ask(world, method, AT + path, asked), method, path, asked)
        _clean(world)

    answered()


def test_no_path_of_a_file_is_answered_500_or_leaves_the_store(world: World, tmp_path: Path) -> None:
    here = Path.cwd()
    before = {each for each in here.rglob("*") if ".mlspine" not in each.parts}
    run = world.known["run_id"][0]

    @tried(MANY)
    @given(
        path=st.lists(hostile | st.sampled_from(["..", ".", "", f"1/{run}/artifacts", "a", "/etc"]), max_size=4),
        method=st.sampled_from(["GET", "PUT", "HEAD", "DELETE"]),
        quoted=st.booleans(),
    )
    def answered(path: list[str], method: str, quoted: bool) -> None:
        name = "/".join(path).encode("utf-8", "replace").decode()
        name = urllib.parse.quote(name) if quoted else name
        listing = urllib.parse.urlencode({"path": name})
        never_500(world.send(method, f"{FILES}/artifacts/{name}", b"x" if method == "PUT" else b""), method, name)
        never_500(world.send("GET", f"{FILES}/artifacts", query=listing), "list", name)
        never_500(world.send("POST", f"{FILES}/mpu/create/{name}", {"path": name, "num_parts": 2}), "mpu", name)
        never_500(world.send("GET", "/get-artifact", query=f"run_uuid={run}&{listing}"), "get-artifact", name)
        never_500(world.send("GET", f"{AT}/artifacts/list", query=f"run_id={run}&{listing}"), "artifacts/list", name)
        _clean(world)

    answered()
    assert {each for each in here.rglob("*") if ".mlspine" not in each.parts} == before


PIECES = """
    { } ( ) query mutation mlflowGetRun mlflowSearchRuns input: $a run info data apiError ... on fragment @skip " runId
    : ! [ ] 1e999 null #
"""
QUESTIONS = (
    "query Q($data: MlflowGetRunInput!) { mlflowGetRun(input: $data) { run { info { runId } } } }",
    "mutation M($data: MlflowSearchRunsInput!) { mlflowSearchRuns(input: $data) { runs { info { runId } } } }",
)


def test_no_graphql_question_is_answered_500(world: World) -> None:
    pieces = st.lists(st.sampled_from(PIECES.split()) | hostile, max_size=20).map(" ".join)

    @tried(MANY)
    @given(st.sampled_from(QUESTIONS) | pieces, st.dictionaries(st.just("data"), ANY_JSON), search)
    def answered(query: str, variables: dict[str, Any], words: str) -> None:
        for data in (variables, {"data": {"runId": words, "filter": words, "experimentIds": ["0"]}}):
            sent = json.dumps({"query": query, "variables": data, "operationName": None}).encode()
            never_500(world.send("POST", "/mlflow/graphql", sent), query, data)
        _clean(world)

    answered()
