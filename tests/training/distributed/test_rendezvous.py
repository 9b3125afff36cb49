"""Processes of one start find each other, and nothing of those who were started before them."""

from concurrent.futures import ThreadPoolExecutor

from torch._C._distributed_c10d import HashStore

from wgan.training.distributed.rendezvous import rendezvous_store


def test_processes_meet_whatever_those_before_them_left() -> None:
    store = HashStore()
    with ThreadPoolExecutor(3) as threads:
        first = [
            place.result()
            for place in [threads.submit(rendezvous_store, store, k, 3) for k in (0, 1, 2)]
        ]
    first[0].set("ready", "yes")
    # One of the next start comes before its leader, and one after.
    with ThreadPoolExecutor(3) as threads:
        second = [threads.submit(rendezvous_store, store, 2, 3)]
        second += [threads.submit(rendezvous_store, store, k, 3) for k in (0, 1)]
    assert not any(place.result().check(["ready"]) for place in second)
    second[0].result().set("ready", "yes")
    assert all(place.result().check(["ready"]) for place in second)


def test_who_finds_the_name_of_a_dead_leader_is_sent_on_to_the_one_who_lives() -> None:
    store = HashStore()
    store.set("wgan/name", "died")  # while it waited for the others
    store.add("wgan/died/come", 1)
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(rendezvous_store, store, 1, 2)
        store.wait(["wgan/died/complete"])  # it has come, and counts as the last
        assert not other.done()
        leader = threads.submit(rendezvous_store, store, 0, 2)
    leader.result().set("ready", "yes")
    assert other.result().check(["ready"])
