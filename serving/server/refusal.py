"""What a client gets instead of answers: a status, a stable code, one sentence."""

from __future__ import annotations

import json


class RequestError(Exception):
    """A request that is not answered.

    Args:
        status: of HTTP.
        code: MLflow's name of the error, such as `BAD_REQUEST`.
        message: one sentence for people, without the client's data.
        headers: further ones of the response.
    """

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def body(self, *, v2: bool) -> bytes:
        """As MLflow's scoring server says it, or as the Open Inference Protocol does."""
        said = {"error": self.message} if v2 else {"error_code": self.code, "message": self.message}
        return json.dumps(said).encode()
