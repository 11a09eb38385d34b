"""The model card: README.md of a model directory, which its owner may edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqcls.data.labels import listed


def model_card(description: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """Return the model card, README.md, of a model.

    Args:
        description: The content of config.json.
        metrics: The content of metrics.json.
    """
    config, encoder = description["config"], description["plugins"]["encoder"]
    scores = [
        f"| {split} | {score['loss']:.4f} | {100 * score['accuracy']:.2f}% | {score['count']} |"
        for split, score in metrics.items()
        if isinstance(score, Mapping) and "accuracy" in score
    ]
    table = ["", "| split | loss | accuracy | examples |", "|---|---|---|---|", *scores] if scores else []
    labels = listed(description["label_names"], most=20)
    inputs, example = {"text": ("text", '["some text"]'), "features": ("numbers", "[numbers]")}[description["input"]]
    task = ["pipeline_tag: text-classification"] if description["input"] == "text" else []
    lines = [
        "---",  # the metadata that Hugging Face reads
        "library_name: seqcls",
        *task,
        "tags: [sequence-classification]",
        "---",
        "",
        f"# {encoder['name']} on {config['data']['dataset']}",
        "",
        f"A sequence classifier made with seqcls {description['seqcls_version']}: {inputs} in, a label out ({labels}).",
        *table,
        "",
        "```python",
        "from seqcls import Classifier",
        "",
        f'Classifier.from_pretrained("this-folder").predict({example})',
        "```",
        "",
    ]
    return "\n".join(lines)
