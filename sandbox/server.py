"""A uvicorn server in a thread of this process."""

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import uvicorn
from fastapi import FastAPI


@contextmanager
def serving(app: FastAPI, listener: socket.socket) -> Iterator[None]:
    """Serve `app` on a listening socket until the block ends; exit if it does not start."""
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    thread = Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                sys.exit("The application did not start: the log above says why.")
            time.sleep(0.01)
        yield
    finally:
        server.should_exit = True
        thread.join()
