"""`seqcls export`: a trained model as one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from seqcls.apps.cli import flags
from seqcls.apps.cli.loading import uninterrupted
from seqcls.apps.cli.output import print_json, say

if TYPE_CHECKING:
    from seqcls.inference.portable.onnx_export import OnnxExport


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model or run directory.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write; by default MODEL.onnx.", show_default=False),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="Round weights to 8 bits, and measure the loss of accuracy on validation.")
    ] = False,
    as_json: flags.Json = False,
) -> None:
    """Write a model as an ONNX file.

    The file is checked against PyTorch; `seqcls predict` and ONNX Runtime read it.
    """
    with uninterrupted():
        from seqcls.inference.portable.onnx_export import export_onnx

    say(f"Checking {model} in ONNX Runtime …", quiet=as_json)
    exported = export_onnx(model, output or Path(f"{model.resolve().name}.onnx"), int8=int8)
    if as_json:
        print_json(exported.as_dict())
        return
    typer.echo(
        f"Same as PyTorch on {exported.checks} batches of random lengths and paddings: "
        f"logits differ by at most {exported.largest_difference:.1e}"
    )
    if int8:
        typer.echo(_int8_line(exported))
    size = f"{exported.bytes / 1e6:.2f} MB; model.safetensors has {exported.model_bytes / 1e6:.2f}"
    typer.echo(f"Model: {exported.path} ({size})")


def _int8_line(exported: OnnxExport) -> str:
    measured = exported.int8
    if measured is None:
        return f"The accuracy with 8-bit weights was not measured: {exported.reason}"
    before, after = (100 * score.accuracy for score in (measured.float32, measured.int8))
    return (
        f"With 8-bit weights the accuracy on {measured.int8.count:,} validation examples is {after:.2f}%, down from "
        f"{before:.2f}%: a loss of {before - after:.2f} points; "
        f"probabilities differ by at most {measured.largest_difference:.4f}"
    )
