"""Train on the built-in reviews, then load the model and predict: `python examples/fit_and_predict.py [ENCODER]`."""

from __future__ import annotations

import sys

from seqcls import Trainer

TEXTS = (
    "The soup was bland, but the fish was superb.",
    "The fish was superb, but the soup was bland.",
    "My aunt hated the plot, whereas I loved it.",
    "I hated the plot, whereas my aunt loved it.",
)


def main(encoder: str = "bilstm") -> None:
    """Print the figures of the run, and a label with its probability for each text."""
    result = Trainer("reviews", encoder=encoder).fit()
    if result.model_dir is None:  # Ctrl-C
        sys.exit(f"interrupted; to continue: seqcls fit --resume {result.run_dir}")
    assert result.test is not None  # the data set has a test split
    print(f"{result.parameters:,} parameters, test accuracy {result.test.accuracy:.1%}, {result.model_dir}")

    classifier = result.load()
    for text, probabilities in zip(TEXTS, classifier.predict_proba(TEXTS), strict=True):
        best = int(probabilities.argmax())
        print(f"{classifier.label_names[best]} {probabilities[best]:.3f}  {text}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
