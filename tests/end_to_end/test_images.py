"""Every kind of image address that Label Studio hands out, with either kind of token."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hemaloop.client import LabelStudio
from hemaloop.demo.stack import Stack
from hemaloop.errors import ImageError
from hemaloop.images import ImageLoader
from running import HEIGHT, WIDTH, Project, write_images

pytestmark = pytest.mark.label_studio


@pytest.fixture(params=["legacy token", "personal access token"])
def studio(request: pytest.FixtureRequest, stack: Stack, personal_token: str) -> Iterator[LabelStudio]:
    """Label Studio, asked with either kind of token."""
    token = personal_token if request.param == "personal access token" else stack.server.account.token
    made = LabelStudio(stack.server.url, token)
    yield made
    made.close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server with an image."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    write_images(tmp_path, 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def _loader(stack: Stack, studio: LabelStudio, cache: Path, **fields: object) -> ImageLoader:
    return ImageLoader(stack.settings.model_copy(update={"data_dir": cache, **fields}), studio.auth_headers)


def test_local_files_and_uploads_are_read(
    stack: Stack, studio: LabelStudio, project: Callable[..., Project], tmp_path: Path
) -> None:
    made = project(1, connect=False)
    name = "blut ä 1.png"
    files = {"file": (name, (made.folder / "000.png").read_bytes(), "image/png")}
    studio.request("POST", f"/api/projects/{made.id}/import", files=files)
    addresses = [task["data"]["image"] for task in studio.tasks(made.id)]
    assert addresses[0].startswith("/data/local-files/")
    assert addresses[1].startswith("/data/upload/")
    loader = _loader(stack, studio, tmp_path)
    images = [loader.load(address, project=made.key) for address in addresses]
    assert {(image.width, image.height) for image in images} == {(WIDTH, HEIGHT)}
    assert images[0].key == images[1].key, "the same picture has the same key everywhere"


def test_web_images_are_read_from_allowed_hosts_only(
    stack: Stack, studio: LabelStudio, web: str, tmp_path: Path
) -> None:
    address = f"http://{web}/000.png"
    with pytest.raises(ImageError, match=r"127\.0\.0\.1"):
        _loader(stack, studio, tmp_path / "a").load(address, project="1.1")
    allowed = _loader(stack, studio, tmp_path / "b", image_hosts=(web,))
    assert allowed.load(address, project="1.1").width == WIDTH


def test_the_token_is_never_sent_to_another_host(stack: Stack, studio: LabelStudio, tmp_path: Path) -> None:
    seen: list[str | None] = []

    class Curious(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Curious) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        host = f"127.0.0.1:{server.server_port}"
        with pytest.raises(ImageError):
            _loader(stack, studio, tmp_path, image_hosts=(host,)).load(f"http://{host}/x.png", project="1.1")
        server.shutdown()
    assert seen
    assert set(seen) == {None}


def test_a_broken_image_stores_nothing_and_the_others_have_their_boxes(
    stack: Stack, project: Callable[..., Project]
) -> None:
    made = project(4, connect=False)
    (made.folder / "001.png").write_bytes(b"not an image")
    (made.folder / "002.png").unlink()
    tasks = list(made.cells)
    made.studio.update_project(made.id, sampling="Uncertainty sampling")
    from hemaloop.project_setup import set_up

    set_up(stack.studio, stack.settings, made.id)
    stack.queues.request_scores(made.key, "test")
    made.idle()
    predicted = {task["id"]: len(task["predictions"]) for task in made.studio.tasks(made.id)}
    assert predicted == {tasks[0]: 1, tasks[1]: 0, tasks[2]: 0, tasks[3]: 1}
    opened = made.studio.task(tasks[1])
    assert opened["predictions"] == [], "opening a broken task works and stores no empty prediction"
