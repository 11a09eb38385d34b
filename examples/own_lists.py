"""Train on texts and labels of your own, in lists, and use the model: `python examples/own_lists.py`."""

from __future__ import annotations

from seqcls import Trainer

QUESTIONS = ["where is my parcel", "when will it arrive", "has my order left", "is it on its way"]
COMPLAINTS = ["the lamp is broken", "it came in pieces", "this is the wrong size", "I want my money back"]
POLITE = ["", "hello, ", "good morning, ", "dear shop, ", "hi, ", "please help, "]


def main() -> None:
    """Train, predict, and print the predictions."""
    pairs = [(polite + text, "delivery") for polite in POLITE for text in QUESTIONS]
    pairs += [(polite + text, "complaint") for polite in POLITE for text in COMPLAINTS]
    result = Trainer(pairs, encoder="lstm", encoder_options={"hidden_size": 32}, epochs=20, batch_size=8).fit()
    classifier = result.load()
    for text in ("hello, where is my order", "the parcel came broken"):
        print(text, "->", classifier.predict([text])[0])


if __name__ == "__main__":
    main()
