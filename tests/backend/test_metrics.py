"""What Prometheus is told: of this process, of the queues, of workers that are gone by then."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
import requests
from prometheus_client.parser import text_string_to_metric_families

import page_stage
import stub_plugin
import web_stage
from hemaloop import metrics
from loop_stage import PROJECT
from page_stage import NAME, PASSWORD


def told(page: page_stage.Page) -> dict[str, float]:
    """Every sample by its name and the values of its labels, these by their own names."""
    reply = requests.get(f"{page.url}/metrics", auth=(NAME, PASSWORD), timeout=60)
    assert reply.status_code == 200
    samples = [sample for family in text_string_to_metric_families(reply.text) for sample in family.samples]
    return {
        " ".join((sample.name, *(value for _, value in sorted(sample.labels.items())))): sample.value
        for sample in samples
    }


def test_requests_stages_jobs_and_models_are_told(tmp_path: Path, redis_url: str) -> None:
    with page_stage.page(tmp_path, redis_url) as page:
        page_stage.fill(page, rounds=1, images=12)
        task = {"id": 1, "data": {"image": page.studio.tasks[1]["data"]["image"]}}
        broken = {"id": 2, "data": {"image": "nothing"}}
        body = web_stage.predict_body([task, broken], stub_plugin.config("bare"), project=PROJECT)
        requests.post(f"{page.url}/predict", json=body, auth=(NAME, PASSWORD), timeout=120).raise_for_status()
        page.queues.request_training(PROJECT, "later", delay=600)
        page.queues.request_scores(PROJECT, "waits")
        found = told(page)
        version = page.store.published(PROJECT)
        assert version is not None
        assert found["hemaloop_predict_tasks_total stub predicted"] == 1
        assert found["hemaloop_predict_tasks_total stub failed"] == 1
        for stage in ("image", "model", "result"):
            assert found[f"hemaloop_predict_stage_seconds_count stub {stage}"] == 2
        assert found["hemaloop_http_seconds_count POST /predict 200"] == 1
        assert found["hemaloop_queue_jobs train delayed"] == 1
        assert found["hemaloop_queue_jobs score waiting"] == 1
        assert 0 <= found["hemaloop_queue_oldest_seconds score"] < 60
        assert found[f"hemaloop_model {PROJECT} {version.version}"] == 1
        assert found["hemaloop_trainings_total stub promoted"] == 1
        assert found["hemaloop_scored_tasks_total stub scored"] >= 12
        assert found["hemaloop_pushed_predictions_total"] >= 12
        assert found["hemaloop_redis_up"] == 1
        assert found["process_resident_memory_bytes"] > 0


def test_without_redis_the_process_still_tells_about_itself(tmp_path: Path) -> None:
    with page_stage.page(tmp_path, "redis://:secret-word@127.0.0.1:9/0") as page:
        found = told(page)
        assert found["hemaloop_redis_up"] == 0
        assert not any(name.startswith("hemaloop_queue_jobs") for name in found)


def test_metrics_are_for_those_who_know_the_password(tmp_path: Path) -> None:
    with page_stage.page(tmp_path, "redis://127.0.0.1:9/0") as page:
        assert requests.get(f"{page.url}/metrics", timeout=30).status_code == 401


def test_counters_add_up_over_processes_and_foreign_fields_are_left_out(redis_url: str) -> None:
    for _ in range(3):  # as many connections as processes
        with redis.Redis.from_url(redis_url) as connection:
            metrics.count(connection, "jobs", kind="train", outcome="finished")
            metrics.count(connection, "job_seconds", 1.5, kind="train")
    with redis.Redis.from_url(redis_url) as connection:
        connection.hset(metrics.KEY, "not json", "1")
        connection.hset(metrics.KEY, '["jobs", "one label too few"]', "1")
        connection.hset(metrics.KEY, '["unknown"]', "1")
        assert list(metrics.counted(connection)) == [
            ("job_seconds", ("train",), 4.5),
            ("jobs", ("train", "finished"), 3.0),
        ]


def test_a_count_without_redis_is_lost_and_nothing_else() -> None:
    with redis.Redis.from_url("redis://127.0.0.1:9/0") as connection:
        metrics.count(connection, "pushed_predictions", 5)
        with pytest.raises(redis.ConnectionError):
            list(metrics.counted(connection))
