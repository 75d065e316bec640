import asyncio
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlspine.core import messages
from mlspine.core.errors import Conflict, Invalid, Unavailable

plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_what_is_sent_is_received(value: object) -> None:
    here, there = socket.socketpair()
    with here, there:
        messages.send(here, value)
        assert messages.receive(there) == value


def test_a_closed_peer_is_the_end() -> None:
    here, there = socket.socketpair()
    here.sendall(b"\0\0\0\x09half")
    here.close()
    with there, pytest.raises(EOFError):
        messages.receive(there)


def test_a_stranger_announcing_gigabytes_is_hung_up_on() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.sendall(b"\xff\xff\xff\xff")
        with pytest.raises(EOFError, match="no peer of ours"):
            messages.receive(there)


def test_a_long_path_gets_a_short_socket_known_to_both_sides(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120) / "run"
    path = messages.socket_path(deep, "inference-0")
    assert len(str(path)) < messages.MAX_SOCKET_PATH_BYTES
    assert path == messages.socket_path(deep, "inference-0")
    assert path != messages.socket_path(deep, "inference-1")
    messages.bind_socket(path).close()
    path.unlink()


def test_only_the_owner_can_reach_the_socket(tmp_path: Path) -> None:
    path = messages.socket_path(tmp_path, "inference-0")
    with messages.bind_socket(path):
        assert path.stat().st_mode & 0o077 == 0


def test_a_socket_in_a_folder_open_to_all_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(Unavailable, match="written by others"):
        messages.bind_socket(tmp_path / "a.sock")


def answer_once(path: Path, reply: object) -> threading.Thread:
    listener = messages.bind_socket(path)

    def answer() -> None:
        with listener:
            peer, _ = listener.accept()
            with peer:
                messages.receive(peer)
                if reply is not None:
                    messages.send(peer, reply)

    thread = threading.Thread(target=answer)
    thread.start()
    return thread


def test_a_call_gives_the_result(tmp_path: Path) -> None:
    thread = answer_once(tmp_path / "s", {"result": [1, 2]})
    assert messages.call(tmp_path / "s", "observe", timeout_s=5) == [1, 2]
    thread.join()


def test_an_error_of_the_other_side_is_raised_here_as_the_same_kind(tmp_path: Path) -> None:
    thread = answer_once(tmp_path / "s", messages.failure(Conflict("taken", hint="wait", details=["a", "b"])))
    with pytest.raises(Conflict) as caught:
        messages.call(tmp_path / "s", "apply", timeout_s=5)
    thread.join()
    assert (caught.value.message, caught.value.hint, caught.value.details) == ("taken", "wait", ("a", "b"))


def test_nobody_listening_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="does not answer"):
        messages.call(tmp_path / "nobody", "observe", timeout_s=1)


def test_a_process_that_dies_before_answering_is_unavailable(tmp_path: Path) -> None:
    thread = answer_once(tmp_path / "s", None)
    with pytest.raises(Unavailable, match="does not answer"):
        messages.call(tmp_path / "s", "observe", timeout_s=5)
    thread.join()


def test_the_asynchronous_reader_speaks_the_same_frames() -> None:
    async def converse() -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(messages.encode({"a": [1, "b"]}))
        reader.feed_eof()
        first = await messages.read(reader)
        with pytest.raises(EOFError):
            await messages.read(reader)
        return first

    assert asyncio.run(converse()) == {"a": [1, "b"]}


def test_an_unknown_error_code_still_raises() -> None:
    with pytest.raises(Exception, match="odd") as caught:
        messages.unwrap({"error": "no such", "message": "odd"})
    assert not isinstance(caught.value, Invalid)
