"""The data set `reviews`: short English reviews that a seeded grammar generates, without files and network.

The tables are the grammar, and the functions below them expand it.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, TypeVar

import numpy as np
from pydantic import Field

from seqcls.data.datasets.base import Dataset
from seqcls.data.splits import Split, Splits
from seqcls.errors import DataError

T = TypeVar("T")

# Raise this with every change of the tables or their expansion: caches and published results depend on the texts.
GRAMMAR_VERSION = 1
MAX_REVIEWS = 200_000  # the grammar can write more; well below that, a text is seldom drawn twice
LABEL_NAMES = ("negative", "positive")

# Slots with an opinion: {d} {d2} {d_noun} {d_verb} take the opinion that decides the label, {o} {o2} ... the opposite one.
# Slots without an opinion: {x} and {y}, two aspects of the reviewed {thing}; {very}, {who}, {when}.
# A template with both opinions is written for its two labels with the same words in another order.
CORES = {
    # The words alone decide the label: a bag of words can read it.
    "plain": (
        "The {x} was {d} and the {y} was {very} {d2}.",
        "The {x} was {very} {d}, and so was the {y}.",
        "I {d_verb} the {x}, and the {y} was {d} too.",
        "This {thing} is {d_noun}: the {x} is {very} {d}.",
        "Everything about this {thing} was {d}, above all the {x}.",
        "{who} and I {d_verb} the {x}, which was {very} {d}.",
        "What {d_noun}! I {d_verb} the {x} and the {y}.",
    ),
    # The main clause, or the clause after "but", wins.
    "contrast": (
        "The {x} was {o}, but the {y} was {very} {d}.",
        "The {x} may be {very} {o}, but this {thing} is {d}.",
        "Although the {x} was {o}, the {y} was {very} {d}.",
        "Even though the {x} is {o}, I {d_verb} this {thing}.",
        "The {y} was {very} {d}, although the {x} was {o}.",
        "This {thing} is {very} {d}, even if the {x} is {o}.",
        "Despite the {o} {x}, this {thing} is {very} {d}.",
        "I {d_verb} this {thing} despite the {o} {x}.",
    ),
    # What is in the scope of the negation is inverted; what is outside is not.
    "negation": (
        "The {x} was not {o} at all; it was {d}.",
        "The {x} was {d}, not {o} at all.",
        "The {x} was {d} rather than {o}.",
        "Nobody could call the {x} {o}; it was {very} {d}.",
        "The {x} was {very} {d}; nobody could call it {o}.",
        "The {x} was not only {d} but also {d2}.",
        "There was nothing {o} about the {x} or the {y}.",
        "The {x} was far from {o}.",
        "The {x} was neither {o} nor {o2}.",
        "I would not call the {x} {o}, and certainly not {o2}.",
    ),
    # The writer's opinion counts, not the one that is reported.
    "holder": (
        "{who} found the {x} {o}; I found it {d}.",
        "I found the {x} {d}, while {who} found it {o}.",
        "{who} {o_verb} the {x}, whereas I {d_verb} it.",
        "I {d_verb} the {x}, whereas {who} {o_verb} it.",
        "According to {who} the {x} is {o}, and I disagree.",
        "According to {who} the {x} is {d}, and I agree.",
    ),
    # What came counts, not what had been expected.
    "expectation": (
        "I expected {o_noun} and got {d_noun}.",
        "I got {d_noun} where I had expected {o_noun}.",
        "{who} had predicted {o_noun}, and it turned out to be {d_noun}.",
        "It turned out to be {d_noun}, though {who} had predicted {o_noun}.",
        "I thought the {x} would be {o}; it was anything but.",
        "I thought the {x} would be {d}, and it was.",
        "At first the {x} seemed {o}; in the end it was {d}.",
        "In the end the {x} was {d}; at first it seemed {o}.",
    ),
}
# How often each kind comes, in per cent. The share of plain reviews sets how far a bag of words gets.
WEIGHTS = {"plain": 52, "contrast": 14, "negation": 14, "holder": 10, "expectation": 10}

LAYOUTS = ("{opener} {core}", "{core} {closer}", "{opener} {core} {closer}")
CLOSERS = (
    *("That is all there is to say.", "Make of that what you will.", "This is my first review here.", "So it goes."),
    *("I paid the usual price.", "Nobody asked me to write this.", "{who} took the photos."),
    *("I may add more next week.", "Ask {who} if you need details.", "{who} has the receipt.", "Tastes may differ."),
)
WHO = (
    *("my brother", "my sister", "my mother", "my father", "my wife", "my husband", "my daughter", "my son", "my aunt"),
    *("my uncle", "my neighbour", "my boss", "my flatmate", "a friend of mine", "a colleague", "my best friend"),
)
WHEN = (
    *("last week", "last month", "last summer", "last winter", "on Friday", "on Sunday", "on a rainy day", "yesterday"),
    *("the other day", "two days ago", "a week ago", "over the holidays", "on my birthday", "in March", "in October"),
)
VERY = ("really", "truly", "simply", "just", "honestly", "frankly", "plainly", "altogether")

# The words of either opinion: adjectives that suit any aspect, noun phrases, verbs in the past tense.
NEGATIVE = {
    "adjectives": (
        *("bad", "awful", "terrible", "horrible", "dreadful", "poor", "disappointing", "mediocre", "forgettable"),
        *("lousy", "appalling", "dismal", "second-rate", "miserable", "sloppy", "unpleasant", "pathetic", "atrocious"),
    ),
    "nouns": ("a mess", "a disaster", "a letdown", "a failure", "a disgrace", "a nightmare", "a dud", "wasted money"),
    "verbs": ("hated", "disliked", "detested", "loathed", "could not stand"),
}
POSITIVE = {
    "adjectives": (
        *("good", "great", "excellent", "wonderful", "superb", "brilliant", "delightful", "fantastic", "remarkable"),
        *("lovely", "exquisite", "splendid", "first-rate", "marvellous", "impressive", "pleasant", "terrific", "ideal"),
    ),
    "nouns": ("a gem", "a delight", "a triumph", "a treat", "a joy", "a dream", "a winner", "a stroke of luck"),
    "verbs": ("loved", "liked", "enjoyed", "adored", "was fond of"),
}


@dataclass(frozen=True)
class Domain:
    """What is reviewed: its names, its aspects (all singular), how a review of it opens, its own adjectives."""

    things: tuple[str, ...]
    aspects: tuple[str, ...]
    openers: tuple[str, ...]
    negative: tuple[str, ...]
    positive: tuple[str, ...]


DOMAINS = (
    Domain(
        things=("film", "movie", "thriller", "comedy"),
        aspects=("plot", "story", "script", "dialogue", "cast", "ending", "soundtrack", "camera work", "opening scene"),
        openers=("I saw this {thing} {when}.", "{who} took me to this {thing} {when}.", "We watched it {when}."),
        negative=("dull", "tedious", "lifeless", "clumsy", "predictable"),
        positive=("gripping", "moving", "clever", "charming", "witty"),
    ),
    Domain(
        things=("restaurant", "café", "bistro", "diner"),
        aspects=("soup", "salad", "fish", "pasta", "curry", "bread", "dessert", "main course", "sauce"),
        openers=("We ate here {when}.", "{who} booked a table for us {when}.", "I had lunch at this {thing} {when}."),
        negative=("bland", "unappetising", "uninspired", "stodgy", "greasy"),
        positive=("delicious", "tasty", "authentic", "inviting", "heavenly"),
    ),
    Domain(
        things=("phone", "laptop", "tablet", "camera"),
        aspects=("screen", "battery", "speaker", "microphone", "charger", "cable", "software", "manual", "keypad"),
        openers=("I bought this {thing} {when}.", "{who} gave me this {thing} {when}.", "The parcel arrived {when}."),
        negative=("useless", "unreliable", "flawed", "shoddy", "cheap-looking"),
        positive=("useful", "reliable", "flawless", "well-made", "elegant"),
    ),
    Domain(
        things=("hotel", "hostel", "guest house", "resort"),
        aspects=("room", "bathroom", "bed", "pool", "lobby", "terrace", "lounge", "dining room", "balcony"),
        openers=("We stayed here {when}.", "{who} picked this {thing} for our trip.", "I was a guest here {when}."),
        negative=("shabby", "filthy", "uncomfortable", "dirty", "neglected"),
        positive=("cosy", "spotless", "comfortable", "clean", "stylish"),
    ),
)


class ReviewsDataset(Dataset):
    """Short reviews from a built-in grammar, whose label depends on word order; needs no download.

    About half of the reviews are plain. In the others the order of the words decides: contrast ("The soup was bland,
    but the fish was superb."), negation and its scope, who holds the opinion ("My aunt hated the plot, whereas I loved
    it."), and expectation ("I expected a mess and got a gem."). Every other review is the mirror image of the one
    before: the same draw, written for the other label. Most mirrored pairs outside the plain half contain the same words,
    so that a linear model of word counts stays near 75% accuracy, while a model that reads in order can always be right.

    The phenomena are those that the field found hard for bags of words: thwarted expectations (Pang, Lee and
    Vaithyanathan 2002, "Thumbs up?", section 7), words such as "not" and "but" that shift the valence of others
    (Polanyi and Zaenen 2006), the scope of negation (Wiegand et al. 2010, "A survey on the role of negation in
    sentiment analysis"), and the holder of an opinion (Kim and Hovy 2004, "Determining the sentiment of opinions").

    The texts depend only on the options, not on platform or Python version: the generator uses only the method
    ``random()`` of ``random.Random``, whose sequence Python guarantees. No text occurs twice, within a split or across
    splits. Test is drawn first and train last, so that another ``train_size`` only lengthens or shortens train.

    Args:
        train_size: Number of training reviews.
        validation_size: Number of validation reviews.
        test_size: Number of test reviews.
        seed: Seed of the generator; another seed gives other reviews.

    Raises:
        DataError: A size is below 2, or the sizes sum to more than the data set provides.
    """

    def __init__(
        self,
        *,
        train_size: Annotated[int, Field(ge=2, le=MAX_REVIEWS)] = 20_000,
        validation_size: Annotated[int, Field(ge=2, le=MAX_REVIEWS)] = 1000,
        test_size: Annotated[int, Field(ge=2, le=MAX_REVIEWS)] = 2000,
        seed: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        sizes = {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
        if min(sizes.values()) < 2 or sum(sizes.values()) > MAX_REVIEWS:
            wanted = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise DataError(
                f"the reviews data set cannot provide {wanted} (together {sum(sizes.values())}); "
                f"give at least 2 for each split and at most {MAX_REVIEWS} together"
            )
        self.train_size = train_size
        self.validation_size = validation_size
        self.test_size = test_size
        self.seed = seed

    def load(self) -> Splits:
        """Draw the reviews."""
        reviews = _distinct_reviews(random.Random(self.seed))
        test = _take(reviews, self.test_size)
        validation = _take(reviews, self.validation_size)
        train = _take(reviews, self.train_size)
        return Splits(train=train, validation=validation, test=test, label_names=LABEL_NAMES)

    def fingerprint(self) -> str:
        """Return a hash of the options and the version of the grammar, without drawing a review."""
        options = (GRAMMAR_VERSION, self.train_size, self.validation_size, self.test_size, self.seed)
        return hashlib.sha256(f"reviews {options}".encode()).hexdigest()


def _take(reviews: Iterator[tuple[str, int]], size: int) -> Split:
    texts, labels = zip(*islice(reviews, size), strict=True)
    return Split(texts, np.array(labels, dtype=np.int64))


def _distinct_reviews(rng: random.Random) -> Iterator[tuple[str, int]]:
    """Yield (text, label) forever, labels alternating; a pair with a text that was drawn before is drawn again."""
    seen: set[str] = set()
    kinds = [kind for kind, weight in WEIGHTS.items() for _ in range(weight)]
    while True:
        pair = _draw_pair(rng, _pick(rng, kinds))
        if seen.isdisjoint(pair):
            seen.update(pair)
            yield from ((text, label) for label, text in enumerate(pair))


def _draw_pair(rng: random.Random, kind: str) -> tuple[str, str]:
    """Draw a template and its words, and write them for both labels: (negative text, positive text)."""
    domain = _pick(rng, DOMAINS)
    opener, core, closer = _pick(rng, domain.openers), _pick(rng, CORES[kind]), _pick(rng, CLOSERS)
    template = _pick(rng, LAYOUTS).format(opener=opener, core=core, closer=closer)
    x, y = _pick_two(rng, domain.aspects)
    shared = {"x": x, "y": y, "thing": _pick(rng, domain.things)}
    shared |= {"very": _pick(rng, VERY), "who": _pick(rng, WHO), "when": _pick(rng, WHEN)}
    bad = _draw_opinion(rng, NEGATIVE, domain.negative)
    good = _draw_opinion(rng, POSITIVE, domain.positive)
    return _write(template, shared, deciding=bad, opposite=good), _write(template, shared, deciding=good, opposite=bad)


def _draw_opinion(rng: random.Random, words: dict[str, tuple[str, ...]], domain_words: tuple[str, ...]) -> dict[str, str]:
    first, second = _pick_two(rng, words["adjectives"] + domain_words)
    return {"": first, "2": second, "_noun": _pick(rng, words["nouns"]), "_verb": _pick(rng, words["verbs"])}


def _write(template: str, shared: dict[str, str], *, deciding: dict[str, str], opposite: dict[str, str]) -> str:
    slots = {f"d{slot}": word for slot, word in deciding.items()} | {f"o{slot}": word for slot, word in opposite.items()}
    text = template.format(**shared, **slots)
    return re.sub(r"(?:^|(?<=[.!?] ))[a-z]", lambda letter: letter[0].upper(), text)


def _pick(rng: random.Random, items: Sequence[T]) -> T:
    return items[int(rng.random() * len(items))]


def _pick_two(rng: random.Random, items: Sequence[T]) -> tuple[T, T]:
    first = int(rng.random() * len(items))
    second = (first + 1 + int(rng.random() * (len(items) - 1))) % len(items)
    return items[first], items[second]
