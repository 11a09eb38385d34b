"""Models and runs on disk: model directories, checkpoints, run directories, locks, and the Hugging Face Hub.

Files are verified when they are read, and old formats are upgraded. How a run is trained, and how a model predicts, is
decided elsewhere.
"""
