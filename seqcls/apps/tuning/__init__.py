"""Hyper-parameter search: trials proposed by Optuna within a given time, each a training judged on validation."""
