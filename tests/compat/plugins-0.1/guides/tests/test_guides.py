"""What the guides of version 0.1 do with the classes that they show."""

import pytest
from bag_of_words import BagOfWords
from convolution import Convolution
from notes import Notes

from seqcls.datasets.reviews import ReviewsDataset


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    """A folder to write to, and fewer reviews, so that the trainings take no time."""
    monkeypatch.chdir(tmp_path)
    for name, size in {"train_size": 60, "validation_size": 20, "test_size": 20}.items():
        monkeypatch.setitem(ReviewsDataset.__init__.__kwdefaults__, name, size)


def test_own_encoder():
    from seqcls.testing import check_encoder

    check_encoder(Convolution, options={"channels": 8})

    check_encoder(BagOfWords)

    from seqcls import Classifier, Trainer

    result = Trainer(Convolution(32, channels=16), "reviews", output="built").fit()

    classifier = Classifier.from_pretrained("built", encoder=Convolution(32, channels=16))
    print(classifier.predict(["The soup was superb."]))

    from seqcls import registry

    registry.encoders.register("convolution")(Convolution)

    result = Trainer("convolution", "reviews", output="registered").fit()
    classifier = Classifier.from_pretrained("registered")  # no encoder needed: the name is known
    assert len(classifier.predict(["The soup was superb."])) == 1


def test_own_dataset():
    from pathlib import Path

    for number in range(30):
        for label, text in {"good": "a fine day", "bad": "a dull day"}.items():
            file = Path("notes", label, f"{number}.txt")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{text}, number {number}", encoding="utf-8")

    from seqcls.testing import check_dataset

    check_dataset(Notes(folder="notes"))

    from seqcls import Trainer, registry

    result = Trainer("lstm", Notes(folder="notes"), output="from-object").fit()

    registry.datasets.register("notes")(Notes)
    result = Trainer("lstm", "notes", output="from-name").fit()

    from seqcls import Classifier

    print(Classifier.from_pretrained("from-object").evaluate(Notes(folder="notes"), split="validation"))
    print(Classifier.from_pretrained("from-name").evaluate(split="validation"))


def test_tracking(capsys):
    from seqcls import Splits, Trainer
    from seqcls.reporting.console import ConsoleReporter

    splits = Splits.from_pairs([("a fine film", "good"), ("a dull film", "bad")] * 30)
    Trainer("mean-pool", splits, callbacks=["tensorboard", ConsoleReporter()], output="from-python").fit()

    import shout

    Trainer("mean-pool", splits, callbacks=["shout"], output="shouting").fit()
    assert "%!" in capsys.readouterr().out
