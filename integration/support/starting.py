# SPDX-License-Identifier: AGPL-3.0-or-later
"""The types of the fixtures in conftest.py that start something."""

from collections.abc import Callable

from .http_server import ScriptedHttpServer
from .latency_proxy import LatencyProxy
from .orthanc import Orthanc
from .router import Router
from .scripted_scp import ScriptedScp

StartOrthanc = Callable[..., Orthanc]
StartRouter = Callable[..., Router]
StartScp = Callable[..., ScriptedScp]
StartProxy = Callable[..., LatencyProxy]
StartHttpServer = Callable[..., ScriptedHttpServer]
