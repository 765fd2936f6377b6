"""How do vectors come? As base64, unless the app names a format: the SDK asks for it and decodes it, and so do we."""

from __future__ import annotations

from array import array
from base64 import b64decode
from typing import Any, cast

from openai._extras import has_numpy, numpy
from openai.types import CreateEmbeddingResponse
from pydantic import ValidationError
from pydantic_core import from_json

__all__ = ["decoded", "vectors"]


def vectors(body: bytes) -> CreateEmbeddingResponse | None:
    """The whole answer with its vectors decoded; `None` = it is not to the letter, ask the SDK.

    Not every provider knows base64: numbers are taken as they come.
    """
    try:
        response = CreateEmbeddingResponse.__pydantic_validator__.validate_json(body, strict=True)
    except ValidationError:
        return _coded(body)
    return cast("CreateEmbeddingResponse", response) if response.data else None


def _coded(body: bytes) -> CreateEmbeddingResponse | None:
    try:
        payload = from_json(body)
        coded = [item["embedding"] for item in payload["data"]]
        for item in payload["data"]:
            item["embedding"] = []
        response = CreateEmbeddingResponse.__pydantic_validator__.validate_python(payload, strict=True)
        for embedding, text in zip(response.data, coded, strict=True):
            embedding.embedding = _floats(text)
    except (LookupError, TypeError, ValueError, ValidationError):
        return None
    return cast("CreateEmbeddingResponse", response) if coded else None


def decoded(response: Any) -> Any:  # noqa: ANN401 - what the SDK has made of the answer
    """What the SDK's own parser does with an answer to a request that named no format."""
    if not response.data:
        raise ValueError("No embedding data received")
    for embedding in response.data:
        if isinstance(embedding.embedding, str):
            embedding.embedding = _complaining_as_the_sdk(embedding.embedding)
    return response


def _complaining_as_the_sdk(text: str) -> list[float]:
    """The same floats; numpy, where it is, has other words for bytes that are none."""
    if has_numpy():
        return cast("list[float]", numpy.frombuffer(b64decode(text), dtype="float32").tolist())
    return _floats(text)


def _floats(text: str) -> list[float]:
    return array("f", b64decode(text)).tolist()
