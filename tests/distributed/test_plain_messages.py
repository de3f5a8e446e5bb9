"""Nothing that a cluster answers is unpickled, whatever it pretends to be."""

import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from offramp.distributed.dask_cluster import DaskExecutor
from offramp.distributed.executor import Job
from offramp.errors import WorkerError
from tests.distributed.handlers import worker_folder

distributed = pytest.importorskip("distributed")
if True:  # these import Dask
    from distributed.core import Status
    from distributed.protocol import Serialize, ToPickle, dumps
    from distributed.protocol.serialize import Pickled, Serialized

    from offramp.distributed.plain_messages import REFUSED, plain_address, plain_message


COMMAND = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=offramp")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.file,)


def test_plain_values_arrive(tmp_path: Path) -> None:
    message = {"op": "x", "status": Status.running, "set": {1, 2}, "list": (1, 2.5, "ä", b"b", None, True)}
    assert plain_message(dumps(message)) == message
    assert plain_message(dumps({"data": Serialize("text")}, serializers=["msgpack"])) == {"data": "text"}


@pytest.mark.parametrize(
    "wrap", [ToPickle, Serialize, lambda trap: Serialize([trap]), lambda trap: Serialize({"a": trap})]
)
def test_an_object_is_replaced_by_a_text_and_runs_nothing(tmp_path: Path, wrap: Any) -> None:
    frames = dumps({"data": wrap(Trap(tmp_path / "run"))})
    assert plain_message(frames) == {"data": REFUSED}
    assert not (tmp_path / "run").exists()


def test_headers_that_hold_pickles_run_nothing(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "run"))
    for header in (
        {"serializer": "pickle", "writeable": ()},
        {"serializer": "dask", "type-serialized": trap, "sub-header": {}},
        {"serializer": "error"},
        {"is-collection": True, "sub-headers": [{"serializer": "pickle", "writeable": ()}], "frame-lengths": [1]},
    ):
        assert plain_message(dumps({"data": Serialized(header, [trap])})) == {"data": REFUSED}
    assert plain_message(dumps({"data": Pickled({"pickled-obj": trap}, [])})) == {"data": REFUSED}
    assert not (tmp_path / "run").exists()


def test_exceptions_types_and_warnings_arrive_as_text(tmp_path: Path) -> None:
    trap = pickle.dumps(Trap(tmp_path / "run"))
    message = {"op": "task-erred", "exception": trap, "traceback": trap, "exception_text": "ValueError('red')"}
    found = plain_message(dumps([message, {"op": "key-in-memory", "type": trap}, {"message": trap, "category": trap}]))
    assert isinstance(found[0]["exception"], WorkerError)
    assert str(found[0]["exception"]) == "ValueError('red')"
    assert found[0]["traceback"] is None
    assert found[1:] == ({"op": "key-in-memory", "type": None}, {"message": None, "category": None})
    assert not (tmp_path / "run").exists()


def test_no_module_is_imported_for_an_enumeration() -> None:
    import msgpack

    named = {"__Enum__": True, "__module__": "distributed.cli.dask_ssh", "__name__": "Any", "name": "x"}
    assert plain_message([msgpack.dumps(named)]) == REFUSED


@pytest.mark.parametrize("frames", [[b""], [b"\xc1"], [b"\x81" * 5000], [b"\x81\xae__Serialized__\x09"]])
def test_a_damaged_message_is_a_value_error(frames: list[bytes]) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        plain_message(frames)


@pytest.mark.parametrize("address", ["", "tcp://", "inproc://a/1/1", "ucx://a:1", "http://a"])
def test_only_addresses_of_the_network_are_connected_to(address: str) -> None:
    with pytest.raises(ValueError, match="must begin with tcp:// or tls://"):
        plain_address(address)


def test_a_worker_that_answers_with_an_object_runs_nothing_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**options, processes=False, protocol="tcp://") as cluster:
        executor = DaskExecutor(worker_folder(tmp_path / "files"), cluster.scheduler_address)
        file = tmp_path / "run"
        for answer in (lambda *_: Trap(file), lambda *_: [Trap(file)], lambda *_: {"payload": ""}, lambda *_: 7):
            monkeypatch.setattr("offramp.distributed.dask_tasks.run_job", answer)
            with pytest.raises(WorkerError, match=r"must answer with text|must be JSON text"):
                executor.submit(Job("test", "echo 1")).result(30)
        executor.close()
    assert not (tmp_path / "run").exists()


def certificate(folder: Path) -> dict[str, str]:
    """A certificate that signs itself, and its key, as the settings of Dask name them."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        [
            *[
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=offramp",
                "-keyout",
            ],
            key,
            "-out",
            cert,
        ],
        check=True,
        capture_output=True,
    )
    files = {f"distributed.comm.tls.{role}.{part}": str(file) for role in ("scheduler", "worker", "client")
             for part, file in (("cert", cert), ("key", key))}  # fmt: skip
    return {**files, "distributed.comm.tls.ca-file": str(cert), "distributed.comm.require-encryption": "true"}


def test_a_cluster_with_tls_works_and_one_of_another_authority_is_refused(tmp_path: Path) -> None:
    import dask

    for name in ("ours", "theirs", "files"):
        (tmp_path / name).mkdir()
    ours, theirs = certificate(tmp_path / "ours"), certificate(tmp_path / "theirs")
    options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None, "processes": False}
    with (
        dask.config.set(ours),
        distributed.LocalCluster(**options, protocol="tls://", security=distributed.Security()) as cluster,
    ):
        assert cluster.scheduler_address.startswith("tls://")
        executor = DaskExecutor(worker_folder(tmp_path / "files"), cluster.scheduler_address)
        assert executor.submit(Job("test", "echo 1")).result(60).payload.startswith("1 from")
        executor.close()
        with dask.config.set(theirs), pytest.raises(Exception, match=r"certificate|answer"):
            DaskExecutor(worker_folder(tmp_path / "files"), cluster.scheduler_address)
