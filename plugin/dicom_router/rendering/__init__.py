# SPDX-License-Identifier: AGPL-3.0-or-later
"""The copy of an instance that a destination gets: altered by Orthanc, with pseudonyms by a keyed hash."""
