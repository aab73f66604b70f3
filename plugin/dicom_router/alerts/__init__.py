# SPDX-License-Identifier: AGPL-3.0-or-later
"""What administrators are told without asking: pure, what is due and in which words."""
