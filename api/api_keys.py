"""API key routes: make, list, rotate and revoke one's own keys."""

import datetime as dt
from typing import Annotated, Final

from fastapi import APIRouter, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, Field

import users
from api import problems
from api.dependencies import CurrentClaims, CurrentUser
from api.fields import Instant, PositiveRupeesIn, RequestModel, RupeesOut
from api.idempotency import Answer, Idempotent
from auth import api_keys
from auth.api_keys import (
    OVERLAP_SECONDS_DEFAULT,
    OVERLAP_SECONDS_MAX,
    SCOPES,
    ApiKeyRecord,
    Scope,
    TooManyApiKeys,
)
from core import clock
from core.errors import InvalidRequest, NotFound, invalid
from users import User

router = APIRouter(prefix="/api/api-keys", tags=["api keys"], route_class=problems.Route)

_EXPIRES_WITHIN_DAYS: Final = 3_653


# --- shapes -------------------------------------------------------------------------------------


def _moment(text: object) -> object:
    if text is not None and not isinstance(text, str):
        raise ValueError("must be a moment such as 2027-11-24T09:00:00+05:30")
    return text


def _ahead(moment: dt.datetime) -> dt.datetime:
    if not dt.timedelta() < moment - clock.now() < dt.timedelta(days=_EXPIRES_WITHIN_DAYS):
        raise ValueError("must be a moment that is ahead, within ten years")
    utc = moment.astimezone(dt.UTC)
    return utc.replace(microsecond=utc.microsecond // 1000 * 1000)


class ApiKeyIn(RequestModel):
    """A key to make: what it is called, what it may do, until when, and what its calls may cost a day."""

    name: Annotated[
        str,
        Field(strict=True, max_length=4 * api_keys.NAME_CHARACTERS_MAX, examples=["CRM"]),
        AfterValidator(users.name_of),
    ]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(SCOPES))]
    expires_at: (
        Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(_ahead)] | None
    ) = None
    daily_spend_cap: PositiveRupeesIn | None = None


class RotationIn(RequestModel):
    """For how long the text until now is valid beside the new one."""

    overlap_seconds: Annotated[int, Field(strict=True, ge=0, le=OVERLAP_SECONDS_MAX)] = (
        OVERLAP_SECONDS_DEFAULT
    )


class ApiKeyOut(BaseModel):
    """A key as its owner sees it later: `prefix` is how it begins. `previous_valid_until`: until when
    the text from before the last rotation is valid."""

    key_id: str
    name: str
    prefix: str
    scopes: list[Scope]
    daily_spend_cap: RupeesOut | None
    created_at: Instant
    expires_at: Instant | None
    last_used_at: Instant | None
    previous_valid_until: Instant | None


class ApiKeysOut(BaseModel):
    """The keys that are not revoked, newest first. There are so few that one page has them all."""

    page: list[ApiKeyOut] = Field(serialization_alias="api_keys")
    next_cursor: None = None


class NewApiKeyOut(ApiKeyOut):
    """A key with its text, `key`, which is shown this once: what is stored does not contain it. None
    when the answer is a repetition (`Idempotency-Key`): rotate the key when the first answer was lost."""

    key: str | None


# --- routes -------------------------------------------------------------------------------------


@router.get("", response_model=ApiKeysOut)
async def list_keys(user: CurrentUser, _: CurrentClaims) -> ApiKeysOut:
    """One's own keys."""
    keys = await api_keys.list_api_keys(user.id)
    return ApiKeysOut(page=[ApiKeyOut(**_fields(key)) for key in keys])


@router.post(
    "",
    status_code=201,
    response_model=NewApiKeyOut,
    responses=problems.documented(TooManyApiKeys, InvalidRequest),
)
async def create_key(
    user: CurrentUser, _: CurrentClaims, body: ApiKeyIn, once: Idempotent
) -> Response:
    """Make a key for a machine. It goes where a bearer token goes, and may do what its scopes say."""
    _require_role_for(body.scopes, user)

    async def work(seed: str) -> Answer:
        record, text = await api_keys.create_api_key(
            user.id,
            name=body.name,
            scopes=body.scopes,
            expires_at=body.expires_at,
            daily_spend_cap_paise=body.daily_spend_cap,
            seed=seed,
        )
        return _answer(record, text)

    return await once(user.id, work)


@router.post(
    "/{key_id}/rotate",
    status_code=201,
    response_model=NewApiKeyOut,
    responses=problems.documented(NotFound),
)
async def rotate_key(
    key_id: str,
    user: CurrentUser,
    _: CurrentClaims,
    once: Idempotent,
    body: RotationIn | None = None,
) -> Response:
    """Give the key a new text; the one until now is valid for a day more, or as long as is asked for."""
    wanted = body or RotationIn()

    async def work(seed: str) -> Answer:
        record, text = await api_keys.rotate_api_key(
            key_id, user.id, overlap_seconds=wanted.overlap_seconds, seed=seed
        )
        return _answer(record, text)

    return await once(user.id, work)


@router.delete(
    "/{key_id}",
    status_code=204,
    response_model=None,
    responses=problems.documented(NotFound),
)
async def revoke_key(key_id: str, user: CurrentUser, _: CurrentClaims) -> Response:
    """End a key: it is dead in every process within a second. Harmless when repeated."""
    await api_keys.revoke_api_key(key_id, user.id)
    return Response(status_code=204)


# --- how a key is shown -------------------------------------------------------------------------


def _require_role_for(scopes: list[Scope], user: User) -> None:
    if "admin:read" in scopes and user.role == "user":
        raise invalid("scopes", "admin:read is for the keys of operators and admins")


def _fields(record: ApiKeyRecord) -> dict[str, object]:
    return {
        "key_id": record["_id"],
        "name": record["name"],
        "prefix": record["prefix"],
        "scopes": record["scopes"],
        "daily_spend_cap": record["daily_spend_cap_paise"],
        "created_at": record["created_at"],
        "expires_at": record["expires_at"],
        "last_used_at": record["last_used_at"],
        "previous_valid_until": record["previous_until"],
    }


def _answer(record: ApiKeyRecord, text: str | None) -> Answer:
    """What is sent, once, and what is kept for a repetition: the same without the secret."""
    fields = _fields(record)
    return Answer(201, NewApiKeyOut(**fields, key=text), kept=NewApiKeyOut(**fields, key=None))
