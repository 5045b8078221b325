"""The tiny decoder in PyTorch, as one would write it there: SDPA, fused optimizers, no custom kernels.

Same tensors, same arithmetic as crates/model/src/lm and crates/trainer/src/sft/loss.rs; the first
loss and greedy programs are compared by the caller.
"""

import json
import math
import struct

import numpy as np
import torch
import torch.nn.functional as F


def read_safetensors(path):
    """float32 tensors by name."""
    with open(path, "rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        values = np.frombuffer(data[start:end], dtype=np.float32).copy()
        tensors[name] = torch.from_numpy(values).reshape(entry["shape"])
    return tensors


class Model(torch.nn.Module):
    """Weights by our names, dots as underscores; maps are kept `[out, in]`, as PyTorch likes them."""

    def __init__(self, config, tensors):
        super().__init__()
        self.config = config
        self.names = {}
        for name, value in tensors.items():
            matrix = value.dim() == 2 and name.endswith(".weight")
            parameter = torch.nn.Parameter(value.t().contiguous() if matrix else value)
            self.names[name] = name.replace(".", "_")
            self.register_parameter(self.names[name], parameter)
        frequencies = []
        for pairs in config["rope_sections"]:
            frequencies.append([config["rope_theta"] ** (-pair / pairs) for pair in range(pairs)])
        self.frequencies = [torch.tensor(f, dtype=torch.float64) for f in frequencies]

    def weight(self, name):
        return getattr(self, self.names[name])

    def is_matrix(self, name):
        return name.endswith(".weight")

    def rotary(self, times, slots):
        """Cosines and sines, `[tokens, head_dim / 2]`."""
        places = torch.stack([times, slots[:, 0].clamp(min=0), slots[:, 1].clamp(min=0)], 1).double()
        angles = [places[:, i : i + 1] * f for i, f in enumerate(self.frequencies)]
        angles = torch.cat(angles, 1)
        return angles.cos().float(), angles.sin().float()

    def embed(self, ids, slots):
        """`[n]` ids and `[n, 3]` slots (-1 = none) → `[n, hidden]`."""
        config = self.config
        table = torch.cat([self.weight("lm.control"), self.weight("lm.codes")])
        x = F.embedding(ids, table)
        for at, (name, none) in enumerate(
            [("lm.rows", config["grid"]), ("lm.cols", config["grid"]), ("lm.parts", config["parts"])]
        ):
            place = slots[:, at]
            x = x + F.embedding(torch.where(place < 0, none, place), self.weight(name))
        return x * math.sqrt(config["hidden_size"])

    def norm(self, x, name=None):
        weight = self.weight(name) if name else None
        return F.rms_norm(x, (x.shape[-1],), weight, self.config["rms_norm_eps"])

    def block(self, layer, x, cos, sin, look):
        """`look` is attention: q, k, v `[..., heads, head_dim]` in, values like q out."""
        config, head_dim = self.config, self.config["head_dim"]
        name = lambda part: f"lm.layers.{layer}.{part}"
        normed = self.norm(x, name("input_norm"))
        q, k, v = (
            F.linear(normed, self.weight(name(f"{part}_proj.weight"))).unflatten(-1, (-1, head_dim))
            for part in "qkv"
        )
        attended = look(turn(q, cos, sin), turn(k, cos, sin), v)
        x = x + F.linear(attended.flatten(-2), self.weight(name("o_proj.weight")))
        normed = self.norm(x, name("post_norm"))
        gate = F.linear(normed, self.weight(name("gate_proj.weight")))
        up = F.linear(normed, self.weight(name("up_proj.weight")))
        return x + F.linear(F.silu(gate) * up, self.weight(name("down_proj.weight")))

    def trunk(self, x, cos, sin, look):
        """Last hidden states after the final norm, and those after the seeing layer."""
        seen = x
        for layer in range(self.config["num_hidden_layers"]):
            x = self.block(layer, x, cos, sin, lambda q, k, v: look(layer, q, k, v))
            if layer + 1 == self.config["see_layer"]:
                seen = x
        return self.norm(x, "lm.norm"), seen

    def pointers(self, hidden, keys):
        """`[b, n, hidden]` and `[b, cells, 64]` → `[b, n, cells]`."""
        queries = F.linear(hidden, self.weight("lm.pointer_query.weight"))
        return queries @ keys.transpose(1, 2) / math.sqrt(keys.shape[-1])

    def control_logits(self, hidden, pointers):
        logits = F.linear(hidden, self.weight("lm.control"))
        first = self.config["first_cell"]
        return torch.cat([logits[:, :first], logits[:, first:] + pointers], 1)

    def seeing_loss(self, seen, labels):
        """Sum over cells of the four heads' losses."""
        x = self.norm(seen)
        name = F.linear(F.linear(x, self.weight("seeing.name.weight")), self.weight("lm.control"))
        loss = F.cross_entropy(name, labels["name"], reduction="sum")
        for part in ("tint", "part"):
            logits = F.linear(x, self.weight(f"seeing.{part}.weight"))
            loss = loss + F.cross_entropy(logits, labels[part], reduction="sum")
        free = F.linear(x, self.weight("seeing.free.weight"))
        return loss - F.logsigmoid(free * labels["free"]).mean(1).sum()


def turn(x, cos, sin):
    """Half-split rotary turn of `[..., heads, head_dim]` by `[..., head_dim / 2]`."""
    first, second = x.chunk(2, -1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def attention(q, k, v, mask=None, causal=False):
    """SDPA over `[batch, seq, heads, head_dim]`; grouped heads are repeated, which is the faster form on a CPU."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, 1) for x in (k, v))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal).transpose(1, 2)


class Muon:
    """Muon for matrices, fused AdamW for the rest, one global clip: crates/trainer/src/optim."""

    def __init__(self, model, config):
        self.config = config
        self.model = model
        named = [(name, model.weight(name)) for name in model.names]
        muon = config["muon"]
        self.matrices = {}
        for name, parameter in named:
            if muon and model.is_matrix(name):
                self.matrices.setdefault(tuple(parameter.shape), []).append(parameter)
        self.momenta = {s: torch.zeros(len(p), *s) for s, p in self.matrices.items()}
        rest = [(n, p) for n, p in named if not (muon and model.is_matrix(n))]
        decayed = [p for n, p in rest if model.is_matrix(n)]
        plain = [p for n, p in rest if not model.is_matrix(n)]
        groups = [
            {"params": decayed, "weight_decay": config["weight_decay"]},
            {"params": plain, "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
        betas = (config["beta1"], config["beta2"])
        self.adamw = torch.optim.AdamW(groups, betas=betas, eps=config["epsilon"], fused=True)

    @torch.no_grad()
    def step(self, rate):
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config["clip_norm"])
        for group in self.adamw.param_groups:
            group["lr"] = rate
        self.adamw.step()
        for shape, parameters in self.matrices.items():
            # All matrices of one shape in one batched iteration.
            grad = torch.stack([parameter.grad for parameter in parameters])
            momentum = self.momenta[shape]
            momentum.mul_(0.95).add_(grad)
            update = orthogonal(grad.add_(momentum, alpha=0.95))
            scale = 0.2 * math.sqrt(max(shape))
            for parameter, update in zip(parameters, update):
                parameter.mul_(1 - rate * self.config["weight_decay"])
                parameter.add_(update, alpha=-rate * scale)
        self.model.zero_grad(set_to_none=True)


def orthogonal(x):
    """Five Newton–Schulz iterations over a batch of matrices."""
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        poly = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, poly, x, beta=3.4445)
    return x.transpose(1, 2) if tall else x


def serve(answers):
    """Answers the caller's requests, one JSON object a line, until it closes the pipe."""
    import sys

    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(answers[request["do"]](request)), flush=True)
