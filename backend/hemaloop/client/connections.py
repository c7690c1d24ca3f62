"""What connects a project with this backend: the backend as Label Studio knows it, and the webhooks."""

from __future__ import annotations

from typing import Any

from hemaloop.client.transport import Json, Transport
from hemaloop.errors import LabelStudioError

_CHANGES = 5
"""Times that a change is made before it is told that it does not stay."""


class Connections(Transport):
    """The backends and webhooks of projects; a part of `hemaloop.client.LabelStudio`."""

    def backend(self, project_id: int) -> Json | None:
        """The project's first backend, the only one that is used, or None. Makes Label Studio check its health."""
        backends = self.request("GET", "/api/ml/", params={"project": project_id})
        return dict(min(backends, key=lambda item: int(item["id"]))) if backends else None

    def backend_title(self, project_id: int) -> str | None:
        """What the project's backend is called, None where there is none."""
        backend = self.backend(project_id)
        return None if backend is None else str(backend.get("title") or "")

    def connect_backend(
        self, project_id: int, *, url: str, title: str, username: str, password: str, is_interactive: bool = False
    ) -> Json:
        """Connect a backend with Basic auth. Label Studio calls its ``/health`` and ``/setup`` before answering."""
        body = {
            "project": project_id,
            "url": url,
            "title": title,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": username,
            "basic_auth_pass": password,
            "is_interactive": is_interactive,
        }
        created: Json = self.request("POST", "/api/ml/", body=body)
        return created

    def retitle_backend(self, project_id: int, title: str) -> None:
        """Rename the project's backend; ``project.model_version`` follows where both were equal."""
        backend = self.backend(project_id)
        if backend is None:
            raise LabelStudioError(f"project {project_id} has no backend; `hemaloop setup {project_id}` connects one")
        self.change_backend(backend, title=title)

    def change_backend(self, backend: Json, **fields: Any) -> None:
        """Change fields of what `backend` found, so that they stay changed.

        Whoever looks at a project's backends makes Label Studio ask them for their health and then save all that it
        had read before, which undoes a change made meanwhile. It is made again until two looks in a row show it.
        """
        # An empty password keeps the one that is stored.
        kept = {key: backend[key] for key in ("url", "project", "auth_method", "basic_auth_user")}
        body = {**kept, "basic_auth_pass": "", **fields}
        wanted = {key: value for key, value in fields.items() if key != "basic_auth_pass"}
        for _ in range(_CHANGES):
            self.request("PATCH", f"/api/ml/{backend['id']}", body=body)
            if all(wanted.items() <= (self.backend(backend["project"]) or {}).items() for _ in range(2)):
                return
        raise LabelStudioError(
            f"project {backend['project']}: its backend was changed {_CHANGES} times ({', '.join(wanted)}) and is not "
            "as it was set; somebody changes it at the same time: try again"
        )

    def webhooks(self, project_id: int) -> list[Json]:
        """The project's webhooks."""
        return list(self.request("GET", "/api/webhooks/", params={"project": project_id}))

    def update_webhook(self, webhook_id: int, **fields: Any) -> Json:
        """Change a webhook: ``headers``, ``is_active``…"""
        body: Json = self.request("PATCH", f"/api/webhooks/{webhook_id}/", body=fields)
        return body
