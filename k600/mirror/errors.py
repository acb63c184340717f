"""What a file system raised, in this project's own errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k600.errors import (
    Kinetics600Error,
    MirrorDeniedError,
    MirrorNotFoundError,
    MirrorUnreachableError,
    OptionError,
)
from k600.text import plain_text

__all__ = ["mirror_error"]


def mirror_error(error: BaseException, url: str) -> Kinetics600Error:
    """Turn whatever a file system raised into one of this project's errors, by its cause.

    fsspec's HTTP file system says "not found" of everything that went wrong, and keeps the
    real error as its cause: the innermost HTTP status decides.
    """
    if isinstance(error, Kinetics600Error):
        return error
    chain = [e for e in _causes(error) if type(e).__name__ != "CancelledError"] or [error]
    status = next((s for e in reversed(chain) if (s := _http_status(e)) is not None), None)
    brief = plain_text(f"{type(chain[-1]).__name__}: {chain[-1]}").rstrip(": ")
    if status == 404 or (status is None and isinstance(chain[-1], FileNotFoundError)):
        return MirrorNotFoundError(
            f"mirror: {url} does not exist. Check the mirror's address: below it, "
            "'val/k600_val_path.txt' and the like are expected"
        )
    if status == 407:
        return MirrorDeniedError(
            f"mirror: {url} is out of reach, as the proxy that the environment names asks for "
            f"another user and password ({brief}). Set them in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY"
        )
    no_credentials = type(chain[-1]).__name__.endswith("CredentialsError")  # botocore's
    refused = no_credentials or (status is None and isinstance(error, PermissionError))
    if status in (401, 403) or refused:
        return MirrorDeniedError(
            f"mirror: {url} is refused ({brief}{_led_elsewhere(chain)}). Pass credentials as "
            "mirror_options=…, or check the address: S3 refuses a missing object, too, where "
            "listing is not allowed"
        )
    untried = isinstance(chain[-1], (ImportError, ValueError, TypeError))
    if untried and not isinstance(chain[-1], OSError):  # a bad certificate is both
        return OptionError(
            f"mirror: {url} cannot be opened with these mirror_options ({brief}). Allowed is any "
            "fsspec URL, such as 's3://kinetics/600', 'https://…' or a folder"
        )
    return MirrorUnreachableError(
        f"mirror: {url} cannot be reached ({brief}). Check the network and the mirror's address; "
        "calling again goes on where this stopped"
    )


def _led_elsewhere(chain: Sequence[BaseException]) -> str:
    """Return which other host has refused, where a redirect led to one; it was told no secret."""
    for error in chain:
        asked, *_ = getattr(error, "history", None) or (None,)  # aiohttp
        last = getattr(getattr(error, "request_info", None), "real_url", None)
        if asked is not None and last is not None and asked.url.origin() != last.origin():
            return (
                f"; it redirects to {last.origin()}, which gets none of your headers and cookies, "
                "as they are for the host you named"
            )
    return ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _http_status(error: BaseException) -> int | None:
    status = getattr(error, "status", None)  # aiohttp
    if not isinstance(status, int):
        response = getattr(error, "response", None)  # botocore
        metadata = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        status = metadata.get("HTTPStatusCode")
    return status if isinstance(status, int) else None
