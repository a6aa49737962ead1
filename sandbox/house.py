"""One simulated Razorpay: its parts, started and stopped together."""

from sandbox.bank import Bank
from sandbox.courier import Courier, Receiver, Timer
from sandbox.faults import Faults
from sandbox.refunds import Refunds


class House:
    """The parts, once it is started; the state of all is in one database."""

    faults: Faults
    refunds: Refunds
    courier: Courier

    def __init__(self, bank: Bank, receiver: Receiver) -> None:
        self.bank, self.receiver = bank, receiver

    async def start(self) -> None:
        """Connect, make the indexes, and begin to report."""
        await self.bank.start()
        self.outbox = self.bank.outbox
        self.faults = Faults(self.bank.database)
        self.refunds = Refunds(self.bank, self.faults)
        await self.refunds.start()
        timers: list[Timer] = [self.bank, self.refunds]
        self.courier = Courier(self.outbox, self.faults, self.receiver, timers)
        await self.courier.start()

    async def stop(self) -> None:
        """Report no more, and disconnect."""
        await self.courier.stop()
        await self.bank.stop()
