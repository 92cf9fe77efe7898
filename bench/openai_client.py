"""Drives a served model with the official `openai` package, as any application would.

    openai_client.py ADDRESS      an address such as http://127.0.0.1:8080, of a running `luban serve`
    openai_client.py --serve MODEL    starts `luban serve MODEL --port 0` and stops it afterwards

Asserts; prints one JSON line when all holds.
"""

import argparse
import json
import signal
import subprocess
import time

import openai

from common import luban_binary, print_result

PROMPT = "fn main() {\n    let "
MAX_TOKENS = 24


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", nargs="?")
    parser.add_argument("--serve", metavar="MODEL")
    args = parser.parse_args()
    if (args.address is None) == (args.serve is None):
        parser.error("give ADDRESS or --serve MODEL")
    if args.address:
        check_all(args.address)
        return
    server, address = start_server(args.serve)
    try:
        check_all(address)
        stop_server(server)
    finally:
        server.kill()


def start_server(model):
    command = [luban_binary(), "serve", model, "--port", "0", "--json"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    line = server.stdout.readline()
    assert line, "luban serve ended before it was ready"
    return server, json.loads(line)["address"]


def stop_server(server):
    """The polite signal ends it within the grace time and with 0."""
    server.send_signal(signal.SIGTERM)
    status = server.wait(timeout=30)
    assert status == 0, f"luban serve ended with {status} after SIGTERM"


def check_all(address):
    base = address if address.startswith("http") else f"http://{address}"
    client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0, timeout=60)
    model = check_models(client)
    checks = [
        check_completion,
        check_greedy_answers_repeat,
        check_streaming,
        check_stop,
        check_seed,
        check_logprobs,
        check_leaving_early,
        check_errors,
    ]
    start = time.perf_counter()
    for check in checks:
        check(client, model)
    print_result(
        bench="openai_client",
        client=openai.__version__,
        checks=1 + len(checks),
        seconds=round(time.perf_counter() - start, 2),
    )


def check_models(client):
    models = client.models.list().data
    assert len(models) == 1, models
    assert models[0].object == "model" and models[0].id, models[0]
    return models[0].id


def check_completion(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=MAX_TOKENS, temperature=0)
    assert answer.object == "text_completion" and answer.id and answer.created > 0 and answer.model == model, answer
    choice = answer.choices[0]
    assert len(answer.choices) == 1 and choice.index == 0, answer
    assert choice.finish_reason in ("length", "stop"), choice
    usage = answer.usage
    assert usage.prompt_tokens > 0 and 0 < usage.completion_tokens <= MAX_TOKENS, usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
    if choice.finish_reason == "length":
        assert usage.completion_tokens == MAX_TOKENS, usage


def check_greedy_answers_repeat(client, model):
    first, second = (complete(client, model, temperature=0) for _ in range(2))
    assert first == second, (first, second)


def check_streaming(client, model):
    """The pieces of a streamed answer make up the whole one, and the last one says why it ended."""
    whole = complete(client, model, temperature=0)
    pieces, reasons, usages = [], [], []
    options = dict(stream=True, stream_options={"include_usage": True})
    for chunk in client.completions.create(
        model=model, prompt=PROMPT, max_tokens=MAX_TOKENS, temperature=0, **options
    ):
        assert chunk.object == "text_completion", chunk
        for choice in chunk.choices:
            pieces.append(choice.text)
            reasons.append(choice.finish_reason)
        if chunk.usage:
            usages.append(chunk.usage)
    assert "".join(pieces) == whole, (pieces, whole)
    assert len(pieces) > 1, "the answer came in one piece"
    assert reasons[-1] in ("length", "stop") and not any(reasons[:-1]), reasons
    assert len(usages) == 1 and usages[0].completion_tokens <= MAX_TOKENS, usages


def check_stop(client, model):
    whole = complete(client, model, temperature=0)
    middle = whole[len(whole) // 2 : len(whole) // 2 + 2]
    assert middle, "the answer is too short to be cut"
    answer = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=MAX_TOKENS, temperature=0, stop=[middle]
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "stop" and choice.text == whole[: whole.index(middle)], (choice, whole, middle)


def check_seed(client, model):
    first, second = (complete(client, model, temperature=1.0, seed=7) for _ in range(2))
    assert first == second, "the same seed gave two answers"
    others = {complete(client, model, temperature=1.5, seed=seed) for seed in range(4)}
    assert len(others) > 1, "four seeds gave one answer"


def check_logprobs(client, model):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=4, temperature=0, logprobs=2)
    logprobs = answer.choices[0].logprobs
    tokens = answer.usage.completion_tokens
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == tokens, logprobs
    assert all(value <= 0 for value in logprobs.token_logprobs), logprobs


def check_leaving_early(client, model):
    """A client that leaves in the middle of an answer does no harm to the next one."""
    stream = client.completions.create(model=model, prompt=PROMPT, max_tokens=200, stream=True)
    next(iter(stream))
    stream.close()
    complete(client, model, temperature=0)


def check_errors(client, model):
    """Wrong requests get a 4xx with a message; none of them stops the server."""
    wrong = [
        (openai.NotFoundError, dict(model="no-such-model")),
        (openai.BadRequestError, dict(max_tokens=-1)),
        (openai.BadRequestError, dict(temperature=-1.0)),
        (openai.BadRequestError, dict(top_p=2.0)),
        (openai.BadRequestError, dict(prompt="x " * 200_000)),
        (openai.BadRequestError, dict(extra_body={"max_tokens": "many"})),
        (openai.BadRequestError, dict(extra_body={"prompt": {"text": "x"}})),
    ]
    for expected, fields in wrong:
        request = dict(model=model, prompt=PROMPT, max_tokens=MAX_TOKENS) | fields
        shown = {name: str(value)[:40] for name, value in fields.items()}
        try:
            client.completions.create(**request)
        except openai.APIStatusError as error:
            assert 400 <= error.status_code < 500, (shown, error)
            assert isinstance(error, expected) or error.status_code in (413, 422), (shown, error)
            assert error.body and error.body.get("message"), (shown, error.body)
        else:
            raise AssertionError(f"{shown} was accepted")
    complete(client, model, temperature=0)


def complete(client, model, **options):
    answer = client.completions.create(model=model, prompt=PROMPT, max_tokens=MAX_TOKENS, **options)
    return answer.choices[0].text


if __name__ == "__main__":
    main()
