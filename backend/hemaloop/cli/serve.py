"""`hemaloop serve`."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on, instead of HEMALOOP_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on, instead of HEMALOOP_PORT.")] = None,
) -> None:
    """Answer Label Studio: predictions at once, and a queue for everything that takes longer.

    Trainings are done by `hemaloop worker`, which runs beside it. Ctrl-C stops it.
    """
    from contextlib import ExitStack

    from hemaloop import logs
    from hemaloop.app import create_app
    from hemaloop.config import load_settings
    from hemaloop.errors import SettingsError
    from hemaloop.redis_server import EmbeddedRedis
    from hemaloop.web import services
    from hemaloop.web.server import Server

    settings = load_settings()
    changed = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = settings.model_copy(update=changed)
    logs.prepare(settings)
    _end_on_terminate()
    with ExitStack() as stack:
        if settings.redis_url is None:
            stack.enter_context(EmbeddedRedis(settings.data_dir))
        app = create_app(settings)
        made = services.of(app)
        stack.callback(made.close)
        try:
            server = Server(app, settings, made.close)
        except OSError as error:
            raise SettingsError(
                f"{settings.host}:{settings.port} cannot be listened on ({error.strerror}); "
                "set HEMALOOP_HOST and HEMALOOP_PORT, or stop what listens there"
            ) from None
        typer.echo(f"hemaloop serves on http://{settings.host}:{server.port} (Ctrl-C stops it)", err=True)
        server.run()


def register(app: typer.Typer) -> None:
    """Add the command `serve`."""
    app.command()(serve)


def _end_on_terminate() -> None:
    import signal
    import sys
    from types import FrameType

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
