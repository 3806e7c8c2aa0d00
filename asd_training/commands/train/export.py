# SPDX-License-Identifier: Apache-2.0
"""`asd-train export`: a student as a model directory for the node, or as one ONNX file.

Either is run beside PyTorch on a drawn street and on random images, and appears under its name only
if both find the same objects.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """The arguments of `asd-train export`."""
    parser.add_argument(
        "source", type=Path, help="folder of a run, its checkpoint (*.ckpt), or a model directory"
    )
    parser.add_argument(
        "output", type=Path, help="a name that ends in .onnx for ONNX, else a new model directory"
    )
    parser.add_argument(
        "--cameras",
        type=int,
        metavar="N",
        help="number of cameras of the ONNX file and of the frames that are compared (default: as "
        "many as it was trained with)",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.01,
        help="largest difference to PyTorch in scores, m, rad and m/s (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Write the student as `output`."""
    from asd_training.export.model import write_model
    from asd_training.export.onnx_file import to_onnx, write_onnx
    from asd_training.export.parity import DecodingStudent, parity_frames
    from asd_training.export.source import load_source

    student, provenance, cameras = load_source(args.source)
    frames = parity_frames(student, args.cameras if args.cameras is not None else len(cameras) or 6)
    if args.output.suffix == ".onnx":
        print("tracing ...", flush=True)  # the exporter has no progress to show
        model = DecodingStudent(student).eval()
        program = to_onnx(model, next(iter(frames.values())), provenance, cameras)
        write_onnx(program, model, args.output, frames, args.tolerance)
        print(f"ONNX: {args.output}, {args.output.stat().st_size / 1e6:.1f} MB")
    else:
        write_model(student, provenance, args.output, frames, args.tolerance, cameras)
        print(f"model directory: {args.output}")
