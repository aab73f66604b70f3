# SPDX-License-Identifier: AGPL-3.0-or-later
"""The global properties of Orthanc's index that belong to the router (numbers from 1024 on are free for plugins)."""

# Where the very first start found the change log, until the router's own database takes over.
FIRST_START = 5471
# The router's mark, by which it knows the index again.
INDEX_MARK = 5472
