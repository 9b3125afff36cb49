"""How the processes that a launcher starts together find a place in its store of their own."""

import secrets

from torch._C._distributed_c10d import PrefixStore, Store  # as torch.distributed does


def rendezvous_store(store: Store, rank: int, size: int) -> Store:
    """The part of a store that these processes alone share, once all of them have come.

    A launcher may keep its store when it starts all of them anew, and with it the notes of those
    who died; torchrun does, and nothing that it gives to its processes is the same for all of one
    start and another one at the next. (TORCHELASTIC_RESTART_COUNT is not: the launcher of each
    machine counts for itself, and only those restarts that its own processes caused. The run's id,
    the address and the port stay.) So the process that leads says under which name they meet. The
    name of one who died may still stand there, but is good for nothing: only a leader who lives
    says that all have come, and then removes it; a new leader sends on who waits under an old one.
    It takes that launchers end the processes of one start before the next, as torchrun does.

    Args:
        store: the launcher's, whose own time-out limits the waiting.
        rank: which process this is; 0 leads.
        size: how many there are.

    Raises:
        RuntimeError: not all came in time, or the store is gone.
    """
    while True:
        name = _announce(store) if rank == 0 else store.get("wgan/name").decode()
        place = PrefixStore(f"wgan/{name}", store)
        if place.add("come", 1) == size:
            place.set("complete", "yes")
        if rank == 0:
            place.wait(["complete"])
            store.delete_key("wgan/name")
            place.set("met", "yes")
        if place.get("met"):
            return place


def _announce(store: Store) -> str:
    name = secrets.token_hex(8)
    former = store.get("wgan/name").decode() if store.check(["wgan/name"]) else None
    store.set("wgan/name", name)
    if former is not None:
        store.set(f"wgan/{former}/met", "")
    return name
