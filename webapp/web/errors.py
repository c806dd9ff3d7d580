"""What can go wrong with a request, as one tree. Each error has a code, a status and a sentence for its reader.

    RequestError
    ├── InvalidFields            400  one or more fields cannot be used
    ├── BodyMissing              400  there is no body, or not all of it has come
    ├── BodyTooLarge             413  the body is too long
    ├── ApiTokenMissing          401  neither a bearer token nor X-Auth-Key
    ├── ApiTokenInvalid          401  the token is unknown, revoked or expired
    ├── ApiTokenForbidden        403  the token is right, without this scope or for another account
    ├── ModelNotFound            404  the catalogue has no such model
    ├── ModelNotInstalled        503  its weights are not here: the message says how to get them
    ├── ModelUnavailable         503  it cannot run on this machine, or its engine does not start
    ├── FeatureUnsupported       400  asked for what this model or server does not do
    ├── LoraUnsupported          405  this model has no LoRA adapters
    ├── SchemaUnsupported        400  no answer can be held to this JSON schema
    ├── JsonModeFailed           400  the answer has become no whole JSON value
    ├── InvalidPrompt            400  the model's chat template takes no such messages
    ├── ContextWindowExceeded    413  the prompt has more tokens than the model takes
    ├── WrongTokenLimitReached   429  too many wrong API tokens from one address
    ├── RateLimitReached         429  too many generations in a minute
    ├── ClientLimitReached       429  too many generations at once
    ├── PoolOverloaded           503  the line for this model is full
    ├── PoolUnavailable          503  the pool does not answer
    ├── QueueTimeout             408  it waited too long for its turn
    ├── GenerationTimeout        408  it ran too long
    ├── StorageBusy              503  something else holds the database
    ├── StorageFull              507  nothing can be written: no new generation, those that run go on
    ├── GenerationNotFound       404  unknown, forgotten, or somebody else's
    ├── GenerationAborted        503  it was stopped before its end, and not by its reader
    ├── ReaderLeft               499  nobody is there to be told
    ├── GenerationFailed         500  an engine failed it, with the engine's own code
    └── PageError                400  what only pages answer
        ├── RunNotShareable      409  it has not ended, has failed, or is too long to be kept
        ├── LinkNotFound         404  there never was such a shared link
        ├── LinkGone             410  the shared link has expired, was revoked or taken down: its text is deleted
        ├── LinkForbidden        403  this browser has not the manage key of the shared link
        ├── LinkQuotaReached     429  this browser has as many shared links as it may, or the server has
        └── ReplayLimitReached   503  too many shared links are being replayed

A dialect gives each its own status and number where its API has one.
"""

from typing import ClassVar


class RequestError(Exception):
    """A request cannot be answered. `retry_after` is in whole seconds."""

    status: ClassVar[int] = 500

    def __init__(self, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        return type(self).__name__


class InvalidFields(RequestError):
    """`fields` maps the name of each bad field to what is wrong with it."""

    status = 400

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {reason}" for name, reason in fields.items()))
        self.fields = fields


class BodyMissing(RequestError):
    status = 400


class BodyTooLarge(RequestError):
    status = 413


class ApiTokenMissing(RequestError):
    status = 401


class ApiTokenInvalid(RequestError):
    status = 401


class ApiTokenForbidden(RequestError):
    status = 403


class ModelNotFound(RequestError):
    status = 404


class ModelNotInstalled(RequestError):
    status = 503


class ModelUnavailable(RequestError):
    status = 503


class FeatureUnsupported(RequestError):
    status = 400


class LoraUnsupported(RequestError):
    status = 405


class SchemaUnsupported(RequestError):
    status = 400


class JsonModeFailed(RequestError):
    status = 400


class InvalidPrompt(RequestError):
    status = 400


class ContextWindowExceeded(RequestError):
    status = 413


class WrongTokenLimitReached(RequestError):
    status = 429


class RateLimitReached(RequestError):
    status = 429


class ClientLimitReached(RequestError):
    status = 429


class PoolOverloaded(RequestError):
    status = 503


class PoolUnavailable(RequestError):
    status = 503


class QueueTimeout(RequestError):
    status = 408


class GenerationTimeout(RequestError):
    status = 408


class StorageBusy(RequestError):
    status = 503


class StorageFull(RequestError):
    status = 507


class GenerationNotFound(RequestError):
    status = 404


class GenerationAborted(RequestError):
    status = 503


class ReaderLeft(RequestError):
    status = 499


class GenerationFailed(RequestError):
    """`failure` is the code of the Failed event."""

    status = 500

    def __init__(self, failure: str, message: str) -> None:
        super().__init__(message)
        self.failure = failure

    @property
    def code(self) -> str:
        return self.failure


class PageError(RequestError):
    status = 400


class RunNotShareable(PageError):
    status = 409


class LinkNotFound(PageError):
    status = 404


class LinkGone(PageError):
    status = 410


class LinkForbidden(PageError):
    status = 403


class LinkQuotaReached(PageError):
    status = 429


class ReplayLimitReached(PageError):
    status = 503


_FROM_THE_WIRE: dict[str, type[RequestError]] = {
    error.__name__: error
    for error in (
        ModelNotFound,
        ModelUnavailable,
        FeatureUnsupported,
        SchemaUnsupported,
        InvalidPrompt,
        ContextWindowExceeded,
        ClientLimitReached,
        PoolOverloaded,
        QueueTimeout,
        GenerationTimeout,
        StorageFull,
    )
}


def error_from_wire(code: str, message: str, retry_after: int | None = None) -> RequestError:
    """The error for a code of a Refused message or a Failed event."""
    known = _FROM_THE_WIRE.get(code)
    return known(message, retry_after=retry_after) if known else GenerationFailed(code, message)
