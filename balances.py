"""What a wallet holds at this moment, as its owner is shown it."""

from fastapi import APIRouter
from pydantic import BaseModel

import api
import config
import wallet
from auth import CurrentUser
from errors import Unauthenticated
from money import RupeesOut

# --- routes -------------------------------------------------------------------------------------

router = APIRouter(prefix="/api/wallet", tags=["wallet"])


class BalanceOut(BaseModel):
    """A wallet as its owner sees it, in rupees."""

    balance: RupeesOut
    held: RupeesOut
    available: RupeesOut
    due: RupeesOut
    currency: str
    minimum_balance: RupeesOut
    low_balance: bool
    frozen: bool


@router.get("/balance", response_model=BalanceOut, responses=api.documented(Unauthenticated))
async def balance(user: CurrentUser) -> BalanceOut:
    """The balance, what of it is reserved, what is owed, and whether it is frozen."""
    found = await wallet.balance_of(user.id)
    return BalanceOut(
        balance=found.balance_paise,
        held=found.held_paise,
        available=found.available_paise,
        due=found.due_paise,
        currency="INR",
        minimum_balance=config.settings().minimum_balance_paise,
        low_balance=found.low,
        frozen=found.frozen,
    )
