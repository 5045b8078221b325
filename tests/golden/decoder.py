"""Golden numbers of the decoder, worked out in float64 NumPy from the formulas alone.

Writes decoder.json: hidden states of a program read after a source picture and two words.
Run: python tests/golden/decoder.py   (numpy only). Blocks as in Llama: RMSNorm, grouped-query
attention with half-split rotary positions in three sections, SwiGLU; additive row, column, part tables.
"""
import json, os
import numpy as np

H, F, L, HEADS, KV, D = 16, 24, 2, 2, 1, 8
SECTIONS, THETA, EPS, GRID, CODES, WORDS = [2, 1, 1], 100.0, 1e-5, 4, 8, 5
CONTROL = 9 + 3 + WORDS + GRID * GRID  # controls, sizes, words, cells: checked by the test
PARTS = 4 + 9 + 16

def weights(name, shape, around=0.0):
    """The test fills its tensors with the same formula."""
    n = int(np.prod(shape))
    phase = sum(name.encode())
    return (around + 0.3 * np.sin(0.7 * np.arange(n) + phase)).reshape(shape)

def rms(x, gain): return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * gain

def turn(x, places):  # x [seq, heads, D], places [seq, 3]
    angles = np.concatenate([places[:, s:s + 1] * THETA ** (-np.arange(n) / n) for s, n in enumerate(SECTIONS)], 1)
    c, s = np.cos(angles)[:, None], np.sin(angles)[:, None]
    a, b = x[..., :D // 2], x[..., D // 2:]
    return np.concatenate([a * c - b * s, b * c + a * s], -1)

class Model:
    def __init__(self): self.cache = [None] * L
    def read(self, table, ids, times, slots, causal):
        none = lambda v, last: last if v is None else v
        x = weights(f"lm.{table}", (CONTROL if table == "control" else CODES, H))[ids]
        for t, (name, last) in enumerate([("rows", GRID), ("cols", GRID), ("parts", PARTS)]):
            x = x + weights(f"lm.{name}", (last + 1, H))[[none(s[t], last) for s in slots]]
        x = x * np.sqrt(H)
        places = np.array([[t, s[0] or 0, s[1] or 0] for t, s in zip(times, slots)], float)
        for l in range(L):
            w = lambda n, shape: weights(f"lm.layers.{l}.{n}.weight", shape)
            y = rms(x, weights(f"lm.layers.{l}.input_norm", (H,), 1.0))
            split = lambda z: z.reshape(len(ids), -1, D)
            q, k = turn(split(y @ w("q_proj", (H, HEADS * D))), places), turn(split(y @ w("k_proj", (H, KV * D))), places)
            v = split(y @ w("v_proj", (H, KV * D)))
            before = 0 if self.cache[l] is None else len(self.cache[l][0])
            if before: k, v = np.concatenate([self.cache[l][0], k]), np.concatenate([self.cache[l][1], v])
            self.cache[l] = (k, v)
            scores = np.einsum("qhd,khd->hqk", q, np.repeat(k, HEADS // KV, 1)) / np.sqrt(D)
            if causal:
                hidden = np.arange(len(k))[None] > before + np.arange(len(ids))[:, None]
                scores = np.where(hidden[None], -np.inf, scores)
            p = np.exp(scores - scores.max(-1, keepdims=True)); p /= p.sum(-1, keepdims=True)
            x = x + np.einsum("hqk,khd->qhd", p, np.repeat(v, HEADS // KV, 1)).reshape(len(ids), -1) @ w("o_proj", (HEADS * D, H))
            y = rms(x, weights(f"lm.layers.{l}.post_norm", (H,), 1.0))
            g = y @ w("gate_proj", (H, F))
            x = x + (g / (1 + np.exp(-g)) * (y @ w("up_proj", (H, F)))) @ w("down_proj", (F, H))
        return rms(x, weights("lm.norm", (H,), 1.0))

m = Model()
cells = [(r, c, None) for r in range(GRID) for c in range(GRID)]
source = m.read("codes", [(3 * i + 1) % CODES for i in range(16)], [0] * 16, cells, False)
none = (None, None, None)
words = m.read("control", [14, 12], [1, 2], [none] * 2, False)
program = m.read("control", [0, 4, 13], [4, 5, 6], [none, none, (1, 2, 3)], True)
path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "decoder.json")
json.dump({"control": CONTROL, "parts": PARTS, "source": source.round(6).tolist(), "words": words.round(6).tolist(), "program": program.round(6).tolist()}, open(path, "w"))
print("wrote decoder.json", program[0, :4])
