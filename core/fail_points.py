"""Fail points: named places at which a test kills this process, between two external effects."""

import itertools
import os
import signal
from pathlib import Path
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

    It is armed by the file that `FAIL_POINTS_FILE` names: its text is the point, or `point:3` for
    the third time that it is reached. The file is removed with the process, which may start again
    at once. The service refuses to start with that setting unless `APP_ENV` is `test`.
    """
    path = config.settings().fail_points_file
    if not path:
        return
    file = Path(path)
    armed, _, number = file.read_text().partition(":") if file.exists() else ("", "", "")
    if point == armed and next(_reached) == int(number or 1):
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
