"""The report on a run, one HTML file that opens without a network and runs no script; and the comparison of models."""
