"""The official openai client for Python, unmodified."""

import asyncio

import openai
import pytest

from mesh import model_path, wait_until

MESSAGES = [{"role": "user", "content": "Say hello."}]
# Ends only when somebody ends it.
LONG = dict(messages=MESSAGES, max_tokens=1500, extra_body={"ignore_eos": True})


def worker_is_idle(mesh):
    return mesh.worker_gauge("weft_num_requests_running") == 0


def test_models_are_listed_and_found(client, model):
    assert model in [m.id for m in client.models.list()]
    assert client.models.retrieve(model).object == "model"


def test_chat_answers_with_text_usage_and_a_reason(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=12, temperature=0)
    choice = answer.choices[0]
    assert answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
    assert choice.message.role == "assistant" and choice.message.content
    assert choice.finish_reason in ("stop", "length")
    assert answer.usage.prompt_tokens > 5
    assert 1 <= answer.usage.completion_tokens <= 12
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_streamed_chunks_add_up_to_the_whole_answer(client, model):
    asked = dict(model=model, messages=MESSAGES, max_tokens=24, temperature=0)
    whole = client.chat.completions.create(**asked)
    chunks = list(client.chat.completions.create(
        **asked, stream=True, stream_options={"include_usage": True}))
    assert {c.object for c in chunks} == {"chat.completion.chunk"}
    assert len({c.id for c in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert reasons[-1] == whole.choices[0].finish_reason
    assert all(reason is None for reason in reasons[:-1])
    assert chunks[-1].choices == [] and chunks[-1].usage.total_tokens == whole.usage.total_tokens


def test_without_include_usage_no_chunk_has_usage(client, model):
    for chunk in client.chat.completions.create(
            model=model, messages=MESSAGES, max_tokens=4, stream=True):
        assert chunk.usage is None and len(chunk.choices) == 1


def test_async_client_streams_several_at_once(mesh, model):
    async def one(client, number):
        stream = await client.chat.completions.create(
            model=model, max_tokens=8, temperature=0, stream=True,
            messages=[{"role": "user", "content": f"Count to {number}."}])
        return "".join([c.choices[0].delta.content or "" async for c in stream])

    async def all_of_them():
        async with openai.AsyncOpenAI(
                base_url=f"{mesh.url}/v1", api_key=mesh.admin_key) as client:
            return await asyncio.gather(*(one(client, n) for n in range(8)))

    assert all(asyncio.run(all_of_them()))


def test_completions_echo_nothing_and_stop_before_the_stop_string(client, model):
    asked = dict(model=model, prompt="1 2 3 4 5 6", max_tokens=16, temperature=0)
    free = client.completions.create(**asked).choices[0]
    assert free.text and not free.text.startswith("1 2 3")
    stop = free.text[3:6]
    held = client.completions.create(**asked, stop=[stop]).choices[0]
    assert held.finish_reason == "stop"
    assert held.text == free.text[: free.text.index(stop)]


def test_the_length_limit_is_a_finish_reason(client, model):
    answer = client.completions.create(
        model=model, prompt="Once upon a time", max_tokens=3, temperature=0)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 3


def test_a_seed_repeats_the_text_and_another_one_changes_it(client, model):
    def ask(seed):
        return client.chat.completions.create(
            model=model, messages=MESSAGES, max_tokens=24, temperature=1.0, seed=seed,
        ).choices[0].message.content

    assert ask(7) == ask(7)
    assert len({ask(seed) for seed in (1, 2, 3)}) > 1


def test_n_choices_are_numbered_and_greedy_ones_are_equal(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=8, temperature=0, n=3)
    assert sorted(c.index for c in answer.choices) == [0, 1, 2]
    assert len({c.message.content for c in answer.choices}) == 1


def test_logprobs_cover_every_token_with_alternatives_and_bytes(client, model):
    answer = client.chat.completions.create(
        model=model, messages=MESSAGES, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3)
    content = answer.choices[0].logprobs.content
    # The end-of-sequence token is counted but has no text.
    assert len(content) in (answer.usage.completion_tokens, answer.usage.completion_tokens - 1)
    for token in content:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.bytes is not None
        # Greedy: the chosen one is the likeliest.
        assert token.logprob == pytest.approx(max(t.logprob for t in token.top_logprobs), abs=1e-4)


def test_logit_bias_forbids_or_forces_a_token(client, model, weftctl):
    def first(**values):
        return client.completions.create(
            model=model, prompt="The capital of France is", max_tokens=1, temperature=0,
            **values).choices[0].text

    def id_of(text):
        (token,) = weftctl("tokenize", model_path(), "--no-special", input=text).stdout.split()
        return token

    free = first()
    assert free and first(logit_bias={id_of(free): -100}) != free
    assert free != " blue" and first(logit_bias={id_of(" blue"): 100}) == " blue"


def test_errors_are_the_classes_that_the_client_knows(mesh, client, model):
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="no-such-model", messages=MESSAGES)
    assert unknown.value.body["code"] == "model_not_found"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=model, messages=MESSAGES, temperature=9)
    assert bad.value.body["param"] == "temperature"
    stranger = openai.OpenAI(base_url=f"{mesh.url}/v1", api_key="weft_wrong", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_client_side_timeout_is_a_timeout(mesh, model):
    hasty = openai.OpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.admin_key, max_retries=0,
                          timeout=0.05)
    with pytest.raises(openai.APITimeoutError):
        hasty.chat.completions.create(**LONG, model=model)
    wait_until(lambda: worker_is_idle(mesh), 10)


def test_a_stream_that_is_closed_early_frees_the_worker(mesh, client, model):
    stream = client.chat.completions.create(model=model, stream=True, **LONG)
    for _, _ in zip(range(3), stream):
        pass
    assert not worker_is_idle(mesh)
    stream.close()
    wait_until(lambda: worker_is_idle(mesh), 10)


def test_the_async_client_meets_errors_timeouts_and_cancellation(mesh, model):
    async def run():
        async with openai.AsyncOpenAI(base_url=f"{mesh.url}/v1", api_key=mesh.admin_key,
                                      max_retries=0) as client:
            create = client.chat.completions.create
            whole = await create(model=model, messages=MESSAGES, max_tokens=4)
            assert whole.choices[0].message.content
            with pytest.raises(openai.NotFoundError):
                await create(model="no-such-model", messages=MESSAGES)
            with pytest.raises(openai.BadRequestError):
                await create(model=model, messages=MESSAGES, temperature=9)
            with pytest.raises(openai.APITimeoutError):
                await create(model=model, timeout=0.05, **LONG)
            task = asyncio.create_task(create(model=model, **LONG))
            while worker_is_idle(mesh):
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(run())
    wait_until(lambda: worker_is_idle(mesh), 10)


def test_echo_scores_the_prompt_as_its_tokens_were_scored_when_they_were_made(client, model):
    asked = dict(model=model, temperature=0, logprobs=1)
    made = client.completions.create(prompt="The capital of France is", max_tokens=6, **asked)
    whole = "The capital of France is" + made.choices[0].text
    scored = client.completions.create(prompt=whole, max_tokens=0, echo=True, **asked)
    assert scored.choices[0].text == whole
    assert scored.choices[0].finish_reason == "length"
    logprobs = scored.choices[0].logprobs
    assert logprobs.token_logprobs[0] is None
    assert logprobs.token_logprobs[-6:] == made.choices[0].logprobs.token_logprobs
    assert logprobs.text_offset[0] == 0
    assert scored.usage.completion_tokens == 0


def test_several_prompts_and_best_of(client, model):
    answer = client.completions.create(
        model=model, prompt=["One, two, three,", "def main():"], n=2, max_tokens=4, temperature=0)
    texts = [choice.text for choice in sorted(answer.choices, key=lambda c: c.index)]
    assert len(texts) == 4 and texts[0] == texts[1] and texts[2] == texts[3] != texts[0]
    best = client.completions.create(
        model=model, prompt="Once", best_of=3, max_tokens=4, temperature=1, seed=1)
    assert len(best.choices) == 1 and best.choices[0].logprobs is None
    assert best.usage.completion_tokens >= 4  # those that were not chosen count too


@pytest.mark.parametrize("prompt", ["", None])
def test_an_empty_prompt_begins_a_document(client, model, prompt):
    asked = dict(model=model, max_tokens=6, temperature=0)
    answer = client.completions.create(prompt=prompt, echo=True, **asked)
    assert answer.usage.prompt_tokens == 1
    begin = client.completions.create(prompt=[1], **asked)  # the model's BOS
    assert answer.choices[0].text == begin.choices[0].text != ""


def test_no_tokens_may_be_asked_for(client, model):
    answer = client.completions.create(model=model, prompt="One, two", max_tokens=0)
    assert answer.choices[0].text == ""
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 0
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 1
    stream = list(client.completions.create(model=model, prompt="One, two", max_tokens=0, stream=True))
    assert [chunk.choices[0].finish_reason for chunk in stream] == ["length"]


def test_a_service_tier_is_named_in_the_answer(client, model):
    asked = dict(model=model, messages=MESSAGES, max_tokens=1)
    assert client.chat.completions.create(service_tier="auto", **asked).service_tier == "default"
    assert client.chat.completions.create(service_tier="flex", **asked).service_tier == "flex"
    assert client.chat.completions.create(**asked).service_tier is None
    for chunk in client.chat.completions.create(service_tier="default", stream=True, **asked):
        assert chunk.service_tier == "default"
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(service_tier="scale", **asked)
    assert refused.value.param == "service_tier"


def test_a_function_answers_as_a_tool(client, model):
    def ask(message):
        return client.chat.completions.create(
            model=model, messages=[*MESSAGES, message], max_tokens=8, temperature=0)

    function = ask({"role": "function", "name": "weather", "content": "It rains."})
    tool = ask({"role": "tool", "tool_call_id": "call_1", "content": "It rains."})
    assert function.choices[0].message.content == tool.choices[0].message.content
    assert function.usage.prompt_tokens == tool.usage.prompt_tokens


def test_a_suffix_needs_a_model_that_fills_in(client, model):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=model, prompt="def f(", suffix="return 1")
    assert refused.value.param == "suffix"


def test_a_priority_is_accepted(client, model):
    client.completions.create(model=model, prompt="Hi", max_tokens=1, extra_body={"priority": "low"})
