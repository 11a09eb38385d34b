"""Better settings for a data set: trials by Optuna within a given time, each a training judged by validation."""
