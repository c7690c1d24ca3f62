"""A Label Studio project connected so that predictions arrive, events are heard and the order counts.

`set_up` states how things must be and mends what is not so; calling it again changes nothing. What it relies on was
measured with Label Studio 1.23.2: the queue follows the scores only under uncertainty sampling while
``project.model_version``, the backend's title and the version of the predictions are one and the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from hemaloop import projects
from hemaloop.client import Json, LabelStudio, ProjectInfo, Refused
from hemaloop.config import Settings
from hemaloop.errors import LabelConfigError, LabelStudioError
from hemaloop.labelconfig import parse_label_config
from hemaloop.store import ArtifactStore

SAMPLING = "Uncertainty sampling"
SECRET_HEADER = "X-Hemaloop-Secret"  # noqa: S105 - the name of the header, not the secret
BLOCKED = "reserved network address"
"""In what Label Studio says of an address that it does not let through."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Connected:
    """A project as set up. changes: what was mended, empty the second time. notes: what people should know."""

    project: ProjectInfo
    version: str
    changes: tuple[str, ...]
    notes: tuple[str, ...]


def shipped_config(name: str) -> str:
    """XML of a labelling config that comes with hemaloop, such as ``"cbc"``. Raises `LabelConfigError` naming all."""
    here = Path(__file__).resolve()
    for folder in (here.parent / "labeling_configs", here.parents[2] / "labeling_configs"):
        if (folder / f"{name}.xml").is_file():
            return (folder / f"{name}.xml").read_text(encoding="utf-8")
    known = sorted(
        path.stem
        for folder in (here.parent / "labeling_configs", here.parents[2] / "labeling_configs")
        for path in folder.glob("*.xml")
    )
    raise LabelConfigError(f"labelling config {name!r}: none of that name is shipped; shipped: {', '.join(known)}")


def create_project(studio: LabelStudio, title: str, label_config: str) -> ProjectInfo:
    """A new project with that labelling config, in the order that the scores give."""
    parse_label_config(label_config).require_bound()
    body = {"title": title, "label_config": label_config, "sampling": SAMPLING, "show_collab_predictions": True}
    return ProjectInfo.from_json(studio.request("POST", "/api/projects", body=body))


def add_local_storage(studio: LabelStudio, project_id: int, folder: Path, title: str = "images") -> None:
    """Let the project serve a folder of Label Studio's machine, inside (not equal to) its LOCAL_FILES_DOCUMENT_ROOT."""
    path = str(folder.resolve())
    stored = studio.request("GET", "/api/storages/localfiles", params={"project": project_id})
    if any(storage.get("path") == path for storage in stored):
        return
    body = {"project": project_id, "title": title, "path": path, "use_blob_urls": True, "regex_filter": ".*"}
    studio.request("POST", "/api/storages/localfiles", body=body)


def set_up(studio: LabelStudio, settings: Settings, project_id: int, *, replace: bool = False) -> Connected:
    """Connect a project whose labelling config is bound, or mend what is not as it must be.

    replace: take over where another backend is connected; Label Studio uses only the first.
    Raises `LabelConfigError` for a binding that cannot be served, `LabelStudioError` where something cannot be set,
    with the remedy.
    """
    info = studio.project(project_id)
    config = parse_label_config(info.label_config)
    config.require_bound()
    found = projects.faults(config)
    if found:
        raise LabelConfigError(f"project {project_id}:\n" + "\n".join(f"  {fault}" for fault in found))
    store = ArtifactStore(settings.artifacts)
    version = projects.live_model(info.key, config, store, store.published(info.key)).version

    changes = [
        *_backend(studio, settings, info, version, replace),
        *_webhook(studio, settings, project_id),
        *_order(studio, project_id, version),
    ]
    info = _verified(studio, settings, project_id, version)
    return Connected(info, version, tuple(changes), (*projects.notes(config), *order_notes(info)))


def order_notes(info: ProjectInfo) -> list[str]:
    """What keeps the order from being exact, and why; empty where it is exact."""
    if info.maximum_annotations <= 1:
        return []
    return [
        f"the project asks for {info.maximum_annotations} annotations a task: Label Studio first hands out tasks that "
        "others began, at random among them, and only then the most relevant one, so the order is not exact; it is "
        "exact with 1 (project settings, Quality, annotations per task)"
    ]


def _backend(studio: LabelStudio, settings: Settings, info: ProjectInfo, version: str, replace: bool) -> list[str]:
    present = studio.backend(info.id)
    if present is not None and not is_ours(present, settings):
        if not replace:
            raise LabelStudioError(
                f"project {info.id}: the backend {present['title']!r} at {present['url']} is connected, and Label "
                "Studio uses only the first; remove it in the project's settings (Model), or use --replace"
            )
        studio.request("DELETE", f"/api/ml/{present['id']}")
        _remove_webhooks(studio, info.id, f"{str(present['url']).rstrip('/')}/webhook")
        return [f"backend {present['url']} removed", *_connect(studio, settings, info, version)]
    if present is None:
        return _connect(studio, settings, info, version)
    right = {
        "title": version,
        "url": settings.backend_url,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": settings.username,
        # Somebody may want its answers although no tool of the config asks: that is left alone.
        **({"is_interactive": True} if parse_label_config(info.label_config).smart else {}),
    }
    wrong = [name for name, value in right.items() if present.get(name) != value]
    if not wrong and present.get("readable_state") == "Connected":
        return []
    with _explained(settings, info.id):
        studio.change_backend(present, **right, basic_auth_pass=settings.password.get_secret_value())
    return [f"backend mended ({', '.join(wrong) or present.get('readable_state')})"]


def _connect(studio: LabelStudio, settings: Settings, info: ProjectInfo, version: str) -> list[str]:
    try:
        with _explained(settings, info.id):
            studio.connect_backend(
                info.id,
                url=settings.backend_url,
                title=version,
                username=settings.username,
                password=settings.password.get_secret_value(),
                is_interactive=parse_label_config(info.label_config).smart,
            )
    except LabelStudioError:
        # A refused connection can leave a row without a webhook, and only the first row would ever be used.
        leftover = studio.backend(info.id)
        if leftover is not None and is_ours(leftover, settings):
            studio.request("DELETE", f"/api/ml/{leftover['id']}")
        raise
    return [f"backend {settings.backend_url} connected as {version!r}"]


@contextmanager
def _explained(settings: Settings, project_id: int) -> Iterator[None]:
    """Say what to do where Label Studio refuses this backend."""
    try:
        yield
    except Refused as error:
        remedy = remedy_of(str(error), settings)
        if remedy is None:
            raise
        raise LabelStudioError(f"project {project_id}: {remedy}") from None


def remedy_of(said: str, settings: Settings) -> str | None:
    """What mends it where Label Studio says that it cannot use a backend, None where it says something unknown."""
    if BLOCKED in said:
        return (
            "Label Studio refuses backends on private addresses: start it with both ML_BLOCK_LOCAL_IP=false and "
            "SSRF_PROTECTION_ENABLED=false (or USE_DEFAULT_BANNED_SUBNETS=false)"
        )
    if "authentication parameters" in said or "401" in said:
        return (
            f"the backend at {settings.backend_url} runs with another HEMALOOP_USERNAME or HEMALOOP_PASSWORD than "
            "this command: give both the same"
        )
    if "health check failed" in said or "refused" in said:
        return (
            f"Label Studio does not reach the backend at {settings.backend_url}: start `hemaloop serve`, or set "
            "HEMALOOP_PUBLIC_URL to the address at which Label Studio reaches it"
        )
    return None


def is_ours(backend: Json, settings: Settings) -> bool:
    """Whether it is this backend, possibly at an earlier port: same host, same user."""
    same_host = urlsplit(str(backend["url"])).hostname == urlsplit(settings.backend_url).hostname
    return str(backend["url"]) == settings.backend_url or (
        same_host and backend.get("basic_auth_user") == settings.username and not _answers(str(backend["url"]))
    )


def _answers(url: str) -> bool:
    try:
        httpx.get(f"{url.rstrip('/')}/health", timeout=2.0)
    except httpx.HTTPError:
        return False
    return True


def _webhook(studio: LabelStudio, settings: Settings, project_id: int) -> list[str]:
    url = f"{settings.backend_url}/webhook"
    fields = {
        "url": url,
        "headers": {SECRET_HEADER: settings.webhook_secret.get_secret_value()},
        "is_active": True,
        "send_payload": True,
        "send_for_all_actions": True,
    }
    mine = [
        hook for hook in studio.webhooks(project_id) if hook.get("project") == project_id and is_our_hook(hook, url)
    ]
    for extra in mine[1:]:
        studio.request("DELETE", f"/api/webhooks/{extra['id']}/")
    if not mine:
        studio.request("POST", "/api/webhooks/", body={**fields, "project": project_id})
        return ["webhook created"]
    if all(mine[0].get(name) == value for name, value in fields.items()):
        return []
    studio.update_webhook(mine[0]["id"], **fields)
    return ["webhook set: with the secret header, for all events"]


def _remove_webhooks(studio: LabelStudio, project_id: int, url: str) -> None:
    """Label Studio makes one for each backend that is connected, and leaves it there when the backend goes."""
    for hook in studio.webhooks(project_id):
        if hook.get("project") == project_id and hook["url"] == url:
            studio.request("DELETE", f"/api/webhooks/{hook['id']}/")


def is_our_hook(hook: Json, url: str) -> bool:
    """This backend's webhook, or that of an earlier port, which carries the secret header."""
    return hook["url"] == url or SECRET_HEADER in (hook.get("headers") or {})


def _order(studio: LabelStudio, project_id: int, version: str) -> list[str]:
    info = studio.project(project_id)
    changes = []
    if info.sampling != SAMPLING:
        changes.append(f"sampling {info.sampling!r} -> {SAMPLING!r}")
    if info.model_version != version:
        changes.append(f"model version {info.model_version!r} -> {version!r}")
    if changes:
        studio.update_project(project_id, sampling=SAMPLING, model_version=version, show_collab_predictions=True)
    return changes


def _verified(studio: LabelStudio, settings: Settings, project_id: int, version: str) -> ProjectInfo:
    """The project, read back. Raises `LabelStudioError` that names what is not as it was set."""
    info, backend = studio.project(project_id), studio.backend(project_id)
    hooks = [hook for hook in studio.webhooks(project_id) if hook["url"] == f"{settings.backend_url}/webhook"]
    wrong = []
    if backend is None or backend["url"] != settings.backend_url or backend["title"] != version:
        wrong.append(f"backend: found {backend and (backend['url'], backend['title'])}")
    elif backend["readable_state"] != "Connected":
        wrong.append(f"backend: {backend['readable_state']}: {backend.get('error_message')}")
    if len(hooks) != 1 or SECRET_HEADER not in (hooks[0].get("headers") or {}):
        wrong.append(f"webhook: found {len(hooks)} of this backend, expected one with its secret header")
    if (info.sampling, info.model_version) != (SAMPLING, version):
        wrong.append(f"order: found {info.sampling!r} by {info.model_version!r}")
    if wrong:
        raise LabelStudioError(
            f"project {project_id} is not as it was set ({'; '.join(wrong)}), expected {version!r} under {SAMPLING!r} "
            f"at {settings.backend_url}; somebody may have changed it meanwhile: run the set-up again"
        )
    return info
