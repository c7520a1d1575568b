"""A static server of a folder, with ranges: `python -m benchmarks.fleet.static FOLDER` says its URL as a line of JSON."""

from __future__ import annotations

import json
import socket
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles


def main(folder: str) -> None:
    """Until it is told to end."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        port = listener.getsockname()[1]
        print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
        files = Starlette(routes=[Mount("/", StaticFiles(directory=folder))])
        config = uvicorn.Config(files, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
