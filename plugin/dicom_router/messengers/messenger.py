# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every messenger does."""

from typing import Protocol

from dicom_router.alerts.message import Message


class MessengerError(Exception):
    """The message did not arrive. The text goes into the log: it holds no address, no secret and no patient."""


class PartlyRefusedError(MessengerError):
    """Some have it, the others never will; to carry it again would tell those some twice."""


class Messenger(Protocol):
    """Carries messages on one channel."""

    channel: str

    def send(self, message: Message) -> None:
        """Carry one message. May block for some tens of seconds. Raises MessengerError."""
