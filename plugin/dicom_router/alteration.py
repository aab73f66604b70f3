# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is different in the copy that a destination gets. The stored original stays as it is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from dicom_router.transfer_syntaxes import SYNTAXES


class Method(StrEnum):
    """How the tags are altered; the value is the last part of Orthanc's route."""

    MODIFY = "modify"
    ANONYMIZE = "anonymize"

    @property
    def key(self) -> str:
        """As it is called in a rule."""
        return self.value.capitalize()

    @property
    def participle(self) -> str:
        """What has become of a copy."""
        return {"modify": "modified", "anonymize": "anonymized"}[self.value]


@dataclass(frozen=True)
class Alteration:
    """`spec` in Orthanc's own syntax, as the rule says it; `transcode` is the UID of a transfer syntax."""

    method: Method | None = None
    spec: Mapping[str, object] = field(default_factory=dict)
    transcode: str = ""

    @property
    def anonymous(self) -> bool:
        """The copy must not tell whose it is."""
        return self.method is Method.ANONYMIZE

    @property
    def lossy(self) -> bool:
        """Images lose something, so that they become other SOP instances (DICOM PS3.3 C.7.6.1.1.5, PS3.4 B.4.1.3)."""
        return self.transcode in SYNTAXES and SYNTAXES[self.transcode].lossy

    def told(self) -> dict[str, object]:
        """In the words of the rule, for history and for people."""
        altered: dict[str, object] = {self.method.key: dict(self.spec)} if self.method else {}
        return altered | ({"Transcode": self.transcode} if self.transcode else {})


def words(told: Mapping[str, object]) -> str:
    """What `Alteration.told` says, for people: `anonymized, as JPEG-LS Lossless`."""
    said = [method.participle for method in Method if method.key in told]
    syntax = SYNTAXES.get(str(told.get("Transcode", "")))
    return ", ".join([*said, *([f"as {syntax.name}"] if syntax else [])])


def alteration_of(rule: Mapping[str, object], send: Mapping[str, object]) -> Alteration | None:
    """What `Modify` or `Anonymize` of a rule and `Transcode` of its Send say, both checked before; None for nothing."""
    transcode = str(send.get("Transcode") or "")
    for method in Method:
        spec = rule.get(method.key)
        if isinstance(spec, Mapping) and spec:
            return Alteration(method, spec, transcode)
    return Alteration(transcode=transcode) if transcode else None


def kept_of(rule: Mapping[str, object]) -> dict[str, object]:
    """What a delivery keeps of the rule, to alter its copy when it is sent."""
    return {method.key: rule[method.key] for method in Method if rule.get(method.key)}
