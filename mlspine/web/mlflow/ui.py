"""MLflow's own pages on our store: the static build out of an mlflow wheel that the user has, never our own copy.

The pages are a program of MLflow's. They are told to talk to nobody but this server, and not to be put into another
page; what their users logged is handed out as files, never as pages of this server.
"""

from __future__ import annotations

import importlib.util
import mimetypes
import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import Route

from mlspine.core.errors import NotFound

_BUILD = Path("server", "js", "build")
_HASHED = re.compile(r"\.[0-9a-f]{8,}\.")  # the build writes a digest into the names of files that may change
_LONG = {"Cache-Control": "public, max-age=31536000, immutable"}
_SHORT = {"Cache-Control": "no-cache"}
# Frames and workers of the pages are made out of blobs, and HTML that was logged brings scripts of its own, which run
# in a sandbox: so only what may be asked, and who may frame, is limited.
_HEADERS = {
    "Content-Security-Policy": "connect-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'self'",
    "X-Frame-Options": "SAMEORIGIN",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def find_build(setting: str = "") -> Path | None:
    """The folder of MLflow's pages: `setting` when it is given, else that of the mlflow in this environment.

    Nothing of mlflow is imported. None when there are no pages, as in mlflow-skinny.
    """
    if setting:
        folder = Path(setting).expanduser()
    else:
        spec = importlib.util.find_spec("mlflow")
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent / _BUILD
    return folder.resolve() if (folder / "index.html").is_file() else None


class MlflowPages:
    """The pages at /mlflow/. setting: `control.mlflow_ui`."""

    def __init__(self, setting: str = "") -> None:
        self._setting = setting
        self._folder = find_build(setting)

    @property
    def is_there(self) -> bool:
        return self._folder is not None

    def routes(self) -> list[Route]:
        return [
            Route("/mlflow", self._redirect),
            Route("/mlflow/", self._index),
            Route("/mlflow/static-files/{path:path}", self._static),
        ]

    async def _redirect(self, _: Request) -> Response:
        return RedirectResponse("mlflow/", 307)  # relative: a proxy may put all of it under a path

    async def _index(self, _: Request) -> Response:
        if self._folder is None:
            raise self._absent()
        return FileResponse(self._folder / "index.html", headers=_HEADERS | _SHORT, media_type="text/html")

    async def _static(self, request: Request) -> Response:
        if self._folder is None:
            raise self._absent()
        file = (self._folder / request.path_params["path"]).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():
            raise NotFound("MLflow's pages have no such file", hint="open /mlflow/")
        kept = _LONG if _HASHED.search(file.name) else _SHORT
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return FileResponse(file, headers=_HEADERS | kept, media_type=kind)

    def _absent(self) -> NotFound:
        if self._setting:
            return NotFound(
                f"MLflow's pages are not in {self._setting}",
                hint="control.mlflow_ui names the folder mlflow/server/js/build of an installed mlflow",
            )
        return NotFound(
            "MLflow's pages are part of mlflow, which is not installed beside mlspine",
            hint="pip install mlflow, or set control.mlflow_ui; the runs themselves: mlspine runs ls",
        )
