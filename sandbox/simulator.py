"""One simulated Razorpay: its parts, started and stopped together."""

from sandbox.disputes import Disputes
from sandbox.faults import Faults
from sandbox.payments import Bank
from sandbox.refunds import Refunds
from sandbox.settlements import Settlements
from sandbox.webhook_delivery import Courier, Receiver, Timer


class House:
    """The parts, once it is started; the state of all is in one database."""

    faults: Faults
    refunds: Refunds
    disputes: Disputes
    settlements: Settlements
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
        self.disputes = Disputes(self.bank, self.refunds)
        self.settlements = Settlements(self.bank)
        await self.disputes.start()
        await self.settlements.start()
        timers: list[Timer] = [self.bank, self.refunds]
        self.courier = Courier(self.outbox, self.faults, self.receiver, timers)
        await self.courier.start()

    async def stop(self) -> None:
        """Report no more, and disconnect."""
        await self.courier.stop()
        await self.bank.stop()
