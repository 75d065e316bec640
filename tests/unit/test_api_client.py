"""The wire between machines: TLS, proxies, and what went wrong in words."""

from __future__ import annotations

import http.server
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlspine.core.errors import Unavailable
from mlspine.remote import ApiClient

ANSWER = b'{"live": true}'


class Handler(http.server.BaseHTTPRequestHandler):
    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        moved = self.path.endswith("/moved")
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "https://elsewhere.example/")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *args: object) -> None:
        """Nothing to the terminal."""


def _serving(server: http.server.HTTPServer) -> Iterator[http.server.HTTPServer]:
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def plain() -> Iterator[http.server.HTTPServer]:
    Handler.asked = []
    yield from _serving(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("a certificate is made with the program openssl, which is not installed")
    key, made = tmp_path / "key.pem", tmp_path / "own.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        ["openssl", *words.split(), *names, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True
    )
    made.write_text(made.read_text() + key.read_text())
    return made


def _url(server: http.server.HTTPServer, scheme: str = "http", host: str = "127.0.0.1") -> str:
    return f"{scheme}://{host}:{server.server_address[1]}"


def test_a_prefix_in_the_url_stays_in_front_of_every_path(plain: http.server.HTTPServer) -> None:
    assert ApiClient(_url(plain) + "/team/ml/", "t").get("/health/live") == ANSWER
    assert Handler.asked == ["/team/ml/health/live"]


def test_loopback_never_goes_through_a_proxy(plain: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert ApiClient(_url(plain), "t").get("/health/live") == ANSWER


def test_other_hosts_are_reached_through_the_proxy_of_the_environment(
    plain: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setenv("http_proxy", _url(plain))
    assert ApiClient("http://ml.invalid:8081", "t").get("/health/live") == ANSWER
    assert Handler.asked == ["http://ml.invalid:8081/health/live"]
    monkeypatch.setenv("no_proxy", "ml.invalid")
    with pytest.raises(Unavailable, match=r"ml\.invalid"):
        ApiClient("http://ml.invalid:8081", "t").get("/health/live")


def test_a_redirect_is_not_followed_with_the_token(plain: http.server.HTTPServer) -> None:
    with pytest.raises(Unavailable, match=r"sends elsewhere, to https://elsewhere\.example/"):
        ApiClient(_url(plain), "t").get("/moved")


def test_something_else_than_mlspine_is_told_apart(plain: http.server.HTTPServer) -> None:
    with pytest.raises(Unavailable, match="not as mlspine does"):
        ApiClient(_url(plain), "t").whoami()


def test_https_asks_for_a_certificate_it_can_trust(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    for _ in _serving(server):
        with pytest.raises(Unavailable, match="the certificate of localhost is not accepted") as caught:
            ApiClient(_url(server, "https", "localhost"), "t").get("/health/live")
        assert "SSL_CERT_FILE" in caught.value.hint
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert ApiClient(_url(server, "https", "localhost"), "t").get("/health/live") == ANSWER
        with pytest.raises(Unavailable, match=r"the certificate of 127\.0\.0\.1 is not accepted"):
            ApiClient(_url(server, "https"), "t").get("/health/live")


def test_https_to_a_port_that_speaks_http_says_so(plain: http.server.HTTPServer) -> None:
    with pytest.raises(Unavailable, match="speaks no TLS") as caught:
        ApiClient(_url(plain, "https"), "t").get("/health/live")
    assert _url(plain) in caught.value.hint


def test_nobody_listening_is_said_with_the_address(plain: http.server.HTTPServer) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 did not answer"):
        ApiClient("http://127.0.0.1:9", "t").get("/health/live")
