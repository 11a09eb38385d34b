"""From files to padded batches: data sets, splits, labels, tokenizer, scaler, encoded sequences, cache, batches."""
