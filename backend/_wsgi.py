"""What `label-studio-ml start backend` runs, and what a WSGI server imports: hemaloop's own application.

label-studio-ml start backend -p 9090 --host 127.0.0.1
gunicorn --chdir backend --workers 1 --threads 16 _wsgi:app
"""

from __future__ import annotations

import argparse

from hemaloop.cli.serve import serve
from hemaloop.errors import HemaloopError
from hemaloop.hosting import application


def main() -> None:
    """`hemaloop serve`, with the flags that label-studio-ml passes on; others of its own are refused."""
    parser = argparse.ArgumentParser(description="hemaloop, started by label-studio-ml")
    parser.add_argument("-p", "--port", type=int, help="port to listen on, instead of HEMALOOP_PORT")
    parser.add_argument("--host", help="address to listen on, instead of HEMALOOP_HOST")
    given = parser.parse_args()
    try:
        serve(given.host, given.port)
    except HemaloopError as error:
        parser.exit(1, f"hemaloop: {error}\n")


if __name__ == "__main__":
    main()
else:
    app = application()
