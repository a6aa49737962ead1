"""Fail points: named places at which a test kills this process, between two external effects."""

import itertools
import os
import signal
from typing import Final

from core import config

POINTS: Final = frozenset(
    {
        "refund.reserved",  # recorded and reserved; Razorpay has not been asked
        "refund.requested",  # Razorpay has answered; nothing of it is recorded
        "refund.recorded",  # made at Razorpay, recorded and reserved; not claimed of the payment
        "refund.noted",  # the record was changed, no money moved
        "refund.decided",  # a command is about to be posted
        "refund.reserved_again",
        "refund.collected",  # taken; the payment's claim and review are not settled
        "refund.released",
        "refund.reversed",
        "dispute.decided",  # a command is about to be posted, the wallet may be frozen
        "dispute.noted",
        "dispute.reserved",
        "dispute.collected",
        "dispute.released",
        "dispute.given_back",
        "webhook.paired",  # the disputes of a refund are settled; the refund is not applied
        "webhook.applied",  # and now it is; the disputes are not settled again
    }
)

_reached = itertools.count(1)


def reach(point: str) -> None:
    """Nothing, except in a test that has armed this point: then this process ends as by `kill -9`.

    It is armed by `FAIL_POINT=point`, or `FAIL_POINT=point:3` for the third time that it is
    reached. The service refuses to start with it unless `APP_ENV` is `test`.
    """
    armed, _, number = config.settings().fail_point.partition(":")
    if point == armed and next(_reached) == int(number or 1):
        os.kill(os.getpid(), signal.SIGKILL)
