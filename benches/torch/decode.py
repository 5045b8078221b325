"""Whole pictures written by the tiny decoder in PyTorch, one token at a time: driven by `trainer bench decode`.

SPEC holds sizes, weights and prompts (crates/trainer/src/cmd/bench/rival.rs). Requests on stdin: {"do": "hello"},
{"do": "write", "prompt": n}. A prompt is a source picture, a sentence and, for each code to be written, the place
and time of the token that predicts it; the choice is greedy. Keys and values go into room made beforehand.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

from model import Model, attention, read_safetensors, serve


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    torch.set_num_threads(spec["threads"])
    model = Model(spec["config"], read_safetensors(spec["weights"]))
    config = model.config
    layers, heads, head_dim = config["num_hidden_layers"], config["num_key_value_heads"], config["head_dim"]
    control_len = config["control_len"]
    codes, table = model.weight("lm.codes"), torch.cat([model.weight("lm.control"), model.weight("lm.codes")])

    class Session:
        def __init__(self, room):
            self.cache = torch.zeros(layers, 2, 1, room, heads, head_dim)
            self.len = 0

        def read(self, ids, slots, cos, sin):
            """Hidden states of the last of some tokens that see each other and all before."""
            x = F.embedding(ids, table)
            for at, (name, none) in enumerate(
                [("lm.rows", config["grid"]), ("lm.cols", config["grid"]), ("lm.parts", config["parts"])]
            ):
                place = slots[:, at]
                x = x + F.embedding(torch.where(place < 0, none, place), model.weight(name))
            x = (x * config["hidden_size"] ** 0.5).unsqueeze(0)
            start, self.len = self.len, self.len + ids.numel()

            def look(layer, q, k, v):
                cache = self.cache[layer]
                cache[0, :, start : self.len] = k
                cache[1, :, start : self.len] = v
                return attention(q, cache[0, :, : self.len], cache[1, :, : self.len])

            last, _ = model.trunk(x, cos.unsqueeze(0), sin.unsqueeze(0), look)
            return last[0, -1:]

    def parts(segment):
        ids, times = torch.tensor(segment["ids"]), torch.tensor(segment["times"])
        slots = torch.tensor(segment["slots"]).view(-1, 3)
        return ids, slots, *model.rotary(times, slots)

    prompts = [{name: parts(prompt[name]) for name in ("source", "words", "program")} for prompt in spec["prompts"]]

    def write(request):
        with torch.inference_mode():
            prompt = prompts[request["prompt"]]
            start, cpu = time.perf_counter(), time.process_time()
            session = Session(sum(len(part[0]) for part in prompt.values()))
            session.read(*prompt["source"])
            session.read(*prompt["words"])
            ids, slots, cos, sin = prompt["program"]
            token, written = ids[:1], []
            for at in range(len(ids)):
                one = slice(at, at + 1)
                hidden = session.read(token, slots[one], cos[one], sin[one])
                code = F.linear(hidden, codes).argmax(1)
                written.append(code.item())
                token = code + control_len
            seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
            return {**seconds, "codes": written}

    hello = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    serve({"hello": lambda _: hello, "write": write})


if __name__ == "__main__":
    main()
