"""Supervised steps of the tiny decoder in PyTorch: `python sft.py SPEC.json`, driven by `trainer bench sft`.

SPEC holds sizes, initial weights and batches (crates/trainer/src/cmd/bench/rival.rs). Requests on stdin:
{"do": "hello"}, {"do": "step", "batch": n, "layout": "padded" | "packed", "rate": r}. Tensors of a batch are made
before the clock starts.

padded: as data loaders do it, edits in groups of similar length, padded to the longest; one source pass.
packed: every token once, for all but attention; attention over trees (a picture, its sentences and
programs) side by side, padded to the longest tree, under a mask.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

from model import Model, Muon, attention, read_safetensors, serve


def tensors(segments):
    """ids, times, slots of segments one after the other."""
    ids = [i for s in segments for i in s["ids"]]
    times = [t for s in segments for t in s["times"]]
    slots = [p for s in segments for p in s["slots"]]
    return torch.tensor(ids), torch.tensor(times), torch.tensor(slots).view(-1, 3)


def padded_segments(segments):
    """Segments of one length, and which tokens are real."""
    longest = max(len(s["ids"]) for s in segments)
    out = []
    for s in segments:
        more = longest - len(s["ids"])
        out.append({
            "ids": s["ids"] + s["ids"][:1] * more,
            "times": s["times"] + [s["times"][-1]] * more,
            "slots": s["slots"] + [[-1, -1, -1]] * more,
        })
    real = torch.tensor([[at < len(s["ids"]) for at in range(longest)] for s in segments])
    return tensors(out), real


def labels(batch):
    out = {k: torch.tensor(batch["labels"][k]) for k in ("name", "tint", "part")}
    out["free"] = torch.tensor(batch["labels"]["free"], dtype=torch.float32).view(len(out["name"]), -1)
    return out


class Padded:
    """One source pass, then groups of edits of similar length."""

    def __init__(self, model, batch, group_size):
        self.labels = labels(batch)
        self.source = self.chunk(model, tensors(batch["sources"]))
        self.sources = len(batch["sources"])
        edits = sorted(batch["edits"], key=lambda edit: len(edit["program"]["ids"]))
        self.groups = []
        for at in range(0, len(edits), group_size):
            self.groups.append(self.group(model, edits[at : at + group_size]))
        self.tokens = self.source[0].numel()
        self.tokens += sum(g["words"][0].numel() + g["program"][0].numel() for g in self.groups)

    def chunk(self, model, parts):
        ids, times, slots = parts
        return ids, slots, *model.rotary(times, slots)

    def group(self, model, edits):
        words, real_words = padded_segments([edit["words"] for edit in edits])
        program, real = padded_segments([edit["program"] for edit in edits])
        control_len = model.config["control_len"]
        rows = {"control": [], "control_targets": [], "codes": [], "code_targets": []}
        seq = real.shape[1]
        for row, edit in enumerate(edits):
            for at, (target, code) in enumerate(zip(edit["program"]["targets"], edit["program"]["is_code"])):
                kind = "codes" if code else "control"
                rows[kind].append(row * seq + at)
                rows["code_targets" if code else "control_targets"].append(target - code * control_len)
        rows = {name: torch.tensor(values, dtype=torch.long) for name, values in rows.items()}
        cells = model.config["grid"] ** 2
        before = torch.cat([torch.ones(len(edits), cells, dtype=torch.bool), real_words], 1)
        causal = torch.ones(seq, seq, dtype=torch.bool).tril()
        mask = torch.cat([before[:, None, None, :].expand(-1, 1, seq, -1), causal.expand(len(edits), 1, seq, seq)], 3)
        return {
            "of": torch.tensor([edit["source"] for edit in edits]),
            "words": self.chunk(model, words), "program": self.chunk(model, program),
            "word_mask": before[:, None, None, :], "mask": mask, "rows": rows,
        }

    def read(self, model, chunk, batch, look):
        ids, slots, cos, sin = chunk
        shape = lambda x: x.view(batch, -1, x.shape[-1])
        return model.trunk(shape(model.embed(ids, slots)), shape(cos), shape(sin), look)

    def loss(self, model):
        caches = []

        def source(_, q, k, v):
            caches.append((k, v))
            return attention(q, k, v)

        last, seen = self.read(model, self.source, self.sources, source)
        seeing = model.seeing_loss(seen.flatten(0, 1), self.labels) / self.labels["name"].numel()
        keys = F.linear(last, model.weight("lm.pointer_key.weight"))
        control, code, controls, codes = 0.0, 0.0, 0, 0
        for group in self.groups:
            cache = [(k[group["of"]], v[group["of"]]) for k, v in caches]

            def look(mask):
                def with_cache(layer, q, k, v):
                    k = torch.cat([cache[layer][0], k], 1)
                    v = torch.cat([cache[layer][1], v], 1)
                    cache[layer] = (k, v)
                    return attention(q, k, v, mask)

                return with_cache

            edits = len(group["of"])
            self.read(model, group["words"], edits, look(group["word_mask"]))
            last, _ = self.read(model, group["program"], edits, look(group["mask"]))
            pointers = model.pointers(last, keys[group["of"]]).flatten(0, 1)
            flat, rows = last.flatten(0, 1), group["rows"]
            logits = model.control_logits(flat[rows["control"]], pointers[rows["control"]])
            control = control + F.cross_entropy(logits, rows["control_targets"], reduction="sum")
            if len(rows["codes"]):
                logits = F.linear(flat[rows["codes"]], model.weight("lm.codes"))
                code = code + F.cross_entropy(logits, rows["code_targets"], reduction="sum")
            controls += len(rows["control"])
            codes += len(rows["codes"])
        return control / max(controls, 1) + code / max(codes, 1) + seeing


class Packed:
    """Every token once; attention over padded trees."""

    def __init__(self, model, batch, _group_size):
        self.labels = labels(batch)
        segments, spans, trees = [], [], []
        self.cells, rows = [], {"control": [], "control_targets": [], "codes": [], "code_targets": [], "of": []}
        tokens = 0

        def add(segment):
            nonlocal tokens
            segments.append(segment)
            tokens += len(segment["ids"])
            return range(tokens - len(segment["ids"]), tokens)

        for source, picture in enumerate(batch["sources"]):
            first = tokens
            own = add(picture)
            self.cells.extend(own)
            spans.append((own, [own], False))
            for edit in batch["edits"]:
                if edit["source"] != source:
                    continue
                words = add(edit["words"])
                spans.append((words, [own, words], False))
                program = add(edit["program"])
                spans.append((program, [own, words, program], True))
                for at, target, code in zip(program, edit["program"]["targets"], edit["program"]["is_code"]):
                    kind = "codes" if code else "control"
                    rows[kind].append(at)
                    rows["code_targets" if code else "control_targets"].append(
                        target - code * model.config["control_len"]
                    )
                    if not code:
                        rows["of"].append(source)
            trees.append(range(first, tokens))
        self.tokens = tokens
        self.rows = {name: torch.tensor(values, dtype=torch.long) for name, values in rows.items()}
        self.cells = torch.tensor(self.cells)
        self.sources = len(batch["sources"])
        ids, times, slots = tensors(segments)
        self.ids, self.slots, (self.cos, self.sin) = ids, slots, model.rotary(times, slots)
        longest = max(len(tree) for tree in trees)
        self.shape = (len(trees), longest)
        self.there = torch.tensor([t.start + at if at < len(t) else t.start for t in trees for at in range(longest)])
        self.back = torch.tensor([n * longest + at for n, t in enumerate(trees) for at in range(len(t))])
        visible = torch.zeros(tokens, tokens, dtype=torch.bool)
        for own, seen, causal in spans:
            for span in seen:
                visible[own.start : own.stop, span.start : span.stop] = True
            if causal:
                square = torch.ones(len(own), len(own), dtype=torch.bool).tril()
                visible[own.start : own.stop, own.start : own.stop] = square
        self.mask = torch.zeros(len(trees), 1, longest, longest, dtype=torch.bool)
        for n, t in enumerate(trees):
            self.mask[n, 0, : len(t), : len(t)] = visible[t.start : t.stop, t.start : t.stop]
            self.mask[n, 0, len(t) :, 0] = True  # padding looks at something, so that it is a number
        # Control rows side by side by source, for the pointer.
        counts, places = [0] * self.sources, []
        for source in rows["of"]:
            places.append((source, counts[source]))
            counts[source] += 1
        most = max(counts)
        side = torch.zeros(self.sources, most, dtype=torch.long)
        for (source, at), row in zip(places, rows["control"]):
            side[source, at] = row
        self.side = side
        self.places = torch.tensor([source * most + at for source, at in places])

    def loss(self, model):
        def look(_, q, k, v):
            q, k, v = (x.index_select(0, self.there).view(*self.shape, *x.shape[1:]) for x in (q, k, v))
            return attention(q, k, v, self.mask).flatten(0, 1).index_select(0, self.back)

        last, seen = model.trunk(model.embed(self.ids, self.slots), self.cos, self.sin, look)
        seeing = model.seeing_loss(seen[self.cells], self.labels) / self.labels["name"].numel()
        sources = last[self.cells].view(self.sources, -1, last.shape[-1])
        keys = F.linear(sources, model.weight("lm.pointer_key.weight"))
        pointers = model.pointers(last[self.side], keys).flatten(0, 1)[self.places]
        rows = self.rows
        logits = model.control_logits(last[rows["control"]], pointers)
        loss = F.cross_entropy(logits, rows["control_targets"]) + seeing
        if len(rows["codes"]):
            logits = F.linear(last[rows["codes"]], model.weight("lm.codes"))
            loss = loss + F.cross_entropy(logits, rows["code_targets"])
        return loss


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    torch.set_num_threads(spec["threads"])
    model = Model(spec["config"], read_safetensors(spec["weights"]))
    optimizer = Muon(model, spec["optim"])
    layouts = {"padded": Padded, "packed": Packed}
    made = {
        name: [layout(model, batch, spec["group_size"]) for batch in spec["batches"]]
        for name, layout in layouts.items()
    }

    def hello(_):
        with torch.no_grad():
            losses = {name: batches[0].loss(model).item() for name, batches in made.items()}
        tokens = {name: [batch.tokens for batch in batches] for name, batches in made.items()}
        return {"torch": torch.__version__, "threads": torch.get_num_threads(), "loss": losses, "tokens": tokens}

    def step(request):
        batch = made[request["layout"]][request["batch"]]
        start, cpu = time.perf_counter(), time.process_time()
        loss = batch.loss(model)
        value = loss.item()
        loss.backward()
        optimizer.step(request["rate"])
        seconds = {"seconds": time.perf_counter() - start, "cpu_seconds": time.process_time() - cpu}
        return {**seconds, "loss": value}

    serve({"hello": hello, "step": step})


if __name__ == "__main__":
    main()
