"""A wire that is long: it passes on what it gets, some time later."""

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

PIECE_BYTES: Final = 65_536


@contextmanager
def delaying_proxy(socket: Path, seconds: float) -> Iterator[int]:
    """Give a port of this machine that leads to a Unix socket, `seconds` away each way.

    Whoever connected has to be gone when the block ends.
    """

    async def connect(reader: StreamReader, writer: StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(socket)
        await asyncio.gather(carry(reader, far_writer), carry(far_reader, writer))

    async def carry(reader: StreamReader, writer: StreamWriter) -> None:
        try:
            while piece := await reader.read(PIECE_BYTES):
                loop.call_later(seconds, writer.write, piece)
        except ConnectionError:
            pass  # an end like any other
        await asyncio.sleep(seconds)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        listening = asyncio.start_server(connect, "127.0.0.1", 0)
        server = asyncio.run_coroutine_threadsafe(listening, loop).result()
        port: int = server.sockets[0].getsockname()[1]
        yield port
        asyncio.run_coroutine_threadsafe(_close(server), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}))
