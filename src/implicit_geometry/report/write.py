"""The page of any runs: gathered, predicted, put into settings, drawn, written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from implicit_geometry._files import write_atomically
from implicit_geometry._validate import InputError
from implicit_geometry.experiments.run import Failure, Run
from implicit_geometry.experiments.spec import RunSpec
from implicit_geometry.experiments.spec_texts import data_text, network_text, profile_text, run_title
from implicit_geometry.frames import Frame
from implicit_geometry.report.gather import Sweep, damaged_run, find_stores, gather_runs
from implicit_geometry.report.page.document import PageFigure, Problems, Section, render_page
from implicit_geometry.report.page.one_run import run_article, run_content
from implicit_geometry.report.page.setting import (
    NamedFigure,
    Setting,
    class_order_sentences,
    setting_facts,
    setting_figures,
    setting_sentences,
    settings_of,
)
from implicit_geometry.report.predictions import limit_geometry, predicted_geometries, setting_curves

Track = Callable[[Sequence[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class SweepPage:
    """A report that is made.

    Attributes:
        html: the document.
        settings: what is in it.
        failures: runs that did not finish.
        damaged: what is not in it because it cannot be read.
        unverified: how many of its runs an earlier version wrote, without checksums.
    """

    html: str
    settings: tuple[Setting, ...]
    failures: tuple[Failure, ...]
    damaged: tuple[str, ...]
    unverified: int


def write_report(
    folders: Sequence[Path], output: Path | None = None, *, frame: Frame = "projected", track: Track | None = None
) -> SweepPage:
    """Write the page of all runs in results folders.

    Args:
        folders: results folders, or folders of such; at least one.
        output: file of the page; ``report.html`` in the first folder where left out.
        frame: in which figures show embeddings: ``"projected"`` or ``"centred"`` (:mod:`implicit_geometry.frames`).
        track: passes items on while it shows how far the work is, as ``rich.progress.track`` does.

    Raises:
        InputError: a folder holds no results, no run is finished, a run of an earlier version was not measured in the
            frame, or the page cannot be written.
    """
    target = folders[0] / "report.html" if output is None else output
    sweep = gather_runs([store for folder in folders for store in find_stores(folder)])
    _check_writable(target)
    page = make_page(sweep, title="Trained networks beside the theory of their losses", frame=frame, track=track)
    write_atomically(target, lambda part: part.write_text(page.html, encoding="utf-8"))
    return page


def make_page(
    sweep: Sweep,
    *,
    title: str,
    lead: str | None = None,
    sentences: Callable[[pd.DataFrame], Sequence[str]] = setting_sentences,
    opening: Sequence[NamedFigure] = (),
    on_figure: Callable[[int, NamedFigure, PageFigure], object] = lambda number, named, drawn: None,
    frame: Frame = "projected",
    track: Track | None = None,
) -> SweepPage:
    """Draw the figures and the runs, and put them on one page. Runs that turn out to be damaged are left out.

    Args:
        sweep: the runs.
        title: of the page.
        lead: paragraph below it; what was trained where left out.
        sentences: the findings of a table of runs.
        opening: figures before those of the first setting.
        on_figure: called with the number of the setting, a figure of it and what was drawn.
        frame: as for :func:`write_report`.
        track: as for :func:`write_report`.

    Raises:
        InputError: all runs are damaged.
    """
    following = track or (lambda items, description: items)
    contents, damaged = _contents(sweep, following)
    settings = settings_of(run for run in sweep.runs if run.spec.key in contents)
    if not settings:
        raise InputError("runs", "must hold finished runs", f"only damaged ones: {'; '.join(damaged)}")
    plans = [(0, named) for named in opening] + [
        (number, named)
        for number, setting in enumerate(settings)
        for named in setting_figures(setting, sweep.load, setting_curves, limit_geometry, frame)
    ]
    figures: dict[int, list[PageFigure]] = {number: [] for number in range(len(settings))}
    for number, named in following(plans, "figures"):
        drawn = named.rendered()
        on_figure(number, named, drawn)
        figures[number].append(drawn)
    failures = [(_failure_name(failure.spec), failure.reason) for failure in sweep.failures]
    unverified = sum(run.spec.key in sweep.unverified for setting in settings for run in setting.runs)
    html = render_page(
        title=title,
        lead=lead or _lead(settings),
        tiles=_tiles(settings, sweep.failures, damaged, unverified),
        sections=[
            Section(
                setting.title,
                (*sentences(setting.records), *class_order_sentences(setting, sweep.load, limit_geometry)),
                figures[number],
                setting.records,
                setting_facts(setting),
            )
            for number, setting in enumerate(settings)
        ],
        articles=_articles(settings, contents),
        problems=Problems(failures, damaged),
    )
    return SweepPage(html, tuple(settings), sweep.failures, damaged, unverified)


def _check_writable(target: Path) -> None:
    """Refuse a place for the page before it is drawn, which may take minutes."""
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise InputError("output", "must be a file that can be written", f"{target} ({error.strerror})") from error
    if target.is_dir():
        raise InputError("output", "must be a file", f"the folder {target}")


def _contents(sweep: Sweep, track: Track) -> tuple[dict[str, str], tuple[str, ...]]:
    """HTML of every run by key, and what is damaged."""
    contents, damaged = {}, list(sweep.damaged)
    for run in track(sweep.runs, "runs"):
        try:
            contents[run.spec.key] = _content(sweep, run)
        except InputError as error:
            damaged.append(str(error))
    return contents, tuple(damaged)


def _content(sweep: Sweep, run: Run) -> str:
    """What the page shows of a run.

    Raises:
        InputError: its folder is damaged.
    """
    home = sweep.homes[run.spec.key]
    loaded, history = sweep.load(run.spec), home.history(run.spec)
    try:
        return run_content(loaded, history, str(home.place(run.spec)), predicted_geometries(loaded))
    except InputError as error:
        raise damaged_run(home, run, f"one that cannot be shown ({error})") from error


def _articles(settings: Sequence[Setting], contents: dict[str, str]) -> list[str]:
    runs = [run for setting in settings for run in setting.runs]
    specs = [run.spec for run in runs]
    befores, afters = [None, *specs[:-1]], [*specs[1:], None]
    return [
        run_article(run.spec, contents[run.spec.key], bias=run.bias, before=before, after=after)
        for run, before, after in zip(runs, befores, afters, strict=True)
    ]


def _failure_name(spec: RunSpec) -> str:
    return f"{run_title(spec)}: {data_text(spec.data)}, {profile_text(spec.counts)}, {network_text(spec.network)}"


def _lead(settings: Sequence[Setting]) -> str:
    records = pd.concat([setting.records for setting in settings])
    data = ", ".join(dict.fromkeys(records["data"]))
    return (
        f"{len(records)} networks were trained on label-imbalanced data: {data}. The theory knows the class counts and "
        "the loss, nothing of the samples or the network."
    )


def _tiles(
    settings: Sequence[Setting], failures: Sequence[Failure], damaged: Sequence[str], unverified: int
) -> dict[str, object]:
    """What there is: runs and losses always, of the rest what there is several of."""
    records = pd.concat([setting.records for setting in settings])
    several = {
        "settings": len(settings),
        "data sets": records["data"].nunique(),
        "class profiles": records["profile"].nunique(),
        "networks": records["network"].nunique(),
        "seeds": records["seed"].nunique(),
    }
    return {
        "runs finished": len(records),
        "runs failed": len(failures),
        **({"damaged": len(damaged)} if damaged else {}),
        **({"without checksums": unverified} if unverified else {}),
        "losses": records["rule"].nunique(),
        **{name: number for name, number in several.items() if number > 1},
        "computing time": _duration(records["seconds"].sum()),
    }


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
