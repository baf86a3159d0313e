"""Accuracy estimators: how good a network would be, and how sure that is. One file for each; see README.md."""

from search.accuracy.protocol import AccuracyEstimator, Estimate, EstimatorSettings, estimator, names, register

__all__ = ["AccuracyEstimator", "Estimate", "EstimatorSettings", "estimator", "names", "register"]
