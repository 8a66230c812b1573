"""Measures of memorization: sparsity, the gap between neighbours, the audit, and what of it needs no samples."""

from .calibration import (
    benjamini_hochberg,
    binomial_interval,
    conformal_p_values,
    difference_interval,
    fewest_discoveries,
)
from .copies import AuditReport, LabelAudit, audit
from .neighbours import NeighbourGap, local_sparsity, neighbour_gap
from .rates import Rates, SparsityBin
from .risk import CoverageRisk, coverage_risk, risk_from_neighbours
from .training_set import LabelSurvey, TrainingSurvey, survey

__all__ = [
    "AuditReport",
    "CoverageRisk",
    "LabelAudit",
    "LabelSurvey",
    "NeighbourGap",
    "Rates",
    "SparsityBin",
    "TrainingSurvey",
    "audit",
    "benjamini_hochberg",
    "binomial_interval",
    "conformal_p_values",
    "coverage_risk",
    "difference_interval",
    "fewest_discoveries",
    "local_sparsity",
    "neighbour_gap",
    "risk_from_neighbours",
    "survey",
]
