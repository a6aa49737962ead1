"""Authentication routes: sign-up, log-in, log-out, password change, the own profile."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import OAuth2PasswordRequestForm
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

import users
import wallet
from api import dependencies, problems
from api.dependencies import CurrentClaims, CurrentUser
from api.fields import Instant, RupeesOut, blank_is_absent
from auth import rate_limits, sessions
from core import phone_numbers
from core.errors import TooManyRequests, Unauthenticated
from users import EmailTaken, InvalidCredentials, User

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


class SignUp(BaseModel):
    """Who wants an account."""

    email: Email
    password: Annotated[
        Password, Field(description="8 to 128 characters, not one of the most common ones")
    ]
    name: Name
    phone: ProfilePhone = None


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


# --- routes -------------------------------------------------------------------------------------


@router.post(
    "/signup",
    status_code=201,
    response_model=Admission,
    responses=problems.documented(EmailTaken, TooManyRequests),
)
async def sign_up(request: Request, body: SignUp) -> Admission:
    """Open an account, with a wallet of Rs 0, and log in."""
    await rate_limits.limit_signups(dependencies.client_address(request))
    user = await users.sign_up(
        email=body.email, password=body.password, name=body.name, phone=body.phone
    )
    token = await sessions.create_session(user.id, user.epoch)
    return await _admission(user, token)


@router.post(
    "/login",
    response_model=Admission,
    responses=problems.documented(InvalidCredentials, TooManyRequests),
)
async def log_in(request: Request, body: LogIn) -> Admission:
    """Log in with e-mail address and password."""
    user, token = await _log_in(request, body.email, body.password)
    return await _admission(user, token)


@router.post(
    "/token",
    response_model=Token,
    responses=problems.documented(InvalidCredentials, TooManyRequests),
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
)
async def log_out(user: CurrentUser, claims: CurrentClaims) -> Response:
    """End this session: its token is dead, in every process within a second."""
    await sessions.revoke_session(claims)
    return Response(status_code=204)


@router.post(
    "/change-password",
    status_code=204,
    response_model=None,
    responses=problems.documented(Unauthenticated, InvalidCredentials, TooManyRequests),
)
async def change_password(
    request: Request, user: CurrentUser, claims: CurrentClaims, body: PasswordChange
) -> Response:
    """Set a new password. This session goes on, every other one of the user is dead."""
    address, account = dependencies.client_address(request), users.email_key(user.email)
    await rate_limits.limit_logins(address, account)
    await users.change_password(
        user, claims.session_id, current=body.current_password, new=body.new_password
    )
    await rate_limits.forgive_login(address, account)
    return Response(status_code=204)


@router.get("/me", response_model=Me)
async def me(user: CurrentUser) -> Me:
    """Who I am, and what is in my wallet."""
    profile = await _profile(user)
    return Me(
        **profile.model_dump(exclude={"wallet_balance"}),
        wallet_balance=profile.wallet_balance,
        created_at=user.created_at,
    )


# --- what a log-in is answered with -------------------------------------------------------------


async def _log_in(request: Request, email: str, password: str) -> tuple[User, str]:
    address, account = dependencies.client_address(request), users.email_key(email)
    await rate_limits.limit_logins(address, account)
    user, token = await users.log_in(email, password)
    await rate_limits.forgive_login(address, account)
    await wallet.ensure_wallet(user.id)
    return user, token


async def _admission(user: User, token: str) -> Admission:
    return Admission(
        access_token=token, expires_in=sessions.token_seconds(), user=await _profile(user)
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
