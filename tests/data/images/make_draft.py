"""Makes draft.json: a JPEG, and what Pillow's draft() has libjpeg make of it at fractions of its size (run by hand)."""
import base64
import io
import json
import os
import random

from PIL import Image
from PIL import __version__ as version

HERE = os.path.dirname(os.path.abspath(__file__))
WIDTH, HEIGHT = 40, 24


def main():
    random.seed(5)
    small = Image.new("RGB", (10, 6))
    small.putdata([tuple(random.randrange(256) for _ in range(3)) for _ in range(60)])
    file = io.BytesIO()
    small.resize((WIDTH, HEIGHT), Image.BICUBIC).save(file, "JPEG", quality=60)
    numbers = {"made_by": f"Pillow {version}", "jpeg": base64.b64encode(file.getvalue()).decode()}
    for name, factor in (("half", 2), ("quarter", 4)):
        image = Image.open(file)
        image.draft("RGB", (WIDTH // factor, HEIGHT // factor))
        assert image.size == (WIDTH // factor, HEIGHT // factor)
        numbers[name] = base64.b64encode(image.convert("RGB").tobytes()).decode()
    with open(os.path.join(HERE, "draft.json"), "w") as out:
        json.dump(numbers, out, indent=2)
        out.write("\n")


main()
