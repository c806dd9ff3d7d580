"""What the items of a Responses request become: the turns of a conversation."""

import pytest

from webapp.web.api.openai.responses_input import to_messages
from webapp.web.errors import InvalidFields
from webapp.wire.generation import Message, ToolCall


def read(given: str | list, instructions: str | None = None) -> list[Message]:
    return [message.to_message() for message in to_messages(given, instructions)]


def message(role: str, content: object) -> dict:
    return {"role": role, "content": content}


def call(call_id: str, name: str = "weather") -> dict:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": '{"city": "Paris"}'}


def output(call_id: str, text: object) -> dict:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def test_text_is_what_the_user_says_after_the_instructions():
    assert read("hi", "Be brief.") == [Message("system", "Be brief."), Message("user", "hi")]


def test_instructions_and_system_messages_before_all_else_are_one_turn():
    given = [message("developer", "In French."), message("system", "No lists."), message("user", "hi")]

    assert read(given, "Be brief.") == [
        Message("system", "Be brief.\n\nIn French.\n\nNo lists."),
        Message("user", "hi"),
    ]


def test_parts_of_text_are_joined():
    given = [message("user", [{"type": "input_text", "text": "one "}, {"type": "input_text", "text": "two"}])]

    assert read(given) == [Message("user", "one two")]


def test_earlier_answer_comes_back_as_it_was_sent():
    answer = {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Let me see.", "annotations": [], "logprobs": []}],
    }
    thought = {"id": "rs_1", "type": "reasoning", "summary": []}
    calls = [call("call_a") | {"id": "fc_1", "status": "completed"}, call("call_b", "time")]

    read_back = read(
        [message("user", "hi"), thought, answer, *calls, output("call_a", "rain"), output("call_b", "noon")]
    )

    asked = (
        ToolCall("weather", '{"city": "Paris"}', "call_a"),
        ToolCall("time", '{"city": "Paris"}', "call_b"),
    )
    assert read_back == [
        Message("user", "hi"),
        Message("assistant", "Let me see.", asked),
        Message("tool", "rain", tool_call_id="call_a", name="weather"),
        Message("tool", "noon", tool_call_id="call_b", name="time"),
    ]


def test_calls_after_an_answer_to_others_are_a_turn_of_their_own():
    given = [call("call_a"), output("call_a", "rain"), call("call_b"), output("call_b", "sun")]

    assert [turn.role for turn in read(given)] == ["assistant", "tool", "assistant", "tool"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "input: must hold at least one message"),
        ([{"type": "reasoning", "id": "rs_1", "summary": []}], "input: must hold at least one message"),
        ([message("king", "hi")], "input[0]: role must be assistant, developer, system or user"),
        ([message("user", "hi"), {"role": "user"}], "input[1]: must have content"),
        ([message("user", [{"type": "input_text"}])], "input[0].content[0]: must have text"),
        ([message("user", [{"type": ["input_text"]}])], "input[0].content[0].type: must be input_text or output_text"),
        ([message("user", [{}])], "input[0].content[0].type: must be input_text or output_text"),
        ([output("call_x", "rain")], "No tool call found for function call output with call_id call_x"),
        ([call("")], "input[0]: call_id must be a text of at least 1 character"),
        ([{"type": "item_reference", "id": "msg_1"}], "input[0]: answers are not kept here; send the item itself"),
        ([{"type": "web_search_call", "id": "ws_1"}], "items of type web_search_call cannot be read"),
        ([message("user", [{"type": "input_image", "image_url": "data:,"}])], "input_image cannot be read"),
    ],
)
def test_item_that_cannot_be_read_is_named(given: list, words: str):
    with pytest.raises(InvalidFields) as raised:
        read(given)

    assert words in raised.value.message
