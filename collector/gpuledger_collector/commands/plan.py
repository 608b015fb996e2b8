"""`gpuledger plan`."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from gpuledger_agent.settings_file import Refused
from gpuledger_collector import output
from gpuledger_collector.commands.declare import loading, reaching
from gpuledger_collector.config import store_options
from gpuledger_collector.ledger.coverage import Waste, covered, waste_for
from gpuledger_collector.ledger.plan import Ask, Room, asks_of, rooms_for
from gpuledger_collector.ledger.requests import BOOK, CapacityRequest
from gpuledger_collector.store.client import StoreConfig

Options = dict[str, Any]


@click.command()
@click.option("--what-if", "file", type=click.Path(path_type=Path),
              help="File of requests that would be applied.")  # fmt: skip
@click.option("--gpus", type=click.FloatRange(min=0, min_open=True), help="GPUs asked for.")
@click.option("--pool", default="", help="Pool of the GPUs.")
@click.option("--gpu-model", default="", help="Part of the GPU model's name.")
@click.option("--team", default="", help="Who asks: waste of its own comes first.")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table",
              show_default=True, help="How to print the plan.")  # fmt: skip
@store_options
def plan(
    file: Path | None,
    gpus: float | None,
    pool: str,
    gpu_model: str,
    team: str,
    form: str,
    store: StoreConfig,
) -> None:
    """What a request would do to its pool, and which waste would cover it.

    Exit code 1 if it does not fit. Changes nothing.

    Example: gpuledger plan --gpus 64 --pool production --gpu-model H100
    """
    if (file is None) == (gpus is None):
        raise Refused("give either --what-if FILE or --gpus N")
    requests: list[CapacityRequest] = []
    if file is not None:
        with loading():
            requests = BOOK.load(file)
    with reaching(store) as client:
        asks = [Ask(pool, gpu_model, gpus)] if gpus is not None else []
        asks += asks_of(client, requests, datetime.now(UTC))
        rooms = rooms_for(client, asks)
        spared = {request.id for request in requests}
        waste = [
            waste_for(client, room, team=team, spared=spared) if room.asked > 0 else []
            for room in rooms
        ]
    (_tell_json if form == "json" else _tell)(rooms, waste)
    for room in rooms:
        if room.unknown and not room.fits:
            click.echo(room.unknown, err=True)
    click.get_current_context().exit(int(not all(room.fits for room in rooms)))


def _row(room: Room) -> Options:
    return {
        "pool": room.pool,
        "gpu_model": room.gpu_model,
        "capacity_gpus": room.capacity,
        "requested_gpus": room.requested,
        "allocated_gpus": room.allocated,
        "asked_gpus": room.asked,
        "headroom_before": room.headroom_before,
        "headroom_after": room.headroom_after,
        "days_to_full_before": room.days_to_full(),
        "days_to_full_after": room.days_to_full(room.asked),
        "earliest_after": room.days_to_full(room.asked, bands=1),
        "latest_after": room.days_to_full(room.asked, bands=-1),
        "fits": room.fits,
    }


def _tell_json(rooms: list[Room], waste: list[list[Waste]]) -> None:
    plans = [
        _row(room) | {"covered_gpus": covered(items), "waste": [asdict(item) for item in items]}
        for room, items in zip(rooms, waste, strict=True)
    ]
    click.echo(json.dumps(plans, indent=2))


def _tell(rooms: list[Room], waste: list[list[Waste]]) -> None:
    if not rooms:
        click.echo("nothing is asked for beyond what the books have")
        return
    rows = [_row(room) for room in rooms]
    output.show(list(rows[0]), [list(row.values()) for row in rows])
    for room, items in zip(rooms, waste, strict=True):
        if items or not (room.fits or room.unknown):
            where = f"{room.pool or 'no pool'} {room.gpu_model or 'any GPU'}"
            short = "fits" if room.fits else f"short of {-room.headroom_after:g} GPUs"
            click.echo(f"{where}: {short}; waste that could be had back: {covered(items):g}")
        if items:
            columns = [f.name for f in fields(Waste)]
            output.show(columns, [[getattr(item, name) for name in columns] for item in items])
