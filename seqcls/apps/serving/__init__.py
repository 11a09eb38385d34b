"""Models behind HTTP: what `seqcls serve` runs. Needs the extra `serve`."""

from seqcls.errors import MissingExtraError

try:
    import fastapi  # noqa: F401
    import prometheus_client  # noqa: F401
    import uvicorn  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError(str(error.name), "serve") from None
