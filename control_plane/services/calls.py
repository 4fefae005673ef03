"""What every call has in common: who calls, and how an error becomes a status."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, NamedTuple, NoReturn, TypeVar

import grpc
import structlog
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from control_plane import status
from control_plane.auth import Token, Verifier
from control_plane.errors import ControlError, UnauthenticatedError
from control_plane.negotiation.model import NegotiationError

log = structlog.get_logger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]
Service = TypeVar("Service")
Request = TypeVar("Request")
Response = TypeVar("Response")


class Refusal(NamedTuple):
    """What a call ends with, as gRPC takes it."""

    code: grpc.StatusCode
    details: str
    trailing_metadata: tuple[tuple[str, str | bytes], ...]


def authenticate(context: Context, verifier: Verifier) -> Token:
    """The caller's token, from metadata `authorization: Bearer <JWT>`. Raises UnauthenticatedError."""
    metadata = context.invocation_metadata() or ()
    header = next((value for key, value in metadata if key == "authorization"), None)
    if header is None:
        raise UnauthenticatedError("metadata `authorization: Bearer <JWT>` is missing")
    return verifier.verify_authorization(header if isinstance(header, str) else header.decode("ascii", "replace"))


async def refuse(context: Context, error: Exception) -> NoReturn:
    """Ends the call with the status that the error stands for."""
    refusal = status_pb2.Status(code=status.rpc_code(error), message=status.message_of(error))
    if isinstance(error, NegotiationError):
        field = ".".join(part for part in ("sdp", error.section, error.attribute) if part)
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=error.reason)
        detail = any_pb2.Any()
        detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        refusal.details.append(detail)
    told = rpc_status.to_status(refusal)
    if isinstance(error, ControlError) and error.retry_after is not None:
        metadata = (*told.trailing_metadata, ("retry-after", f"{error.retry_after:g}"))
        told = Refusal(told.code, told.details, metadata)
    await context.abort_with_status(told)
    raise AssertionError("abort_with_status returned")


def unary(
    method: Callable[[Service, Request, Context], Awaitable[Response]],
) -> Callable[[Service, Request, Context], Awaitable[Response]]:
    """For methods that raise ControlError."""

    @wraps(method)
    async def call(self: Service, request: Request, context: Context) -> Response:
        try:
            return await method(self, request, context)
        except (grpc.aio.AbortError, asyncio.CancelledError):
            raise
        except ControlError as error:
            await refuse(context, error)
        except Exception as error:
            log.exception("call failed", method=method.__name__)
            await refuse(context, error)

    return call
