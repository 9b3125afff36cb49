"""Ranks of one start find each other, and nothing that ranks of an earlier start left."""

from concurrent.futures import ThreadPoolExecutor

from torch._C._distributed_c10d import HashStore

from wgan.training.distributed.process_group import rendezvous_store


def test_ranks_of_a_restart_do_not_see_the_keys_of_the_first_start() -> None:
    launcher = HashStore()

    with ThreadPoolExecutor(3) as threads:
        first = list(threads.map(lambda rank: rendezvous_store(launcher, rank, 3), (0, 1, 2)))
    first[0].set("ready", "yes")
    with ThreadPoolExecutor(3) as threads:  # one rank comes before rank 0, one after
        second = list(threads.map(lambda rank: rendezvous_store(launcher, rank, 3), (2, 0, 1)))

    assert not any(store.check(["ready"]) for store in second)
    second[0].set("ready", "yes")
    assert all(store.check(["ready"]) for store in second)


def test_a_rank_that_reads_the_prefix_of_a_dead_rank_0_is_sent_on_to_the_new_one() -> None:
    launcher = HashStore()
    launcher.set("wgan/prefix", "died")  # while it waited for the others
    launcher.add("wgan/died/arrived", 1)
    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(rendezvous_store, launcher, 1, 2)
        launcher.wait(["wgan/died/complete"])  # it has come, and counts as the last
        assert not other.done()
        main = threads.submit(rendezvous_store, launcher, 0, 2)
    main.result().set("ready", "yes")
    assert other.result().check(["ready"])
