"""The interactive map of regions in a headless browser: milliseconds a frame, for a pick, a selection and a colouring.

    python benchmarks/region_map.py --widths 128 384 --json map.json

Networks 2-w-w-w-w are drawn as in `regions.py` (default_rng(7), box [-10, 10]^2): 128 has 135,625 regions, 384 has
1,209,274. Frames are drawn by chromium's software renderer (SwiftShader), to which every pixel and vertex costs time of
the processor, so the figures are those of a machine without a graphics card. Each is the median of --frames, ended by
reading a pixel back.
`moving`: a frame while the map is dragged; `still`: the exact one after it; `zoomed`: that of an eighth of the width.
"""

import argparse
import http.server
import json
import subprocess
import tempfile
import urllib.parse
from pathlib import Path

from regions import read

import plica
from plica.analyses.regions.chain import Chain
from plica.show.widget import RegionMap

PROBE = """<script>addEventListener("load", async () => {
  const root = document.getElementById("regions"), pause = ms => new Promise(done => setTimeout(done, ms));
  while (!root.dataset.ready) await pause(5);
  const out = { state: root.dataset.ready, ready: performance.now() }, m = root.regions;
  if (m) {
    const gl = m.gl, pixel = new Uint8Array(4);
    const clock = f => { const t = performance.now(); f(); return performance.now() - t; };
    const drawn = () => {
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, pixel);
    };
    const frame = f => clock(() => { f(); drawn(); });
    const median = f => Array.from({ length: FRAMES }, (_, k) => f(k)).sort((x, y) => x - y)[FRAMES >> 1];
    const still = () => frame(() => { m.pass("ids"); m.pass("shade"); m.labels(); });
    Object.assign(out, { width: m.canvas.width, height: m.canvas.height, still: median(still) });
    out.moving = median(() => { m.view.x += 3 * m.unit(); return frame(() => { m.pass("shade"); m.labels(); }); });
    out.pick = median(k => clock(() => m.pick(100 + 20 * k, 200)));
    out.first_selection = clock(() => m.select(5));
    out.selection = median(k => clock(() => m.select(17 + k)));
    out.colouring = median(() => clock(() => m.choose("size")));
    m.view.w /= 8;
    out.zoomed = median(still);
  }
  await fetch("http://127.0.0.1:PORT/?" + encodeURIComponent(JSON.stringify(out)), { mode: "no-cors" });
});</script>"""
FLAGS = ["--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
         "--window-size=1300,900"]  # fmt: skip


def page_of(width: int) -> tuple[int, str]:
    """Number of regions of a network, and the page with their map."""
    W, b, _ = read(f"{width}x4", Path())
    chain = Chain(2)
    for i, (w, v) in enumerate(zip(W, b, strict=True)):
        chain.affine(f"a{i}", w.astype(float), v.astype(float))
        chain.choose(f"r{i}", "relu")
    found = plica.regions(chain.network(), plica.Box([-10] * 2, [10] * 2))
    return found.count, RegionMap(found).page()


def measure(page: str, browser: str, frames: int) -> dict:
    """What the page reports of itself."""
    heard: list[str] = []

    class Ear(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(urllib.parse.unquote(self.path[2:]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Nothing is written."""

    server = http.server.HTTPServer(("127.0.0.1", 0), Ear)
    server.timeout = 300
    probe = PROBE.replace("PORT", str(server.server_port)).replace("FRAMES", str(frames))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        file = Path(folder) / "map.html"
        file.write_text(page.replace("<body>", "<body>" + probe, 1))
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", file.as_uri()]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server.handle_request()
        process.terminate()
        process.wait()
    server.server_close()
    return json.loads(heard[0]) if heard else {"state": "no answer"}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 384])
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--frames", type=int, default=9)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for width in args.widths:
        count, page = page_of(width)
        rows.append({"regions": count, "page_mb": len(page) / 1e6} | measure(page, args.browser, args.frames))
        print(json.dumps({k: round(v, 1) if isinstance(v, float) else v for k, v in rows[-1].items()}), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
