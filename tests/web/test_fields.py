"""What is wrong with a nested field, in words that say where and what is expected there."""

import pytest

from webapp.web.errors import InvalidFields
from webapp.web.fields import read_struct
from webapp.web.request_fields import GenerationFields

USER = {"role": "user", "content": "Hi"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"messages": []}, "messages: must be a list of at least 1"),
        ({"messages": "Hi"}, "messages: must be a list"),
        (
            {"messages": [USER, {"role": "bot", "content": "Hi"}]},
            "messages: [1].role must be assistant, developer, system, tool or user",
        ),
        ({"messages": [{"content": "Hi"}]}, "messages: [0] must have role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages: [0].content must be a text or a list"),
        ({"messages": [{"role": "user"}]}, "messages: [0]: A message needs content"),
        ({"response_format": {"type": "xml"}}, "response_format: type must be json_object, json_schema or text"),
        ({"tool_choice": "maybe"}, "tool_choice: must be auto, none, required or an object"),
        ({"tools": [{"name": "a", "parameters": 5}]}, "tools: [0].parameters must be an object"),
        ({"options": {"rejectIfBusy": "yes"}}, "options: rejectIfBusy must be true or false"),
        ({"stop": ["a", ""]}, "stop: [1] must be a text of at least 1 character"),
        ({"stop": ["a"] * 17}, "stop: must be a list of at most 16"),
    ],
)
def test_nested_field_that_cannot_be_used_is_named_with_what_it_has_to_be(given: dict, message: str):
    with pytest.raises(InvalidFields) as raised:
        read_struct(GenerationFields, given)

    assert raised.value.message == message
