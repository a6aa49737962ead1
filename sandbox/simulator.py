"""The simulated Razorpay: its parts, started and stopped together."""

from sandbox.disputes import Disputes
from sandbox.faults import Faults
from sandbox.payments import PaymentStore
from sandbox.refunds import Refunds
from sandbox.settlements import Settlements
from sandbox.webhook_delivery import Receiver, Scheduled, WebhookDelivery


class Simulator:
    """The parts, once it is started; the state of all is in one database."""

    faults: Faults
    refunds: Refunds
    disputes: Disputes
    settlements: Settlements
    delivery: WebhookDelivery

    def __init__(self, store: PaymentStore, receiver: Receiver) -> None:
        self.store, self.receiver = store, receiver

    async def start(self) -> None:
        """Connect, create the indexes, and begin to deliver webhooks."""
        await self.store.start()
        self.outbox = self.store.outbox
        self.faults = Faults(self.store.database)
        self.refunds = Refunds(self.store, self.faults)
        await self.refunds.start()
        self.disputes = Disputes(self.store, self.refunds)
        self.settlements = Settlements(self.store)
        await self.disputes.start()
        await self.settlements.start()
        scheduled: list[Scheduled] = [self.store, self.refunds]
        self.delivery = WebhookDelivery(self.outbox, self.faults, self.receiver, scheduled)
        await self.delivery.start()

    async def stop(self) -> None:
        """Deliver no more webhooks, and disconnect."""
        await self.delivery.stop()
        await self.store.stop()
