"""What the next token of an answer may be, where its form is given: a JSON schema, or calls of the offered tools.

llguidance follows the answer token by token and says which may come next. Knows token ids, nothing of tensors.
"""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import PreTrainedTokenizerFast

from webapp.engine.errors import FeatureUnsupported, SchemaUnsupported
from webapp.engine.json_multiples import remainders
from webapp.engine.json_schema import closed, excess
from webapp.engine.tool_calls import ToolFormat
from webapp.wire.generation import GenerationRequest, Tool

_log = logging.getLogger(__name__)

# Characters of JSON schemas in one request. 110,000 took a third of a second to compile, in which no stream goes on.
_LARGEST_SCHEMA = 65_536
# For the multiples in one request's schemas. A million of them took 24 seconds to compile.
_MOST_REMAINDERS = 20_000
# What a refusal says of its reason.
_LONGEST_REASON = 300
# Between the parts of a JSON value: a space, or a line break with as much indentation as a model would want.
_SPACE = r"[ ]|\n[ \t]{0,16}"
# The library's own bounds are some times as large, and patterns would be computed ahead for the whole vocabulary.
# Errors repeat what they found in the schema; the state of the parser is for its authors.
_LIMITS = LLParserLimits(
    max_grammar_size=50_000,
    initial_lexer_fuel=200_000,
    step_lexer_fuel=100_000,
    max_lexer_states=20_000,
    precompute_large_lexemes=False,
    verbose_errors=False,
)


class GrammarConstraint:
    """Holds one answer to a grammar. Only `advance` changes it, so a step can be made again."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    @property
    def is_complete(self) -> bool:
        return self._matcher.is_stopped()

    def advance(self, token_id: int) -> None:
        if not self._matcher.consume_token(token_id):
            raise _refusal(self._matcher.get_error())

    def allowed(self) -> bytes:
        return self._matcher.compute_logit_bias()


class Constraints:
    """Makes the constraints of one model's answers.

    What llguidance needs to know of the vocabulary takes it a second or so. Not in a thread: it holds the interpreter
    meanwhile, and on a busy machine the first streams would wait for that thread's turns.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, end_ids: frozenset[int]) -> None:
        self._vocabulary = _vocabulary(tokenizer, end_ids)

    def of_schema(self, schema: str) -> GrammarConstraint:
        """One JSON value that the schema allows. Raises SchemaUnsupported, or FeatureUnsupported."""
        _check_cost(schema)
        form = msgspec.json.encode(_read(schema)).decode()
        try:
            grammar = LLMatcher.grammar_from_json_schema(form, overrides={"whitespace_pattern": _SPACE})
        except ValueError as error:
            raise _refusal(str(error)) from error
        return self._compile(grammar)

    def of_tools(
        self, request: GenerationRequest, form: ToolFormat, *, special: Mapping[int, str]
    ) -> GrammarConstraint | None:
        """Calls of the offered tools, with arguments as their schemas say; text beside them unless it has to call.

        Where the request has a schema, a value of it stands for the text, and the answer is that or calls. `special`
        are the special tokens among the form's words. None where text may be anything and this tokenizer cannot be
        constrained. Raises SchemaUnsupported, or FeatureUnsupported.
        """
        answer = () if request.json_schema is None else (request.json_schema,)
        _check_cost(*answer, *(tool.parameters for tool in request.tools))
        if not request.has_to_call and not answer and not self._vocabulary:
            return None
        if answer and form.is_bare and not request.has_to_call:
            # By its first characters nobody could tell which of the two it is to be.
            raise FeatureUnsupported(
                f"The calls of {request.model} are plain JSON: give it tools or a schema, not both."
            )
        return self._compile(LLMatcher.grammar_from_lark(tools_grammar(request, form, special=special)))

    def _compile(self, grammar: str) -> GrammarConstraint:
        if not self._vocabulary:
            raise FeatureUnsupported("No answer of this model can be held to a form: its tokenizer is not known.")
        # It would write warnings about schemas to the log.
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0, limits=_LIMITS)
        # Some contradictions show only here.
        if not matcher.is_error():
            matcher.compute_bitmask()
        if matcher.is_error():
            raise _refusal(matcher.get_error())
        return GrammarConstraint(matcher)


def _vocabulary(tokenizer: PreTrainedTokenizerFast, end_ids: frozenset[int]) -> LLTokenizer | None:
    ends = sorted(token_id for token_id in end_ids if token_id < len(tokenizer))
    try:
        # Without ends it would take some other token for one.
        return from_tokenizer(tokenizer, eos_token=ends) if ends else None
    except Exception as error:
        # Tokenizers are of many kinds, and whatever it says of this one, all but these requests can be served.
        _log.warning("answers cannot be held to a form: %s", error)
        return None


def tools_grammar(request: GenerationRequest, form: ToolFormat, *, special: Mapping[int, str]) -> str:
    """A grammar in llguidance's dialect of Lark (its docs/syntax.md)."""
    opening_ids = [token_id for token_id, content in special.items() if content == form.opening]
    opening = f"<[{opening_ids[0]}]>" if opening_ids else _quoted(form.opening)
    closing = f"SPACE? {_quoted(form.closing)}" if form.closing else ""
    has_more = form.is_list and request.has_parallel_calls
    body = '"[" call (SEPARATOR call)* "]"' if has_more else '"[" call "]"' if form.is_list else "call"
    rules = [
        f"calls: SPACE? {body} {closing}",
        f"block: {opening} calls",
        f"call: {' | '.join(f'call_{at}' for at in range(len(request.tools)))}",
        *(_call_rule(at, tool, form) for at, tool in enumerate(request.tools)),
        r"SPACE: /[ \n]/",
        r"SEPARATOR: /, ?/",
        r'NAME: /\{ ?"name": ?/',
        rf'ARGUMENTS: /, ?"{form.arguments_key}": ?/',
        r"TEXT: /(.|\n)*/",
    ]
    has_blocks = request.has_parallel_calls and not form.is_list
    only_calls = "call" if form.is_bare else "block (SPACE? block)*" if has_blocks else "block"
    if request.has_to_call:
        start = [f"start: {only_calls}"]
    elif request.json_schema is not None:
        start = [f"start: {only_calls} | answer", f"answer: %json {_json_rule(request.json_schema)}"]
    elif form.is_bare:
        start = _bare_start(opening, is_special=bool(opening_ids))
    else:
        start = _text_start(opening, is_special=bool(opening_ids))
    return "\n".join([*start, *rules])


def _text_start(opening: str, *, is_special: bool) -> list[str]:
    """Text as the model likes; behind each opening, calls."""
    if is_special:
        return ["start: (TEXT block)* TEXT"]
    return ["start: (opened calls)* TEXT", f"opened[lazy]: TEXT {opening}"]


def _bare_start(opening: str, *, is_special: bool) -> list[str]:
    """Calls that are the whole answer, or follow their opening; other text does not begin as a call does."""
    other = r'OTHER: TEXT & ~/\s*\{\s*"(name|type|function)"(.|\n)*/'
    return [f"start: call | OTHER ({opening} calls)?" if is_special else "start: call | OTHER", other]


def _call_rule(at: int, tool: Tool, form: ToolFormat) -> str:
    # A tool may say more of its arguments than can be enforced: that is no reason not to offer it.
    name = _quoted(msgspec.json.encode(tool.name).decode())
    return f'call_{at}: NAME {name} ARGUMENTS %json {_json_rule(tool.parameters, is_of_arguments=True)} "}}"'


def _json_rule(schema: str, *, is_of_arguments: bool = False) -> str:
    guidance = {"whitespace_pattern": _SPACE, "lenient": is_of_arguments}
    # Arguments are an object, whatever is said of them.
    arguments = {"type": "object"} if is_of_arguments else {}
    return msgspec.json.encode(_read(schema) | arguments | {"x-guidance": guidance}).decode()


def _read(schema: str) -> dict[str, Any]:
    try:
        return closed(msgspec.json.decode(schema, type=dict[str, Any]))
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refusal(str(error)) from error


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def _check_cost(*schemas: str) -> None:
    characters = sum(map(len, schemas))
    if characters > _LARGEST_SCHEMA:
        raise SchemaUnsupported(f"The JSON schema has {characters} characters; at most {_LARGEST_SCHEMA} are taken.")
    try:
        read = [msgspec.json.decode(schema, type=dict[str, Any]) for schema in schemas]
        reason = excess(read)
        if not reason and remainders(read) > _MOST_REMAINDERS:
            reason = "its multipleOf is too large, or there are too many"
    except (msgspec.MsgspecError, RecursionError) as error:
        raise _refusal(str(error)) from error
    if reason:
        raise _refusal(reason)


def _refusal(reason: str) -> SchemaUnsupported:
    # It may end with the parser's state.
    line = " ".join(reason.partition("\n<")[0].split())
    return SchemaUnsupported(f"No answer can be held to this JSON schema: {line[:_LONGEST_REASON]}")
