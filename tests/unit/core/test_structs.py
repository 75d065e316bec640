from __future__ import annotations

import subprocess
import sys

import msgspec

from mlspine.core.structs import learn_structs

# Without `learn_structs` about half of such runs end in a segmentation fault.
TOGETHER = """
import sys, threading, msgspec
from mlspine.core.structs import learn_structs
from mlspine.core.types import CodeState, Field, Release, Schema, Signature

signature = Signature(inputs=Schema(fields=(Field(name="a", type="float", dtype="f"),)), task="binary")
data = msgspec.json.encode(Release(
    model="a", transform="", signature=signature, environment={}, data="", code=CodeState(),
    settings={}, baseline="", recorded="", thresholds={},
))
sys.setswitchinterval(1e-6)
learn_structs()
barrier = threading.Barrier(8)

def decode():
    barrier.wait()
    for _ in range(50):
        msgspec.json.decode(data, type=Release)

threads = [threading.Thread(target=decode) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_may_decode_the_same_struct_first_together() -> None:
    for _ in range(5):
        done = subprocess.run([sys.executable, "-c", TOGETHER], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_every_struct_of_ours_is_learned() -> None:
    class Outside(msgspec.Struct):
        a: int

    before = learn_structs()

    Inside = msgspec.defstruct("Inside", [("a", int)], module="mlspine.somewhere")
    assert learn_structs() == before + 1
    assert Inside is not Outside
