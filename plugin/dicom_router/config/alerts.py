# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading `Alerts`. No problem repeats a value: it may be a password, or an address that is as good as one."""

from dicom_router.alerts.settings import AlertSettings, Mail, Silence, Webhook
from dicom_router.config.reading import Reader
from dicom_router.config.sections import AlertsSection, EmailSection, SilenceSection, ae_title
from dicom_router.durations import parse_duration
from dicom_router.rules.schedule import parse_schedule

PATH = "Router.Alerts"
PORT, PORT_START_TLS, PORT_TLS = 25, 587, 465


class AlertsReader(Reader):
    """Reads `Alerts`."""

    def alerts(self, section: object) -> AlertSettings | None:
        """What it says; None when it has problems, which are told."""
        before = len(self.problems)
        shape = self.model(AlertsSection, {} if section is None else section, PATH, secret=True)
        if shape is None:
            return None
        mail = self._mail(shape.email) if shape.email not in (None, {}) else None
        nothing_from = {aet: self._silence(aet, entry) for aet, entry in shape.nothing_from.items()}
        if shape.secret and not shape.webhook:
            self.tell(f"{PATH}.Secret", "signs what goes to the Webhook, and there is none.")
        if len(self.problems) > before:
            return None
        return AlertSettings(
            webhook=Webhook(shape.webhook, shape.secret) if shape.webhook else None,
            mail=mail,
            quiet_for=shape.quiet_for,
            include_patient_data=shape.include_patient_data,
            waiting_longer_than=shape.waiting_longer_than,
            nothing_from={aet: silence for aet, silence in nothing_from.items() if silence is not None},
        )

    def _mail(self, entry: object) -> Mail | None:
        path = f"{PATH}.Email"
        to = entry.get("To") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(to, str):
            entry = entry | {"To": [to]}
        shape = self.model(EmailSection, entry, path, secret=True)
        if shape is None:
            return None
        if shape.tls and shape.start_tls:
            self.tell(
                f"{path}.StartTls", "goes without Tls: either the connection begins with TLS or it changes to it."
            )
        if bool(shape.username) != bool(shape.password):
            self.tell(f"{path}.Password", "goes with Username: give both or neither.")
        # Python's smtplib sends both as ASCII.
        for key, value in (("Username", shape.username), ("Password", shape.password)):
            if not value.isascii():
                self.tell(f"{path}.{key}", "must be ASCII letters, digits and signs: others cannot be sent.")
        usual = PORT_TLS if shape.tls else PORT_START_TLS if shape.start_tls else PORT
        return Mail(
            host=shape.host,
            port=shape.port or usual,
            sender=shape.from_,
            recipients=tuple(shape.to),
            start_tls=shape.start_tls,
            tls=shape.tls,
            username=shape.username,
            password=shape.password,
        )

    def _silence(self, aet: str, entry: object) -> Silence | None:
        path = f"{PATH}.NothingFrom.{aet}"
        try:
            ae_title(aet)
            if not isinstance(entry, dict):
                return Silence(self._longest(parse_duration(entry)))
        except ValueError as wrong:
            self.tell(path, str(wrong))
            return None
        shape = self.model(SilenceSection, entry, path)
        if shape is None:
            return None
        schedule, problems = parse_schedule(shape.schedule, f"{path}.Schedule")
        self.problems += problems
        try:
            return Silence(self._longest(shape.for_), schedule) if schedule else None
        except ValueError as wrong:
            self.tell(f"{path}.For", str(wrong))
            return None

    @staticmethod
    def _longest(seconds: float) -> float:
        if seconds < 1:
            raise ValueError("must be at least a second")
        return seconds
