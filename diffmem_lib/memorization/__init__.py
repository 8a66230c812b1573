"""Measures of memorization: sparsity, the gap between neighbours, the audit, and what of it needs no samples."""

from .copies import AuditReport, LabelAudit, audit, binomial_interval
from .neighbours import NeighbourGap, local_sparsity, neighbour_gap
from .risk import CoverageRisk, coverage_risk, risk_from_neighbours
from .training_set import LabelSurvey, TrainingSurvey, survey

__all__ = [
    "AuditReport",
    "CoverageRisk",
    "LabelAudit",
    "LabelSurvey",
    "NeighbourGap",
    "TrainingSurvey",
    "audit",
    "binomial_interval",
    "coverage_risk",
    "local_sparsity",
    "neighbour_gap",
    "risk_from_neighbours",
    "survey",
]
