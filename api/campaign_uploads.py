"""Upload routes of campaigns: a list as a CSV file."""

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response, UploadFile
from pydantic import BeforeValidator, Field, model_validator

from api import middleware, problems
from api.campaign_answers import CreatedOut, created
from api.campaign_options import Options, plan_of
from api.campaigns import CREATING
from api.dependencies import CurrentUser, PayingKey
from api.fields import blank_is_absent, require_each_field_once
from api.idempotency import Answer, Idempotent
from campaigns import contact_import, creation
from campaigns.phone_columns import NoPhoneColumn
from core import texts
from core.csv_files import FileTooLarge, UnreadableFile
from core.errors import IdempotencyKeyReused

router = APIRouter(prefix="/api/campaigns", tags=["campaigns"], route_class=problems.Route)
# The limit has some room for the other fields and the boundaries of the form.
_FORM_BYTES_MAX: Final = contact_import.FILE_BYTES_MAX + 64 * 1024

middleware.allow_large_body("/api/campaigns/upload", _FORM_BYTES_MAX)


# --- forms --------------------------------------------------------------------------------------


def _texts() -> Iterator[str]:
    """The names of the options that are a text."""
    for name, schema in Options.model_json_schema()["properties"].items():
        if any(part.get("type") == "string" for part in (schema, *schema.get("anyOf", ()))):
            yield name


_TEXTS: Final = frozenset(_texts())
_NO_TEXTS: Final = frozenset(Options.model_fields) - _TEXTS


def _as_in_json(value: Any) -> Any:
    """What a field that is no text is in JSON; itself where it is none, and then the field refuses it."""
    if isinstance(value, list) and len(value) == 1:  # of a field that may be sent several times
        return _as_in_json(value[0])
    if not isinstance(value, str) or texts.is_blank(value):
        return None if isinstance(value, str) else value
    try:
        return json.loads(value.lower() if value in ("True", "False") else value)
    except (ValueError, RecursionError):
        return value


def _from_form(values: Any) -> Any:
    """The fields of a form as they would stand in a body; those that were left blank are not there."""
    read = {n: _as_in_json(value) if n in _NO_TEXTS else value for n, value in dict(values).items()}
    return {
        name: value for name, value in read.items() if name == "name" or value not in (None, "")
    }


class UploadIn(Options):
    """A campaign whose numbers stand in a CSV file. A field that is left blank is not set; one that is
    no text is written as in a JSON body."""

    # The Swagger page offers a file to choose for `binary`.
    file: Annotated[UploadFile, Field(json_schema_extra={"format": "binary"})]
    phone_column: Annotated[str | None, Field(max_length=200), BeforeValidator(blank_is_absent)] = (
        None
    )

    _read_form = model_validator(mode="before")(_from_form)


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "/upload",
    status_code=201,
    response_model=CreatedOut,
    responses=problems.documented(
        *CREATING, IdempotencyKeyReused, FileTooLarge, UnreadableFile, NoPhoneColumn
    ),
)
async def upload_campaign(
    request: Request,
    user: CurrentUser,
    key: PayingKey,
    form: Annotated[UploadIn, Form(media_type="multipart/form-data")],
    once: Idempotent,
) -> Response:
    """Call everybody in a CSV file: UTF-8, its columns parted by `,` `;` tab or `|`, up to 100,000
    rows. The numbers stand in `phone_column`, or else in the one column whose name or content says
    so; the answer says which. Two that may be meant are 422 with `candidates`."""
    await require_each_field_once(request)
    content = await form.file.read()

    async def work(seed: str) -> Answer:
        campaign = creation.plan_campaign(f"cmp_{seed}", user.id, plan_of(form, key))
        rows = contact_import.read_csv_contacts(
            content, user_id=user.id, phone_column=form.phone_column
        )
        return await created(await creation.create_campaign(campaign, rows))

    digest = await asyncio.to_thread(hashlib.sha256, content)
    digest.update(form.model_dump_json(exclude={"file"}).encode())
    return await once(user.id, work, fingerprint=digest.digest())
