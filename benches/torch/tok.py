"""Emu3's image tokenizer for stills in PyTorch: driven by `trainer bench tok`.

The same folded convolutions as crates/model/src/emu3/vq (a still is four equal frames). SPEC holds the
sizes, weights under their published names, and a picture. Requests on stdin: {"do": "hello"}, {"do": "round"},
which encodes and decodes and says how long each took.
"""

import json
import sys
import time

import torch
import torch.nn.functional as F

from model import read_safetensors, serve


class Tokenizer:
    def __init__(self, config, tensors):
        self.config, self.t = config, tensors
        self.folded = {}

    def conv(self, name, x, stride=1, around=None, taps=None, bias=True):
        weight = self.t[f"{name}.weight"]
        if taps is not None:
            key = (name, tuple(taps))
            if key not in self.folded:
                self.folded[key] = sum(weight[:, :, tap] for tap in taps).contiguous()
            weight = self.folded[key]
        around = (weight.shape[2] - 1) // 2 if around is None else around
        return F.conv2d(x, weight, self.t[f"{name}.bias"] if bias else None, stride, around)

    def norm(self, name, x, latent):
        spatial = latent is not None
        own = f"{name}.norm_layer" if spatial else name
        x = F.group_norm(x, 32, self.t[f"{own}.weight"], self.t[f"{own}.bias"], 1e-6)
        if not spatial:
            return x
        resized = lambda part: F.interpolate(self.conv(f"{name}.{part}", latent), x.shape[2:], mode="nearest")
        return x * resized("conv_y") + resized("conv_b")

    def res(self, name, x, latent):
        h = self.conv(f"{name}.conv1", F.silu(self.norm(f"{name}.norm1", x, latent)))
        h = self.conv(f"{name}.conv2", F.silu(self.norm(f"{name}.norm2", h, latent)))
        if f"{name}.nin_shortcut.weight" in self.t:
            x = self.conv(f"{name}.nin_shortcut", x)
        return x + h

    def attention(self, name, x, latent):
        normed = self.norm(f"{name}.norm", x, latent)
        q, k, v = (self.conv(f"{name}.{part}", normed).flatten(2).transpose(1, 2).unsqueeze(1) for part in "qkv")
        mixed = F.scaled_dot_product_attention(q, k, v)
        return x + self.conv(f"{name}.proj_out", mixed.squeeze(1).transpose(1, 2).reshape(x.shape))

    def level(self, name, level, x, latent, blocks):
        for block in range(blocks):
            x = self.res(f"{name}.block.{block}", x, latent)
            if level in self.config["attn_resolutions"]:
                x = self.attention(f"{name}.attn.{block}", x, latent)
        return x

    def middle(self, name, x, latent):
        x = self.attention(f"{name}.attn_1", self.res(f"{name}.block_1", x, latent), latent)
        return self.res(f"{name}.block_2", x, latent)

    def time_res(self, side, x):
        for block in range(self.config["num_res_blocks"]):
            h, name = x, f"{side}.time_res_stack.{block}"
            for half in (1, 2):
                of = lambda part: self.t[f"{name}.norm{half}.{part}"]
                h = F.batch_norm(h, of("running_mean"), of("running_var"), of("weight"), of("bias"), eps=1e-5)
                h = self.conv(f"{name}.conv{half}.conv", F.silu(h), taps=[2])
            x = x + h
        return x

    def encode(self, x):
        levels = len(self.config["ch_mult"])
        x = self.conv("encoder.conv_in", x)
        for level in range(levels):
            x = self.level(f"encoder.down.{level}", level, x, None, self.config["num_res_blocks"])
            if level + 1 < levels:
                x = self.conv(f"encoder.down.{level}.downsample.conv", F.pad(x, (0, 1, 0, 1)), 2, 0)
        x = F.silu(self.norm("encoder.norm_out", self.middle("encoder.mid", x, None), None))
        x = self.conv("encoder.conv_out", x)
        time = lambda at: f"encoder.time_conv.{at}.conv.conv"
        early = F.silu(self.conv(time(0), x, taps=[2, 3]))
        late = F.silu(self.conv(time(0), x, taps=[0, 1, 2, 3]))
        x = self.conv(time(1), early, taps=[2], bias=False) + self.conv(time(1), late, taps=[3])
        z = self.conv("quant_conv.conv", self.time_res("encoder", F.silu(x)), taps=[2])
        rows = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        return torch.cdist(rows, self.t["quantize.embedding.weight"]).argmin(1).view(z.shape[2], z.shape[3])

    def decode(self, codes):
        rows = self.t["quantize.embedding.weight"][codes].permute(2, 0, 1).unsqueeze(0)
        z = self.conv("post_quant_conv.conv", rows, taps=[2])
        both = self.time_res("decoder", torch.cat([z, rows]))
        for at in range(2):
            both = F.silu(self.conv(f"decoder.time_conv.{at}.conv.conv", both, taps=[2]))
        x, latent = both[:1], both[1:]
        x = self.middle("decoder.mid", self.conv("decoder.conv_in", x), latent)
        for level in reversed(range(len(self.config["ch_mult"]))):
            x = self.level(f"decoder.up.{level}", level, x, latent, self.config["num_res_blocks"] + 1)
            if level:
                x = F.interpolate(x, scale_factor=2, mode="nearest")
                x = self.conv(f"decoder.up.{level}.upsample.conv", x)
        return self.conv("decoder.conv_out", F.silu(self.norm("decoder.norm_out", x, latent)))


def main():
    with open(sys.argv[1]) as file:
        spec = json.load(file)
    torch.set_num_threads(spec["threads"])
    tokenizer = Tokenizer(spec["config"], read_safetensors(spec["weights"]))
    side = spec["side"]
    picture = torch.tensor(spec["picture"]).view(1, 3, side, side)

    def round(_):
        with torch.inference_mode():
            start = time.perf_counter()
            codes = tokenizer.encode(picture)
            middle = time.perf_counter()
            pixels = tokenizer.decode(codes)
            end = time.perf_counter()
        return {
            "encode": middle - start, "decode": end - middle, "codes": codes.flatten().tolist(),
            "pixels": pixels.flatten()[:: spec["every"]].tolist(),
        }

    hello = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    serve({"hello": lambda _: hello, "round": round})


if __name__ == "__main__":
    main()
