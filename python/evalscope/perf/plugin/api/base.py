"""Owns what every API plugin is: a body for each prompt, token counts for each response."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

Answers = Mapping[str, Mapping[str, Any]]


class AnswerFailed(Exception):
    """Raised by `parse_responses`: the response is a failure, for the reason given.

    The request then counts as a failure. An error inside an event is better declared in
    `answers`, since it is then seen when it arrives.
    """


class ApiPluginBase:
    """Builds request bodies and counts the tokens of responses.

    The tool does everything between: it sends, receives and takes times. `process_request` of
    the earlier tool is not called.
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
