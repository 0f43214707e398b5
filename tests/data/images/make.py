"""Makes the pictures of this folder and expected.json, with what Pillow's convert("RGB") gives for each (run by hand)."""
import base64
import io
import json
import os
import random
import struct
import zlib

from PIL import Image, ImageCms
from PIL import __version__ as version

HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, HEIGHT = 21, 13
random.seed(1)
PALETTE = bytes((20 * i + 50) % 256 for i in range(60))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, colour_type, bits, extra=b""):
    """A PNG of random samples, of kinds that Pillow cannot write."""
    line = (WIDTH * bits + 7) // 8
    raw = b"".join(b"\0" + bytes(random.randrange(256) for _ in range(line)) for _ in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, depth, colour_type, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(raw, 9))
            + chunk(b"IEND", b""))


def encoded(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def main():
    # Smooth with some edges, every channel its own, alpha from 0 to 255.
    rgb = Image.new("RGB", (WIDTH, HEIGHT))
    rgb.putdata([((x * 11 + y * 3) % 256, (255 - y * 19) % 256, (x * y * 5 + 60 * (x > 9)) % 256)
                 for y in range(HEIGHT) for x in range(WIDTH)])
    gray = rgb.convert("L")
    rgba = Image.merge("RGBA", rgb.split() + (rgb.split()[1],))
    # sRGB with red and blue exchanged: whoever applies it shows it.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = profile.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    exif = Image.Exif()
    exif[0x112] = 6
    cmyk = encoded(rgb.convert("CMYK"), "JPEG", quality=90)
    at = cmyk.find(b"\xff\xee")
    length = 2 + struct.unpack(">H", cmyk[at + 2:at + 4])[0]
    gray16 = gray.convert("I").point(lambda v: v * 3)

    files = {
        "gray.jpg": encoded(gray, "JPEG", quality=90),
        "progressive.jpg": encoded(rgb, "JPEG", quality=80, progressive=True),
        "subsampled_422.jpg": encoded(rgb, "JPEG", quality=80, subsampling=1),
        "low_quality.jpg": encoded(rgb, "JPEG", quality=20),
        "exif_rotated.jpg": encoded(rgb, "JPEG", quality=90, exif=exif.tobytes()),
        "colour_profile.jpg": encoded(rgb, "JPEG", quality=90, icc_profile=profile),
        "colour_profile.png": encoded(rgb, "PNG", icc_profile=profile),
        "cmyk_adobe.jpg": cmyk,
        "cmyk_plain.jpg": cmyk[:at] + cmyk[at + length:],
        "ycck_adobe.jpg": cmyk[:at + length - 1] + b"\2" + cmyk[at + length:],
        "alpha.png": encoded(rgba, "PNG"),
        "gray_alpha.png": encoded(rgba.convert("LA"), "PNG"),
        "palette.png": encoded(rgb.quantize(16), "PNG"),
        "palette_alpha.png": encoded(rgb.quantize(16), "PNG", transparency=bytes(range(0, 256, 16))),
        "one_bit.png": encoded(rgb.convert("1"), "PNG"),
        "two_bit_gray.png": png(2, 0, 2),
        "gray16.png": encoded(gray16, "PNG"),
        "gray16_transparent.png": png(16, 0, 16, chunk(b"tRNS", b"\0\5")),
        "rgb16.png": png(16, 2, 48),
        "alpha16.png": png(16, 6, 64),
        "gray_alpha16.png": png(16, 4, 32),
        "gamma.png": png(8, 2, 24, chunk(b"gAMA", struct.pack(">I", 100000))),
        "lossy.webp": encoded(rgb, "WEBP", quality=70),
        "lossless_alpha.webp": encoded(rgba, "WEBP", lossless=True, exact=True),
        "animated.webp": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(180)], lossless=True),
        # Samples beyond the palette's end.
        "palette_of_10.png": png(8, 3, 8, chunk(b"PLTE", PALETTE[:30]) + chunk(b"tRNS", b"\0\x80")),
        "palette_of_3_in_2_bits.png": png(2, 3, 2, chunk(b"PLTE", PALETTE[:9])),
        "palette_of_1_in_1_bit.png": png(1, 3, 1, chunk(b"PLTE", PALETTE[:3])),
        "palette_too_long.png": png(4, 3, 4, chunk(b"PLTE", PALETTE[:60])),
        "palette_ragged.png": png(8, 3, 8, chunk(b"PLTE", PALETTE[:31])),
        "palette_missing.png": png(8, 3, 8),
    }
    expected = {}
    for name, content in files.items():
        with open(os.path.join(HERE, name), "wb") as out:
            out.write(content)
        image = Image.open(io.BytesIO(content))
        mode = image.mode
        pixels = image.convert("RGB").tobytes()
        expected[name] = {"mode": mode, "width": image.width, "height": image.height,
                          "rgb": base64.b64encode(pixels).decode()}
    with open(os.path.join(HERE, "expected.json"), "w") as out:
        json.dump({"made_by": f"Pillow {version}", "files": expected}, out, indent=2)
        out.write("\n")


main()
