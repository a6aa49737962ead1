"""Authentication routes: sign-up, log-in, sessions, password change, second factor, the own profile."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

import users
import wallet
from api import dependencies, problems, session_cookies
from api.dependencies import CurrentClaims, CurrentUser, Page
from api.fields import Instant, RequestModel, RupeesOut, blank_is_absent
from api.session_cookies import ForeignOrigin
from auth import audit_log, devices, rate_limits, sessions, totp
from auth.sessions import SessionRecord
from core import logs, phone_numbers
from core.errors import InvalidRequest, NotFound, TooManyRequests
from users import (
    AccountDisabled,
    EmailTaken,
    InvalidCredentials,
    SecondFactorActive,
    SecondFactorRequired,
    User,
)

router = APIRouter(prefix="/api/auth", tags=["auth"], route_class=problems.Route)


# --- shapes -------------------------------------------------------------------------------------

PASSWORD_CHARACTERS_READ_MAX: Final = 1_000
Password = Annotated[str, Field(strict=True, max_length=PASSWORD_CHARACTERS_READ_MAX)]
Email = Annotated[
    str,
    Field(strict=True, max_length=254, examples=["asha@example.com"]),
    AfterValidator(users.email_of),
]
Name = Annotated[
    str, Field(strict=True, max_length=400, examples=["Asha Rao"]), AfterValidator(users.name_of)
]


def _profile_phone(text: str | None) -> str | None:
    return phone_numbers.phone_of(text) if text else None


ProfilePhone = Annotated[
    Annotated[str, Field(strict=True, max_length=40)] | None,
    BeforeValidator(blank_is_absent),
    AfterValidator(_profile_phone),
    Field(examples=["+919876543210"]),
]


SessionKind = Annotated[
    Literal["token", "cookie"],
    Field(description="`cookie`: the token is a cookie that no script reads, not in the answer"),
]


class SignUp(RequestModel):
    """Who wants an account."""

    email: Email
    password: Annotated[
        Password, Field(description="8 to 128 characters, not one of the most common ones")
    ]
    name: Name
    phone: ProfilePhone = None
    session: SessionKind = "token"


Code = Annotated[str, Field(strict=True, min_length=1, max_length=40, examples=["123456"])]


class LogIn(RequestModel):
    """Who comes back."""

    email: Annotated[str, Field(strict=True, max_length=320, examples=["asha@example.com"])]
    password: Password
    totp_code: Annotated[
        Code | None,
        Field(description="Of the app, or a recovery code, where there is a second factor"),
    ] = None
    session: SessionKind = "token"


class PasswordChange(RequestModel):
    """The old password, as a proof, and the new one."""

    current_password: Password
    new_password: Password
    new_token: Annotated[
        bool,
        Field(
            strict=True,
            description="Answer 200 with a new token; this session then ends like the others",
        ),
    ] = False


class TotpCode(RequestModel):
    """What the app shows now."""

    code: Code


class TotpRemoval(RequestModel):
    """The password, or a code, as a proof."""

    password: Password | None = None
    code: Code | None = None


class Profile(BaseModel):
    """A user as others of the house show them; the balance is in rupees."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    email: str
    name: str
    phone: str | None
    role: str
    wallet_balance: RupeesOut


class Me(Profile):
    """The one who asks."""

    created_at: Instant
    second_factor: bool


class Admission(BaseModel):
    """A token and whose it is. `expires_in` is in seconds.

    `access_token` is null where it is a cookie. `device_token` is no credential: sent as
    `X-Device-Token` with later log-ins, it keeps others who guess passwords from locking this device
    out. `password_change_required`: nothing but `/api/auth/` is open until it is changed.
    """

    access_token: str | None
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int
    user: Profile
    device_token: str | None = None
    password_change_required: bool = False


class Token(BaseModel):
    """The answer of the OAuth2 password flow."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme


class NewToken(BaseModel):
    """The token of the session that took the place of this one; null where it is a cookie."""

    access_token: str | None
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int


class SessionOut(BaseModel):
    """One log-in: from which device and address, when, and when it was used last (to a minute)."""

    session_id: str
    device: str | None
    address: str | None
    created_at: Instant
    last_used_at: Instant | None
    expires_at: Instant
    current: bool


class SessionsOut(BaseModel):
    """A page of sessions that have not ended, the newest first."""

    sessions: list[SessionOut]
    next_cursor: str | None


class TotpStarted(BaseModel):
    """For the authenticator app: `otpauth_uri` as a QR code, or `secret` typed. Shown once."""

    secret: str
    otpauth_uri: str


class TotpConfirmed(BaseModel):
    """Codes that replace the app, each once. Shown once."""

    recovery_codes: list[str]


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "/signup",
    status_code=201,
    response_model=Admission,
    responses=problems.documented(EmailTaken, ForeignOrigin, TooManyRequests),
)
async def sign_up(request: Request, response: Response, body: SignUp) -> Admission:
    """Open an account, with a wallet of Rs 0, and log in."""
    if body.session == "cookie":
        session_cookies.require_own_origin(request)
    await rate_limits.limit_signups(dependencies.client_address(request))
    client = session_cookies.client_of(request)
    user = await users.sign_up(
        email=body.email,
        password=body.password,
        name=body.name,
        phone=body.phone,
        client=client,
    )
    token = await sessions.create_session(user.id, user.epoch, client)
    logs.identify(user.id, user.role)
    await audit_log.record(None, "sign_up", audit_log.account_target(users.email_key(user.email)))
    return _with_cookie(request, response, body.session, await _admission(user, token))


@router.post(
    "/login",
    response_model=Admission,
    responses=problems.documented(
        InvalidCredentials, SecondFactorRequired, AccountDisabled, ForeignOrigin, TooManyRequests
    ),
)
async def log_in(request: Request, response: Response, body: LogIn) -> Admission:
    """Log in with e-mail address and password, and a code where there is a second factor."""
    if body.session == "cookie":
        session_cookies.require_own_origin(request)
    user, token = await _log_in(request, body.email, body.password, body.totp_code)
    return _with_cookie(request, response, body.session, await _admission(user, token))


def _with_cookie(
    request: Request, response: Response, kind: Literal["token", "cookie"], admission: Admission
) -> Admission:
    """The answer; for a browser what nobody else may read is in cookies instead."""
    if kind == "cookie" and (token := admission.access_token) is not None:
        session_cookies.set_cookies(request, response, token, admission.device_token)
        admission.access_token = admission.device_token = None
    return admission


@router.post(
    "/token",
    response_model=Token,
    responses=problems.documented(
        InvalidCredentials, SecondFactorRequired, AccountDisabled, TooManyRequests
    ),
)
async def token(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Token:
    """Log in with the OAuth2 password form, as the Authorize button of this page does. A second factor's
    code goes into `client_secret`."""
    code = form.client_secret or None
    texts = (form.username, form.password, code or "")
    if max(map(len, texts)) > PASSWORD_CHARACTERS_READ_MAX:
        raise InvalidCredentials
    _, access_token = await _log_in(request, form.username, form.password, code)
    return Token(access_token=access_token)


@router.post(
    "/logout",
    status_code=204,
    response_model=None,
)
async def log_out(request: Request, user: CurrentUser, claims: CurrentClaims) -> Response:
    """End this session: its token is dead, in every process within a second."""
    await sessions.revoke_session(claims)
    return _session_forgotten(request)


@router.get("/sessions", response_model=SessionsOut)
async def list_sessions(user: CurrentUser, claims: CurrentClaims, page: Page) -> SessionsOut:
    """My sessions that have not ended, the newest first."""
    rows, next_cursor = await sessions.list_sessions(user.id, limit=page.limit, cursor=page.cursor)
    return SessionsOut(
        sessions=[session_out(row, current_id=claims.session_id) for row in rows],
        next_cursor=next_cursor,
    )


@router.delete("/sessions", status_code=204, response_model=None)
async def end_other_sessions(user: CurrentUser, claims: CurrentClaims) -> Response:
    """End every session of mine but this one."""
    await sessions.revoke_sessions(user.id, except_session_id=claims.session_id)
    return Response(status_code=204)


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    response_model=None,
    responses=problems.documented(NotFound),
)
async def end_session(
    request: Request, session_id: str, user: CurrentUser, claims: CurrentClaims
) -> Response:
    """End one session of mine. Harmless when repeated."""
    await sessions.end_session(user.id, session_id)
    is_this = session_id == claims.session_id
    return _session_forgotten(request) if is_this else Response(status_code=204)


@router.post(
    "/change-password",
    status_code=204,
    response_model=None,
    responses={
        200: {"model": NewToken, "description": "With `new_token`: the token of a new session"},
        **problems.documented(InvalidCredentials, TooManyRequests),
    },
)
async def change_password(
    request: Request, user: CurrentUser, claims: CurrentClaims, body: PasswordChange
) -> Response:
    """Set a new password. Every other session of the user is dead; this one goes on, or with `new_token`
    a new one takes its place."""
    client = session_cookies.client_of(request)
    async with audit_log.logging_in(users.email_key(user.email), "change_password"):
        changed = await users.change_password(
            user,
            claims.session_id,
            current=body.current_password,
            new=body.new_password,
            client=client,
        )
    if not body.new_token:
        return Response(status_code=204)
    token = await sessions.create_session(changed.id, changed.epoch, client)
    await sessions.revoke_session(claims)
    shown = NewToken(access_token=token, expires_in=sessions.token_seconds())
    is_cookie = session_cookies.session_cookie(request) in request.cookies
    if is_cookie:
        shown.access_token = None
    response = Response(shown.model_dump_json(), media_type="application/json")
    if is_cookie:
        session_cookies.set_cookies(request, response, token)
    return response


@router.post(
    "/totp",
    response_model=TotpStarted,
    responses=problems.documented(SecondFactorActive),
)
async def start_second_factor(user: CurrentUser) -> TotpStarted:
    """Begin to set up a second factor. It counts once it is confirmed; beginning again replaces it."""
    secret = await users.start_second_factor(user)
    return TotpStarted(secret=secret, otpauth_uri=totp.uri_of(secret, user.email))


@router.post(
    "/totp/confirm",
    response_model=TotpConfirmed,
    responses=problems.documented(NotFound, SecondFactorActive, TooManyRequests),
)
async def confirm_second_factor(
    user: CurrentUser, claims: CurrentClaims, body: TotpCode
) -> TotpConfirmed:
    """Show that the app has the secret: from now on log-ins need a code. Every other session ends."""
    codes = await users.confirm_second_factor(user, claims.session_id, body.code)
    return TotpConfirmed(recovery_codes=codes)


@router.delete(
    "/totp",
    status_code=204,
    response_model=None,
    responses=problems.documented(
        NotFound, InvalidRequest, InvalidCredentials, SecondFactorRequired, TooManyRequests
    ),
)
async def remove_second_factor(request: Request, user: CurrentUser, body: TotpRemoval) -> Response:
    """Remove the second factor, with the password or a code as a proof."""
    await users.remove_own_second_factor(
        user,
        password=body.password,
        code=body.code,
        client=session_cookies.client_of(request),
    )
    return Response(status_code=204)


@router.get("/me", response_model=Me)
async def me(user: CurrentUser) -> Me:
    """Who I am, and what is in my wallet."""
    profile = await _profile(user)
    return Me(
        **profile.model_dump(exclude={"wallet_balance"}),
        wallet_balance=profile.wallet_balance,
        created_at=user.created_at,
        second_factor=user.has_second_factor,
    )


# --- what a log-in is answered with -------------------------------------------------------------


async def _log_in(
    request: Request, email: str, password: str, code: str | None
) -> tuple[User, str]:
    client = session_cookies.client_of(request)
    async with audit_log.logging_in(users.email_key(email)):
        user, token = await users.log_in(email, password, code=code, client=client)
        logs.identify(user.id, user.role)
    await wallet.ensure_wallet(user.id)
    return user, token


async def _admission(user: User, token: str) -> Admission:
    return Admission(
        access_token=token,
        expires_in=sessions.token_seconds(),
        user=await _profile(user),
        device_token=devices.create_device_token(users.email_key(user.email)),
        password_change_required=user.must_change_password,
    )


def _session_forgotten(request: Request) -> Response:
    response = Response(status_code=204)
    session_cookies.forget_session(request, response)
    return response


def session_out(record: SessionRecord, *, current_id: str | None) -> SessionOut:
    """How a session is shown."""
    return SessionOut(
        session_id=record["_id"],
        device=record.get("device"),
        address=record.get("address"),
        created_at=record["created_at"],
        last_used_at=record.get("last_used_at"),
        expires_at=record["expires_at"],
        current=record["_id"] == current_id,
    )


async def _profile(user: User) -> Profile:
    return Profile(
        id=user.id,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        wallet_balance=(await wallet.get_balance(user.id)).balance_paise,
    )
