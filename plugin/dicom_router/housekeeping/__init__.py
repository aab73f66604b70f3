# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is done beside routing: deleting, forgetting, keeping safe."""
