"""MLflow's own REST stores with another transport: the same requests and answers, with or without a server."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

from mlflow.exceptions import MlflowException, RestException
from mlflow.store.model_registry import rest_store as registry_rest_store
from mlflow.store.tracking import rest_store as tracking_rest_store
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import MlflowHostCreds, http_request, verify_rest_response

from mlspine.core.errors import MlspineError
from mlspine.mlflow_plugin import spelling
from mlspine.mlflow_plugin.place import SCHEME, Address, Place


class Wire:
    """Asks the workspace of a URI in MLflow's messages."""

    def __init__(self, uri: str) -> None:
        try:
            self._place = Place(uri)
        except MlspineError as exc:
            raise MlflowException(str(exc)) from exc

    def ask(self, method: str, path: str, body: str | None, answer: Any) -> Any:
        """Fill `answer`, a protobuf message, with what is answered; RestException for an error."""
        asked = spelling.stored(json.loads(body)) if body else {}
        address = self._place.address()
        told = self._over_http(address, method, path, asked) if address else self._directly(method, path, asked)
        parse_dict(js_dict=spelling.seen(told), message=answer)
        return answer

    def creds(self) -> MlflowHostCreds:
        """For what MLflow sends past its own stores (traces), which needs a server, and for the line it prints."""
        address = self._place.address()
        return MlflowHostCreds(address.url, token=address.token) if address else MlflowHostCreds(f"{SCHEME}:")

    def _over_http(self, address: Address, method: str, path: str, asked: dict[str, Any]) -> Any:
        response = http_request(
            MlflowHostCreds(address.url, token=address.token),
            path,
            method,
            **({"params": asked} if method == "GET" else {"json": asked}),
        )
        return json.loads(verify_rest_response(response, path).text)

    def _directly(self, method: str, path: str, asked: dict[str, Any]) -> Any:
        query = urllib.parse.urlencode(asked, doseq=True) if method == "GET" else ""
        try:
            store = self._place.store()
        except MlspineError as exc:
            raise MlflowException(str(exc)) from exc
        status, told = store.call(method, path, query=query, body=json.dumps(asked).encode())
        if status != 200:
            raise RestException(json.loads(told))
        return json.loads(told)


class TrackingStore(tracking_rest_store.RestStore):  # type: ignore[misc]
    """MLflow's tracking client for an `mlspine:` URI."""

    def __init__(self, uri: str) -> None:
        self._wire = Wire(uri)
        super().__init__(self._wire.creds)

    def _call_endpoint(
        self, api: Any, json_body: str | None = None, endpoint: str | None = None, *_: Any, **more: Any
    ) -> Any:
        path, method = _described(self, api)
        answer = more.get("response_proto") or api.Response()
        return self._wire.ask(method, endpoint or path, json_body, answer)


class RegistryStore(registry_rest_store.RestStore):  # type: ignore[misc]
    """MLflow's registry client for an `mlspine:` URI."""

    def __init__(self, uri: str) -> None:
        self._wire = Wire(uri)
        super().__init__(self._wire.creds)

    def _call_endpoint(self, api: Any, json_body: str | None, *_: Any, **__: Any) -> Any:
        # Where MLflow knows several endpoints, it means several of its own ages; the first is today's.
        path, method = self._get_endpoint_from_method(api)
        return self._wire.ask(method, path, json_body, self._get_response_from_method(api))


def _described(store: TrackingStore, api: Any) -> tuple[str, str]:
    """Path and method of a call; MLflow 2 keeps them in its module, MLflow 3 in the class, by age of the call."""
    if api in getattr(store, "_V3_APIS", ()):
        table = store._V3_METHOD_TO_INFO
    else:
        table = getattr(store, "_METHOD_TO_INFO", None) or tracking_rest_store._METHOD_TO_INFO
    path, method = table[api]
    return path, method
