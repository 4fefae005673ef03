"""Errors as clients see them: one table for gRPC statuses and `RequestFailed`."""

from typing import Final

from google.rpc import code_pb2  # type: ignore[import-untyped]

from control_plane import errors
from pysfu import QueueFullError, WorkerFailedError
from pysfu.v1.signaling_pb2 import RequestFailed

INTERNAL_MESSAGE: Final = "internal error"

# Error → (google.rpc code, RequestFailed code). Subclasses count as their base.
_TABLE: Final = (
    (errors.InvalidArgumentError, code_pb2.INVALID_ARGUMENT, RequestFailed.CODE_INVALID_ARGUMENT),
    (errors.NotFoundError, code_pb2.NOT_FOUND, RequestFailed.CODE_NOT_FOUND),
    (errors.AlreadyExistsError, code_pb2.ALREADY_EXISTS, RequestFailed.CODE_FAILED_PRECONDITION),
    (errors.UnauthenticatedError, code_pb2.UNAUTHENTICATED, RequestFailed.CODE_PERMISSION_DENIED),
    (errors.PermissionDeniedError, code_pb2.PERMISSION_DENIED, RequestFailed.CODE_PERMISSION_DENIED),
    (errors.LimitExceededError, code_pb2.RESOURCE_EXHAUSTED, RequestFailed.CODE_LIMIT_EXCEEDED),
    (errors.FailedPreconditionError, code_pb2.FAILED_PRECONDITION, RequestFailed.CODE_FAILED_PRECONDITION),
    (errors.UnavailableError, code_pb2.UNAVAILABLE, RequestFailed.CODE_LIMIT_EXCEEDED),
    (QueueFullError, code_pb2.UNAVAILABLE, RequestFailed.CODE_LIMIT_EXCEEDED),
    (WorkerFailedError, code_pb2.UNAVAILABLE, RequestFailed.CODE_FAILED_PRECONDITION),
)


def rpc_code(error: Exception) -> int:
    """The google.rpc code, which is gRPC's status number."""
    return int(next((code for kind, code, _ in _TABLE if isinstance(error, kind)), code_pb2.INTERNAL))


def message_of(error: Exception) -> str:
    """What a client may read. Of an unexpected error, nothing."""
    return str(error) if any(isinstance(error, kind) for kind, _, _ in _TABLE) else INTERNAL_MESSAGE


def request_failed(error: Exception) -> RequestFailed:
    code = next((value for kind, _, value in _TABLE if isinstance(error, kind)), RequestFailed.CODE_UNSPECIFIED)
    return RequestFailed(code=code, message=message_of(error))
