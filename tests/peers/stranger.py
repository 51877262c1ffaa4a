#!/usr/bin/env python3
"""stranger.py - a stock asyncio program at the other end

    stranger.py echo PORT BYTES    a client: sends so many random bytes to an echo server, and compares the sums
    stranger.py late PORT BYTES    a client: shuts its sending side down, and then receives the bytes i % 251
    stranger.py serve BYTES        a server for one client: sends random bytes, reads to the end, goes on sending, and
                                   prints the sums of what it has received and sent
"""
import asyncio
import hashlib
import os
import sys

PIECE = 70001
BLOCK = os.urandom(1 << 20)


async def send(writer, count, digest):
    sent = 0
    while sent < count:
        piece = BLOCK[sent % 4999:][:min(PIECE, count - sent)]
        digest.update(piece)
        writer.write(piece)
        await writer.drain()
        sent += len(piece)


async def receive(reader, digest):
    count = 0
    while piece := await reader.read(PIECE):
        digest.update(piece)
        count += len(piece)
    return count


async def echo(port, count):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    sent, received = hashlib.sha256(), hashlib.sha256()
    receiver = asyncio.create_task(receive(reader, received))
    await send(writer, count, sent)
    writer.write_eof()
    came = await receiver
    writer.close()
    await writer.wait_closed()
    assert came == count, f'{came} bytes came back, not {count}'
    assert sent.digest() == received.digest(), 'other bytes came back'


async def late(port, count):
    reader, writer = await asyncio.open_connection('127.0.0.1', port)
    await send(writer, 300000, hashlib.sha256())
    writer.write_eof()
    data = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert len(data) == count, f'{len(data)} bytes came, not {count}'
    assert data == (bytes(range(251)) * (count // 251 + 1))[:count], 'other bytes came'


async def serve(count):
    over = asyncio.get_running_loop().create_future()

    async def client(reader, writer):
        sent, received = hashlib.sha256(), hashlib.sha256()
        sender = asyncio.create_task(send(writer, count, sent))
        await receive(reader, received)
        await sender
        await send(writer, 300000, sent)
        writer.close()
        await writer.wait_closed()
        over.set_result((received.hexdigest(), sent.hexdigest()))

    server = await asyncio.start_server(client, '127.0.0.1', 0)
    print('listening on port', server.sockets[0].getsockname()[1], flush=True)
    print(*await over, flush=True)


if sys.argv[1] == 'serve':
    asyncio.run(serve(int(sys.argv[2])))
else:
    asyncio.run({'echo': echo, 'late': late}[sys.argv[1]](*map(int, sys.argv[2:])))
