"""The page: who gets in and how, what a browser is told, and that nothing from outside becomes markup."""

from __future__ import annotations

import asyncio
import re
import threading
import urllib.parse
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.applications import Starlette

from mlspine.core.errors import NotFound, Unidentified
from mlspine.core.plan import LogSettings, Revision
from mlspine.core.types import (
    Actor,
    Alert,
    DriftReport,
    Effect,
    FeatureVerdict,
    Interval,
    Metric,
    ModelVersion,
    PerformanceReport,
)
from mlspine.handover.card import Card, Judged, gaps_of
from mlspine.monitoring.claims import Claim, EndpointStatus, Speed
from mlspine.monitoring.status import WorkspaceStatus
from mlspine.web.app import make_app
from mlspine.web.looking import KEPT, Detail, Shared, visible
from mlspine.web.sessions import LINK_LIFE_S, LINKS_KEPT, SESSION_LIFE_S, SESSIONS_KEPT, Sessions
from mlspine.web.showing import HERE, environment
from mlspine.workspace import Workspace
from tests.unit.web.asgi import Reply, ask

OWN = "the-workspaces-own-token"
ADA = Actor(name="ada")
NOW = 1_760_000_000_000
BROWSER = {"accept": "text/html,application/xhtml+xml"}
HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></svg></details><h1>owned</h1>",
    "{{ 7 * 7 }}{% raw %}",
    "\u202egnp.exe\u2066\u200b",
    "\x00\x1b[31m\ud800",
    "x" * 10_000,
]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.open(tmp_path / ".mlspine")
    yield workspace
    workspace.close()


@pytest.fixture
def app(workspace: Workspace) -> Starlette:
    return make_app(workspace, token=OWN, owner=ADA)


def see(app: Starlette, path: str, *, cookie: str = "", **headers: str) -> Reply:
    """What a browser gets."""
    return ask(app, "GET", path, cookie=cookie, **BROWSER, **headers)


def submit(app: Starlette, path: str, *, cookie: str = "", **fields: str) -> Reply:
    """What a browser gets for a form."""
    form = urllib.parse.urlencode(fields).encode()
    return ask(app, "POST", path, form, cookie=cookie, origin="http://127.0.0.1:8081", **BROWSER)


def cookie_of(reply: Reply) -> str:
    return reply.headers["set-cookie"].partition(";")[0]


def link(app: Starlette, token: str = OWN) -> str:
    reply = ask(app, "POST", "/look", {}, token=token)
    assert reply.status == 200
    return f"/look/{reply.body.decode()}"


# ---------------------------------------------------------------- getting in


def test_without_signing_in_the_page_shows_the_way_in_and_nothing_else(app: Starlette) -> None:
    for path in ("/", "/endpoints/churn"):
        reply = see(app, path)
        assert reply.status == 401
        assert b"Sign in" in reply.body
        assert b".mlspine" not in reply.body


def test_a_link_signs_in_once(app: Starlette) -> None:
    path = link(app)
    assert ask(app, "HEAD", path, **BROWSER).status == 200  # a preview does not use it up
    first = see(app, path)
    assert first.status == 200
    home = see(app, "/", cookie=cookie_of(first))
    assert home.status == 200
    assert b"Nothing is served yet" in home.body
    assert b"ada" in home.body
    again = see(app, path)
    assert (again.status, "set-cookie" in again.headers) == (401, False)
    assert b"used already" in again.body


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(app: Starlette) -> None:
    cookie = see(app, link(app)).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert cookie.startswith("mlspine_session_8081=")  # another workspace on this machine has its own
    assert OWN not in cookie


def test_a_link_leads_on_to_a_page_of_ours_only(app: Starlette) -> None:
    inside = see(app, f"{link(app)}?next=/endpoints/churn").body.decode()
    outside = see(app, f"{link(app)}?next=//evil.example/").body.decode()
    assert 'href="../endpoints/churn"' in inside
    assert "evil" not in outside


def test_nobody_makes_a_link_without_a_token(app: Starlette) -> None:
    assert ask(app, "POST", "/look", {}).status == 401
    assert ask(app, "POST", "/look", {}, token="wrong").status == 401
    page = see(app, link(app))
    assert ask(app, "POST", "/look", {}, cookie=cookie_of(page)).status == 401


def test_a_token_of_the_least_role_signs_in_by_the_form(workspace: Workspace, app: Starlette) -> None:
    secret = workspace.tokens.create("eve", role="viewer", actor=ADA).secret
    reply = submit(app, "/signin", token=secret, next="/endpoints/churn")
    assert (reply.status, reply.headers["location"]) == (303, "./endpoints/churn")
    assert see(app, "/", cookie=cookie_of(reply)).status == 200


@pytest.mark.parametrize("wrong", ["", "x", "mlspine_000000000000_" + "A" * 43, "y" * 100_000])
def test_a_wrong_token_is_refused_by_the_form(wrong: str, app: Starlette) -> None:
    reply = submit(app, "/signin", token=wrong)
    assert (reply.status, "set-cookie" in reply.headers) == (401, False)


def test_a_revoked_token_ends_its_sessions(workspace: Workspace, app: Starlette) -> None:
    cookie = cookie_of(submit(app, "/signin", token=workspace.tokens.create("eve", role="viewer", actor=ADA).secret))
    assert see(app, "/", cookie=cookie).status == 200
    workspace.tokens.revoke("eve", actor=ADA)
    assert see(app, "/", cookie=cookie).status == 401


def test_signing_out_ends_the_session(app: Starlette) -> None:
    cookie = cookie_of(see(app, link(app)))
    assert submit(app, "/signout", cookie=cookie).status == 303
    assert see(app, "/", cookie=cookie).status == 401


def test_a_session_reads_and_changes_nothing(app: Starlette) -> None:
    cookie = cookie_of(see(app, link(app)))
    assert ask(app, "POST", "/api/tokens/create", {"token": "x", "role": "admin"}, cookie=cookie).status == 401
    assert ask(app, "GET", "/api/whoami", cookie=cookie).status == 200


def test_another_name_for_this_machine_and_forms_of_other_pages_are_refused(app: Starlette) -> None:
    cookie = cookie_of(see(app, link(app)))
    assert see(app, "/", cookie=cookie, host="evil.example:8081").status == 403
    assert ask(app, "POST", "/signin", b"token=x", origin="http://evil.example", **BROWSER).status == 403


def test_programs_are_still_told_the_routes(app: Starlette) -> None:
    reply = ask(app, "GET", "/", accept="*/*")
    assert reply.json["routes"]["api"] == "/api/<room>/<method>"


def test_an_unknown_endpoint_says_which_there_are(app: Starlette) -> None:
    reply = see(app, "/endpoints/nothing", cookie=cookie_of(see(app, link(app))))
    assert reply.status == 404
    assert b"nothing" in reply.body
    assert b"mlspine serve" in reply.body


def test_sessions_and_links_end_and_are_bounded() -> None:
    seconds = [0.0]
    sessions = Sessions(clock_s=lambda: seconds[0])
    code, session = sessions.invite("token"), sessions.open("token")
    seconds[0] = LINK_LIFE_S
    with pytest.raises(Unidentified, match="too old"):
        sessions.redeem(code)
    assert sessions.token_of(session) == "token"
    seconds[0] = SESSION_LIFE_S
    assert sessions.token_of(session) == ""
    held = [sessions.open("token") for _ in range(SESSIONS_KEPT + 1)]
    assert [bool(sessions.token_of(each)) for each in held[:2]] == [False, True]
    codes = [sessions.invite("token") for _ in range(LINKS_KEPT + 1)]
    with pytest.raises(Unidentified):
        sessions.redeem(codes[0])


# ---------------------------------------------------------------- what a browser is told


def test_every_answer_carries_the_policy_and_data_is_not_kept(app: Starlette) -> None:
    cookie = cookie_of(see(app, link(app)))
    for path in ("/", "/endpoints/nothing", "/signin", "/static/page.css", "/static/none"):
        headers = see(app, path, cookie=cookie).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert ("no-store" in headers["cache-control"]) == (path != "/static/page.css")


def test_nothing_is_styled_or_scripted_inline_and_nothing_comes_from_elsewhere() -> None:
    page = endpoint_page(detail())
    assert " style=" not in page
    assert "<style" not in page
    assert re.findall(r"\son\w+=", page) == []
    for folder in ("templates", "static"):
        for file in (HERE / folder).iterdir():
            found = re.findall(r"(?:https?:)?//[\w.]+\.\w+", file.read_text())
            assert [each for each in found if each != "http://www.w3.org"] == [], file.name


# ---------------------------------------------------------------- names from outside


class Tags(HTMLParser):
    """The elements of a page, and those with attributes that run something."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.running: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.running += [name for name, _ in attrs if name.startswith("on")]


def tags(page: str) -> Tags:
    read = Tags()
    read.feed(page)
    return read


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_adds_no_element_and_is_cut(text: str) -> None:
    for show in (endpoint_page, home_page):
        page = show(detail(text))
        assert tags(page).found == tags(show(detail("harmless"))).found
        assert tags(page).running == []
        assert "x" * 300 not in page
        assert re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00\x1b\ud800]", page) is None


def test_a_right_to_left_mark_is_spelt_out() -> None:
    assert r"\u202egnp.exe" in endpoint_page(detail("\u202egnp.exe"))


# ---------------------------------------------------------------- the same figures


def test_the_page_draws_both_distributions_with_labels_effect_noise_and_limit() -> None:
    page = endpoint_page(detail("tenure"))
    assert page.count('class="was"') == page.count('class="now"') > 0
    for shown in ("&lt;= 4", "4 to 9", "70%", "30%", "0.25", "chance 0.02", "limit 0.1", "over its limit"):
        assert shown in page


def test_being_over_a_limit_by_chance_is_not_shown_as_alerting() -> None:
    quiet = endpoint_page(detail(severity="OK", named=False))
    assert "over its limit, within chance" in quiet
    assert 'class="over"' not in quiet
    assert 'class="over"' in endpoint_page(detail())


def test_history_tells_who_and_why() -> None:
    page = endpoint_page(detail("because it was slow"))
    assert "promote of version 2" in page
    assert "because it was slow" in page
    assert "120 ms" in page


def test_a_token_for_one_endpoint_sees_nothing_of_the_others() -> None:
    one = detail().status
    other = EndpointStatus(**{field: getattr(one, field) for field in one.__struct_fields__} | {"name": "price"})
    status = workspace_status(one, other)
    seen = visible(status, Actor(name="eve", kind="client", role="viewer", scope=("price",)))
    assert [each.name for each in seen.endpoints] == ["price"]
    assert (seen.alerts, seen.machines, seen.workspace) == ((), (), "")
    assert visible(status, ADA) is status


# ---------------------------------------------------------------- reading once for everybody


def test_viewers_share_one_read_for_a_second() -> None:
    seconds, reads = [0.0], []
    release = threading.Event()

    def read(key: str) -> int:
        reads.append(key)
        release.wait(5)
        return len(reads)

    async def look() -> None:
        shared = Shared(read, gate=asyncio.Semaphore(1), clock_s=lambda: seconds[0])
        viewers = [asyncio.create_task(shared.get("a")) for _ in range(20)]
        await asyncio.sleep(0)
        viewers[0].cancel()  # one goes away while the read runs
        release.set()
        assert await asyncio.gather(*viewers[1:]) == [1] * 19
        seconds[0] = 0.9
        assert await shared.get("a") == 1
        seconds[0] = 1.1
        assert await shared.get("a") == 2

    asyncio.run(look())
    assert reads == ["a", "a"]


def test_a_failed_read_is_told_to_all_and_tried_again() -> None:
    answers: list[object] = [NotFound("gone"), "there"]

    def read(_: str) -> object:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def look() -> None:
        shared = Shared(read, gate=asyncio.Semaphore(1), clock_s=lambda: 0.0)
        failed = await asyncio.gather(shared.get(""), shared.get(""), return_exceptions=True)
        assert [str(each) for each in failed] == ["gone", "gone"]
        assert await shared.get("") == "there"

    asyncio.run(look())


def test_reads_held_are_bounded() -> None:
    async def look() -> None:
        shared = Shared(lambda key: key, gate=asyncio.Semaphore(2), clock_s=lambda: 0.0)
        for i in range(KEPT + 10):
            await shared.get(str(i))
        assert len(shared._held) == KEPT

    asyncio.run(look())


# ---------------------------------------------------------------- what is shown


def endpoint_page(shown: Detail) -> str:
    return render("endpoint.html", detail=shown)


def home_page(shown: Detail) -> str:
    return render("home.html", status=workspace_status(shown.status), since_at_ms=NOW - 60_000, advised=None)


def render(template: str, **shown: object) -> str:
    frame = {
        "root": "",
        "actor": ADA,
        "live": True,
        "every_ms": 4000,
        "read_at": "2025-10-09 08:53:20",
        "assets": "0",
        "has_mlflow": True,
        "version": "0",
        "now_ms": NOW,
    }
    return environment().get_template(template).render(frame | shown)


def workspace_status(*endpoints: EndpointStatus) -> WorkspaceStatus:
    alert = endpoints[0].alerts[0]
    return WorkspaceStatus(workspace="/w", serving=True, processes=(), endpoints=endpoints, alerts=(alert,))


def detail(text: str = "words", *, severity: str = "WARNING", named: bool = True) -> Detail:
    """One endpoint in which everything that comes from outside is `text`."""
    auc = Metric(
        name="auc", status="ESTIMATED", interval=Interval(value=0.7, lo=0.6, hi=0.8), rows=90, rows_from="labels"
    )
    claim = Claim(name="quality", state="amber", evidence=text)
    alert = Alert(
        id="1", endpoint="churn", cause="drift", severity="WARNING", title=text, why=text, action=text,
        opened_at_ms=NOW, updated_at_ms=NOW, acknowledged_by=text,
    )  # fmt: skip
    feature = FeatureVerdict(
        name=text, role="input", type="numeric", p=0.001, significant=True, named=named,
        effects=(Effect(name="js", value=0.25, noise=0.02, floor=0.1, limit=0.1), Effect(name="psi", value=0.3)),
        importance=0.5, impact=1.0, severity=severity, direction="up", why=text,
        reference_shares=(0.7, 0.3), window_shares=(0.3, 0.7),
        bin_labels=("<= 4", text if text != "tenure" else "4 to 9"),
    )  # fmt: skip
    report = DriftReport(
        endpoint="churn", release_hash="a" * 64, version=2, reference_id="r", from_at_ms=NOW - 3_600_000, to_at_ms=NOW,
        rows=600, status="JUDGED", severity="WARNING", alpha=0.01, false_alarm_nominal=0.01, false_alarm_measured=None,
        seasonality=text, features=(feature,), judged_at_ms=NOW,
    )  # fmt: skip
    quality = PerformanceReport(
        endpoint="churn", release_hash="a" * 64, from_at_ms=NOW - 86_400_000, to_at_ms=NOW, as_of_ms=NOW,
        predicted_rows=100, labelled_rows=90, coverage=0.9, status="FINAL", metrics=(auc,), why=text,
    )  # fmt: skip
    status = EndpointStatus(
        name="churn", url="http://127.0.0.1:8080/endpoints/churn/predict", verdict="alert", why=text, model="churn",
        version=2, release_hash="a" * 64, questions=(claim,), checks=(claim,), infrastructure=claim, data=claim,
        quality=claim, metric=auc, speed=Speed(requests=10, failures=1, p50_s=0.001, p95_s=0.002, p99_s=0.003),
        rows=600, rows_needed=0, drifted=(text,), alerts=(alert,), next_step=text,
    )  # fmt: skip
    return Detail(
        status=status,
        since_at_ms=NOW - 60_000,
        report=report,
        period="day",
        quality=[quality],
        past_alerts=[alert],
        revisions=[
            Revision(
                endpoint="churn", number=2, version=2, release_hash="a" * 64, cause="promote", log=LogSettings(),
                created_at_ms=NOW, actor=text, reason=text,
            )
        ],
        switch_times={"2": 0.12},
        version=ModelVersion(
            model="churn", version=2, release_hash="a" * 64, stage="Production", path="p", created_at_ms=NOW,
            owner=text, message=text, metric=auc, missing=(text,), captured={"libraries": {text: text}},
        ),
        proof=None,
        evidence=[],
        card=Card(
            model="churn", edition=1, said={"purpose": text}, facts={}, gaps=gaps_of("churn", {"purpose": text}),
            success=Judged(verdict="not measured", why=text),
        ),
    )  # fmt: skip
