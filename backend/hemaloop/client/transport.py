"""Requests to Label Studio: who asks, how long to wait, when to ask again, and what a refusal said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import stamina
from label_studio_sdk.base_client import LabelStudioBase as Sdk
from label_studio_sdk.core.api_error import ApiError

from hemaloop.errors import LabelStudioError

Json = dict[str, Any]

QUICK = httpx.Timeout(20.0, connect=5.0)
SLOW = httpx.Timeout(300.0, connect=5.0)
_REPEATABLE = frozenset({"GET", "PUT", "PATCH", "DELETE"})
_PASSING = frozenset({429, 502, 503, 504})


class Refused(LabelStudioError):
    """Label Studio answered with an error status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class _Passing(Exception):
    """An answer that may be another one a moment later."""


class Transport:
    """Authenticated JSON requests to one Label Studio. Thread-safe.

    The SDK authenticates: it sends legacy tokens as they are and refreshes personal access tokens. Bodies go over plain
    httpx, because the SDK's models turn dates into objects and take longer to encode 1,000 predictions than Label
    Studio takes to store them.
    """

    def __init__(self, url: str, api_key: str) -> None:
        self.url = url.rstrip("/")
        if not api_key:
            raise LabelStudioError(
                "LABEL_STUDIO_API_KEY: found nothing, expected a personal access token or a legacy token "
                "(Label Studio, Account & Settings)"
            )
        self._http = httpx.Client(base_url=self.url, timeout=QUICK)
        try:
            self._sdk = Sdk(base_url=self.url, api_key=api_key, httpx_client=self._http)
        except ApiError as error:
            raise LabelStudioError(f"LABEL_STUDIO_API_KEY: {_reason(error.body)}") from None

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def auth_headers(self) -> dict[str, str]:
        """The header that opens this Label Studio, images included.

        A personal access token is exchanged for an access token that lives five minutes: ask before every request.
        """
        try:
            headers = self._sdk._client_wrapper.get_headers()
        except ApiError as error:
            raise Refused(
                f"{self.url} does not accept LABEL_STUDIO_API_KEY: {_reason(error)}; make a new token in its "
                "Account & Settings",
                error.status_code or 401,
            ) from None
        except ValueError:
            raise LabelStudioError(
                f"{self.url} answers, but not as Label Studio does: is LABEL_STUDIO_URL right?"
            ) from None
        return {"Authorization": str(headers["Authorization"])}

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, Any] | None = None,
        files: Any = None,
        timeout: httpx.Timeout = QUICK,
        missing_is_none: bool = False,
    ) -> Any:
        """The JSON that came back, or None for an empty body (and for 404 if `missing_is_none`).

        What must not happen twice is repeated only where the connection was never made. Raises `Refused` for an error
        status, `LabelStudioError` where nobody answers.
        """
        repeatable = method in _REPEATABLE
        repeat = (httpx.TransportError, _Passing) if repeatable else (httpx.ConnectError, httpx.ConnectTimeout)
        content = None if body is None else json.dumps(body).encode()
        try:
            for attempt in stamina.retry_context(on=repeat, attempts=5, timeout=60.0, wait_initial=0.2, wait_max=8.0):
                with attempt:
                    response = self._send(method, path, content, params, files, timeout)
                    if repeatable:
                        _raise_if_passing(response)
        except (httpx.HTTPError, _Passing) as error:
            raise LabelStudioError(
                f"{method} {self.url}{path}: {_reason(error)}; is Label Studio running and LABEL_STUDIO_URL right?"
            ) from None
        if response.status_code == httpx.codes.NOT_FOUND and missing_is_none:
            return None
        if not response.is_success:
            reason = _reason(_decoded(response))
            raise Refused(f"{method} {self.url}{path}: {response.status_code} {reason}", response.status_code)
        return _decoded(response) if response.content else None

    def _send(
        self, method: str, path: str, content: bytes | None, params: Any, files: Any, timeout: httpx.Timeout
    ) -> httpx.Response:
        for _ in range(2):
            headers = self.auth_headers()
            if content is not None:
                headers["Content-Type"] = "application/json"
            response = self._http.request(
                method, path, content=content, params=params, files=files, headers=headers, timeout=timeout
            )
            # An access token can expire on its way; the next one is fresh.
            if response.status_code != httpx.codes.UNAUTHORIZED or not headers["Authorization"].startswith("Bearer"):
                break
        return response


def _raise_if_passing(response: httpx.Response) -> None:
    # SQLite refuses a write while another one lasts.
    locked = response.status_code == httpx.codes.INTERNAL_SERVER_ERROR and b"database is locked" in response.content
    if locked or response.status_code in _PASSING:
        raise _Passing(f"{response.status_code} {_reason(_decoded(response))}")


def _decoded(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return response.text


def _reason(found: Any) -> str:
    """The sentence in one of Label Studio's error bodies, cut short: it may repeat what was sent."""
    if isinstance(found, ApiError):
        return f"{found.status_code} {_reason(found.body)}"
    if isinstance(found, Mapping):
        parts = [str(found[key]) for key in ("detail", "validation_errors", "error") if found.get(key)]
        return "; ".join(parts)[:500] or "no reason given"
    if isinstance(found, Exception):
        return f"{type(found).__name__}: {found}" if str(found) else type(found).__name__
    return str(found)[:300] or "no reason given"
