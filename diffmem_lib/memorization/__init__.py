"""Measures of memorization on samples: sparsity, the gap between neighbours, and the audit."""

from .copies import AuditReport, LabelAudit, audit, binomial_interval
from .neighbours import NeighbourGap, local_sparsity, neighbour_gap
from .risk import CoverageRisk, coverage_risk, risk_from_neighbours

__all__ = [
    "AuditReport",
    "CoverageRisk",
    "LabelAudit",
    "NeighbourGap",
    "audit",
    "binomial_interval",
    "coverage_risk",
    "local_sparsity",
    "neighbour_gap",
    "risk_from_neighbours",
]
