"""The simulator: a telephone network on this machine, whose calls ring, are answered and end."""

from telephony.simulator.adapter import Simulator
from telephony.simulator.lifecycle import PATIENCE_SECONDS, SIGNATURE_HEADER, sign

__all__ = ["PATIENCE_SECONDS", "SIGNATURE_HEADER", "Simulator", "sign"]
