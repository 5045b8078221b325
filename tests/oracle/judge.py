"""A second judge: bench lines and edited pictures in, one score a line out.

Written from the public rules (docs/SCENES.md, "Oracle") and nothing else, so that a misreading in
crates/scenes/src/oracle would have to be made twice. Own sprites, own detector, own clauses.

    python judge.py BENCH.jsonl PICTURES [--order explained|psnr]

judges PICTURES/<id>.png for every line of BENCH.jsonl and prints one JSON object a line. `--order`
says what "best" means when drawings compete for cells: the error they explain, or their PSNR.
Needs numpy and pillow.
"""

import argparse
import colorsys
import json
from functools import lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np
from PIL import Image

ASSETS = Path(__file__).resolve().parents[2] / "crates" / "scenes" / "assets"
WORLD = json.loads((ASSETS / "classes.json").read_text(encoding="utf-8"))
CLASSES = {entry["name"]: entry for entry in WORLD["classes"]}
SIZES = (4, 3, 2)


@lru_cache(maxsize=None)
def sheet(style):
    picture = Image.open(ASSETS / f"{style}.png").convert("RGBA")
    return np.asarray(picture, dtype=np.float64) / 255


def tinted(tile, tint):
    hue = WORLD["tint_hues"][tint] / 360
    result = tile.copy()
    for y, x in np.ndindex(tile.shape[:2]):
        _, s, v = colorsys.rgb_to_hsv(*tile[y, x, :3])
        if not (s < 0.15 and v > 0.75):
            result[y, x, :3] = colorsys.hsv_to_rgb(hue, max(s, 0.55), min(1, 0.75 * v + 0.22))
    return result


@lru_cache(maxsize=None)
def sprite(style, name, tint, cells):
    """Premultiplied RGB and alpha, (8k)² pixels with a margin of one."""
    row, column = divmod(CLASSES[name]["id"], 10)
    tile = sheet(style)[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64]
    if tint:
        tile = tinted(tile, tint)
    planes = [tile[..., c] * tile[..., 3] for c in range(3)] + [tile[..., 3]]
    inner = 8 * cells - 2
    small = [
        np.asarray(Image.fromarray(p.astype(np.float32)).resize((inner, inner), Image.LANCZOS))
        for p in planes
    ]
    alpha = np.clip(small[3], 0, 1)
    rgb = np.clip(np.stack(small[:3], axis=-1), 0, alpha[..., None])
    pad = ((1, 1), (1, 1))
    return np.pad(rgb, (*pad, (0, 0))), np.pad(alpha, pad)


def over(style, name, tint, cells, background):
    rgb, alpha = sprite(style, name, tint, cells)
    colour = np.array(WORLD["backgrounds"][background], dtype=np.float64)
    return np.clip(np.rint(rgb * 255 + (1 - alpha[..., None]) * colour), 0, 255)


def draw(scene, style):
    picture = np.empty((64, 64, 3))
    picture[:] = WORLD["backgrounds"][scene["background"]]
    for thing in scene["objects"]:
        k = thing["cells"]
        y, x = thing["row"] * 8, thing["col"] * 8
        picture[y : y + 8 * k, x : x + 8 * k] = over(
            style, thing["class"], thing["tint"], k, scene["background"]
        )
    return picture


@lru_cache(maxsize=None)
def bank(style, background, cells):
    """All drawings of one size: [(class, tint)], [drawings, values], sums of squares."""
    kinds = [
        (entry["name"], tint)
        for entry in WORLD["classes"]
        for tint in [None, *(WORLD["tint_hues"] if entry["recolor"] else [])]
    ]
    drawings = np.stack([over(style, *kind, cells, background).ravel() for kind in kinds])
    return kinds, drawings, (drawings**2).sum(axis=1)


def by_cell(picture):
    """[8, 8, 64, 3]: the pixels of each cell."""
    return picture.reshape(8, 8, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(8, 8, 64, 3)


def find_background(picture):
    cells = by_cell(picture)
    flat = (cells.std(axis=2) < 4).all(axis=-1)
    colours = {name: np.array(rgb, dtype=float) for name, rgb in WORLD["backgrounds"].items()}
    if flat.sum() < 4:  # hardly any bare cell: ask the pixels
        votes = {n: (abs(picture - rgb) <= 12).all(axis=-1).sum() for n, rgb in colours.items()}
        name = max(votes, key=votes.get)
    else:
        median = np.median(cells.mean(axis=2)[flat], axis=0)
        name = min(colours, key=lambda n: ((colours[n] - median) ** 2).sum())
    bare = flat & (abs(cells.mean(axis=2) - colours[name]) <= 12).all(axis=-1)
    return name, colours[name], bare


def decibel(error, values):
    return min(99.0, 10 * np.log10(255.0**2 * values / error)) if error > 0 else 99.0


def find_objects(picture, style, background, colour, bare, order):
    """[(class, tint, row, column, cells)], their PSNRs."""
    candidates = []
    for k in SIZES:
        kinds, drawings, squares = bank(style, background, k)
        names = np.array([name for name, _ in kinds])
        for row in range(9 - k):
            for column in range(9 - k):
                if bare[row : row + k, column : column + k].all():
                    continue
                window = picture[row * 8 : (row + k) * 8, column * 8 : (column + k) * 8]
                flat = window.ravel()
                errors = squares + flat @ flat - 2 * (drawings @ flat)  # whole numbers: exact
                best = errors.argmin()
                empty = ((window - colour) ** 2).sum()
                rival = min(errors[names != names[best]].min(), empty)
                psnr = decibel(errors[best], window.size)
                if psnr >= 17 and psnr - decibel(rival, window.size) >= 1:
                    rank = (empty - errors[best]) if order == "explained" else psnr
                    candidates.append((rank, k, (*kinds[best], row, column, k), psnr))
    candidates.sort(key=lambda c: (-c[0], -c[1]))
    taken = np.zeros((8, 8), dtype=bool)
    found = []
    for _, k, thing, psnr in candidates:
        box = taken[thing[2] : thing[2] + k, thing[3] : thing[3] + k]
        if not box.any():
            box[:] = True
            found.append((thing, psnr))
    return [thing for thing, _ in found], [psnr for _, psnr in found], taken


def match_new(new, found, free):
    """The largest assignment of new objects to found ones, by trying all of them."""

    def fits(wanted, at):
        name, tint, *place = found[at]
        return name == wanted["class"] and tint == wanted["tint"] and place in wanted["places"]

    best = {}
    slots = [*free, *[None] * len(new)]
    for choice in set(permutations(slots, len(new))):
        pairs = {n: at for n, at in enumerate(choice) if at is not None and fits(new[n], at)}
        if len(pairs) > len(best):
            best = pairs
    return best


def judge(line, edited, order="explained"):
    scene, check, style = line["scene"], line["check"], line["style"]
    source = draw(scene, style)
    background, colour, bare = find_background(edited)
    found, psnrs, owned = find_objects(edited, style, background, colour, bare, order)
    old = [(o["class"], o["tint"], o["row"], o["col"], o["cells"]) for o in scene["objects"]]
    kept = [at for at in check["kept"] if old[at] in found]
    grouped = {at for some in check["some"] for at in some["of"]}
    stayed = {at for at in grouped if old[at] in found}
    expected = {old[at] for at in [*kept, *stayed]}
    free = [at for at, thing in enumerate(found) if thing not in expected]
    new = match_new(check["new"], found, free)
    clauses = [background == check["background"]]
    clauses += [n in new for n in range(len(check["new"]))]
    clauses += [len(stayed & set(some["of"])) == some["n"] for some in check["some"]]
    gone = [at for at in range(len(old)) if at not in check["kept"] and at not in grouped]
    surplus = [found[at] for at in free if at not in new.values()]
    clauses += [old[at] not in surplus for at in gone]
    faulty = sum(thing[4] ** 2 for thing in surplus) + int((~bare & ~owned).sum())
    area = np.full((8, 8), check["background"] != scene["background"])
    boxes = [old[at] for at in range(len(old)) if at not in check["kept"]]
    for _, _, row, column, k in boxes + [found[at] for at in new.values()]:
        area[row : row + k, column : column + k] = True
    same = abs(by_cell(edited) - by_cell(source)).mean(axis=(2, 3)) <= 3
    share = same[~area].mean() if (~area).any() else 1
    kept_share = len(kept) / len(check["kept"]) if check["kept"] else 1
    instruction = 10 * sum(clauses) / len(clauses)
    if not all(clauses):
        instruction = min(instruction, 5)
    preservation = 10 * min(1, max(0, (share - 0.8) / 0.2)) * kept_share
    none_due = not (check["kept"] or check["new"] or any(some["n"] for some in check["some"]))
    marks = [10 * min(1, max(0, (psnr - 14) / 10)) for psnr in psnrs]
    recognisable = float(np.mean(marks)) if marks else (10 if none_due else 0)
    clean = 10 * max(0, 1 - faulty / 8)
    return {
        "id": line["id"],
        "instruction": instruction,
        "preservation": preservation,
        "recognisable": recognisable,
        "clean": clean,
        "overall": float(np.sqrt(min(instruction, preservation) * min(recognisable, clean))),
        "success": bool(
            all(clauses) and kept_share == 1 and faulty == 0 and preservation >= 9 - 1e-6
        ),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--order", choices=["explained", "psnr"], default="explained")
    arguments = parser.parse_args()
    for text in arguments.bench.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        picture = Image.open(arguments.pictures / f"{line['id']}.png").convert("RGB")
        edited = np.asarray(picture, dtype=np.float64)
        print(json.dumps(judge(line, edited, arguments.order)), flush=True)


if __name__ == "__main__":
    main()
