"""A program: a proxy in the middle of TCP links that closes those over which nothing came for so long, as many a company's does.

    python idle_proxy.py PORT IDLE_S

Links are led to it by the kernel (nftables, redirect) and are none the wiser. Each that it closes is one line ``cut …`` on its output.
"""

import asyncio
import socket
import struct
import sys
import time
from typing import Final

_ORIGINAL_DESTINATION: Final = 80
"""SO_ORIGINAL_DST of linux/netfilter_ipv4.h: where a redirected connection was going."""


class _Link:
    """Two directions, and when something last came over either."""

    def __init__(self) -> None:
        self.heard_s = time.monotonic()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(65_536):
            self.heard_s = time.monotonic()
            writer.write(said)
            await writer.drain()

    async def idle(self, longest_s: float) -> None:
        """Return once nothing has come for so long."""
        while (left_s := self.heard_s + longest_s - time.monotonic()) > 0:  # noqa: ASYNC110  # a time is waited for, no event
            await asyncio.sleep(left_s)


async def _serve(inner: asyncio.StreamReader, back: asyncio.StreamWriter, idle_s: float) -> None:
    there: socket.socket = back.get_extra_info("socket")
    port, address = struct.unpack("!2xH4s8x", there.getsockopt(socket.SOL_IP, _ORIGINAL_DESTINATION, 16))
    try:
        outer, on = await asyncio.open_connection(socket.inet_ntoa(address), port)
    except OSError:
        back.close()
        return
    link = _Link()
    timer = asyncio.ensure_future(link.idle(idle_s))
    carrying = [asyncio.ensure_future(link.carry(inner, on)), asyncio.ensure_future(link.carry(outer, back))]
    await asyncio.wait([timer, *carrying], return_when=asyncio.FIRST_COMPLETED)
    if timer.done():
        print(f"cut {socket.inet_ntoa(address)}:{port}", flush=True)
    for task in (timer, *carrying):
        task.cancel()
    await asyncio.gather(timer, *carrying, return_exceptions=True)
    back.close()
    on.close()


async def _main(port: int, idle_s: float) -> None:
    server = await asyncio.start_server(lambda inner, back: _serve(inner, back, idle_s), "0.0.0.0", port)
    print("there", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
