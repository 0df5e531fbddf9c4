"""`ownshelf demo`: the whole idea on a real log, step by step, by what the other commands call too."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess  # nosec B404 # runs our own program
import sys
import tempfile
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from data.dataset import Dataset
from data.errors import ServingError
from data.interactions import EventKind, Interactions
from data.split import parse_time
from federation.device.device import Device
from federation.device.lists import Recommendations
from federation.lab.comparison import ComparisonResult, compare_models
from federation.lab.mixing import learn_mix
from federation.lab.publish import publish, shipped_surfaces
from federation.lab.questions import question
from federation.lab.recipes import recipe
from recsys.catalogue.bundle import Bundle
from recsys.mix.mix_tables import attributes_of
from serving.cli.lab.lab import adjusted, train_with_progress, write_evaluation
from serving.cli.output import console, errors, jsonable, models_table, print_json

CUT = "2011-11-09"
SAMPLE = "sample:online-retail"


def demo_command(
    out: Annotated[Path, typer.Option(help="folder for the bundle, plots and figures")] = Path("out/demo"),
    rounds: Annotated[int | None, typer.Option(min=1, help="rounds of training")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="machine-readable JSON on stdout")] = False,
    seed: Annotated[int, typer.Option(help="seed of every draw")] = 0,
    shop: Annotated[
        bool | None,
        typer.Option(help="end in a shop to click through; by default where there is a terminal to stop it"),
    ] = None,
) -> None:
    """Train federatedly on real purchases, compare personalized with global, then let a device ask the service."""
    say = errors if as_json else console
    started = time.monotonic()
    _heading(say, "[bold]1  read a real purchase log")
    dataset = Dataset.open(SAMPLE)
    summary = dataset.summary
    say.print(
        f"Online Retail, a UK gift shop: {summary['events']:,} purchases of {summary['users']:,} shoppers and "
        f"{summary['items']:,} items, {summary['from'][:10]} to {summary['to'][:10]}; rejected {summary['rejected']}"
    )
    _heading(say, "[bold]2  train item embeddings federatedly, one simulated device a shopper")
    chosen = adjusted(recipe("purchases"), rounds, None, None, None)
    later_question = question(dataset.interactions(), "temporal", parse_time(CUT))
    trained = train_with_progress(
        later_question.split.train, chosen, seed=seed, now=later_question.now, checkpoint=None
    )
    say.print(
        f"{len(trained.records)} rounds; no device was asked more than {trained.participations.max()} times; "
        "what reached the server's step were sums over about 200 devices"
    )
    _heading(say, f"[bold]3  compare on purchases after {CUT}, which nobody has seen")
    prior, attributes = chosen.mix or "purchases", attributes_of(dataset.catalogue)
    mix = learn_mix(later_question, chosen, prior, trained.table, seed=seed, attributes=attributes)
    compared = compare_models(later_question, chosen, seed=seed, table=trained.table, mix=mix)
    result = jsonable(compared.to_dict() | {"dataset": dataset.name, "recipe": "purchases"})
    result["training"]["records"] = [jsonable(vars(record)) for record in trained.records]
    out.mkdir(parents=True, exist_ok=True)
    write_evaluation(out, result, compared.evaluation.to_frame(), "ndcg@20")
    surfaces = shipped_surfaces(later_question.split.train, chosen, dataset.catalogue)
    bundle = publish(
        out / "bundle", dataset, trained, chosen, now=later_question.now, mix=mix, surfaces=surfaces, overwrite=True
    )
    say.print(models_table(result, "ndcg@20"))
    _heading(say, "[bold]4  a device with its own profile asks the service")
    story = _device_story(
        dataset, later_question.split.train, later_question.split.test, compared, bundle, out, later_question.now
    )
    for line in story["lines"]:
        say.print(line, highlight=False)
    _heading(say, f"[bold]done in {time.monotonic() - started:.0f} s")
    say.print(f"plots: {out / 'models.png'}, {out / 'training.png'}; figures: {out / 'evaluation.json'}")
    say.print(f"next: .venv/bin/ownshelf serve {out / 'bundle'} --shop, and /shop at its address in a browser")
    say.print("or your own log: .venv/bin/ownshelf ingest --help")
    if as_json:
        print_json(result | {"device": {key: value for key, value in story.items() if key != "lines"}})
    if shop or (shop is None and say.is_terminal and not as_json):
        _keep_shop(say, out / "bundle")


def _keep_shop(say: Console, bundle: Path) -> None:
    """Serve the demo shop until it is interrupted, and show it where there is a screen."""
    with _service(bundle, "--shop") as url:
        _heading(say, f"[bold]the shop is open: {url}/shop[/bold]   (Ctrl-C closes it)")
        if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
            webbrowser.open(f"{url}/shop")
        with contextlib.suppress(KeyboardInterrupt):
            _wait()


def _wait() -> None:
    """Wait for Ctrl-C."""
    while True:
        time.sleep(3600)


def _heading(say: Console, text: str) -> None:
    """Draw a line across a terminal; in a pipe, whose lines have no end, print the text alone."""
    if say.is_terminal:
        say.rule(text)
    else:
        say.print(text)


def _device_story(
    dataset: Dataset,
    train: Interactions,
    test: Interactions,
    compared: ComparisonResult,
    bundle: Bundle,
    out: Path,
    now: int,
) -> dict[str, Any]:
    """Play one shopper: its history goes to a device, the device asks over HTTP, one more event moves the list."""
    user = _typical(train, compared)
    history, later = train.of(user), set(test.item_idx[test.of(user)].tolist())
    ids = dataset.catalogue["item_id"].to_list()
    titles = dict(zip(ids, dataset.catalogue["title"].to_list(), strict=True))
    bought_later = {ids[item] for item in later}
    n_past = history.stop - history.start
    lines = [f"A shopper with {n_past} past purchases. History and profile stay in one encrypted file on the device."]
    with tempfile.TemporaryDirectory() as home, _service(out / "bundle") as url:
        device = Device.create(Path(home) / "device", consent="observe", key_store="file")
        device.refresh(url)
        for row in range(history.start, history.stop):
            device.observe(ids[train.item_idx[row]], EventKind.PURCHASE, int(train.time[row]))
        before = device.recommend_from(url, 10, repeat=False, now=now, mode="profile")
        on_device = device.recommend(10, repeat=False, now=now)
        full = device.recommend(10, now=now)
        same = len({listed.item_id for listed in before.items} & {listed.item_id for listed in on_device.items})
        lines += _shelf("over HTTP, mode profile (the vector is used once and forgotten)", before, titles, bought_later)
        lines += _shelf("on the device, nothing sent, by the mix of all signals", full, titles, bought_later)
        lines.append(f"  without what the shopper had before, {same} of 10 items are also in the list over HTTP")
        liked = next(listed.item_id for listed in on_device.items[::-1] if listed.item_id not in bought_later)
        device.observe(liked, EventKind.DISLIKE, now)
        after = device.recommend_from(url, 10, repeat=False, now=now, mode="profile")
        moved = 10 - len({entry.item_id for entry in before.items} & {entry.item_id for entry in after.items})
        lines.append(f"  one dislike of “{titles[liked]}”: {moved} of 10 items change at once")
        device.erase()
    lines.append("The device was erased. The service holds the bundle and nothing about the shopper.")
    return {
        "lines": lines,
        "history": n_past,
        "same_of_10": same,
        "changed_after_dislike": moved,
        "bought_later_in_top_10": sum(listed.item_id in bought_later for listed in full.items),
    }


def _typical(train: Interactions, compared: ComparisonResult) -> int:
    """Choose the warm user of median list quality among those with 30 to 60 events: neither our best nor our worst."""
    users = compared.evaluation.users
    quality = compared.evaluation.column("personalized", "ndcg@20")
    size = train.counts[users]
    fit = np.flatnonzero((size >= 30) & (size <= 60) & ~np.isnan(quality))
    return int(users[fit[np.argsort(quality[fit], kind="stable")[len(fit) // 2]]])


def _shelf(how: str, list_: Recommendations, titles: dict[str, str], bought: set[str]) -> Sequence[str]:
    hits = sum(item.item_id in bought for item in list_.items)
    head = f"[bold]{how}[/bold]: {hits} of 10 were bought in the following month"
    return [head] + [
        f"  {'●' if item.item_id in bought else '○'} {titles[item.item_id] or item.item_id}" for item in list_.items
    ]


@contextmanager
def _service(bundle: Path, *options: str) -> Iterator[str]:
    """Run `ownshelf serve` in a process of its own on a free port; yield its address."""
    program = [sys.executable, "-m", "serving.cli.main"]
    command = [*program, "serve", str(bundle), "--port", "0", "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # nosec B603 # our own program, no shell
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise ServingError("service: did not start; run `ownshelf serve` to see why")
        yield json.loads(line)["url"]
    finally:
        process.terminate()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()
