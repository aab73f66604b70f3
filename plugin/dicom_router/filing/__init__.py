# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a file goes inside a folder: the template of its path, and names that every file system takes. Pure."""
