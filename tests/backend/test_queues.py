from __future__ import annotations

import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import redis
import torch
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from hemaloop.debounce import Busy, WorkLock
from hemaloop.errors import QueueError
from hemaloop.ledger import PREDICTING
from hemaloop.progress import JobProgress
from hemaloop.queues import Queues
from hemaloop.supervisor import enqueue_due
from loop_stage import PROJECT, settings, wait_until


@pytest.fixture
def queues(tmp_path: Path, redis_url: str) -> Queues:
    return Queues(settings(tmp_path, redis_url=redis_url, train_debounce_seconds=30.0))


def test_two_hundred_events_lead_to_one_job(queues: Queues) -> None:
    began = time.perf_counter()
    jobs = {queues.request_training(PROJECT, "webhook") for _ in range(200)}
    assert time.perf_counter() - began < 10
    assert len(jobs) == 1
    assert [job["status"] for job in queues.running(PROJECT)] == ["scheduled"]


def test_two_hundred_events_from_many_threads_lead_to_one_job(queues: Queues) -> None:
    jobs: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: jobs.extend(queues.request_training(PROJECT, "webhook") for _ in range(10)))
        for _ in range(20)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs) == 200
    assert len(set(jobs)) == 1


def test_projects_do_not_wait_for_one_another(queues: Queues) -> None:
    assert queues.request_training("7.1", "webhook") != queues.request_training("8.1", "webhook")


def test_an_event_after_the_job_has_begun_leads_to_another_job(queues: Queues) -> None:
    from hemaloop.debounce import Debounce

    first = queues.request_training(PROJECT, "webhook")
    Debounce(queues.redis, "train").give_up(PROJECT)
    assert queues.request_training(PROJECT, "webhook") != first


def test_a_claim_whose_job_vanished_is_taken_over(queues: Queues) -> None:
    first = queues.request_training(PROJECT, "webhook")
    assert first is not None
    Job.fetch(first, connection=queues.redis, serializer=JSONSerializer).delete()
    assert queues.request_training(PROJECT, "webhook") == first, "it may be about to be written"
    queues.redis.expire(f"hemaloop:pending:train:{PROJECT}", 1000)  # as if the claim were old
    second = queues.request_training(PROJECT, "webhook")
    assert second != first
    assert queues.running(PROJECT)[0]["id"] == second


def test_a_person_who_asks_does_not_wait(queues: Queues) -> None:
    queues.request_training(PROJECT, "webhook")
    asked = queues.request_training(PROJECT, "Start training", now=True)
    assert asked is not None
    assert queues.job_status(asked)["status"] == "queued"
    assert queues.request_training(PROJECT, "webhook") == asked


def test_a_delayed_job_is_enqueued_once_when_its_time_has_come(queues: Queues) -> None:
    job = queues.queue("train").enqueue_in(timedelta(seconds=-1), "hemaloop.jobs.train", args=(PROJECT, "x"))
    later = queues.queue("train").enqueue_in(timedelta(hours=1), "hemaloop.jobs.train", args=(PROJECT, "y"))
    moved: list[int] = []
    threads = [threading.Thread(target=lambda: moved.append(enqueue_due(queues))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(moved) == 1
    assert queues.queue("train").job_ids == [job.id]
    assert queues.job_status(later.id)["status"] == "scheduled"


def test_a_waiting_job_is_cancelled_at_once_and_its_claim_with_it(queues: Queues) -> None:
    job = queues.request_training(PROJECT, "webhook")
    assert job is not None
    assert queues.cancel(job)
    assert queues.job_status(job)["status"] == "cancelled"
    assert not queues.cancel(job)
    assert queues.request_training(PROJECT, "webhook") != job


def test_a_job_between_its_queue_and_its_process_is_running(queues: Queues) -> None:
    job = queues.request_scores(PROJECT, "test")
    assert queues.redis.lpop(queues.queue("score").key) == job.encode()
    assert [told["id"] for told in queues.running(PROJECT)] == [job]


def test_a_job_that_is_over_is_not_running_and_is_forgotten(queues: Queues) -> None:
    over, waiting = queues.request_scores(PROJECT, "test"), queues.request_training(PROJECT, "test")
    Job.fetch(over, connection=queues.redis, serializer=JSONSerializer).set_status(JobStatus.FINISHED)
    assert [told["id"] for told in queues.running(PROJECT)] == [waiting]
    assert queues.ledger.jobs(PROJECT) == [waiting]
    assert queues.running("8.1") == []


@pytest.mark.parametrize("name", ["nothing", "7.1790000000", "a:b", "../x", ""])
def test_unknown_jobs_are_unknown(queues: Queues, name: str) -> None:
    assert queues.job_status(name) == {"id": name, "status": "unknown"}
    assert not queues.cancel(name)


def test_unfinished_tasks_are_split_into_jobs_of_ids(queues: Queues) -> None:
    jobs = queues.finish_predictions(PROJECT, list(range(12)), "v1")
    assert len(jobs) == 3
    job = Job.fetch(jobs[0], connection=queues.redis, serializer=JSONSerializer)
    assert job.args == [PROJECT, [0, 1, 2, 3, 4], "v1"]


def test_without_redis_the_caller_hears_so_quickly_and_without_the_password(tmp_path: Path) -> None:
    gone = Queues(settings(tmp_path, redis_url="redis://:hidden-word@127.0.0.1:9/0"))
    began = time.perf_counter()
    with pytest.raises(QueueError, match="Redis: cannot be used") as caught:
        gone.request_training(PROJECT, "webhook")
    assert time.perf_counter() - began < 3
    assert "hidden-word" not in str(caught.value)


def test_a_lock_keeps_a_second_worker_out_and_outlives_its_own_time_while_held(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        with WorkLock(connection, "train:x", seconds=0.6) as lock:
            time.sleep(1.0)
            lock.check()
            with pytest.raises(Busy, match="another worker"), WorkLock(connection, "train:x", seconds=0.6):
                pass
        with WorkLock(connection, "train:x", seconds=0.6):
            pass


def test_a_lock_expires_with_its_worker(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection:
        connection.set("hemaloop:lock:train:x", "of a dead worker", px=500)
        with pytest.raises(Busy), WorkLock(connection, "train:x"):
            pass
        with WorkLock(connection, "train:x", wait=5.0) as lock:
            lock.check()


def test_a_lock_that_another_worker_took_meanwhile_says_so(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection, WorkLock(connection, "train:x") as lock:
        connection.set("hemaloop:lock:train:x", "of another worker")
        with pytest.raises(QueueError, match="lost while working"):
            lock.check()


def test_a_lock_that_redis_forgot_is_taken_again(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as connection, WorkLock(connection, "train:x") as lock:
        connection.flushall()
        lock.check()


def test_predictions_are_waited_for_only_so_long(queues: Queues) -> None:
    queues.mark_predicting(0.2)
    assert queues.ledger.predicting()
    wait_until(lambda: not queues.ledger.predicting(), seconds=5)


def test_a_training_keeps_to_one_thread_while_somebody_waits_for_a_prediction(queues: Queues) -> None:
    before = torch.get_num_threads()
    try:
        with JobProgress(None, queues.ledger, threads=3) as training:
            queues.mark_predicting(60)
            training.report(1, 1, "epoch 1")
            assert torch.get_num_threads() == 1
            queues.redis.delete(PREDICTING)
            training.report(1, 1, "epoch 2")
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
