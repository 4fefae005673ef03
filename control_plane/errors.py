"""What may go wrong with a request. `services.status` maps each to a gRPC status and to a `RequestFailed`."""


class ControlError(Exception):
    """A request is refused. The text names what is wrong and is shown to the client.

    `retry_after`: seconds after which it may succeed; None when that is not known.
    """

    def __init__(self, text: str = "", *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(text)


class InvalidArgumentError(ControlError):
    """The request itself is malformed."""


class NotFoundError(ControlError):
    """It names something that does not exist."""


class AlreadyExistsError(ControlError):
    """It creates something that exists."""


class UnauthenticatedError(ControlError):
    """No token, or one that is not valid."""


class PermissionDeniedError(ControlError):
    """The token does not grant it."""


class LimitExceededError(ControlError):
    """A limit is reached: capacity, size or rate."""


class FailedPreconditionError(ControlError):
    """Not in this state."""


class UnavailableError(ControlError):
    """Not now: the node drains, or a media worker does not keep up."""
