# SPDX-License-Identifier: AGPL-3.0-or-later
"""`python -m dicom_router`."""

import sys

from dicom_router.cli.main import main

sys.exit(main())
