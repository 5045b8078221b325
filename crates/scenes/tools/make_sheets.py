"""Makes the sprite sheets of the scene world again from their npm packages, and compares.

    pip install -r crates/scenes/tools/requirements.txt
    python crates/scenes/tools/make_sheets.py            compare with crates/scenes/assets/*.png
    python crates/scenes/tools/make_sheets.py --write    replace them

`npm pack` fetches three pinned packages; each archive's SHA-512 must be the one below. A sheet is
640×640 RGBA: tile (id // 10, id % 10), 64×64 pixels. A tile is the picture cut to the box of
alpha > 16/255, centred in a square, resampled premultiplied (Lanczos).
"""
import argparse, base64, hashlib, io, json, pathlib, subprocess, sys, tarfile, tempfile
import numpy as np
import resvg_py
from PIL import Image

ASSETS = pathlib.Path(__file__).resolve().parent.parent / "assets"
PACKAGES = {
    "fluent_3d": ("@lobehub/fluent-emoji-3d@1.1.0", "sha512-Wlq2lVStTnr8BDpIJ0pEnTKO4LuDxxqTEhTvRtD1DLRF0me7ogeRQjKoehDHXuVJ2Qaecgl5wRBv60lUAG3h7g=="),
    "fluent_flat": ("@iconify-json/fluent-emoji-flat@1.2.6", "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw=="),
    "noto": ("@iconify-json/noto@1.2.9", "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw=="),
}
VIEW_BOX = {"fluent_flat": 32, "noto": 128}

def fetch(package, integrity, folder):
    """The package's archive, its SHA-512 checked."""
    named = subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True, capture_output=True, text=True)
    data = (folder / named.stdout.split()[-1]).read_bytes()
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != integrity:
        sys.exit(f"error: {package} has {found}, expected {integrity}")
    return tarfile.open(fileobj=io.BytesIO(data))

def drawings(style, archive, classes):
    """(class id, RGBA picture) of every class."""
    if style == "fluent_3d":
        for one in classes:
            yield one["id"], Image.open(archive.extractfile(f"package/assets/{one[style]}"))
        return
    icons = json.load(archive.extractfile("package/icons.json"))
    for one in classes:
        name = one[style] if one[style] in icons["icons"] else icons["aliases"][one[style]]["parent"]
        box = VIEW_BOX[style]
        svg = ('<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="256" height="256" '
               f'viewBox="0 0 {box} {box}">{icons["icons"][name]["body"]}</svg>')
        yield one["id"], Image.open(io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg))))

def tile(picture):
    pixels = np.asarray(picture.convert("RGBA")).astype(np.float64) / 255
    seen = pixels[..., 3] > 16 / 255
    rows, cols = np.where(seen.any(1))[0], np.where(seen.any(0))[0]
    pixels = pixels[rows[0]:rows[-1] + 1, cols[0]:cols[-1] + 1].copy()
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.zeros((side, side, 4))
    top, left = (side - height) // 2, (side - width) // 2
    pixels[..., :3] *= pixels[..., 3:]
    square[top:top + height, left:left + width] = pixels
    small = np.stack([np.asarray(Image.fromarray(square[..., c].astype(np.float32), mode="F").resize((64, 64), Image.LANCZOS)) for c in range(4)], -1)
    alpha = np.clip(small[..., 3:], 0, 1)
    colour = np.clip(small[..., :3], 0, alpha)
    colour = np.where(alpha > 0, colour / np.maximum(alpha, 1e-6), 0)
    return np.round(np.concatenate([colour, alpha], -1) * 255)

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="replace the committed sheets")
    write = parser.parse_args().write
    classes = json.loads((ASSETS / "classes.json").read_text())["classes"]
    different = 0
    for style, (package, integrity) in PACKAGES.items():
        sheet = np.zeros((640, 640, 4), np.uint8)
        with tempfile.TemporaryDirectory() as folder:
            for at, picture in drawings(style, fetch(package, integrity, pathlib.Path(folder)), classes):
                sheet[at // 10 * 64:at // 10 * 64 + 64, at % 10 * 64:at % 10 * 64 + 64] = tile(picture)
        path = ASSETS / f"{style}.png"
        if write:
            Image.fromarray(sheet, "RGBA").save(path)
            continue
        worst = int(np.abs(np.asarray(Image.open(path).convert("RGBA")).astype(int) - sheet).max())
        print(f"{style}: largest difference to the committed sheet {worst}/255")
        different += worst > 0
    sys.exit(1 if different else 0)

main()
