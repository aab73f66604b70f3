# SPDX-License-Identifier: AGPL-3.0-or-later
"""The faults of two routers on one database."""

from random import Random
from threading import Event
from typing import Final

from chaos.fault import KILL_SECONDS, POINTS, STOP_SECONDS, Fault, pause, size
from chaos.pair import Pair
from support.router import Router
from support.waiting import wait_until

FROZEN_SECONDS = 75.0  # longer than a lease


def one_of(pair: Pair, chance: Random) -> Router:
    return pair.routers[chance.randrange(2)]


def send_some(pair: Pair, chance: Random) -> None:
    """A study to each."""
    for router in pair.routers:
        pair.send(pair.make(size(chance)), router)


def one_killed(pair: Pair, chance: Random) -> None:
    send_some(pair, chance)
    pause(chance, 3.0)
    one_of(pair, chance).kill()
    pause(chance, 3.0)


def one_killed_while_it_receives(pair: Pair, chance: Random) -> None:
    study, router = pair.make(60), one_of(pair, chance)
    sending = pair.send_in_background(study, router)
    pause(chance, 0.6)
    router.kill()
    pair.sent_in_background(study, sending)


def both_killed(pair: Pair, chance: Random) -> None:
    send_some(pair, chance)
    pause(chance, 3.0)
    for router in chance.sample(pair.routers, 2):
        router.kill()
        pause(chance, 0.5)


def the_other_takes_over(pair: Pair, chance: Random) -> None:
    """What one was sending is sent by the other, while the one stays dead."""
    pair.scp.slow = 0.02
    send_some(pair, chance)
    pause(chance, 3.0)
    one_of(pair, chance).kill()
    pair.scp.slow = 0.0
    pair.settle()


def one_killed_at_a_point(pair: Pair, chance: Random) -> None:
    point = chance.choice(POINTS)
    for orders in pair.orders:
        orders.give(Kill=point)
    pair.send(pair.make(size(chance), StationName="DELETE"), one_of(pair, chance))
    wait_until(lambda: not all(each.is_alive for each in pair.routers), KILL_SECONDS, f"one was killed {point}")
    pause(chance, 1.0)
    for router in pair.routers:
        if not router.is_alive:
            router.kill()  # takes the process off the list


def one_frozen(pair: Pair, chance: Random) -> None:
    """It loses its leases without knowing, and goes on when the other has taken over."""
    pair.scp.slow = 0.05
    for router in pair.routers:
        pair.send(pair.make(60), router)
    pause(chance, 3.0)
    frozen = one_of(pair, chance)
    pair.freeze(frozen)
    pair.scp.slow = 0.0
    Event().wait(FROZEN_SECONDS)


def restarted_in_order(pair: Pair, chance: Random) -> None:
    send_some(pair, chance)
    pause(chance, 2.5)
    for router in chance.sample(pair.routers, 2):
        router.restart(STOP_SECONDS)


def database_far_away(pair: Pair, chance: Random) -> None:
    for link in pair.links:
        link.delay = chance.uniform(0.002, 0.03)
    send_some(pair, chance)
    pause(chance, 5.0)


def database_cut(pair: Pair, chance: Random) -> None:
    send_some(pair, chance)
    for _ in range(chance.randint(1, 4)):
        pause(chance, 1.5)
        chance.choice(pair.links).cut()


def database_gone_for_one(pair: Pair, chance: Random) -> None:
    send_some(pair, chance)
    pause(chance, 2.0)
    chance.choice(pair.links).refuse()
    pair.send(pair.make(size(chance)), one_of(pair, chance))
    pause(chance, 8.0)


def database_silent_for_both(pair: Pair, chance: Random) -> None:
    send_some(pair, chance)
    pause(chance, 2.0)
    for link in pair.links:
        link.black_hole()
    pair.send(pair.make(size(chance)), one_of(pair, chance))
    pause(chance, 8.0)


def one_study_through_both(pair: Pair, chance: Random) -> None:
    """Parts of it come to each, some of them late."""
    first = pair.make(chance.randint(1, 30))
    second = pair.make(chance.randint(1, 30), StudyInstanceUID=first.uid)
    sendings = [(first, pair.routers[0]), (second, pair.routers[1])]
    background = [(study, pair.send_in_background(study, router)) for study, router in sendings]
    for study, sending in background:
        pair.sent_in_background(study, sending)
    for _ in range(chance.randint(0, 2)):
        pause(chance, 2.5)
        pair.send(pair.make(chance.randint(1, 5), StudyInstanceUID=first.uid), one_of(pair, chance))


def far_cut(pair: Pair, chance: Random) -> None:
    pair.proxy.delay = 0.005
    send_some(pair, chance)
    for _ in range(chance.randint(1, 3)):
        pause(chance, 1.2)
        pair.proxy.cut()


PAIR_FAULTS: Final = (
    Fault("two routers: one killed", one_killed, cuts=True, two=True),
    Fault("two routers: one killed while it receives", one_killed_while_it_receives, cuts=True, two=True),
    Fault("two routers: both killed", both_killed, cuts=True, two=True),
    Fault("two routers: one stays dead", the_other_takes_over, cuts=True, two=True),
    Fault("two routers: killed at a point of the code", one_killed_at_a_point, cuts=True, two=True),
    Fault("two routers: one frozen for longer than its leases", one_frozen, cuts=True, two=True),
    Fault("two routers: both restarted in order", restarted_in_order, cuts=True, two=True),
    Fault("two routers: database far away", database_far_away, two=True),
    Fault("two routers: connections to the database cut", database_cut, cuts=True, two=True),
    Fault("two routers: database gone for one", database_gone_for_one, cuts=True, two=True),
    Fault("two routers: database silent for both", database_silent_for_both, cuts=True, two=True),
    Fault("two routers: one study through both", one_study_through_both, two=True),
    Fault("two routers: connections to the destination cut", far_cut, cuts=True, two=True),
)
