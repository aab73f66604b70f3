# SPDX-License-Identifier: AGPL-3.0-or-later
"""The transfer syntaxes that Orthanc can encode. Pure.

Its own transcoder is DCMTK (orthanc: DcmtkTranscoder.cpp, IsSupported; RLE is decoded only); JPEG 2000 needs the GDCM
plugin, Debian's package `orthanc-gdcm`.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class TransferSyntax:
    """One of DICOM PS3.6 table A-1. `encapsulated`: it is for images, nothing else can be in it."""

    name: str
    encapsulated: bool = True
    lossy: bool = False
    needs_gdcm: bool = False
    method: str = ""  # lossy: the value of LossyImageCompressionMethod, PS3.3 C.7.6.1.1.5.1


SYNTAXES = {
    "1.2.840.10008.1.2": TransferSyntax("Implicit VR Little Endian", encapsulated=False),
    "1.2.840.10008.1.2.1": TransferSyntax("Explicit VR Little Endian", encapsulated=False),
    "1.2.840.10008.1.2.1.99": TransferSyntax("Deflated Explicit VR Little Endian", encapsulated=False),
    "1.2.840.10008.1.2.2": TransferSyntax("Explicit VR Big Endian", encapsulated=False),
    "1.2.840.10008.1.2.4.50": TransferSyntax("JPEG Baseline", lossy=True, method="ISO_10918_1"),
    "1.2.840.10008.1.2.4.51": TransferSyntax("JPEG Extended", lossy=True, method="ISO_10918_1"),
    "1.2.840.10008.1.2.4.57": TransferSyntax("JPEG Lossless (process 14)"),
    "1.2.840.10008.1.2.4.70": TransferSyntax("JPEG Lossless"),
    "1.2.840.10008.1.2.4.80": TransferSyntax("JPEG-LS Lossless"),
    "1.2.840.10008.1.2.4.81": TransferSyntax("JPEG-LS Near-lossless", lossy=True, method="ISO_14495_1"),
    "1.2.840.10008.1.2.4.90": TransferSyntax("JPEG 2000 Lossless", needs_gdcm=True),
    "1.2.840.10008.1.2.4.91": TransferSyntax("JPEG 2000", lossy=True, needs_gdcm=True, method="ISO_15444_1"),
}
