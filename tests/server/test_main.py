"""Start, stop, reload, logs and API keys, in real processes."""

import contextlib
import dataclasses
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.processes import (
    RunWgan,
    children_of,
    cpu_seconds,
    environment,
    run,
    wait_until,
    wgan_command,
)
from tests.runtime import models
from tests.runtime.test_verification import proved, with_manifest
from tests.server.heavy import slow_generator
from tests.server.servers import (
    LISTENING,
    READY,
    Reply,
    Server,
    array_of,
    seeds_request,
    serving,
)
from wgan.errors import UsageError, WganError
from wgan.model_file.manifest import METADATA_KEY, json_sha256
from wgan.model_file.reading import read_manifest, scan_model
from wgan.runtime import Generator
from wgan.server.config import ServeConfig
from wgan.server.main import thread_errors
from wgan.server.model_repository import model_files
from wgan.stop import STOP_SIGNALS

SEED = seeds_request(1)
KEY = "a-key-of-thirty-two-characters-0"


def model(seed: int = 0) -> onnx.ModelProto:
    """A model whose weights are those of `seed`."""
    made = models.generator()
    constants = models.weights(seed=seed)
    for tensor in made.graph.initializer:
        if tensor.name in constants:
            tensor.raw_data = constants[tensor.name].tobytes()
    return made


def model_bytes(seed: int = 0, step: int = 12, **config: str) -> bytes:
    """The file of such a model, with a valid receipt."""
    data = proved(model(seed))
    manifest = read_manifest(scan_model(data))
    assert manifest is not None
    changed = dataclasses.replace(manifest, step=step, config={**manifest.config, **config})
    return with_manifest(model(seed), changed)


def false_bytes() -> bytes:
    """A model with the receipt of another."""
    manifest = read_manifest(scan_model(model_bytes(0)))
    assert manifest is not None
    return with_manifest(model(5), manifest)


def deep_bytes() -> bytes:
    """A model whose manifest is nested 600 levels deep."""
    deep = model(0)
    manifest = read_manifest(scan_model(model_bytes()))
    assert manifest is not None
    nested: dict[str, Any] = {}
    for _ in range(600):
        nested = {"a": nested}
    fields = json.loads(dataclasses.replace(manifest, config={"deep": "here"}).to_json())
    # All checksums are right: only the depth is wrong.
    fields |= {"config": nested, "config_sha256": json_sha256(nested)}
    del fields["manifest_sha256"]
    fields["manifest_sha256"] = json_sha256(fields)
    onnx.helper.set_model_props(deep, {METADATA_KEY: json.dumps(fields)})
    data: bytes = deep.SerializeToString()
    return data


def test_it_is_live_at_once_and_ready_after_the_first_image(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(slow_generator(2000))
    with serving(path, "--threads", 1, wait_for=LISTENING) as server:
        server.port = int(server.await_log(LISTENING)[1])
        live, ready = server.get("/v2/health/live"), server.get("/v2/health/ready")
        assert (live.status, live.json()) == (200, {"live": True, "ready": False})
        assert (ready.status, ready.json()) == (503, {"live": True, "ready": False})
        model_ready = server.get("/v2/models/generator/ready")
        assert (model_ready.status, model_ready.json()["ready"]) == (503, False)
        refused = server.infer(SEED)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert "still loading" in refused.error
        server.await_log(READY)
        assert server.get("/v2/health/ready").json() == {"live": True, "ready": True}
        assert server.infer(SEED).status == 200


def test_sigterm_finishes_running_requests_and_exits_0(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(slow_generator(4000))
    replies: list[Reply] = []
    with serving(path, "--threads", 1, "--max-batch", 8) as server:
        ask = threading.Thread(
            target=lambda: replies.append(server.infer(seeds_request(*range(100))))
        )
        ask.start()
        server.await_metric("wgan_held_images", lambda held: held == 100)
        assert server.stop() == 0
        ask.join()
    assert array_of(replies[0]).shape == (100, 8, 8, 3)
    with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.1", server.port)):
        pass


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_signal_before_the_server_starts_stops_it(model_file: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    os.mkfifo(keys)
    process = subprocess.Popen(
        wgan_command("serve", model_file, "--port", 0, "--api-key-file", keys),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    with keys.open("w") as pipe:  # opens once the server reads its keys, and keeps it waiting
        process.send_signal(signal.SIGTERM)
        pipe.write(f"{KEY}\n")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert errors.endswith("stopped\n")


def test_the_drain_time_is_limited(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(slow_generator(16_000))
    with serving(path, "--threads", 1, "--max-batch", 4, "--drain-seconds", 1) as server:
        ask = threading.Thread(target=try_to_infer, args=[server, 256])
        ask.start()
        server.await_metric("wgan_held_images", lambda held: held == 256)
        assert server.stop(10) == 0
        ask.join()


def try_to_infer(server: Server, count: int) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        server.infer(seeds_request(*range(count)))


def test_sighup_reloads_a_changed_file(tmp_path: Path) -> None:
    path, other = tmp_path / "generator.onnx", tmp_path / "other"
    path.write_bytes(model_bytes(0))
    other.write_bytes(model_bytes(1, step=99))
    with serving(path) as server:
        old = array_of(server.infer(SEED))
        etag = server.get("/v1/models/generator/images/1.png").headers["etag"]
        shutil.move(other, path)
        server.process.send_signal(signal.SIGHUP)
        server.await_log("model generator, version 99, runs on")
        new = array_of(server.infer(SEED))
        assert server.get("/v1/models/generator/images/1.png").headers["etag"] != etag
        assert server.get("/v2/models/generator").json()["versions"] == ["99"]
    np.testing.assert_array_equal(new, Generator(path).sample([1]))
    assert not np.array_equal(old, new)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (model_bytes()[:-500], "damaged"),
        (b"PK\x03\x04", "an archive for PyTorch"),
        (false_bytes(), "fails wgan verify: checksums"),
        (deep_bytes(), "the manifest is nested more than 32 levels deep"),
        (None, "there is no model file"),
    ],
    ids=["empty", "cut", "archive", "false", "deep", "gone"],
)
def test_an_invalid_file_keeps_the_old_model(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(model_bytes(0))
    with serving(path) as server:
        old = server.infer(SEED).body
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        server.process.send_signal(signal.SIGHUP)
        server.await_log(f"model generator was not replaced: .*({reason})")
        assert server.infer(SEED).body == old
        assert server.get("/v1/models").status == 200


def test_other_models_are_replaced_and_used_beside_one_that_is_invalid(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.onnx").write_bytes(model_bytes(0))
    with serving("a.onnx", "b.onnx", cwd=tmp_path) as server:
        (tmp_path / "a.onnx").write_bytes(deep_bytes())
        (tmp_path / "b.onnx").write_bytes(model_bytes(1, step=99))
        server.process.send_signal(signal.SIGHUP)
        server.await_log("model a was not replaced: .*nested more than 32 levels deep")
        server.await_log("model b, version 99, runs on")
        listed = server.get("/v1/models").json()["models"]
        assert [(each["name"], each["version"]) for each in listed] == [("a", "12"), ("b", "99")]
        for name in ("a", "b"):
            assert server.post(f"/v2/models/{name}/infer", SEED).status == 200


FORKED = """
import asyncio, os, signal, sys
from pathlib import Path
from wgan.server.asgi import ApiKeys, make_app
from wgan.server.batcher import Scheduler
from wgan.server.config import ServeConfig
from wgan.server.model_repository import ModelRepository
from wgan.server.telemetry import Metrics

async def load():
    config, metrics = ServeConfig(threads=4), Metrics()
    repository = ModelRepository({"g": Path(sys.argv[1])}, config, metrics)
    make_app(config, repository, Scheduler(config, metrics), ApiKeys(()), metrics)
    await repository.load()
    return repository

loop = asyncio.new_event_loop()
repository = loop.run_until_complete(load())
child = os.fork()
if child == 0:
    signal.alarm(30)  # ends it if it hangs
    if sys.argv[2] == "close":
        assert repository.close()
    sys.exit(0)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert repository.close()
loop.close()
sys.exit(status)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a fork")
@pytest.mark.parametrize("end", ["close", "exit"])
def test_a_process_forked_from_one_with_loaded_models_ends(
    end: str, model_file: Path, tmp_path: Path
) -> None:
    """As the workers of `gunicorn --preload` are."""
    done = run([sys.executable, "-c", FORKED, str(model_file), end], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def probe_of(server: Server) -> int | None:
    """The process in which the server probes a model, if there is one."""
    return next(iter(children_of(server.process.pid)), None)


def crash_probe(server: Server) -> None:
    """Crash the probe once ONNX Runtime runs in it."""
    deadline = time.monotonic() + 30
    while (child := probe_of(server)) is None or cpu_seconds(child) < 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGSEGV)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which process is the probe")
def test_a_model_that_crashes_onnxruntime_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(models.slow_to_open())
    with serving(path, wait_for=LISTENING) as server:
        crash_probe(server)
        assert server.process.wait(10) == 1
        server.await_log(r"Error: .*generator\.onnx: ONNX Runtime crashed \(SIGSEGV")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which process is the probe")
def test_a_changed_file_that_crashes_onnxruntime_keeps_the_old_model(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(model_bytes(0))
    with serving(path) as server:
        path.write_bytes(models.slow_to_open())
        server.process.send_signal(signal.SIGHUP)
        crash_probe(server)
        server.await_log("model generator was not replaced: .*ONNX Runtime crashed")
        assert server.infer(SEED).status == 200


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which process is the probe")
@pytest.mark.parametrize("number", STOP_SIGNALS)
@pytest.mark.parametrize("to_group", [False, True], ids=["server", "group"])
def test_a_signal_stops_a_server_that_is_loading(
    tmp_path: Path, number: int, to_group: bool
) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(models.slow_to_open())
    with serving(path, wait_for=LISTENING) as server:
        wait_until(lambda: probe_of(server) is not None)
        child = probe_of(server)
        if to_group:  # as Ctrl-C and systemd: the probe gets it too
            os.killpg(server.process.pid, number)
        else:
            server.process.send_signal(number)
        assert server.process.wait(20) == 128 + number
        server.await_log("^stopped$")
    log = "\n".join(server.log)
    assert not re.search("Traceback|Error|crashed|damaged", log), log
    wait_until(lambda: has_ended(child))


def has_ended(process: int | None) -> bool:
    """Whether a process is gone, or its parent has only not taken note."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() == b""
    except FileNotFoundError:
        return True


def test_a_model_that_never_ends_is_reported_and_the_next_one_loaded(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(model_bytes(0))
    with serving(path, "--load-seconds", 6) as server:
        old = server.infer(SEED).body
        path.write_bytes(slow_generator(10**15))
        server.process.send_signal(signal.SIGHUP)
        server.await_log("was not replaced: .*draws no images within 6 seconds")
        assert server.infer(SEED).body == old
        path.write_bytes(model_bytes(1, step=99))
        server.process.send_signal(signal.SIGHUP)
        server.await_log("model generator, version 99, runs on")


def test_a_server_leaves_no_files_of_other_packages(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "generator.onnx").write_bytes(model_bytes())
    # onnxruntime sends nothing where a variable says that it runs in CI.
    hidden = {"CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY"}
    variables = {
        name: value
        for name, value in environment().items()
        if name not in hidden and not name.startswith(("XDG_", "WGAN_"))
    }
    with serving("generator.onnx", cwd=tmp_path, variables=variables | {"HOME": str(home)}) as each:
        assert each.infer(SEED).status == 200
        assert each.stop() == 0
    assert list(home.rglob("*")) == []
    assert {path.name for path in tmp_path.iterdir()} == {"home", "generator.onnx"}


def test_requests_succeed_while_a_model_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "generator.onnx"
    path.write_bytes(model_bytes(0))
    possible = set()
    with serving(path) as server:
        possible.add(server.infer(SEED).json()["outputs"][0]["data"][0])
        stop = threading.Event()
        seen: list[Reply] = []

        def keep_requesting() -> None:
            while not stop.is_set():
                seen.append(server.infer(SEED))

        requests = threading.Thread(target=keep_requesting)
        requests.start()
        for step in range(100, 102):
            path.write_bytes(model_bytes(step, step=step))
            server.process.send_signal(signal.SIGHUP)
            server.await_log(f"version {step}, runs on")
        stop.set()
        requests.join()
    assert {reply.status for reply in seen} == {200}
    assert len({reply.json()["model_version"] for reply in seen}) > 1


def test_several_models_are_served_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(model_bytes(0))
    (tmp_path / "b.onnx").write_bytes(model_bytes(1))
    with serving("a.onnx", "second=b.onnx", cwd=tmp_path) as server:
        names = [model["name"] for model in server.get("/v1/models").json()["models"]]
        assert names == ["a", "second"]
        drawn = [array_of(server.post(f"/v2/models/{name}/infer", SEED)) for name in names]
    for name, pixels in zip("ab", drawn, strict=True):
        np.testing.assert_array_equal(pixels, Generator(tmp_path / f"{name}.onnx").sample([1]))


def test_a_model_of_step_0_has_version_1_as_in_its_other_formats(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(model_bytes(step=0))
    with serving("a.onnx", cwd=tmp_path) as server:
        assert server.get("/v2/models/a").json()["versions"] == ["1"]


def test_a_path_may_have_an_equals_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("lr=0.1").mkdir()
    file = Path("lr=0.1/a.onnx")
    file.write_bytes(model_bytes())
    assert model_files([str(file), f"named={file}"]) == {"a": file, "named": file}
    folder = Path("ema=a.b")
    (folder / "onnx").mkdir(parents=True)
    (folder / "onnx" / "model.onnx").write_bytes(model_bytes())
    assert model_files([f"faces={folder}"]) == {"faces": folder / "onnx" / "model.onnx"}
    with pytest.raises(UsageError, match=r"model name 'ema=a\.b' is not allowed.* NAME=FILE"):
        model_files([str(folder)])


def test_the_latest_export_is_served_by_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("generator.onnx").write_bytes(model_bytes())
    Path("runs/latest-export").write_text("../generator.onnx\n")
    ((name, path),) = model_files([]).items()
    assert (name, path.resolve()) == ("generator", tmp_path / "generator.onnx")


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["missing.onnx"], 1, "there is no model file missing.onnx"),
        (["bad.onnx"], 1, "bad.onnx"),
        (["generator.onnx", "generator=bad.onnx"], 2, "two models are called generator"),
        (["surrogate.onnx"], 1, "surrogate.onnx: its manifest has a text that is not Unicode"),
        (["a/b=generator.onnx"], 2, "model name 'a/b' is not allowed"),
        (["generator.onnx", "--max-batch", "0"], 2, "--max-batch 0 is not allowed"),
        (["generator.onnx", "--max-batch", "1" + "0" * 400], 2, "it must be an integer from 1"),
        (["generator.onnx", "--drain-seconds", "1" + "0" * 400], 2, "it must be an integer from 0"),
        (["generator.onnx", "--idle-seconds", "1e308"], 2, "it must be a finite number"),
        (["generator.onnx", "--host", "\udcff"], 2, "cannot listen at"),
        (["generator.onnx", "--host", "x" * 300], 2, "cannot listen at"),
        (["generator.onnx", "--api-key-file", "x" * 300], 2, "cannot be read"),
        (["generator.onnx", "--api-key-file", "\udcff"], 2, "cannot be read"),
        (["generator.onnx", "--max-wait", "-1"], 2, "--max-wait -1 is not allowed"),
        (["generator.onnx", "--max-queue", "5"], 2, "--max-images 256 is not allowed"),
        (["generator.onnx", "--max-body", "0"], 2, "--max-body 0 is not allowed"),
        (["generator.onnx", "--body-seconds", "nan"], 2, "--body-seconds nan is not allowed"),
        (["generator.onnx", "--send-seconds", "inf"], 2, "--send-seconds inf is not allowed"),
        (["generator.onnx", "--drain-seconds", "-1"], 2, "--drain-seconds -1 is not allowed"),
        (["generator.onnx", "--host", "203.0.113.1"], 2, "cannot listen at 203.0.113.1"),
        (["generator.onnx", "--api-key-file", "missing"], 2, "the key file missing cannot be"),
        (["generator.onnx", "--api-key-file", "short"], 2, "fewer than 16 characters"),
        (["generator.onnx", "--api-key-file", "empty"], 2, "holds no key"),
        (["generator.onnx", "--device", "tpu"], 2, "'tpu' is not one of auto"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    run_wgan: RunWgan, tmp_path: Path, arguments: list[str], status: int, sentence: str
) -> None:
    (tmp_path / "generator.onnx").write_bytes(model_bytes())
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    (tmp_path / "surrogate.onnx").write_bytes(model_bytes(data="\udcff"))
    (tmp_path / "short").write_text("secret\n")
    (tmp_path / "empty").write_text("# nothing\n")
    done = run_wgan("serve", "--port", 0, *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_device_is_refused_by_the_config() -> None:
    with pytest.raises(UsageError, match="--device 'cuda1' is not allowed"):
        ServeConfig(device="cuda1")


def test_a_refused_thread_is_an_error() -> None:
    def refuse() -> None:
        raise RuntimeError("can't start new thread")  # Python's, at the limit on processes

    with pytest.raises(WganError, match="refuses another thread"), thread_errors():
        refuse()


def test_a_port_in_use_is_an_error(model_file: Path, run_wgan: RunWgan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run_wgan("serve", model_file, "--port", port)
    assert (done.returncode, f"127.0.0.1 port {port}" in done.stderr) == (2, True)


NO_LIMITS = "sys.modules['resource'] = None"  # as on Windows
REFUSED_LIMITS = """
import resource
def refuse(which, limits): raise ValueError("current limit exceeds maximum limit")
resource.setrlimit = refuse
"""  # macOS, beyond its unreported hard limit


@pytest.mark.parametrize(
    ("system", "line"),
    [(NO_LIMITS, "no limit on open files"), (REFUSED_LIMITS, "files may be open at once")],
    ids=["windows", "macos"],
)
def test_it_serves_where_the_limit_on_open_files_cannot_be_raised(
    model_file: Path, system: str, line: str
) -> None:
    def as_there(*arguments: object) -> list[str]:
        code = f"import sys\n{system}\nfrom wgan.cli import main\nmain()"
        return [sys.executable, "-c", code, *map(str, arguments)]

    with serving(model_file, "--max-connections", 100_000, command=as_there) as server:
        server.await_log(line)
        assert server.infer(SEED).status == 200
        assert server.stop() == 0


def test_a_key_is_needed_except_for_health_and_the_page(model_file: Path, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# ours\n  # theirs and more\nan-older-key-of-ours\n{KEY}\n")
    with serving(model_file, "--api-key-file", tmp_path / "keys") as server:
        for path in ("/v2/health/live", "/v2/health/ready", "/", "/docs", "/openapi.json"):
            assert server.get(path).status == 200
        for path in ("/v2", "/v1/models", "/v1/models/generator/images/1.png", "/metrics", "/x"):
            refused = server.get(path)
            assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
            assert "an API key is needed" in refused.error
        assert server.infer(SEED).status == 401
        assert server.infer(SEED, {"X-API-Key": "# theirs and more"}).status == 401
        for headers in (
            {"Authorization": f"Bearer {KEY}"},
            {"authorization": f"bearer {KEY}"},
            {"X-API-Key": KEY},
            {"X-API-Key": "an-older-key-of-ours"},
        ):
            assert server.infer(SEED, headers).status == 200
            assert server.get("/metrics", headers).status == 200
        for headers in (
            {"Authorization": f"Basic {KEY}"},
            {"Authorization": f"Bearer {KEY[:-1]}"},
            {"Authorization": "Bearer "},
            {"X-API-Key": "\xe9" * 20},
        ):
            assert server.infer(SEED, headers).status == 401


def test_an_open_server_without_a_key_warns(model_file: Path) -> None:
    with serving(model_file, "--host", "0.0.0.0") as server:
        server.await_log("warning: 0.0.0.0 can be reached from other machines")


def test_only_named_origins_get_cors_headers(model_file: Path, tmp_path: Path) -> None:
    named = {"Origin": "https://named.example"}
    with serving(model_file) as server:
        assert "access-control-allow-origin" not in server.get("/v1/models", named).headers
    with serving(model_file, "--cors-origin", "https://named.example") as server:
        reply = server.get("/v1/models", named)
        assert reply.headers["access-control-allow-origin"] == "https://named.example"
        other = server.get("/v1/models", {"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_json_logs_have_a_line_for_each_request_with_its_id(model_file: Path) -> None:
    with serving(model_file, "--log-format", "json") as server:
        reply = server.infer(SEED, {"X-Request-Id": "my-own-id"})
        assert reply.headers["x-request-id"] == "my-own-id"
        forged = server.infer(SEED, {"X-Request-Id": 'x" "level": "evil'})
        assert re.fullmatch("[0-9a-f]{16}", forged.headers["x-request-id"])
        server.await_log(forged.headers["x-request-id"])
        lines = [json.loads(line) for line in server.log]
    line = next(line for line in lines if line.get("request_id") == "my-own-id")
    assert line["path"] == "/v2/models/generator/infer"
    assert (line["status"], line["method"], line["level"]) == (200, "POST", "info")
    assert line["seconds"] > 0


def test_metrics_count_requests_images_and_errors(model_file: Path) -> None:
    with serving(model_file) as server:
        server.infer(seeds_request(1, 2, 3))
        server.infer({})
        assert server.metric('wgan_images_total{model="generator"}') == 3
        assert server.metric('wgan_batch_images_sum{model="generator"}') == 3
        assert server.metric('wgan_inference_seconds_count{model="generator"}') == 1
        assert server.metric('wgan_queue_seconds_count{model="generator"}') == 1
        assert server.metric('wgan_rejections_total{reason="bad_request"}') == 1
        route = "/v2/models/{model}/infer"
        assert server.metric(f'wgan_requests_total{{route="{route}",status="200"}}') == 1
        assert server.metric(f'wgan_requests_total{{route="{route}",status="400"}}') == 1
        text = server.get("/metrics").body.decode()
    assert 'provider="CPUExecutionProvider"' in text


def test_it_needs_no_pytorch(model_file: Path) -> None:
    with serving(model_file) as server:
        server.infer(SEED)
        maps = Path(f"/proc/{server.process.pid}/maps")
        if not maps.exists():
            pytest.skip("this system does not tell a process's libraries")
        libraries = maps.read_text()
    assert "libtorch" not in libraries
    assert "onnxruntime" in libraries
