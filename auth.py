"""The door: signing up, logging in and out, and who is asking."""

import datetime as dt
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import OAuth2PasswordBearer, OAuth2PasswordRequestForm
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

import clock
import security
import users
import wallet
from api import documented
from errors import Forbidden, InvalidRequest, TooManyRequests, Unauthenticated, Unavailable
from money import RupeesOut
from security import Claims
from users import EmailTaken, InvalidCredentials, User

# --- vocabulary ---------------------------------------------------------------------------------

PASSWORD_CHARACTERS_READ_MAX: Final = 1_000

Instant = Annotated[dt.datetime, PlainSerializer(clock.iso, return_type=str)]
Password = Annotated[str, Field(strict=True, max_length=PASSWORD_CHARACTERS_READ_MAX)]
Email = Annotated[
    str,
    Field(strict=True, max_length=254, examples=["asha@example.com"]),
    AfterValidator(users.email_of),
]
Name = Annotated[
    str, Field(strict=True, max_length=400, examples=["Asha Rao"]), AfterValidator(users.name_of)
]


def _phone(text: str | None) -> str | None:
    return users.phone_of(text) if text else None


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


Phone = Annotated[
    Annotated[str, Field(strict=True, max_length=40)] | None,
    BeforeValidator(_blank_is_none),
    AfterValidator(_phone),
    Field(examples=["+919876543210"]),
]


class SignUp(BaseModel):
    """Who wants an account."""

    email: Email
    password: Annotated[
        Password, Field(description="8 to 128 characters, not one of the most common ones")
    ]
    name: Name
    phone: Phone = None


class LogIn(BaseModel):
    """Who comes back."""

    email: Annotated[str, Field(strict=True, max_length=320, examples=["asha@example.com"])]
    password: Password


class PasswordChange(BaseModel):
    """The old password, as a proof, and the new one."""

    current_password: Password
    new_password: Password


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


class Admission(BaseModel):
    """A token and whose it is. `expires_in` is in seconds."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme
    expires_in: int
    user: Profile


class Token(BaseModel):
    """The answer of the OAuth2 password flow."""

    access_token: str
    token_type: str = "bearer"  # noqa: S105 - the name of a scheme


# --- who is asking ------------------------------------------------------------------------------

_bearer = OAuth2PasswordBearer(tokenUrl="/api/auth/token", auto_error=False)


async def _claims(token: Annotated[str | None, Depends(_bearer)]) -> Claims:
    if not token:
        raise Unauthenticated("Send a token: Authorization: Bearer <token>.")
    return await security.claims_of(token)


async def _current_user(claims: Annotated[Claims, Depends(_claims)]) -> User:
    user = await users.known(claims.user_id)
    if user is None or (claims.epoch != user.epoch and claims.session_id != user.kept_session_id):
        raise Unauthenticated("The token is not valid (any more). Log in again.")
    return user


CurrentClaims = Annotated[Claims, Depends(_claims)]
CurrentUser = Annotated[User, Depends(_current_user)]


async def _admin(user: CurrentUser) -> User:
    if user.role != "admin":
        raise Forbidden("This needs the role admin.")
    return user


Admin = Annotated[User, Depends(_admin)]


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


async def _log_in(request: Request, email: str, password: str) -> tuple[User, str]:
    address, account = _address(request), users.email_key(email)
    await security.limit_logins(address, account)
    user, token = await users.log_in(email, password)
    await security.forgive_login(address, account)
    await wallet.touch(user.id)
    return user, token


async def _admission(user: User, token: str) -> Admission:
    return Admission(
        access_token=token, expires_in=security.token_seconds(), user=await _profile(user)
    )


async def _profile(user: User) -> Profile:
    return Profile(
        id=user.id,
        email=user.email,
        name=user.name,
        phone=user.phone,
        role=user.role,
        wallet_balance=(await wallet.balance_of(user.id)).balance_paise,
    )


# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/auth", tags=["auth"])


@router.post(
    "/signup",
    status_code=201,
    response_model=Admission,
    responses=documented(EmailTaken, InvalidRequest, TooManyRequests, Unavailable),
)
async def sign_up(request: Request, body: SignUp) -> Admission:
    """Open an account, with a wallet of Rs 0, and log in."""
    await security.limit_signups(_address(request))
    user = await users.sign_up(
        email=body.email, password=body.password, name=body.name, phone=body.phone
    )
    token = await security.open_session(user.id, user.epoch)
    return await _admission(user, token)


@router.post(
    "/login",
    response_model=Admission,
    responses=documented(InvalidCredentials, InvalidRequest, TooManyRequests, Unavailable),
)
async def log_in(request: Request, body: LogIn) -> Admission:
    """Log in with e-mail address and password."""
    user, token = await _log_in(request, body.email, body.password)
    return await _admission(user, token)


@router.post(
    "/token",
    response_model=Token,
    responses=documented(InvalidCredentials, InvalidRequest, TooManyRequests, Unavailable),
)
async def token(request: Request, form: Annotated[OAuth2PasswordRequestForm, Depends()]) -> Token:
    """Log in with the OAuth2 password form, as the Authorize button of this page does."""
    if max(len(form.username), len(form.password)) > PASSWORD_CHARACTERS_READ_MAX:
        raise InvalidCredentials
    _, access_token = await _log_in(request, form.username, form.password)
    return Token(access_token=access_token)


@router.post(
    "/logout",
    status_code=204,
    response_model=None,
    responses=documented(Unauthenticated, Unavailable),
)
async def log_out(user: CurrentUser, claims: CurrentClaims) -> Response:
    """End this session: its token is dead, in every process within a second."""
    await security.revoke(claims)
    return Response(status_code=204)


@router.post(
    "/change-password",
    status_code=204,
    response_model=None,
    responses=documented(
        Unauthenticated, InvalidCredentials, InvalidRequest, TooManyRequests, Unavailable
    ),
)
async def change_password(
    request: Request, user: CurrentUser, claims: CurrentClaims, body: PasswordChange
) -> Response:
    """Set a new password. This session goes on, every other one of the user is dead."""
    address, account = _address(request), users.email_key(user.email)
    await security.limit_logins(address, account)
    await users.change_password(
        user, claims.session_id, current=body.current_password, new=body.new_password
    )
    await security.forgive_login(address, account)
    return Response(status_code=204)


@router.get("/me", response_model=Me, responses=documented(Unauthenticated, Unavailable))
async def me(user: CurrentUser) -> Me:
    """Who I am, and what is in my wallet."""
    profile = await _profile(user)
    return Me(
        **profile.model_dump(exclude={"wallet_balance"}),
        wallet_balance=profile.wallet_balance,
        created_at=user.created_at,
    )
