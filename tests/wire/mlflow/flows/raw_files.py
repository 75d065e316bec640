"""The artifact proxy as no client uses it: paths that lead elsewhere, ranges, listings, parts of uploads."""

from __future__ import annotations

from step import ask, salted

V2 = "/api/2.0/mlflow"
PROXY = "/api/2.0/mlflow-artifacts"


def main() -> None:
    experiment = (ask("experiment", "POST", f"{V2}/experiments/create", {"name": salted("raw files")}) or {}).get(
        "experiment_id", ""
    )
    made = ask("run", "POST", f"{V2}/runs/create", {"experiment_id": experiment, "run_name": "f"})
    run = made["run"]["info"]["run_id"] if made and "run" in made else "0" * 32
    root = f"{experiment}/{run}/artifacts"
    files = f"{PROXY}/artifacts"
    ask("put", "PUT", f"{files}/{root}/dir/a.txt", data=b"hello world", headers={"Content-Type": "text/plain"})
    ask("put without a type", "PUT", f"{files}/{root}/b", data=b"0123456789")
    ask("put nothing", "PUT", f"{files}/{root}/dir/empty.txt", data=b"")
    ask("put a page", "PUT", f"{files}/{root}/page.html", data=b"<script>alert(1)</script>")
    ask("put JSON", "PUT", f"{files}/{root}/data.json", data=b'{"a": 1}', headers={"Content-Type": "application/json"})
    ask("put again", "PUT", f"{files}/{root}/dir/a.txt", data=b"hello again")
    for name in ("dir/a.txt", "b", "dir/empty.txt", "page.html", "data.json", "absent", "dir", "dir/absent/x"):
        ask(f"get {name}", "GET", f"{files}/{root}/{name}")
    ask("get a part", "GET", f"{files}/{root}/b", headers={"Range": "bytes=2-4"})
    ask("get beyond the end", "GET", f"{files}/{root}/b", headers={"Range": "bytes=99-100"})
    for number, path in enumerate(
        (
            root,
            f"{root}/dir",
            f"{root}/dir/",
            f"{root}/dir/a.txt",
            f"{root}/absent",
            "nowhere",
            f"/{root}",
            f"{root}/../..",
            "..",
            "%2e%2e",
            f"{root}/dir/../dir",
            "C:\\x",
            "file:///etc",
        )
    ):
        ask(f"list {number}", "GET", files, query=[("path", path)])
    for number, path in enumerate(
        (
            f"{root}/../../x",
            f"{root}/%2e%2e/x",
            f"{root}/..%2fx",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            f"{root}/a%5cb",
            f"{root}//x",
            f"{root}/%252e%252e/x",
            f"{experiment}/elsewhere/a%00b",
        )
    ):
        ask(f"put to {number}", "PUT", f"{files}/{path}", data=b"x")
        ask(f"get from {number}", "GET", f"{files}/{path}")
        ask(f"delete at {number}", "DELETE", f"{files}/{path}")
    ask("put where a directory is", "PUT", f"{files}/{root}/dir", data=b"x")
    ask("put below a file", "PUT", f"{files}/{root}/b/below", data=b"x")
    ask("post a file", "POST", f"{files}/{root}/posted", data=b"x")
    for part in ("create", "complete", "abort"):
        ask(
            f"parts: {part}",
            "POST",
            f"{PROXY}/mpu/{part}/{root}",
            {"path": "big.bin", "num_parts": 2, "upload_id": "x", "parts": []},
        )
    ask("presigned", "GET", f"{PROXY}/presigned/{root}/b")
    ask("files of the run", "GET", f"{V2}/artifacts/list", query=[("run_id", run)])
    ask("files of a directory", "GET", f"{V2}/artifacts/list", query=[("run_id", run), ("path", "dir")])
    ask("files of a file", "GET", f"{V2}/artifacts/list", query=[("run_id", run), ("path", "b")])
    ask("files of nothing", "GET", f"{V2}/artifacts/list", query=[("run_id", run), ("path", "absent")])
    ask("files leading up", "GET", f"{V2}/artifacts/list", query=[("run_id", run), ("path", "../x")])
    ask("for the page", "GET", "/get-artifact", query=[("run_uuid", run), ("path", "b")])
    ask("for the page, absent", "GET", "/get-artifact", query=[("run_uuid", run), ("path", "absent")])
    ask("for the page, leading up", "GET", "/get-artifact", query=[("run_uuid", run), ("path", "../b")])
    ask("delete a file", "DELETE", f"{files}/{root}/b")
    ask("it is gone", "GET", f"{files}/{root}/b")
    ask("delete it again", "DELETE", f"{files}/{root}/b")
    ask("delete a directory", "DELETE", f"{files}/{root}/dir")
    ask("what is left", "GET", files, query=[("path", root)])


if __name__ == "__main__":
    main()
