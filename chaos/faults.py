# SPDX-License-Identifier: AGPL-3.0-or-later
"""The faults of one router."""

import sqlite3
from contextlib import closing
from random import Random
from typing import Final

from chaos.fault import KILL_SECONDS, POINTS, STOP_SECONDS, Act, Fault, pause, size
from chaos.ground import FAR, LOOK_SECONDS, NEAR
from chaos.world import World
from support.scripted_scp import Misbehaviour, Rejection
from support.waiting import wait_until

OWED_SECONDS = 60.0
PAGE = 4096  # of the side database
# --- the process -----------------------------------------------------------------------------------------------------


def killed_while_receiving(world: World, chance: Random) -> None:
    study = world.make(60)
    sending = world.send_in_background(study)
    pause(chance, 0.4)
    world.router.kill()
    world.sent_in_background(study, sending)


def killed_at_a_random_moment(world: World, chance: Random) -> None:
    world.send(world.make(size(chance)))
    pause(chance, 3.0)
    world.router.kill()


def killed_twice(world: World, chance: Random) -> None:
    killed_at_a_random_moment(world, chance)
    world.router.start()
    pause(chance, 1.5)
    world.router.kill()


def restarted_in_order(world: World, chance: Random) -> None:
    world.send(world.make(size(chance)))
    pause(chance, 2.5)
    world.router.restart(STOP_SECONDS)


def killed_at(point: str) -> Act:
    def act(world: World, chance: Random) -> None:
        world.orders.give(Kill=point)
        world.send(world.make(size(chance), StationName="DELETE"))
        wait_until(lambda: not world.router.is_alive, KILL_SECONDS, f"the router was killed {point}")
        world.router.kill()  # takes the process off the list

    return act


# --- the network -----------------------------------------------------------------------------------------------------


def connections_cut(world: World, chance: Random) -> None:
    world.proxy.delay = 0.005
    world.send(world.make(size(chance)))
    for _ in range(chance.randint(1, 4)):
        pause(chance, 1.2)
        world.proxy.cut()


def network_gone(world: World, chance: Random) -> None:
    world.send(world.make(size(chance)))
    pause(chance, 1.5)
    world.proxy.black_hole()
    pause(chance, 4.0)


def far_away(world: World, chance: Random) -> None:
    world.proxy.delay = chance.uniform(0.02, 0.15)
    world.send(world.make(size(chance)))
    pause(chance, 2.0)


# --- the destination -------------------------------------------------------------------------------------------------


def destination_down(world: World, chance: Random) -> None:
    world.scp.stop_listening()
    world.send(world.make(size(chance)))
    pause(chance, 5.0)


def destination_goes_while_it_receives(world: World, chance: Random) -> None:
    world.scp.slow = 0.01
    world.send(world.make(120))
    pause(chance, 2.5)
    world.scp.stop_listening()
    pause(chance, 2.0)


def destination_aborts(world: World, chance: Random) -> None:
    for _ in range(chance.randint(1, 3)):
        world.scp.on_store(Misbehaviour.ABORT, at=len(world.scp.requests) + chance.randint(1, 40), times=1)
    world.send(world.make(size(chance)))
    pause(chance, 2.0)


def destination_hangs(world: World, chance: Random) -> None:
    world.scp.on_store(Misbehaviour.HANG, times=chance.randint(1, 3))
    world.send(world.make(size(chance)))
    pause(chance, 4.0)


def destination_out_of_resources(world: World, chance: Random) -> None:
    world.scp.on_store(0xA700, times=chance.randint(1, 20))
    world.send(world.make(size(chance)))
    pause(chance, 2.0)


def destination_rejects(world: World, chance: Random) -> None:
    world.scp.reject(Rejection.BUSY)
    world.send(world.make(size(chance)))
    pause(chance, 4.0)


def archive_killed(world: World, chance: Random) -> None:
    world.send(world.make(size(chance)))
    pause(chance, 2.5)
    world.near.kill()
    pause(chance, 2.0)


def owed_to_far(world: World) -> bool:
    """It was decided to send there: the rules of later do not change that."""
    return any(each["Destination"] == FAR for each in world.history())


def destination_renamed(world: World, chance: Random) -> None:
    """Its entry disappears from the configuration while it is owed something, and comes back."""
    world.scp.stop_listening()
    world.send(world.make(size(chance)))
    wait_until(lambda: owed_to_far(world), OWED_SECONDS, f"something is owed to {FAR}", every=LOOK_SECONDS)
    pause(chance, 2.0)
    config = world.router.config
    entry, option = config["DicomModalities"].pop(FAR), config["Router"]["Destinations"].pop(FAR)
    for rule in config["Router"]["Rules"]:
        rule["Send"] = [NEAR]
    world.router.restart(STOP_SECONDS)
    pause(chance, 2.0)
    world.scp.start_listening()
    config["DicomModalities"][FAR], config["Router"]["Destinations"][FAR] = entry, option
    for rule in config["Router"]["Rules"]:
        rule["Send"] = [FAR, NEAR]
    world.router.restart(STOP_SECONDS)


# --- the database and the clock --------------------------------------------------------------------------------------


def disk_full(world: World, chance: Random) -> None:
    ballast = world.disk / "ballast"
    try:
        with ballast.open("wb") as file:
            while file.write(bytes(4096)):
                file.flush()
    except OSError:
        pass  # it is full now
    world.send(world.make(size(chance)))
    pause(chance, 5.0)
    ballast.unlink()


def database_damaged(world: World, chance: Random) -> None:
    """Pages of the file are overwritten while the router runs, or before it starts."""
    for old in world.disk.glob("router.db.damaged-*"):
        old.unlink()  # the disk is small
    world.send(world.make(size(chance)))
    pause(chance, 3.0)
    stopped = chance.random() < 0.5
    if stopped:
        world.router.kill()
    pages = max(1, world.database.stat().st_size // PAGE)
    with world.database.open("r+b") as file:
        for _ in range(chance.randint(1, 8)):
            file.seek(chance.randrange(pages) * PAGE)
            file.write(chance.randbytes(PAGE))
    if not stopped:
        world.send(world.make(size(chance)))
        pause(chance, 8.0)
        world.router.kill()  # what was not met while it ran is seen at the start


def database_locked(world: World, chance: Random) -> None:
    with closing(sqlite3.connect(world.database, timeout=30, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        world.send(world.make(size(chance)))
        pause(chance, 14.0)
        other.execute("ROLLBACK")


def database_slow(world: World, chance: Random) -> None:
    world.orders.give(SlowDatabase=chance.uniform(0.01, 0.1))
    world.send(world.make(size(chance)))
    pause(chance, 4.0)


def clock_jumps(world: World, chance: Random) -> None:
    world.send(world.make(size(chance)))
    pause(chance, 1.5)
    world.orders.give(Clock=chance.choice((-7200, -60, 60, 7200, 86400)))
    world.send(world.make(size(chance)))
    pause(chance, 3.0)


# --- the sender ------------------------------------------------------------------------------------------------------


def late_images(world: World, chance: Random) -> None:
    first = world.make(size(chance))
    world.scp.slow = 0.02
    world.send(first)
    for _ in range(chance.randint(1, 3)):
        pause(chance, 2.0)
        world.send(world.make(chance.randint(1, 10), StudyInstanceUID=first.uid))


def many_at_once(world: World, chance: Random) -> None:
    studies = [world.make(chance.randint(1, 5)) for _ in range(8)]
    sendings = [world.send_in_background(study) for study in studies]
    for study, sending in zip(studies, sendings, strict=True):
        world.sent_in_background(study, sending)


FAULTS: Final = (
    Fault("killed while receiving", killed_while_receiving, cuts=True),
    Fault("killed at a random moment", killed_at_a_random_moment, cuts=True),
    Fault("killed twice", killed_twice, cuts=True),
    Fault("restarted in order", restarted_in_order, cuts=True),
    *(Fault(f"killed {point}", killed_at(point), cuts=True) for point in POINTS),
    Fault("connections cut", connections_cut, cuts=True),
    Fault("network gone without a word", network_gone, cuts=True),
    Fault("far away", far_away),
    Fault("destination down", destination_down),
    Fault("destination goes while it receives", destination_goes_while_it_receives, cuts=True),
    Fault("destination aborts", destination_aborts, cuts=True),
    Fault("destination hangs", destination_hangs, cuts=True),
    Fault("destination out of resources", destination_out_of_resources),
    Fault("destination rejects associations", destination_rejects),
    Fault("archive killed", archive_killed, cuts=True),
    Fault("destination removed and back", destination_renamed),
    Fault("disk of the side database full", disk_full),
    Fault("side database damaged", database_damaged, cuts=True),
    Fault("side database locked", database_locked),
    Fault("side database slow", database_slow),
    Fault("clock jumps", clock_jumps),
    Fault("late images", late_images),
    Fault("many studies at once", many_at_once),
)
