# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts as e-mail."""

import smtplib
import socket
import ssl
from email.message import EmailMessage
from email.utils import formatdate, make_msgid

from dicom_router.alerts.message import Message
from dicom_router.alerts.settings import Mail
from dicom_router.messengers.messenger import MessengerError, PartlyRefusedError

SECONDS = 20.0


class MailMessenger:
    """Hands each message to a mail server."""

    channel = "Email"

    def __init__(self, mail: Mail) -> None:
        self._mail = mail

    def send(self, message: Message) -> None:
        """See Messenger."""
        try:
            with self._connect() as server:
                if self._mail.start_tls:
                    server.starttls(context=ssl.create_default_context())
                if self._mail.username:
                    server.login(self._mail.username, self._mail.password)
                refused = server.send_message(self._letter(message))
        except smtplib.SMTPResponseException as problem:
            raise MessengerError(f"the mail server answered {problem.smtp_code}") from None
        except (smtplib.SMTPException, OSError, UnicodeError) as problem:
            raise MessengerError(f"the mail server cannot be used ({type(problem).__name__})") from None
        if refused:  # the others have it: to send it again would tell them twice
            raise PartlyRefusedError(f"the mail server refused {len(refused)} of the recipients")

    def _connect(self) -> smtplib.SMTP:
        # Without a name smtplib would ask the name server for one, which can take long.
        name = socket.gethostname()
        if self._mail.tls:
            context = ssl.create_default_context()
            return smtplib.SMTP_SSL(self._mail.host, self._mail.port, name, timeout=SECONDS, context=context)
        return smtplib.SMTP(self._mail.host, self._mail.port, name, timeout=SECONDS)

    def _letter(self, message: Message) -> EmailMessage:
        """EmailMessage refuses a header with a line end; what is told has none (wording.one_line)."""
        letter = EmailMessage()
        letter["Subject"] = message.subject
        letter["From"] = self._mail.sender
        letter["To"] = ", ".join(self._mail.recipients)
        letter["Date"] = formatdate()
        letter["Message-ID"] = make_msgid(domain=self._mail.sender.rsplit("@", 1)[-1])
        letter["Auto-Submitted"] = "auto-generated"  # RFC 3834: no answer by an absent one
        letter.set_content(message.text)
        return letter
