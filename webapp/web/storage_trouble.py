"""What may be wrong with a database, whichever it is: somebody holds it, it does not answer, or it has no room."""

from typing import Literal

from webapp.web.errors import RequestError, StorageBusy, StorageFull

StorageTrouble = Literal["busy", "silent", "full"]
RETRY_AFTER_SECONDS = 5


def storage_error(trouble: StorageTrouble, reason: str = "") -> RequestError:
    """The StorageBusy or StorageFull that says so, of one that does not answer with the reason where it is given."""
    match trouble:
        case "busy":
            return StorageBusy("The database is busy, please try again.", retry_after=RETRY_AFTER_SECONDS)
        case "silent":
            why = f": {reason}" if reason else ", please try again."
            return StorageBusy(f"The database does not answer{why}", retry_after=RETRY_AFTER_SECONDS)
        case "full":
            return StorageFull("The disk of the database is full or fails.", retry_after=RETRY_AFTER_SECONDS)
