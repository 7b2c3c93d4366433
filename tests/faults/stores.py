"""Is a results folder what it would be if nothing had happened?"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd

from implicit_geometry._validate import InputError
from implicit_geometry.experiments.store import RunStore, existing_store

EQUAL_TO_THE_BYTE = ("geometry.safetensors", "weights.safetensors")


def differences(folder: Path, reference: Path, *, complete: bool) -> list[str]:
    """In what a folder differs from an undisturbed one, but for the seconds that runs took.

    Vectors and weights are compared byte by byte; records and histories without their seconds, and so without the
    checksums of these.

    Args:
        folder: of a disturbed sweep.
        reference: of the same sweep, undisturbed.
        complete: every run must be finished and nothing else be left; else a finished run must be right.
    """
    try:
        found, wanted = existing_store(folder), existing_store(reference)
    except InputError as error:
        return [str(error)] if complete or any(folder.iterdir()) else []
    contents, expected = found.contents(), wanted.contents()
    texts = [f"damaged: {text}" for text in contents.damaged]
    texts += [f"{key} has no checksums" for key in contents.unverified]
    ours, theirs = ({run.spec.key: run for run in item.runs} for item in (contents, expected))
    texts += [f"{key} is not one of the runs" for key in ours.keys() - theirs.keys()]
    for key in sorted(ours.keys() & theirs.keys()):
        texts += [f"{key}: {text}" for text in _run_differences(found, wanted, key)]
    if complete:
        texts += [f"{key} is missing" for key in sorted(theirs.keys() - ours.keys())]
        texts += [f"{failure.spec.key} failed: {failure.reason}" for failure in contents.failures]
        left = [*folder.glob("working/*"), *folder.glob("trials/.partial*"), *folder.glob(".partial*")]
        texts += [f"left behind: {path.relative_to(folder)}" for path in left]
    return texts


def tree_digest(folder: Path) -> str:
    """One checksum of all names and bytes below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        digest.update(str(path.relative_to(folder)).encode())
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()


def _run_differences(found: RunStore, wanted: RunStore, key: str) -> list[str]:
    ours, theirs = (store.folder / "trials" / key for store in (found, wanted))
    texts = []
    if sorted(path.name for path in ours.iterdir()) != sorted(path.name for path in theirs.iterdir()):
        texts.append("it has other files")
    texts += [f"{name} differs" for name in EQUAL_TO_THE_BYTE if _bytes(ours / name) != _bytes(theirs / name)]
    if _record(ours) != _record(theirs):
        texts.append("its record differs")
    if not _history(ours).equals(_history(theirs)):
        texts.append("its history differs")
    return texts


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _record(place: Path) -> Any:
    document = json.loads((place / "record.json").read_text(encoding="utf-8"))
    numbers = {name: value for name, value in document["record"].items() if not name.endswith("seconds")}
    return document["spec"], numbers


def _history(place: Path) -> pd.DataFrame:
    path = place / "history.parquet"
    table = pd.read_parquet(path) if path.exists() else pd.DataFrame()
    return table.drop(columns=[name for name in table if name.endswith("seconds")])
