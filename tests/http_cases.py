"""Requests to the predictions port that are in order, at fault, or readable in two ways; each as its bytes."""

from __future__ import annotations

from tests.raw_http import chunked, get, post

PATH = "/endpoints/prices/predict"
BODY = b'{"rows": [{"a": 1.5, "b": 2.0}]}'
LIVE = get("/health/live")


def ask(path: str = PATH, *headers: str, body: bytes = BODY, version: str = "HTTP/1.1") -> bytes:
    return post(path, body, *headers, version=version)


GOOD = {
    "plain": ask(),
    "absolute form": ask("http://t" + PATH),
    "query string": ask(PATH + "?a=1&b=%20"),
    "percent-encoded path": ask(PATH.replace("prices", "p%72ices")),
    "header names in any case": b"POST %b HTTP/1.1\r\nhOST: t\r\nCONTENT-length: %d\r\n\r\n%b"
    % (PATH.encode(), len(BODY), BODY),
    "blanks around a value": ask(PATH, "X-Blank: \t  x \t"),
    "empty value": ask(PATH, "X-Empty:"),
    "value beyond ASCII": ask(PATH, "X-Name: Z\xfcrich"),
    "value in UTF-8": ask(PATH, "X-Name: " + "日本".encode().decode("latin-1")),
    "fifty headers": ask(PATH, *(f"X-{i}: {i}" for i in range(50))),
    "empty lines before it": b"\r\n\r\n" + ask(),
    "chunked": get(PATH, "Transfer-Encoding: chunked", method="POST") + chunked(BODY[:7], BODY[7:]),
    "chunked, coding in capitals": get(PATH, "Transfer-Encoding: Chunked", method="POST") + chunked(BODY),
    "chunks of one byte": get(PATH, "Transfer-Encoding: chunked", method="POST")
    + chunked(*(BODY[i : i + 1] for i in range(len(BODY)))),
    "chunk extensions": get(PATH, "Transfer-Encoding: chunked", method="POST")
    + chunked(BODY[:7], BODY[7:], extension=b';name=value;quoted="a;b"'),
    "chunk sizes with zeros and capitals": get(PATH, "Transfer-Encoding: chunked", method="POST")
    + b"00%X\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "trailers": get(PATH, "Transfer-Encoding: chunked", "Trailer: X-Sum", method="POST")
    + chunked(BODY, trailer=b"X-Sum: 1\r\nX-More: 2\r\n"),
    "offer of h2c": ask(
        PATH, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"
    ),
}

# name -> what is sent, and which statuses are right
CLIENT_FAULTS = {
    "unknown path": (get("/nowhere"), {404}),
    "unknown method": (get("/health/live", method="BREW"), {400, 405}),
    "method in small letters": (get("/health/live", method="get"), {400, 405}),
    "options of the server": (get("*", method="OPTIONS"), {200, 204, 400, 404, 405}),
    "connect": (get("t:443", method="CONNECT"), {400, 404, 405}),
    "trace": (get("/health/live", method="TRACE"), {400, 405}),
    "escape that is none": (get("/health/%zz"), {400, 404}),
    "escaped slash and nul": (get("/endpoints/a%2fb%00/predict"), {400, 404}),
    "escape that is no UTF-8": (get("/endpoints/%ff%fe"), {400, 404}),
    "path that climbs": (get("/../../etc/passwd"), {400, 404}),
    "path of 10,000 characters": (get("/" + "a" * 10_000), {400, 404, 414, 431}),
    "path of a million characters": (get("/" + "a" * 1_000_000), {400, 404, 414, 431}),
    "header of a million characters": (get("/health/live", "X: " + "a" * 1_000_000), {400, 431}),
    "header name of a million characters": (get("/health/live", "X" * 1_000_000 + ": a"), {400, 431}),
    "ten thousand headers": (get("/health/live", *(f"X-{i}: {i}" for i in range(10_000))), {400, 431}),
    "unknown expectation": (ask(PATH, "Expect: more"), {200, 417}),
    "no JSON": (ask(body=b"{"), {422}),
    "no body": (get(PATH, "Content-Length: 0", method="POST"), {400, 422}),
    "no length and no body": (get(PATH, method="POST"), {400, 411, 422}),
    "unknown coding of the content": (ask(PATH, "Content-Encoding: br"), {415}),
    "gzip that is none": (ask(PATH, "Content-Encoding: gzip"), {400, 422}),
    "an id of odd characters": (ask(PATH, "Mlspine-Request-Id: a\x80 b"), {200, 400, 422}),
    "a time that is none": (ask(PATH, "Mlspine-Event-Time: noon"), {422}),
}

HEAD = b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: t\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CODED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SMUGGLED = {
    # two lengths, or none that is a number
    "two lengths": HEAD + b"Content-Length: 5\r\n" + LENGTH + b"\r\n" + BODY,
    "two lengths in one line": HEAD + b"Content-Length: 5, %d\r\n\r\n" % len(BODY) + BODY,
    "length with a sign": HEAD + b"Content-Length: +%d\r\n\r\n" % len(BODY) + BODY,
    "negative length": HEAD + b"Content-Length: -1\r\n\r\n" + BODY,
    "length in hex": HEAD + b"Content-Length: 0x20\r\n\r\n" + BODY,
    "length with a blank inside": HEAD + b"Content-Length: 3 2\r\n\r\n" + BODY,
    "length with an underscore": HEAD + b"Content-Length: 3_2\r\n\r\n" + BODY,
    "empty length": HEAD + b"Content-Length:\r\n\r\n",
    "length of words": HEAD + b"Content-Length: many\r\n\r\n" + BODY,
    "length beyond 64 bits": HEAD + b"Content-Length: 18446744073709551648\r\n\r\n" + BODY,
    "length in another script": HEAD + "Content-Length: ٣٢\r\n\r\n".encode() + BODY,
    # length and coding
    "length and coding": HEAD + LENGTH + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(BODY),
    "coding and length": HEAD + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n" + chunked(BODY),
    "length and unknown coding": HEAD + LENGTH + b"Transfer-Encoding: xchunked\r\n\r\n" + BODY,
    "length and coding in HTTP/1.0": b"POST %b HTTP/1.0\r\n" % PATH.encode()
    + LENGTH
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + chunked(BODY),
    # codings
    "unknown coding": HEAD + b"Transfer-Encoding: xchunked\r\n\r\n" + chunked(BODY),
    "coding after chunked": HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n" + chunked(BODY),
    "chunked twice": HEAD + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + chunked(BODY),
    "chunked in two lines": HEAD + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n" + chunked(BODY),
    "chunked, then another line": HEAD
    + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"
    + chunked(BODY),
    "coding with a vertical tab": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + chunked(BODY),
    "coding in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n' + chunked(BODY),
    "coding before a blank and colon": HEAD + b"Transfer-Encoding : chunked\r\n\r\n" + chunked(BODY),
    "empty coding": HEAD + b"Transfer-Encoding:\r\n\r\n" + chunked(BODY),
    # chunks
    "chunk size with a sign": CODED + b"+20\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with 0x": CODED + b"0x20\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size with blanks": CODED + b" 20 \r\n" + BODY + b"\r\n0\r\n\r\n",
    "negative chunk size": CODED + b"-1\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size beyond 64 bits": CODED + b"10000000000000020\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size of words": CODED + b"many\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no chunk size": CODED + b"\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk longer than its size": CODED + b"1f\r\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk size ends in a bare line feed": CODED + b"20\n" + BODY + b"\r\n0\r\n\r\n",
    "chunk ends in a bare line feed": CODED + b"20\r\n" + BODY + b"\n0\r\n\r\n",
    "chunk size ends in a bare return": CODED + b"20\r" + BODY + b"\r\n0\r\n\r\n",
    "line feed in a chunk extension": CODED + b"20;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n",
    # lines
    "bare line feeds": HEAD.replace(b"\r\n", b"\n") + LENGTH.replace(b"\r\n", b"\n") + b"\n" + BODY,
    "one bare line feed": HEAD + b"X: a\n" + LENGTH + b"\r\n" + BODY,
    "bare return in a value": HEAD + b"X: a\rContent-Length: 3\r\n" + LENGTH + b"\r\n" + BODY,
    "nul in a value": HEAD + b"X: a\0b\r\n" + LENGTH + b"\r\n" + BODY,
    "folded line": HEAD + b"X: a\r\n  b\r\n" + LENGTH + b"\r\n" + BODY,
    "folded coding": HEAD + b"Transfer-Encoding:\r\n chunked\r\n\r\n" + chunked(BODY),
    "blank before the first header": b"POST %b HTTP/1.1\r\n Host: t\r\n" % PATH.encode() + LENGTH + b"\r\n" + BODY,
    "blank in a header name": HEAD + b"Content Length: 3\r\n" + LENGTH + b"\r\n" + BODY,
    "blank before a colon": HEAD + b"Content-Length : 3\r\n" + LENGTH + b"\r\n" + BODY,
    "no colon": HEAD + b"Content-Length\r\n" + LENGTH + b"\r\n" + BODY,
    "no header name": HEAD + b": x\r\n" + LENGTH + b"\r\n" + BODY,
    "header name beyond ASCII": HEAD + b"X\xff: a\r\n" + LENGTH + b"\r\n" + BODY,
    "nul in a header name": HEAD + b"X\0: a\r\n" + LENGTH + b"\r\n" + BODY,
    # hosts
    "no host": b"POST %b HTTP/1.1\r\n" % PATH.encode() + LENGTH + b"\r\n" + BODY,
    "two hosts": HEAD + b"Host: other\r\n" + LENGTH + b"\r\n" + BODY,
    # request lines
    "no version": b"GET /health/live\r\nHost: t\r\n\r\n",
    "HTTP/0.9": b"GET /health/live\r\n\r\n",
    "HTTP/2.0": get("/health/live", version="HTTP/2.0"),
    "HTTP/9.9": get("/health/live", version="HTTP/9.9"),
    "HTTP/1.10": get("/health/live", version="HTTP/1.10"),
    "HTTP in small letters": get("/health/live", version="http/1.1"),
    "another protocol": get("/health/live", version="ICY/1.1"),
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "blank before the method": b" " + LIVE,
    "tab after the method": LIVE.replace(b"GET ", b"GET\t"),
    "blank in the target": get("/health /live"),
    "nul in the target": get("/health/\0live"),
    "line feed in the target": get("/health/\nlive"),
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "noise": bytes(range(128, 256)) * 4,
}
