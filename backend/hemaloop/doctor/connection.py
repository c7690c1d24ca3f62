"""Checks of the way between a project and this backend: its binding, the backend's entry, the webhook."""

from __future__ import annotations

from hemaloop import projects, registry
from hemaloop.doctor.finding import Finding, Level, fail, ok, warn
from hemaloop.doctor.label_studio import address_is_let_through
from hemaloop.doctor.machine import backend_answers
from hemaloop.doctor.patient import Patient
from hemaloop.errors import LabelConfigError
from hemaloop.labelconfig import LabelConfig
from hemaloop.project_setup import SECRET_HEADER, is_our_hook, is_ours, remedy_of
from hemaloop.results import KIND_OF


def config_is_bound(patient: Patient) -> Finding:
    """A control of the labelling config names a model family, and that family can serve it."""
    number = patient.project
    try:
        bound = patient.config.require_bound()
    except LabelConfigError as error:
        return fail(str(error), f"hemaloop attach {number} --family {_fitting_family(patient.config)} --write")
    faults = projects.faults(patient.config)
    if faults:
        return fail("; ".join(faults), f"correct the labelling config: project {number}, Settings, Labeling Interface")
    return ok(", ".join(f"{one.name} by {one.binding.family}" for one in bound if one.binding is not None))


def _fitting_family(config: LabelConfig) -> str:
    """The first family that gives what one of the controls holds; the name is for the reader to choose."""
    kinds = {control.kind for control in config.controls}
    families = [one for one in registry.all_registered() if one.plugin is not None]
    fitting = [one.name for one in families if one.plugin is not None and KIND_OF[one.plugin.produces] in kinds]
    return fitting[0] if fitting else "FAMILY"


def model_knows_the_labels(patient: Patient) -> Finding:
    """The labels of each bound control are those that its live model gives."""
    number = patient.project
    for control in patient.config.bound:
        part = patient.live.parts[control.name]
        unknown = [label for label in control.model_labels if label not in part.labels]
        if unknown:
            names = ", ".join(map(repr, unknown))
            return warn(
                f"control {control.name!r}: {part.version} does not know {names} (it knows {', '.join(part.labels)}), "
                "so nothing of it is shown",
                f"annotate some and `hemaloop project train {number}`; or, where the model has another name for it, "
                '<Label value="…" model_label="…"/> in the labelling config',
            )
    notes = [note for note in projects.notes(patient.config) if "has no counterpart" in note]
    if notes and not patient.live.ready:
        return warn(notes[0], f'write model_label="…" into the labelling config, or `hemaloop project train {number}`')
    return ok("; ".join(f"{part.version}: {', '.join(part.labels)}" for part in patient.live.parts.values()))


def backend_is_connected(patient: Patient) -> Finding:
    """The project's first backend, the only one that Label Studio uses, is this one, and Label Studio reaches it."""
    settings, backend = patient.settings, patient.backend
    if backend is None:
        return fail("no backend is connected", patient.setup)
    if not is_ours(backend, settings):
        return fail(f"{backend['url']} is connected, and only the first is used", f"{patient.setup} --replace")
    if backend.get("url") != settings.backend_url:
        return fail(f"the backend is connected as {backend['url']}, and is at {settings.backend_url}", patient.setup)
    if backend.get("readable_state") != "Connected":
        said = f"{backend.get('readable_state')}: {backend.get('error_message') or 'no reason given'}"
        return fail(f"Label Studio cannot use the backend: {said[:300]}", _why_not_used(patient, said))
    if backend.get("auth_method") != "BASIC_AUTH" or backend.get("basic_auth_user") != settings.username:
        return fail("Label Studio does not send this backend's user name", patient.setup)
    return ok(f"{backend['url']}: {backend['readable_state']}")


def _why_not_used(patient: Patient, said: str) -> str:
    """What mends it where Label Studio does not use the backend, which it does not always say."""
    for check in (address_is_let_through, backend_answers):
        finding = check(patient)
        if finding.level is Level.FAIL:
            return finding.remedy
    return remedy_of(said, patient.settings) or patient.setup


def webhook_is_set(patient: Patient) -> Finding:
    """Exactly one webhook leads here, active, for all events, with the secret."""
    url = f"{patient.settings.backend_url}/webhook"
    hooks = [one for one in patient.studio.webhooks(patient.project) if one.get("project") == patient.project]
    mine = [hook for hook in hooks if is_our_hook(hook, url)]
    if not mine:
        return fail("no webhook leads to this backend, so nothing is learned until it is looked for", patient.setup)
    hook = mine[0]
    secret = patient.settings.webhook_secret.get_secret_value()
    given = (hook.get("headers") or {}).get(SECRET_HEADER)
    faults = {
        f"leads to {hook['url']}, expected {url}": hook["url"] != url,
        f"has no header {SECRET_HEADER}, so every event is refused": given is None,
        f"has another {SECRET_HEADER} than HEMALOOP_WEBHOOK_SECRET, so every event is refused": (
            given is not None and given != secret
        ),
        "is switched off": not hook.get("is_active"),
        "sends no project with its events": not hook.get("send_payload"),
        "is not for all events": not hook.get("send_for_all_actions"),
    }
    found = [fault for fault, holds in faults.items() if holds]
    if found:
        return fail(f"the webhook {'; '.join(found)}", patient.setup)
    if len(mine) > 1:
        return warn(f"{len(mine)} webhooks lead to this backend", patient.setup)
    return ok(url)
