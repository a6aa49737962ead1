"""The provider registry: every adapter by name, and the one that new calls go to."""

from typing import Final

from core import config
from core.errors import NotFound
from telephony.exotel import Exotel
from telephony.plivo import Plivo
from telephony.provider import Provider
from telephony.simulator import Simulator
from telephony.twilio import Twilio

# --- vocabulary ---------------------------------------------------------------------------------

_providers: Final[dict[str, Provider]] = {
    adapter.name: adapter for adapter in (Simulator(), Twilio(), Plivo(), Exotel())
}


# --- verbs --------------------------------------------------------------------------------------


async def start() -> None:
    """Start the network that new calls go to (`TELEPHONY_PROVIDER`)."""
    await get_chosen_provider().start()


async def stop() -> None:
    """Stop it, and close the connections to other networks, which were asked about older calls."""
    for adapter in _providers.values():
        await adapter.stop()


def list_providers() -> list[Provider]:
    """Every network that there is an adapter for."""
    return list(_providers.values())


def get_chosen_provider() -> Provider:
    """The network that new calls go to (`TELEPHONY_PROVIDER`)."""
    return get_provider(config.settings().telephony_provider)


def get_provider(name: str) -> Provider:
    """The network with this name; NotFound when there is none."""
    found = _providers.get(name)
    if found is None:
        raise NotFound("There is no telephone network with this name.")
    return found
