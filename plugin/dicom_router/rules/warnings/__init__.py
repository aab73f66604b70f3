# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rules that are legal but probably wrong. What is told here is certain: no warning rests on a guess."""
