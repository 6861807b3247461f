"""Small chat models and agents whose streams the tests control by the words of a message."""

import itertools
import threading
import time
import warnings

import numpy as np

with warnings.catch_warnings():  # MLflow warns while Python imports it.
    warnings.simplefilter("ignore")
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import ChatAgent, ChatModel, PythonModel, ResponsesAgent
    from mlflow.types.agent import ChatAgentChunk, ChatAgentMessage, ChatAgentResponse
    from mlflow.types.llm import (
        ChatChoice,
        ChatChoiceDelta,
        ChatChunkChoice,
        ChatCompletionChunk,
        ChatCompletionResponse,
        ChatMessage,
    )
    from mlflow.types.responses import ResponsesAgentResponse, ResponsesAgentStreamEvent

CLOSED = threading.Event()
"""Set when a stream of the chat model has ended."""
PRODUCED = [0]
"""The number of events of the endless stream."""


def chunk(text):
    delta = ChatChoiceDelta(role="assistant", content=text)
    return ChatCompletionChunk(choices=[ChatChunkChoice(index=0, delta=delta)], model="loud", id="fixed", created=1)


class Chat(ChatModel):
    """A model that repeats words, and does what some of them say."""

    def predict(self, context, messages, params=None):
        said = f"{messages[-1].content} {params.temperature} {params.max_tokens} {params.stop}"
        choices = [ChatChoice(index=0, message=ChatMessage(role="assistant", content=said))]
        return ChatCompletionResponse(choices=choices, model="loud", created=1, id="fixed")

    def predict_stream(self, context, messages, params=None):
        try:
            for word in messages[-1].content.split():
                if word == "fail":
                    raise RuntimeError("a secret of the model")
                if word == "refuse":
                    raise MlflowException.invalid_parameter_value("not that one")
                if word == "exit":
                    raise SystemExit(3)
                if word == "wait":
                    time.sleep(1.0)
                elif word == "nap":
                    time.sleep(0.4)
                elif word == "endless":
                    yield from self.endless()
                else:
                    yield chunk(word)
        finally:
            CLOSED.set()

    def endless(self):
        for PRODUCED[0] in itertools.count(1):
            yield chunk("x" * 20_000)
            time.sleep(0.001)


class Mute(ChatModel):
    """A model that does not stream."""

    def predict(self, context, messages, params=None):
        choices = [ChatChoice(index=0, message=ChatMessage(role="assistant", content="no"))]
        return ChatCompletionResponse(choices=choices, model="mute", created=1, id="fixed")


class Agent(ResponsesAgent):
    def predict(self, request):
        said = " ".join(f"{message.role}:{message.content}" for message in request.input)
        return ResponsesAgentResponse(output=[self.create_text_output_item(said, "m1")])

    def predict_stream(self, request):
        words = request.input[-1].content.split()
        for word in words:
            yield ResponsesAgentStreamEvent(**self.create_text_delta(word, "m1"))
        item = self.create_text_output_item(" ".join(words), "m1")
        yield ResponsesAgentStreamEvent(type="response.output_item.done", item=item)


class OldAgent(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None):
        return ChatAgentResponse(messages=[ChatAgentMessage(role="assistant", content="all", id="1")])

    def predict_stream(self, messages, context=None, custom_inputs=None):
        for word in messages[-1].content.split():
            yield ChatAgentChunk(delta=ChatAgentMessage(role="assistant", content=word, id="1"))


class Plain(PythonModel):
    """A model whose events have different types."""

    def predict(self, context, model_input, params=None):
        return ["complete"]

    def predict_stream(self, context, model_input, params=None):
        yield "text\n\nwith lines"
        yield {"number": np.float32(0.5)}
        yield chunk("a dataclass")
        yield ChatAgentMessage(role="user", content="pydantic", id="1")
        yield object()


MODELS = {"chat": Chat, "mute": Mute, "agent": Agent, "old_agent": OldAgent, "plain": Plain}
