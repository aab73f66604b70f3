# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the integration tests and `make run` share: real Orthancs, scripted peers, a slow network, synthetic studies."""
