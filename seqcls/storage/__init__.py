"""What is kept on disk and shared: model directories, checkpoints, run directories, locks, and the Hugging Face Hub."""
