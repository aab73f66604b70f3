# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a settled resource to its deliveries."""
