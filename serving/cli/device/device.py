"""`ownshelf device`: a shopper's device on the command line; every command parses, calls one method and prints."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from data.atomic import write_atomically
from data.errors import ServingError
from federation.device.cluster_ledger import ClusterPolicy
from federation.device.device import Device
from federation.device.erasure import erase_device
from federation.device.lists import Mode, Recommendation, Recommendations
from federation.device.noise_ledger import NoisePolicy
from federation.device.vault import KeyStore
from federation.storage.key_files import read_public_key
from recsys.catalogue.bundle import Bundle
from serving.cli.device.contribute import Ca, contribute_command
from serving.cli.device.device_home import default_home
from serving.cli.device.device_key import Key, RelayKey, RelayUrl, keyed_client
from serving.cli.device.simulate import simulate_command
from serving.cli.errors import OneLineErrors
from serving.process.core_dumps import forbid_core_dumps


class DeviceCommands(OneLineErrors):
    """The commands; `--simulate N` is the command `simulate N`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse arguments of one command."""
        for place, argument in enumerate(args):
            if argument == "--simulate" or argument.startswith("--simulate="):
                given = [] if argument == "--simulate" else [argument.partition("=")[2]]
                args = ["simulate", *given, *args[:place], *args[place + 1 :]]
                break
        return super().parse_args(ctx, args)


device_app = typer.Typer(
    name="device",
    help="A shopper's own device: history and profile in an encrypted file, lists made here.\n\n"
    "--simulate N runs N devices of a log against a live service.",
    cls=DeviceCommands,
    no_args_is_help=True,
)


@device_app.callback()
def device_group() -> None:
    """Keep the history out of core files, whatever the command."""
    forbid_core_dumps()


Home = Annotated[
    Path | None, typer.Option("--home", help="The device's folder [OWNSHELF_HOME, else XDG data].", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
Service = Annotated[str, typer.Option("--service", help="Address of the service.")]


@device_app.command()
def init(
    home: Home = None,
    consent: Annotated[str, typer.Option(help="nothing, observe or contribute.")] = "nothing",
    key_store: Annotated[str | None, typer.Option(help="keyring or file; the keyring if one works.")] = None,
    as_json: AsJson = False,
) -> None:
    """Create a device; it observes nothing until told to."""
    store: KeyStore | None = None
    if key_store is not None:
        if key_store not in ("keyring", "file"):
            raise ServingError(f"key_store={key_store!r}: must be 'keyring' or 'file'")
        store = "keyring" if key_store == "keyring" else "file"
    device = Device.create(_home(home), consent=consent, key_store=store)
    made = {"folder": str(_home(home)), "key_store": device.key_store, "consent": device.consent}
    _print(made, f"device in {made['folder']}, key in the {made['key_store']}, consent={made['consent']}", as_json)


@device_app.command()
def observe(
    item_id: str,
    kind: Annotated[str, typer.Option(help="view, cart, purchase, like or dislike.")] = "view",
    time: Annotated[str | None, typer.Option(help="ISO 8601, UTC unless it says otherwise; now.")] = None,
    quantity: Annotated[float, typer.Option(help="Units.")] = 1.0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Record one event; the next list knows it."""
    observed = Device.open(_home(home)).observe(item_id, kind, _time(time), quantity)
    _print(asdict(observed), observed.note, as_json)


@device_app.command()
def recommend(
    top_k: Annotated[int, typer.Option(help="1 to 1000.")] = 10,
    service: Annotated[str | None, typer.Option(help="Ask this service; what it sees depends on --mode.")] = None,
    key: Key = None,
    ca: Ca = None,
    relay: RelayUrl = None,
    relay_key: RelayKey = None,
    mode: Annotated[
        str | None,
        typer.Option(help="device, cluster, noised or profile; by default device where a catalogue fits."),
    ] = None,
    clusters: Annotated[
        int | None, typer.Option(help="mode cluster: how many cluster ids are sent, 1 (the default) to 4.")
    ] = None,
    candidates: Annotated[int | None, typer.Option(help="modes cluster, noised: how many to rank, up to 2000.")] = None,
    max_epsilon: Annotated[
        float | None,
        typer.Option(help=f"mode noised: ε of this device's whole life (default {NoisePolicy.max_epsilon:g})."),
    ] = None,
    epsilon: Annotated[
        float | None, typer.Option(help=f"mode noised: ε of one message (default {NoisePolicy.epsilon:g}).")
    ] = None,
    period_days: Annotated[
        float | None, typer.Option(help=f"mode noised: days it is repeated (default {NoisePolicy.period_days:g}).")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Use this bundle, not a fetched catalogue.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="An item_id not to show; may be repeated.")] = None,
    unseen: Annotated[bool, typer.Option("--unseen", help="Leave out every item of the own history.")] = False,
    repeat: Annotated[bool, typer.Option(help="Join own purchases.")] = True,
    own_settings: Annotated[
        bool, typer.Option("--own-settings", help="Half-life and λ by this device's own last baskets.")
    ] = False,
    only: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help='Such as {"category": "tea", "price": {"max": 9}}.')
    ] = None,
    custodian_key: Annotated[
        str | None,
        typer.Option(help="Name clusters only of a file that is in the log of this custodian (hex, or file)."),
    ] = None,
    diversity: Annotated[float, typer.Option(help="0 to 1: the higher, the less alike.")] = 0.0,
    reasons: Annotated[bool, typer.Option("--reasons", help="Say why each item is there.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a list, on this device unless --service is given."""
    device = Device.open(_home(home), None if bundle is None else Bundle.load(bundle))
    if service is None and mode not in (None, "device"):
        raise ServingError(f"mode={mode}: needs --service")
    given = {
        "--filter": only,
        "--diversity": diversity or None,
        "--reasons": reasons or None,
        "--own-settings": own_settings or None,
        "--clusters": clusters,
        "--candidates": candidates,
        "--custodian-key": custodian_key,
        "--epsilon": epsilon,
        "--max-epsilon": max_epsilon,
        "--period-days": period_days,
    }
    options = [option for option, value in given.items() if value is not None]
    clusters = 1 if clusters is None else clusters
    noise = NoisePolicy(
        NoisePolicy.epsilon if epsilon is None else epsilon,
        NoisePolicy.period_days if period_days is None else period_days,
        NoisePolicy.max_epsilon if max_epsilon is None else max_epsilon,
    )

    def here() -> Recommendations:
        _check_options("device", options)
        return device.recommend(
            top_k,
            exclude=exclude or (),
            unseen=unseen,
            repeat=repeat,
            own_settings=own_settings,
            filter=None if only is None else _json(only, "filter"),
            diversity=diversity,
            reasons=reasons,
        )

    if service is None:
        listed = here()
    else:
        if mode is not None:
            _check_options(mode, options)
        with keyed_client(service, key, ca, relay, relay_key) as client:
            if device.mode_for(client, mode) == "device":
                listed = here()
            else:
                _check_options(mode or "cluster", options)
                listed = device.recommend_from(
                    client,
                    top_k,
                    mode=mode or "cluster",  # type: ignore[arg-type]  # checked there
                    clusters=clusters,
                    candidates=candidates,
                    noise=noise,
                    naming=ClusterPolicy(
                        custodian_key=None if custodian_key is None else read_public_key(custodian_key)
                    ),
                    exclude=exclude or (),
                    unseen=unseen,
                    repeat=repeat,
                )
        typer.echo(_gives_up(device, listed, noise.max_epsilon), err=True)
    lines = [
        f"{place:>4}  {item.item_id}  {item.title or ''}  {item.score:.4f}{_because(item)}"
        for place, item in enumerate(listed.items, 1)
    ]
    if listed.fallback:
        lines.insert(0, "the trend: there is no profile yet (no known events, or consent=nothing)")
    if listed.unknown_exclude:
        typer.echo(f"not in bundle {listed.bundle_version}: {', '.join(listed.unknown_exclude)}", err=True)
    _print(asdict(listed), "\n".join(lines), as_json)


@device_app.command()
def consent(
    choice: Annotated[str | None, typer.Argument(help="nothing, observe or contribute.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the shopper's choice, or change it; a history recorded before is kept until erased."""
    device = Device.open(_home(home))
    if choice is not None:
        device.set_consent(choice)
    _print({"consent": device.consent}, f"consent={device.consent}", as_json)


@device_app.command()
def show(home: Home = None, as_json: AsJson = False) -> None:
    """Show everything that is stored on this device."""
    stored = Device.open(_home(home)).show()
    lines = [f"{name}: {value}" for name, value in stored.items() if name != "events"]
    lines += [
        f"{event['time']}  {event['kind']:<8}  {event['item_id']}  x{event['quantity']:g}" for event in stored["events"]
    ]
    _print(stored, "\n".join(lines), as_json)


@device_app.command()
def forget(
    item_id: Annotated[str | None, typer.Argument(help="the item, or --all")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that the shopper did, on all items.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Remove what one item, or --all, left behind. What was spent of privacy budgets stays counted."""
    if everything == (item_id is not None):
        raise ServingError("ITEM_ID, --all: give one of the two")
    device = Device.open(_home(home))
    if item_id is not None:
        removed = device.forget(item_id)
    else:
        if not yes:
            typer.confirm(f"forget all that happened on the device in {device.folder}?", abort=True, err=True)
        removed = device.forget_everything()
    _print({"removed": removed}, f"removed {removed} events", as_json)


@device_app.command()
def export(file: Path, home: Home = None, as_json: AsJson = False) -> None:
    """Write the history, sealed under a passphrase (OWNSHELF_PASSPHRASE, else asked for)."""
    device = Device.open(_home(home))
    write_atomically(file, device.export(_passphrase(confirm=True)), mode=0o600)
    _print({"file": str(file)}, f"wrote {file}", as_json)


@device_app.command("import")
def import_(file: Path, home: Home = None, as_json: AsJson = False) -> None:
    """Merge another device's export; events known already are not added again."""
    device = Device.open(_home(home))
    if not file.is_file():
        raise ServingError(f"{file}: no such file")
    added = device.import_(file.read_bytes(), _passphrase(confirm=False))
    _print({"added": added}, f"added {added} events", as_json)


@device_app.command()
def erase(
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Destroy the key and every file of this device."""
    if not yes:
        typer.confirm(f"erase the device in {_home(home)}?", abort=True, err=True)
    erase_device(_home(home))
    _print({"erased": str(_home(home))}, f"erased {_home(home)}", as_json)


@device_app.command()
def refresh(service: Service, key: Key = None, ca: Ca = None, home: Home = None, as_json: AsJson = False) -> None:
    """Fetch the service's current catalogue, if it is another one."""
    device = Device.open(_home(home))
    with keyed_client(service, key, ca) as client:
        fetched = device.refresh(client)
    version = device.show()["bundle_version"]
    state = "fetched" if fetched else "already here"
    _print({"fetched": fetched, "bundle_version": version}, f"bundle {version}: {state}", as_json)


device_app.command("contribute")(contribute_command)
device_app.command("simulate")(simulate_command)


OPTIONS_OF_MODE: dict[Mode, frozenset[str]] = {
    "device": frozenset(("--filter", "--diversity", "--reasons", "--own-settings")),
    "profile": frozenset(),
    "cluster": frozenset(("--clusters", "--candidates", "--custodian-key")),
    "noised": frozenset(("--candidates", "--epsilon", "--max-epsilon", "--period-days")),
}
"""Options of each mode, of those that not every mode has; an unknown mode is refused where it is asked."""


def _check_options(mode: str, options: list[str]) -> None:
    """Check options; raises ServingError for one that this mode would ignore."""
    of_mode: dict[str, frozenset[str]] = dict(OPTIONS_OF_MODE.items())
    if mode not in of_mode:
        return
    for option in options:
        if option not in of_mode[mode]:
            modes = [name for name, some in OPTIONS_OF_MODE.items() if option in some]
            raise ServingError(f"{option}: mode={mode} does not use it; it belongs to {' and '.join(modes)}")


def _gives_up(device: Device, listed: Recommendations, max_epsilon: float) -> str:
    """Say what the service has just learned."""
    if listed.mode == "device":
        return "mode=device: the service saw nothing of the shopper; the list was made here"
    if listed.mode == "profile":
        return "mode=profile: the service saw the profile of this request; no other mode shows it"
    state = device.state
    if listed.fallback:
        return f"mode={listed.mode}: the service saw that there is nothing to say now, and nothing else"
    if listed.mode == "cluster":
        ids = () if state.named.last is None else state.named.last.clusters
        named = "a public cluster id" if len(ids) == 1 else f"{len(ids)} public cluster ids"
        return (
            f"mode=cluster: the service saw {named}, the same again and again, roughly what is liked, not the "
            f"profile; {state.named.answered} of at most {ClusterPolicy.max_answers} answers in this device's life"
        )
    account = state.noise
    return (
        f"mode=noised: the service saw a noised profile, the same one for the whole period; {account.drawn} of them "
        f"in this device's life, together epsilon={account.epsilon:g} of at most {max_epsilon:g}"
    )


def _home(home: Path | None) -> Path:
    return home or default_home()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ServingError(f"time={text!r}: must be ISO 8601, such as 2011-11-09T10:00:00Z") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _json(text: str, name: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ServingError(f'{name}={text[:80]!r}: must be JSON, such as {{"category": "tea"}}') from None


def _because(item: Recommendation) -> str:
    return "" if item.reason is None else f"  {item.reason.text} ({item.reason.share:.0%})"


def _passphrase(*, confirm: bool) -> str:
    given = os.environ.get("OWNSHELF_PASSPHRASE")
    return given or str(typer.prompt("passphrase", hide_input=True, confirmation_prompt=confirm, err=True))


def _print(result: dict[str, Any], text: str, as_json: bool) -> None:
    typer.echo(json.dumps(result, ensure_ascii=False) if as_json else text)
