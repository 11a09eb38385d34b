"""Command line of the measurements: one JSON object a line, the summary last. Data come from SEQCLS_DATA_DIR."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEQCLS = [sys.executable, "-m", "seqcls"]


def throughput(arguments: argparse.Namespace) -> None:
    """Training and evaluation speed of the tutorial's model: ours, plain PyTorch's and Keras's, on the same reviews."""
    common = {"rounds": arguments.rounds, "reviews": arguments.reviews}
    if arguments.device == "cpu":
        from benchmarks.throughput import compare

        sizes = {"steps": arguments.steps or 60, "batch_size": arguments.batch_size}
        found = compare(**common, **sizes, peers_python=arguments.peers_python)
    else:
        from benchmarks import throughput_gpu

        sizes = {"steps": arguments.steps or 200, "batch_sizes": arguments.batch_sizes or throughput_gpu.BATCH_SIZES}
        found = throughput_gpu.compare(**common, **sizes, device=arguments.device)
    _show({"benchmark": "throughput", **found})


def prediction(arguments: argparse.Namespace) -> None:
    """Prediction by the tutorial's network, in bulk and text by text: ours, plain PyTorch's and ONNX Runtime's."""
    from benchmarks.prediction import compare

    found = compare(
        rounds=arguments.rounds,
        reviews=arguments.reviews,
        singles=arguments.singles,
        peers_python=arguments.peers_python,
    )
    _show({"benchmark": "prediction", **found})


def accuracy(arguments: argparse.Namespace) -> None:
    """From the IMDB archive to a saved model of 86 to 91 percent: ours, the tutorial's loop, Keras, fastText, TF-IDF."""
    from benchmarks.accuracy import as_markdown, compare

    rows = compare(
        rounds=arguments.rounds, only=arguments.only, peers_python=arguments.peers_python, device=arguments.device
    )
    if rows:
        print(as_markdown(rows))


def everyone(arguments: argparse.Namespace) -> None:
    """Accuracy and seconds on public data sets, whole and with few examples: ours, and TF-IDF, fastText and others."""
    from benchmarks.accuracy import as_markdown
    from benchmarks.everyone import compare, margins, summary

    rows = compare(
        data=arguments.data,
        sizes=arguments.sizes,
        draws=arguments.draws,
        systems=arguments.systems,
        peers_python=arguments.peers_python,
        output=arguments.output,
    )
    for table in (summary(rows), margins(rows)):
        if table:
            print(as_markdown(table), end="\n\n")


def imdb(arguments: argparse.Namespace) -> None:
    """Whole runs on IMDB from the command line: accuracy, time and memory, for several seeds."""
    results = []
    for seed in range(arguments.seeds):
        with tempfile.TemporaryDirectory() as folder:
            command = [*SEQCLS, "fit", "--no-baseline", "--dataset", "imdb", "--recipe", arguments.recipe]
            command += ["--seed", str(seed), "--output", f"{folder}/run", "--json"]
            command += ["--epochs", str(arguments.epochs)] if arguments.epochs else []
            started = time.perf_counter()
            output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            result = json.loads(output)
            result |= {"seed": seed, "wall_s": round(time.perf_counter() - started, 1)}
            del result["run"], result["model"]
            results.append(result)
            _show(result)
    accuracies = [result["test"]["accuracy"] for result in results]
    _show(
        {
            "benchmark": f"imdb, recipe {arguments.recipe}",
            "test_accuracy": [round(accuracy, 4) for accuracy in accuracies],
            "median_test_accuracy": round(statistics.median(accuracies), 4),
            "median_wall_s": statistics.median(result["wall_s"] for result in results),
            "median_train_reviews_per_s": statistics.median(result["train_examples_per_second"] for result in results),
            "peak_memory_gb": _peak_memory_of_children(),
        }
    )


def baseline(arguments: argparse.Namespace) -> None:
    """The linear baseline on reviews and on IMDB, each in a new process: accuracy, time and memory."""
    code = "import json, sys; from seqcls import fit_baseline, load_recipe; "
    code += "from seqcls.data.prepare import load_splits\n"
    code += "splits = load_splits(load_recipe('default', dataset=sys.argv[1]).data)\n"
    code += "print(json.dumps(fit_baseline(splits).as_dict()))"
    for dataset in arguments.datasets:
        rows, wall = [], []
        for _ in range(arguments.rounds):
            started = time.perf_counter()
            run = subprocess.run([sys.executable, "-c", code, dataset], check=True, stdout=subprocess.PIPE)
            wall.append(time.perf_counter() - started)
            rows.append(json.loads(run.stdout))
        _show(
            {
                "benchmark": f"baseline, {dataset}",
                "validation_accuracy": rows[0]["validation"]["accuracy"],
                "test_accuracy": rows[0]["test"]["accuracy"],
                "features": rows[0]["features"],
                "median_s": round(statistics.median(row["seconds"] for row in rows), 1),
                "median_with_loading_s": round(statistics.median(wall), 1),
                "peak_memory_gb": _peak_memory_of_children(),
            }
        )


def prepare(arguments: argparse.Namespace) -> None:
    """Preparation of IMDB, the first time and from the cache, each in a new process."""
    code = "import time; s = time.perf_counter(); import seqcls; d = seqcls.load_recipe('default', dataset='imdb').data; "
    code += "from seqcls.data.prepare import prepare_data; t = time.perf_counter(); prepare_data(d)\n"
    code += "print(time.perf_counter() - t)"
    first, cached = [], []
    for _ in range(arguments.rounds):
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "SEQCLS_HOME": home}
            for seconds in (first, cached):
                run = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, env=environment)
                seconds.append(float(run.stdout))
    _show(
        {
            "benchmark": "prepare imdb",
            "first_s": round(statistics.median(first), 2),
            "cached_s": round(statistics.median(cached), 2),
            "peak_memory_gb": _peak_memory_of_children(),
        }
    )


def startup(arguments: argparse.Namespace) -> None:
    """`seqcls --help`, `predict` with the tutorial's network, and the whole of `fit` on reviews, each in a new process."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "SEQCLS_HOME": home}
        help_seconds = [_seconds([*SEQCLS, "--help"], environment) for _ in range(10 * arguments.rounds)]
        # The limit is over when training would begin: a model of the tutorial's size, untrained.
        size = ["--recipe", "tutorial", "--dataset", "reviews", "--max-time", "1"]
        _seconds([*SEQCLS, "fit", *size, "--output", f"{home}/model"], environment)
        predict = [*SEQCLS, "predict", f"{home}/model", "Not a good film."]
        predict_seconds = [_seconds(predict, environment) for _ in range(5 * arguments.rounds)]
        runs = [[*SEQCLS, "fit", "--no-baseline", "--output", f"{home}/run-{number}"] for number in range(arguments.rounds)]
        fit_seconds = [_seconds(command, environment) for command in runs]
        score = json.loads(Path(home, "run-0", "model", "metrics.json").read_text(encoding="utf-8"))["test"]
    _show(
        {
            "benchmark": "startup",
            "help_s": round(statistics.median(help_seconds), 3),
            "predict_s": round(statistics.median(predict_seconds), 2),
            "fit_reviews_s": round(statistics.median(fit_seconds), 1),
            "fit_reviews_test_accuracy": round(score["accuracy"], 4),
        }
    )


def encoders(arguments: argparse.Namespace) -> None:
    """Every built-in encoder: its speed at 64 x 200 x 128, and whole runs on reviews and on IMDB."""
    from benchmarks.encoders import as_markdown, compare

    rows = compare(rounds=arguments.rounds, seeds=arguments.seeds, datasets=arguments.datasets, only=arguments.only)
    print(as_markdown(rows))


def memory(arguments: argparse.Namespace) -> None:
    """Recurrent encoders and a transformer on the data set tasks, at growing lengths, with one budget; needs no data."""
    from benchmarks.memory import as_markdown, compare, plot

    rows = compare(arguments)
    print(as_markdown(rows))
    if arguments.plot:
        plot(rows, arguments.plot)


def scale(arguments: argparse.Namespace) -> None:
    """A generated file of many short texts: speed and memory of encoding, and the cost of an epoch beside a small file's."""
    from benchmarks.scale import measure

    _show({"benchmark": "scale", **measure(gigabytes=arguments.gigabytes, steps=arguments.steps)})


def serving(arguments: argparse.Namespace) -> None:
    """`seqcls serve` under load: 32 clients, then three times what they got through, and what its memory does meanwhile."""
    from benchmarks.serving import as_markdown, measure

    found = measure(model=arguments.model, clients=arguments.clients, texts=arguments.texts, seconds=arguments.seconds)
    _show({"benchmark": "serving", **found})
    print(as_markdown(found))


def growth(arguments: argparse.Namespace) -> None:
    """Cost of an epoch by number of texts, of a step by length, and of threads; needs IMDB for the last."""
    from benchmarks.growth import measure, plot

    found = measure(rounds=arguments.rounds, texts=arguments.texts)
    _show({"benchmark": "growth", **found})
    if arguments.plot:
        plot(found, arguments.plot)


def neighbour(arguments: argparse.Namespace) -> None:
    """Training speed on a quiet machine and beside processes that keep cores busy; needs no data."""
    from benchmarks.accuracy import as_markdown
    from benchmarks.neighbour import compare

    print(as_markdown(compare(rounds=arguments.rounds, encoder=arguments.encoder, examples=arguments.examples)))


def classes(arguments: argparse.Namespace) -> None:
    """Cost of 100, 1,000 and 10,000 labels: splitting, training, evaluation, the report, a comparison; needs no data."""
    from benchmarks.classes import measure

    _show({"benchmark": "classes", "rows": measure(labels=arguments.labels, texts=arguments.texts)})


def mutants(arguments: argparse.Namespace) -> None:
    """Whether the tests notice changes of the code that checkpoints, resumes, orders batches, unpacks and registers."""
    from benchmarks.mutants import TESTS, examine

    rows = []
    for name in arguments.files or TESTS:
        for row in examine(name, arguments.sample, arguments.seed):
            _show(row)
        rows.append(row)
    killed, tested = (sum(row[what] for row in rows) for what in ("killed", "tested"))
    _show({"benchmark": "mutants", "killed": killed, "tested": tested, "percent": round(100 * killed / tested, 1)})


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=environment)
    return time.perf_counter() - started


def _peak_memory_of_children() -> float:
    scale = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * scale / 1e9, 2)


def _names(text: str) -> list[str]:
    """Return the parts of a list with commas."""
    return [part.strip() for part in text.split(",")]


def _show(row: dict[str, Any]) -> None:
    print(json.dumps(row), flush=True)


def _flags() -> dict[Callable[[argparse.Namespace], None], dict[str, dict[str, Any]]]:
    """Return each measurement's flags."""
    from benchmarks.everyone import NUMBERS, SYSTEMS, TEXTS, WHOLE
    from benchmarks.memory import ENCODERS, TASKS

    rounds = {"--rounds": {"type": int, "default": 3, "help": "repetitions; medians are shown"}}
    datasets = {"--datasets": {"nargs": "*", "default": ["reviews", "imdb"], "choices": ["reviews", "imdb"]}}
    peers = {"--peers-python": {"default": sys.executable, "help": "a Python that has the peers' packages"}}
    names: dict[str, Any] = {"type": _names, "metavar": "NAME,…"}
    return {
        throughput: {
            **rounds,
            **peers,
            "--steps": {"type": int, "help": "training steps a round: 60, and 200 on a GPU"},
            "--reviews": {"type": int, "default": 4000, "help": "reviews evaluated a round"},
            "--device": {"default": "cpu", "help": "cpu, or cuda: seqcls beside plain PyTorch there"},
            "--batch-size": {"type": int, "default": 64, "help": "on the CPU"},
            "--batch-sizes": {"nargs": "+", "type": int, "help": "on a GPU; by default from 64 to 2048"},
        },
        prediction: {
            **rounds,
            **peers,
            "--reviews": {"type": int, "default": 4000, "help": "reviews predicted at once"},
            "--singles": {"type": int, "default": 300, "help": "reviews predicted one after the other"},
        },
        accuracy: {
            **rounds,
            **peers,
            "--only": {"nargs": "*", "default": [], "metavar": "SYSTEM"},
            "--device": {"default": "cpu", "help": "cpu, or cuda: where seqcls and plain PyTorch run"},
        },
        neighbour: {
            **rounds,
            "--encoder": {"default": "bilstm", "help": "the encoder that is trained"},
            "--examples": {"type": int, "default": 3000, "help": "training examples"},
        },
        everyone: {
            **peers,
            "--data": {**names, "default": [*TEXTS, *NUMBERS], "help": "data sets; all by default"},
            "--sizes": {**names, "default": [WHOLE, "8", "16", "64"], "help": "examples per class, or all"},
            "--draws": {"type": int, "default": 5, "help": "draws of each size; seeds from 0 on"},
            "--systems": {**names, "default": list(SYSTEMS), "help": "ours and peers; all by default"},
            "--output": {"type": Path, "metavar": "FILE", "help": "append results; a rerun measures only what is missing"},
        },
        imdb: {
            "--recipe": {"default": "default"},
            "--seeds": {"type": int, "default": 1},
            "--epochs": {"type": int},
        },
        baseline: {**rounds, **datasets},
        prepare: rounds,
        startup: rounds,
        scale: {
            "--gigabytes": {"type": float, "default": 2.0, "help": "size of the file"},
            "--steps": {"type": int, "default": 1000, "help": "training steps that are timed"},
        },
        encoders: {
            **rounds,
            **datasets,
            "--seeds": {"type": int, "default": 3, "help": "runs on reviews; the median is shown"},
            "--only": {"nargs": "*", "default": [], "metavar": "ENCODER"},
        },
        memory: {
            "--tasks": {"nargs": "+", "default": list(TASKS), "choices": TASKS},
            "--only": {"nargs": "+", "default": list(ENCODERS), "choices": list(ENCODERS), "metavar": "ENCODER"},
            "--lengths": {"nargs": "+", "type": int, "default": [10, 20, 50, 100]},
            "--seeds": {"type": int, "default": 3, "help": "runs of each; the median is shown"},
            "--hidden-size": {"type": int, "default": 32, "help": "of every encoder, and the embedding's size"},
            "--train-size": {"type": int, "default": 16_000, "help": "training sequences"},
            "--epochs": {"type": int, "default": 1, "help": "passes over them"},
            "--batch-size": {"type": int, "default": 16},
            "--lr": {"type": float, "default": 5e-3, "help": "peak of the learning rate"},
            "--threads": {"type": int, "default": 1},
            "--plot": {"type": Path, "metavar": "FILE", "help": "draw accuracy against length; needs matplotlib"},
        },
        serving: {
            "--model": {"type": Path, "help": "a model of texts; by default one is trained on reviews"},
            "--clients": {"type": int, "default": 32},
            "--texts": {"type": int, "default": 1, "help": "texts of a request"},
            "--seconds": {"type": float, "default": 60.0, "help": "of the load; a third as long for the overload"},
        },
        growth: {
            **rounds,
            "--texts": {"nargs": "+", "type": int, "default": [10_000, 30_000, 100_000, 300_000, 1_000_000]},
            "--plot": {"type": Path, "metavar": "FILE", "help": "draw it; needs matplotlib"},
        },
        classes: {
            "--labels": {"nargs": "+", "type": int, "default": [100, 1_000, 10_000]},
            "--texts": {"type": int, "default": 12_000, "help": "of training, and of the test split"},
        },
        mutants: {
            "files": {"nargs": "*", "metavar": "FILE", "help": "of seqcls/; all that are listed in mutants.py"},
            "--sample": {"type": int, "help": "this many changes of a file, by chance, not all"},
            "--seed": {"type": int, "default": 0, "help": "of that chance"},
        },
    }


def main() -> None:
    """Parse the arguments and run one measurement."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True)
    for measure, flags in _flags().items():
        command = commands.add_parser(measure.__name__, help=measure.__doc__)
        command.set_defaults(measure=measure)
        for flag, settings in flags.items():
            command.add_argument(flag, **settings)
    arguments = parser.parse_args()
    try:
        arguments.measure(arguments)
    except Exception as error:
        from seqcls.errors import SeqclsError  # only now: mutants would test the code that this process had imported

        if not isinstance(error, SeqclsError):
            raise
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
