"""Checks of Label Studio as a whole: whether it answers, whom it takes us for, its version, its clock."""

from __future__ import annotations

import base64
import json
import re
import time
from email.utils import parsedate_to_datetime

import httpx

from hemaloop.client import Refused
from hemaloop.doctor.finding import Finding, fail, ok, warn
from hemaloop.doctor.patient import Patient
from hemaloop.errors import LabelStudioError
from hemaloop.label_studio_server import VERSION
from hemaloop.project_setup import BLOCKED, remedy_of

DRIFT_SECONDS = 5.0
MOST_DRIFT_SECONDS = 60.0
"""Access tokens live five minutes, and delayed jobs start by this machine's clock."""
_SECONDS = 10.0
_NEW_TOKEN = "LABEL_STUDIO_API_KEY=<a personal access token: Label Studio, Account & Settings>"  # noqa: S105 - none


def label_studio_answers(patient: Patient) -> Finding:
    """Somebody is at LABEL_STUDIO_URL."""
    url = patient.settings.label_studio_url
    try:
        answer = httpx.get(f"{url}/health", timeout=_SECONDS, follow_redirects=True)
    except httpx.HTTPError as error:
        return fail(
            f"nothing answers at {url} ({type(error).__name__})", "start Label Studio, or correct LABEL_STUDIO_URL"
        )
    if not answer.is_success or "UP" not in answer.text:
        return fail(f"{url} answers {answer.status_code}, and not as Label Studio does", "correct LABEL_STUDIO_URL")
    return ok(url)


def key_is_accepted(patient: Patient) -> Finding:
    """LABEL_STUDIO_API_KEY is a token of a kind that lasts, and Label Studio takes it."""
    key = patient.settings.label_studio_api_key.get_secret_value()
    kind = token_kind(key)
    if kind == "none":
        return fail("LABEL_STUDIO_API_KEY is empty", _NEW_TOKEN)
    if kind == "access":
        return fail("LABEL_STUDIO_API_KEY is an access token, which lives five minutes", _NEW_TOKEN)
    try:
        who = patient.studio.request("GET", "/api/current-user/whoami")
    except LabelStudioError as error:
        return _refused(kind, error)
    return ok(f"{_CALLED[kind]} of {who.get('email', 'somebody')}")


_CALLED = {"personal": "personal access token", "legacy": "legacy token", "other": "token"}


def _refused(kind: str, error: LabelStudioError) -> Finding:
    unauthorised = isinstance(error, Refused) and error.status in (401, 403)
    if kind == "legacy" and unauthorised:
        return fail(
            "Label Studio refuses the legacy token: it is wrong, or legacy tokens are off in the organisation",
            f"Label Studio, Organization, Access Token Settings: switch Legacy Tokens on; or {_NEW_TOKEN}",
        )
    return fail(f"Label Studio refuses LABEL_STUDIO_API_KEY: {error}", _NEW_TOKEN)


def token_kind(key: str) -> str:
    """ "none", "legacy" (40 hexadecimal digits), "personal" or "access" (JSON web tokens that say so), or "other"."""
    if not key.strip():
        return "none"
    if re.fullmatch(r"[0-9a-f]{40}", key):
        return "legacy"
    parts = key.split(".")
    if len(parts) != 3:
        return "other"
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except ValueError:
        return "other"
    said = claims.get("token_type") if isinstance(claims, dict) else None
    return {"refresh": "personal", "access": "access"}.get(str(said), "other")


def address_is_let_through(patient: Patient) -> Finding:
    """Label Studio's protection against requests into its own network lets this backend's address through.

    Both requests name no project and are refused whatever the address; nothing is made. A webhook to a blocked address
    is dropped without a word, even where the backend was connected before.
    """
    url = patient.settings.backend_url
    for path, address in (("/api/ml/", url), ("/api/webhooks/", f"{url}/webhook")):
        try:
            patient.studio.request("POST", path, body={"url": address, "project": "none"})
        except Refused as error:
            remedy = remedy_of(str(error), patient.settings) if BLOCKED in str(error) else None
            if remedy is not None:
                return fail(f"Label Studio blocks {address}, an address of a private network", remedy)
    return ok(url)


def version_is_known(patient: Patient) -> Finding:
    """What Label Studio does beside its API was measured with one version."""
    found = str(patient.studio.request("GET", "/api/version/").get("release", "?"))
    if found.split(".")[:2] != VERSION.split(".")[:2]:
        return warn(
            f"Label Studio {found}; the order of tasks was measured with {VERSION}", f"install label-studio=={VERSION}"
        )
    return ok(f"Label Studio {found}")


def clocks_agree(patient: Patient) -> Finding:
    """This machine, Label Studio's and Redis's tell the same time."""
    began = time.time()
    answer = httpx.get(f"{patient.settings.label_studio_url}/health", timeout=_SECONDS, follow_redirects=True)
    seen = (began + time.time()) / 2
    drifts = {"Redis": _redis_time(patient) - time.time()}
    if answer.headers.get("Date"):
        drifts["Label Studio"] = parsedate_to_datetime(answer.headers["Date"]).timestamp() + 0.5 - seen
    who, drift = max(drifts.items(), key=lambda item: abs(item[1]))
    found = f"{who}'s clock is {abs(drift):.0f} s {'ahead of' if drift > 0 else 'behind'} this machine's"
    remedy = "timedatectl set-ntp true, on both machines"
    if abs(drift) > MOST_DRIFT_SECONDS:
        return fail(found, remedy)
    return warn(found, remedy) if abs(drift) > DRIFT_SECONDS else ok(f"within {max(1.0, abs(drift)):.0f} s")


def _redis_time(patient: Patient) -> float:
    seconds, microseconds = patient.queues.redis.time()
    return float(seconds) + float(microseconds) / 1e6
