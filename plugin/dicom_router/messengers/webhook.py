# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts as JSON, posted to an address and signed."""

import hashlib
import hmac
import json

import urllib3

from dicom_router.alerts.message import Message
from dicom_router.alerts.settings import Webhook
from dicom_router.messengers.messenger import MessengerError

SIGNATURE = "X-Router-Signature"
TIMEOUT = urllib3.Timeout(connect=10.0, read=20.0)
GOOD = range(200, 300)


def signature(secret: str, body: bytes) -> str:
    """The value of the header: HMAC-SHA256 over the bytes of the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class WebhookMessenger:
    """Posts each message on a connection of its own; follows no redirection, so the body goes nowhere else."""

    channel = "Webhook"

    def __init__(self, webhook: Webhook) -> None:
        self._webhook = webhook

    def send(self, message: Message) -> None:
        """See Messenger."""
        body = json.dumps(message.body).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "dicom-router"}
        if self._webhook.secret:
            headers[SIGNATURE] = signature(self._webhook.secret, body)
        try:
            with urllib3.PoolManager(retries=False, timeout=TIMEOUT) as pool:
                answer = pool.request("POST", self._webhook.url, body=body, headers=headers, redirect=False)
        except (urllib3.exceptions.HTTPError, ValueError) as problem:
            # Its text may hold the address, which may be a secret.
            raise MessengerError(f"the webhook cannot be reached ({type(problem).__name__})") from None
        if answer.status not in GOOD:
            raise MessengerError(f"the webhook answered {answer.status}")
