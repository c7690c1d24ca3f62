from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import redis

from hemaloop.errors import QueueError
from hemaloop.redis_server import EmbeddedRedis, read_address, redis_url
from loop_stage import settings, wait_until

OWNER = """
import sys, time
from pathlib import Path
from hemaloop.redis_server import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1])).start()
print(server.owner, flush=True)
time.sleep(60)
"""


def start_owner(folder: Path) -> subprocess.Popen[str]:
    import hemaloop

    environment = {**os.environ, "PYTHONPATH": str(Path(hemaloop.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "True"
    process.stdout.close()
    return process


def ping(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def test_it_wants_its_password_and_listens_on_loopback_only(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        address = read_address(tmp_path)
        assert address is not None
        assert ping(server.url)
        with (
            redis.Redis(port=address.port) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        listening = {
            one.laddr.ip for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == address.port
        }
        assert listening == {"127.0.0.1"}


def test_only_its_user_can_read_where_it_listens(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path):
        assert stat.S_IMODE((tmp_path / "redis.json").stat().st_mode) == 0o600


def test_the_password_is_on_no_command_line(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path):
        address = read_address(tmp_path)
        assert address is not None
        lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
        assert not any(address.password in line for line in lines)


def test_stopping_leaves_no_server_behind(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        assert ping(url)
    assert not ping(url)


def test_what_was_written_is_there_after_a_restart_on_the_same_port(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        with redis.Redis.from_url(url) as client:
            client.set("a", "b")
    with EmbeddedRedis(tmp_path) as again, redis.Redis.from_url(again.url) as client:
        assert again.url == url
        assert client.get("a") == b"b"


def test_however_soon_it_is_stopped_the_address_stays(tmp_path: Path) -> None:
    urls = set()
    for _ in range(8):
        with EmbeddedRedis(tmp_path) as server:
            urls.add(server.url)
    assert len(urls) == 1


def test_the_second_process_shares_the_first_ones_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as first, EmbeddedRedis(tmp_path) as second:
        assert (first.owner, second.owner) == (True, False)
        assert first.url == second.url


def test_when_the_owner_is_killed_the_server_dies_and_another_process_takes_over(tmp_path: Path) -> None:
    owner = start_owner(tmp_path)
    with EmbeddedRedis(tmp_path) as survivor:
        url = survivor.url
        assert not survivor.owner
        with redis.Redis.from_url(url) as client:
            client.set("kept", "yes")
        time.sleep(1.1)  # the file is written every second
        owner.kill()
        owner.wait()
        wait_until(lambda: survivor.owner and ping(url), "a takeover", 20)
        with redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"yes"


def test_a_server_whose_owner_is_killed_is_no_orphan(tmp_path: Path) -> None:
    owner = start_owner(tmp_path)
    address = read_address(tmp_path)
    assert address is not None
    owner.kill()
    owner.wait()
    wait_until(lambda: not ping(address.url), "the end of the server", 10)


def test_a_server_that_crashes_is_started_again(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        assert server._process is not None
        os.kill(server._process.pid, signal.SIGKILL)
        wait_until(lambda: ping(server.url), "a new server", 20)


def test_redis_url_goes_before_the_embedded_server(tmp_path: Path) -> None:
    given = "redis://:word@example.org:6380/2"
    assert redis_url(settings(tmp_path, redis_url=given)) == given
    with pytest.raises(QueueError, match="REDIS_URL is not set"):
        redis_url(settings(tmp_path))
