"""What a client gets instead of answers, in the words of both protocols."""

from __future__ import annotations

import json

from serving.server.refusal import RequestError


def test_both_protocols_say_the_same_sentence():
    error = RequestError(429, "RESOURCE_EXHAUSTED", "too many", Retry_After="3", Allow="GET, HEAD")
    assert json.loads(error.body(v2=False)) == {"error_code": "RESOURCE_EXHAUSTED", "message": "too many"}
    assert json.loads(error.body(v2=True)) == {"error": "too many"}
    assert (error.status, str(error)) == (429, "too many")
    assert error.headers == {"Retry-After": "3", "Allow": "GET, HEAD"}
