# SPDX-License-Identifier: AGPL-3.0-or-later
"""All routes together."""

from dicom_router.api.backfill import BackfillRoutes
from dicom_router.api.destinations import DestinationRoutes
from dicom_router.api.history import HistoryRoutes
from dicom_router.api.http import Api, Endpoint
from dicom_router.api.metrics import MetricsRoutes
from dicom_router.api.moving import MovingRoutes
from dicom_router.api.openapi import openapi_endpoint
from dicom_router.api.preview import PreviewRoutes
from dicom_router.api.rules import RuleRoutes
from dicom_router.api.services import Services
from dicom_router.api.statistics import StatisticsRoutes
from dicom_router.api.status import StatusRoutes
from dicom_router.api.studies import StudyRoutes
from dicom_router.api.vocabulary import VocabularyRoutes
from dicom_router.api.warnings import RuleWarnings


def build(services: Services) -> Api:
    """The API over these services."""
    rule_warnings = RuleWarnings(services)
    rules = RuleRoutes(services, rule_warnings)
    endpoints: list[Endpoint] = [
        *StatusRoutes(services, rule_warnings).endpoints(),
        *StatisticsRoutes(services).endpoints(),
        *rules.endpoints(),
        *PreviewRoutes(services, rule_warnings).endpoints(),
        *VocabularyRoutes(services).endpoints(),
        *MovingRoutes(services, rules).endpoints(),
        *BackfillRoutes(services).endpoints(),
        *HistoryRoutes(services).endpoints(),
        *StudyRoutes(services).endpoints(),
        *DestinationRoutes(services).endpoints(),
        *MetricsRoutes(services).endpoints(),
    ]
    return Api([*endpoints, openapi_endpoint(endpoints)])
