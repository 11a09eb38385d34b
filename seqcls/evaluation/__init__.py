"""From logits to figures: scores, decisions, calibration, predictions, intervals, and the linear baseline."""
