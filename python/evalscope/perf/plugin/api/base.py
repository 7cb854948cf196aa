"""Owns what every API plugin is: a body for each prompt, token counts for each response."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from evalscope.errors import Unsupported
from evalscope.perf.plugin.tokenizing import load_tokenizer
from evalscope.perf.utils.body_meta import (
    BODY_META_HEADERS,
    BODY_META_PREFIX,
    BODY_META_REQUEST_ID,
)

Answers = Mapping[str, Mapping[str, Any]]

NO_PROCESS_REQUEST = (
    "`process_request` cannot be called: the tool itself sends and receives, and no Python runs "
    "there; where responses are not OpenAI's, the class attribute `answers` says how to read them "
    "(docs/custom-api.md)"
)
# headers that belong to a connection, and not to a request that is sent again
_OF_CONNECTIONS = {
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailers",
    "transfer-encoding",
    "upgrade",
}


class AnswerFailed(Exception):
    """Raised by `parse_responses`: the response is a failure, for the reason given.

    The request then counts as a failure. An error inside an event is better declared in
    `answers`, since it is then seen when it arrives.
    """


class ApiPluginBase:
    """Builds request bodies and counts the tokens of responses.

    The tool does everything between: it sends, receives and takes times. A class that overrides
    `process_request` of EvalScope is refused.
    """

    answers: ClassVar[Answers | None] = None
    """How to read responses, as in a declared API (docs/custom-api.md): `stream` and `whole`, each
    with JSON pointers. For a server that is not OpenAI's, the tool cannot know otherwise which
    events of a stream bear tokens: without this every event counts, and TTFT, ITL and TPOT may be
    those of events without any.

        answers = {"stream": {"text": "/delta/text", "error": "/error"}, "whole": {"text": "/text"}}
    """

    def __init__(self, param: Any = None, model_path: Any = None) -> None:
        """`param` has the options; in the oldest form it is the tokenizer's path alone."""
        self.param = param
        if model_path is None:
            model_path = getattr(param, "tokenizer_path", param)
        self.model_path = model_path

    @property
    def tokenizer(self) -> Any:
        """The tokenizer at `tokenizer_path`, loaded when first used; `None` without a path."""
        if "_tokenizer" not in self.__dict__:
            self._tokenizer = None if self.model_path is None else load_tokenizer(self.model_path)
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @abstractmethod
    def build_request(self, messages: Any, param: Any) -> Any:
        """Build the body of a request.

        Args:
            messages: A list of messages (dicts); a str where the prompt is plain; a dict where
                the dataset made a full body; a list of ints where it made tokens.
            param: The options, an `Arguments`.

        Returns:
            The body, a dict.
        """
        raise NotImplementedError

    def set_request_max_tokens(self, request: dict[str, Any], max_tokens: int) -> None:
        """Write the most tokens of a response into a body, where this API has its field.

        It is called for prompts that say it themselves, such as turns of conversations.
        """
        request["max_tokens"] = max_tokens

    @staticmethod
    def extract_body_meta(
        body: dict[str, Any], headers: Mapping[str, Any]
    ) -> tuple[dict[str, Any], str | None]:
        """Take EvalScope's own keys out of a body: headers and an id for this request.

        Returns:
            All headers, where those given win, and the id.
        """
        own = body.pop(BODY_META_HEADERS, None) or {}
        request_id = body.pop(BODY_META_REQUEST_ID, None)
        for key in [key for key in body if key.startswith(BODY_META_PREFIX)]:
            del body[key]
        kept = {name: value for name, value in own.items() if name.lower() not in _OF_CONNECTIONS}
        return {**kept, **headers}, request_id

    @staticmethod
    def replace_values(input_json: Any, model: str, prompt: str) -> None:
        """Put a model and a prompt in place of `%m` and `%p`, at any depth of lists and dicts."""
        if isinstance(input_json, (dict, list)):
            keyed = input_json.items() if isinstance(input_json, dict) else enumerate(input_json)
            for key, value in list(keyed):
                if isinstance(value, str):
                    input_json[key] = value.replace("%m", model).replace("%p", prompt)
                else:
                    ApiPluginBase.replace_values(value, model, prompt)

    async def process_request(
        self, client_session: Any, url: str, headers: Mapping[str, Any], body: dict[str, Any]
    ) -> Any:
        """Send a request, which is the tool's part."""
        raise Unsupported(NO_PROCESS_REQUEST)

    @abstractmethod
    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """Count the tokens of a response.

        Args:
            responses: What the server sent, each as bytes: the JSON of every event of a
                stream, or the one body.
            request: The body that was sent.
            **kwargs: For additions in later versions.

        Returns:
            Tokens of the prompt and of the response, `None` for one that is unknown.
        """
        raise NotImplementedError
