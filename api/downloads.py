"""Downloads: CSV streamed row by row."""

import contextlib
from collections.abc import AsyncGenerator

from fastapi.responses import StreamingResponse

from core import database


async def attachment(pieces: AsyncGenerator[str, None], file_name: str) -> StreamingResponse:
    """The pieces of a CSV file as a download; each is read when the client has taken the one before."""
    with database.long_work():
        first = await anext(pieces)  # fails before the status 200 is sent if the database is away

    async def stream() -> AsyncGenerator[str, None]:
        with database.long_work():
            async with contextlib.aclosing(pieces):
                yield first
                async for piece in pieces:
                    yield piece

    return StreamingResponse(
        stream(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
    )
