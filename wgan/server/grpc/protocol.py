"""The messages and services of `inference.proto` and `health.proto`.

They are in a pool of their own: the generated modules of tritonclient and of kserve both register
the same names in protobuf's default pool, where each name may exist once in a process.
"""

import importlib.resources

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

COMPILED = "protocol.binpb"
"""A FileDescriptorSet, written by `make protocol`."""

INFERENCE = "inference.GRPCInferenceService"

HEALTH = "grpc.health.v1.Health"


def _load() -> DescriptorPool:
    content = (importlib.resources.files(__package__) / COMPILED).read_bytes()
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(content).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


_POOL = _load()


def message(name: str) -> type[Message]:
    """Return the class of a message, such as `inference.ModelInferRequest`."""
    made: type[Message] = GetMessageClass(_POOL.FindMessageTypeByName(name))
    return made


def request_type(service: str, method: str) -> type[Message]:
    """Return the class of a method's requests."""
    found = _POOL.FindServiceByName(service).FindMethodByName(method)
    return message(found.input_type.full_name)
