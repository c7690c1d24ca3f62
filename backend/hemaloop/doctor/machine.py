"""Checks of this installation: the backend, Redis, workers, disk, the store, families."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from redis.exceptions import RedisError
from rq.worker import Worker

from hemaloop import registry
from hemaloop.doctor.finding import Finding, fail, ok, warn
from hemaloop.doctor.patient import Patient
from hemaloop.errors import StoreError
from hemaloop.queues import NAMES
from hemaloop.worker import gone

GIB = 2**30
LEAST_ROOM = GIB // 2
"""Bytes. A training writes a model of some hundred megabytes twice before it is there."""
WANTED_ROOM = 5 * GIB
_SECONDS = 5.0


def backend_answers(patient: Patient) -> Finding:
    """`hemaloop serve` at the address that Label Studio is told, with this password."""
    settings = patient.settings
    url = settings.backend_url
    try:
        answer = httpx.get(
            f"{url}/health", auth=(settings.username, settings.password.get_secret_value()), timeout=_SECONDS
        )
        body = answer.json() if answer.is_success else {}
    except httpx.HTTPError as error:
        return fail(
            f"nothing answers at {url} ({type(error).__name__})",
            "hemaloop serve, or set HEMALOOP_PUBLIC_URL to the address at which Label Studio reaches it",
        )
    except ValueError:
        body = {}
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return fail(
            f"the backend at {url} runs with another HEMALOOP_USERNAME or HEMALOOP_PASSWORD",
            "start `hemaloop serve` again with the settings that this command has",
        )
    if not isinstance(body, dict) or body.get("model_class") != "hemaloop":
        return fail(
            f"{url} answers {answer.status_code}, and not as hemaloop does",
            f"set HEMALOOP_PORT to a port that no other program has ({urlsplit(url).port} is taken)",
        )
    return ok(f"{url} answers in {1000 * answer.elapsed.total_seconds():.0f} ms")


def redis_answers(patient: Patient) -> Finding:
    """Redis, which holds the queues, and whether it may drop what it holds."""
    embedded = patient.settings.redis_url is None
    try:
        connection = patient.queues.redis
        connection.ping()
        policy = connection.config_get("maxmemory-policy").get("maxmemory-policy")
        limit = int(connection.config_get("maxmemory").get("maxmemory") or 0)
    except RedisError as error:
        remedy = (
            "hemaloop serve, which starts it (as `hemaloop worker` does)"
            if embedded
            else "start the server that REDIS_URL names, or correct the address and password in it"
        )
        return fail(f"cannot be used ({type(error).__name__})", remedy)
    if limit and policy != "noeviction":
        return warn(
            f"may drop jobs: at {limit:,} bytes it evicts by {policy}",
            "redis-cli CONFIG SET maxmemory-policy noeviction",
        )
    return ok(f"answers ({'embedded' if embedded else 'REDIS_URL'})")


def workers_run(patient: Patient) -> Finding:
    """Each queue has a worker whose process is alive."""
    connection = patient.queues.redis
    alive = {
        name: [one.name for one in Worker.all(queue=patient.queues.queue(name)) if not gone(one.name, connection)]
        for name in NAMES
    }
    missing = [name for name in ("train", "push", "score") if not alive[name]]
    if missing:
        waiting = sum(patient.queues.waiting(name) for name in missing)
        return fail(f"nobody takes jobs of {', '.join(missing)}; {waiting} wait", "hemaloop worker")
    return ok(f"{len({name for names in alive.values() for name in names})} worker processes")


def disk_has_room(patient: Patient) -> Finding:
    """Where models, images and Redis's file are written."""
    places = {str(_existing(patient.settings.data_dir.resolve()))}
    parts = urlsplit(patient.settings.artifacts)
    if parts.scheme == "file":
        places.add(str(_existing(Path(parts.path))))
    room = {place: shutil.disk_usage(place).free for place in sorted(places)}
    place, free = min(room.items(), key=lambda item: item[1])
    found = f"{free / GIB:.1f} GiB free in {place}"
    remedy = (
        f"make room there, or set HEMALOOP_DATA_DIR to another disk; HEMALOOP_IMAGE_CACHE_BYTES "
        f"({patient.settings.image_cache_bytes / GIB:.1f} GiB) can be less"
    )
    if free < LEAST_ROOM:
        return fail(f"{found}: trainings cannot store their models", remedy)
    return warn(found, remedy) if free < WANTED_ROOM else ok(found)


def _existing(path: Path) -> Path:
    return next(parent for parent in (path, *path.parents) if parent.exists())


def store_can_be_written(patient: Patient) -> Finding:
    """The artifact store takes a file and gives it back."""
    try:
        patient.store.put_scratch("doctor", "written", b"hemaloop")
        found = patient.store.get_scratch("doctor", "written")
        patient.store.remove("doctor")
    except (StoreError, OSError) as error:
        return fail(
            str(error), f"let this user write to {patient.store.url}, or set HEMALOOP_ARTIFACTS_URL to another place"
        )
    if found != b"hemaloop":
        return fail(f"{patient.store.url} does not give back what was written", "set HEMALOOP_ARTIFACTS_URL")
    return ok(patient.store.url)


def families_import(patient: Patient) -> Finding:
    """Every installed model family can be imported."""
    del patient
    broken = [one for one in registry.all_registered() if one.fault]
    if broken:
        told = "; ".join(f"{one.name!r} is disabled: {one.fault}" for one in broken)
        return fail(told, f"hemaloop plugins list {broken[0].name}" if len(broken) == 1 else "hemaloop plugins list")
    return ok(", ".join(one.name for one in registry.all_registered()))
