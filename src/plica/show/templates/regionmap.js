"use strict";
/* The region map: an id buffer in WebGL 2 is picture, outline and picking index. plicaRegionMap(element, bytes) draws a
   payload of plica.show.regionmap into an element; the same file serves the report and the notebook. */
(() => {
  const HUES = ["#332288", "#cc6677", "#117733", "#ddcc77", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#dddddd"];
  const RAMP = [[237, 243, 249], [8, 61, 110]], CHUNK = 2048, WIDE = 2048, LABEL_PIXELS = 2500, MOST_LABELS = 60;
  const BY = { class: "Class", gain: "Gain", size: "Size", active: "Active units" };

  const decode = text => {
    if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text.trim());
    const raw = atob(text.trim()), out = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) out[i] = raw.charCodeAt(i);
    return out;
  };
  /* The format is that of plica.show.regionpack. */
  const unpack = async bytes => {
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const buffer = await new Response(stream).arrayBuffer();
    const size = new DataView(buffer).getUint32(0, true);
    const d = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, size)));
    const raw = name => { const [at, length] = d.arrays[name]; return new Uint8Array(buffer, 4 + size + at, length); };
    const words = (name, width) => {
      const planes = raw(name), n = planes.length / width, out = new (width === 2 ? Uint16Array : Uint32Array)(n);
      for (let j = 0; j < width; j++) for (let i = 0, o = j * n; i < n; i++) out[i] |= planes[o + i] << 8 * j;
      return out;
    };
    geometry(d, words("xy", 4), words("counts", 2), words("back", 4));
    d.label = words("label", 2);
    d.gain = gains(words("gain", 2), d.gains);
    if (d.arrays.bits) patterns(d, raw("bits")); else d.active = words("active", 2);
    if (d.arrays.maps) d.maps = new Float32Array(words("maps", 4).buffer);
    return d;
  };
  const geometry = (d, xy, counts, back) => {
    const n = d.count, v = d.vertices, corners = d.corners = new Int32Array(2 * v), start = d.start = new Uint32Array(n + 1);
    for (let j = 0; j < 2; j++) for (let i = 0, at = 0; i < v; i++) { const w = xy[j * v + i]; corners[2 * i + j] = at += w & 1 ? -((w + 1) / 2) : w / 2; }
    for (let r = 0; r < n; r++) start[r + 1] = start[r] + counts[r];
    const loop = d.loop = new Uint32Array(back.length);
    for (let k = 0, newest = 0; k < loop.length; k++) loop[k] = back[k] ? newest - back[k] : newest++;
    d.size = new Float32Array(n); d.middle = new Float64Array(2 * n);
    const whole = new Float64Array(n);
    let total = 0;
    for (let r = 0; r < n; r++) {
      const a = start[r], b = start[r + 1], x0 = corners[2 * loop[a]], y0 = corners[2 * loop[a] + 1];
      let x = 0, y = 0, twice = 0, px = 0, py = 0;
      for (let k = a; k < b; k++) {
        const qx = corners[2 * loop[k]] - x0, qy = corners[2 * loop[k] + 1] - y0;
        twice += px * qy - qx * py; x += qx; y += qy; px = qx; py = qy;
      }
      d.middle[2 * r] = x0 + x / (b - a); d.middle[2 * r + 1] = y0 + y / (b - a);
      total += whole[r] = Math.abs(twice);
    }
    for (let r = 0; r < n; r++) d.size[r] = whole[r] / total;
  };
  const gains = (steps, [low, step]) => {
    const out = new Float32Array(steps.length);
    for (let r = 0, at = 0; r < out.length; r++) { at = at + steps[r] & 0xffff; out[r] = at ? Math.exp(low + (at - 1) * step) : 0; }
    return out;
  };
  const patterns = (d, changes) => {
    const n = d.count, bytes = Math.ceil(d.units / 8), bits = d.bits = new Uint8Array(n * bytes), active = d.active = new Uint16Array(n);
    const ones = Uint8Array.from({ length: 256 }, (_, v) => { let c = 0; for (; v; v &= v - 1) c++; return c; });
    for (let j = 0; j < bytes; j++)
      for (let r = 0, at = 0; r < n; r++) { at ^= changes[j * n + r]; bits[r * bytes + j] = at; active[r] += ones[at]; }
  };
  /* Regions at every corner, made when first asked for; neighbours are those that share both ends of a side. */
  const around = d => {
    if (d.around) return d.around;
    const first = new Uint32Array(d.vertices + 1), list = new Uint32Array(d.loop.length);
    for (const v of d.loop) first[v + 1]++;
    for (let v = 0; v < d.vertices; v++) first[v + 1] += first[v];
    const at = first.slice();
    for (let r = 0; r < d.count; r++) for (let k = d.start[r]; k < d.start[r + 1]; k++) list[at[d.loop[k]]++] = r;
    return d.around = v => list.subarray(first[v], first[v + 1]);
  };
  const neighboursOf = (d, r) => {
    const near = around(d), found = new Set();
    for (let k = d.start[r]; k < d.start[r + 1]; k++) {
      const next = k + 1 < d.start[r + 1] ? k + 1 : d.start[r], other = near(d.loop[next]);
      for (const o of near(d.loop[k])) if (o !== r && other.includes(o)) found.add(o);
    }
    return [...found];
  };

  const PASS1 = `#version 300 es
    precision highp float; precision highp int;
    layout(location = 0) in ivec2 place; layout(location = 1) in uint region;
    uniform ivec2 centre; uniform vec2 rest, scale; flat out uint id;
    void main() { id = region; gl_Position = vec4((vec2(place - centre) - rest) * scale, 0, 1); }`;
  const IDS = `#version 300 es
    precision highp float; precision highp int; flat in uint id; layout(location = 0) out uint seen;
    void main() { seen = id + 1u; }`;
  const SCREEN = `#version 300 es
    void main() { vec2 p = vec2(gl_VertexID & 1, gl_VertexID >> 1); gl_Position = vec4(p * 4.0 - 1.0, 0, 1); }`;
  const SHADE = `#version 300 es
    precision highp float; precision highp int; precision highp usampler2D;
    uniform usampler2D ids; uniform sampler2D tints; uniform vec4 warp; uniform vec3 paper; uniform uvec2 marked; out vec4 colour;
    uint at(ivec2 d) {
      vec2 p = (gl_FragCoord.xy + vec2(d)) * warp.xy + warp.zw; ivec2 q = ivec2(floor(p));
      ivec2 n = textureSize(ids, 0);
      return q.x < 0 || q.y < 0 || q.x >= n.x || q.y >= n.y ? 0u : texelFetch(ids, q, 0).r;
    }
    vec4 tint(uint id) { int k = int(id - 1u); return texelFetch(tints, ivec2(k & ${WIDE - 1}, k >> ${Math.log2(WIDE)}), 0); }
    void main() {
      uint id = at(ivec2(0)); if (id == 0u) { colour = vec4(paper, 1); return; }
      vec4 own = tint(id); vec3 c = own.rgb; uint right = at(ivec2(1, 0)), up = at(ivec2(0, 1));
      bool beside = right != 0u && right != id, above = up != 0u && up != id;
      bool border = beside && tint(right).a != own.a || above && tint(up).a != own.a;
      if (beside || above) c = mix(c, dot(c, vec3(.3, .6, .1)) > .45 ? vec3(0) : vec3(1), border ? .85 : .28);
      if (id == marked.x) c = mix(c, vec3(1, .55, .2), .55);
      else if (id == marked.y) c = mix(c, vec3(1), .25);
      colour = vec4(c, 1);
    }`;

  const program = (gl, vertex, fragment) => {
    const made = gl.createProgram();
    for (const [kind, source] of [[gl.VERTEX_SHADER, vertex], [gl.FRAGMENT_SHADER, fragment]]) {
      const shader = gl.createShader(kind);
      gl.shaderSource(shader, source);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
      gl.attachShader(made, shader);
    }
    gl.linkProgram(made);
    if (!gl.getProgramParameter(made, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(made));
    const uniforms = {};
    for (let i = 0; i < gl.getProgramParameter(made, gl.ACTIVE_UNIFORMS); i++) {
      const { name } = gl.getActiveUniform(made, i);
      uniforms[name] = gl.getUniformLocation(made, name);
    }
    return { made, uniforms };
  };

  /* Triangles in the order of a Z-shaped curve, with the box of every chunk. */
  const spread = v => { v = (v | v << 8) & 0xff00ff; v = (v | v << 4) & 0xf0f0f0f; v = (v | v << 2) & 0x33333333; return (v | v << 1) & 0x55555555; };
  const triangulate = d => {
    const { corners, start, loop, count: n } = d, codes = new Float64Array(n);
    for (let r = 0; r < n; r++) codes[r] = ((spread(d.middle[2 * r] / 4096) | spread(d.middle[2 * r + 1] / 4096) << 1) >>> 0) * 2097152 + r;
    codes.sort();
    const total = loop.length - 2 * n, data = new Int32Array(3 * loop.length), index = new Uint32Array(3 * total), boxes = [];
    let t = 0, v = 0;
    for (let i = 0; i < n; i++) {
      const r = codes[i] % 2097152, first = v;
      for (let k = start[r]; k < start[r + 1]; k++, v++) { data[3 * v] = corners[2 * loop[k]]; data[3 * v + 1] = corners[2 * loop[k] + 1]; data[3 * v + 2] = r; }
      for (let k = first + 1; k + 1 < v; k++, t++) {
        if (t % CHUNK === 0) boxes.push([Infinity, Infinity, -Infinity, -Infinity]);
        const box = boxes[boxes.length - 1];
        for (let j = 0; j < 3; j++) {
          const corner = index[3 * t + j] = j ? k + j - 1 : first, x = data[3 * corner], y = data[3 * corner + 1];
          if (x < box[0]) box[0] = x; if (x > box[2]) box[2] = x;
          if (y < box[1]) box[1] = y; if (y > box[3]) box[3] = y;
        }
      }
    }
    return { data, index, boxes, total: t };
  };

  const figure = v => v === 0 ? "0" : Math.abs(v) >= 1e-3 && Math.abs(v) < 1e5 ? String(+v.toPrecision(3)) : v.toExponential(1);
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  class RegionMap {
    constructor(root, data) {
      Object.assign(this, { root, data, by: data.known ? "class" : "size", selected: -1, hovered: -1 });
      this.canvas = element("canvas", "regions-gl");
      this.over = element("canvas", "regions-over");
      this.tip = element("div", "regions-tip");
      this.tip.hidden = true;
      this.stage = root.querySelector(".regions-stage");
      this.panel = root.querySelector(".regions-panel");
      this.canvas.tabIndex = 0;
      this.canvas.setAttribute("role", "application");
      this.canvas.setAttribute("aria-label", `${data.count} regions. Arrows move, plus and minus zoom, Enter reads the middle.`);
      const gl = this.gl = this.canvas.getContext("webgl2", { antialias: false, preserveDrawingBuffer: true });
      if (!gl) throw new Error("no WebGL 2");
      this.stage.append(this.canvas, this.over, this.tip);
      const exponents = new Uint32Array(data.size.buffer), ranks = Float64Array.from(exponents, (e, r) => -e * 2097152 - r).sort();
      this.order = Uint32Array.from(ranks, v => -v % 2097152);  // largest first: positive floats are in the order of their words
      this.load(gl);
      this.whole();
      this.controls();
      this.recolour();
      new ResizeObserver(() => this.resize()).observe(this.stage);
      this.resize();
    }

    load(gl) {
      const { data, index, boxes, total } = triangulate(this.data);
      Object.assign(this, { boxes, total });
      this.pass1 = program(gl, PASS1, IDS);
      this.pass2 = program(gl, SCREEN, SHADE);
      this.shape = gl.createVertexArray();
      gl.bindVertexArray(this.shape);
      gl.bindBuffer(gl.ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ARRAY_BUFFER, data, gl.STATIC_DRAW);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, gl.createBuffer());
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, index, gl.STATIC_DRAW);
      gl.enableVertexAttribArray(0); gl.vertexAttribIPointer(0, 2, gl.INT, 12, 0);
      gl.enableVertexAttribArray(1); gl.vertexAttribIPointer(1, 1, gl.UNSIGNED_INT, 12, 8);
      this.empty = gl.createVertexArray();
      this.ids = gl.createTexture();
      this.tints = gl.createTexture();
      this.frame = gl.createFramebuffer();
    }

    resize() {
      const ratio = Math.min(devicePixelRatio || 1, 2), { width, height } = this.stage.getBoundingClientRect();
      const w = Math.max(1, Math.round(width * ratio)), h = Math.max(1, Math.round(height * ratio));
      if (w === this.canvas.width && h === this.canvas.height && this.sized) return;
      for (const c of [this.canvas, this.over]) { c.width = w; c.height = h; }
      const gl = this.gl;
      gl.bindTexture(gl.TEXTURE_2D, this.ids);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.R32UI, w, h, 0, gl.RED_INTEGER, gl.UNSIGNED_INT, null);
      for (const p of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, p, gl.NEAREST);
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
      gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, this.ids, 0);
      this.sized = true;
      this.draw(true);
    }

    whole() { this.view = { x: this.data.full[0] / 2, y: this.data.full[1] / 2, w: Math.max(this.data.full[0], this.data.full[1]) * 1.02 }; }
    unit() { return this.view.w / Math.min(this.canvas.width, this.canvas.height); }  // fixed-point steps a pixel

    draw(now = false) {
      if (now) this.pass("ids");
      else { clearTimeout(this.later); this.later = setTimeout(() => { this.pass("ids"); this.pass("shade"); this.labels(); }, 30); }
      this.pass("shade");
      this.labels();
    }

    pass(which) {
      const { gl, view, canvas } = this, u = this.unit();
      gl.viewport(0, 0, canvas.width, canvas.height);
      if (which === "ids") {
        const { made, uniforms } = this.pass1, cx = Math.round(view.x), cy = Math.round(view.y);
        gl.useProgram(made);
        gl.bindVertexArray(this.shape);
        gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
        gl.clearBufferuiv(gl.COLOR, 0, [0, 0, 0, 0]);
        gl.uniform2i(uniforms.centre, cx, cy);
        gl.uniform2f(uniforms.rest, view.x - cx, view.y - cy);
        gl.uniform2f(uniforms.scale, 2 / (u * canvas.width), 2 / (u * canvas.height));
        const half = [u * canvas.width / 2, u * canvas.height / 2];
        for (let i = 0, from = -1; i <= this.boxes.length; i++) {
          const b = this.boxes[i];
          const seen = b && b[0] <= view.x + half[0] && b[2] >= view.x - half[0] && b[1] <= view.y + half[1] && b[3] >= view.y - half[1];
          if (seen && from < 0) from = i;
          if (!seen && from >= 0) {
            const first = 3 * from * CHUNK;
            gl.drawElements(gl.TRIANGLES, Math.min(3 * i * CHUNK, 3 * this.total) - first, gl.UNSIGNED_INT, 4 * first);
            from = -1;
          }
        }
        this.seen = { ...view, u };
        return;
      }
      const { made, uniforms } = this.pass2, s = this.seen ?? { ...view, u }, k = u / s.u;
      gl.bindFramebuffer(gl.FRAMEBUFFER, null);
      gl.useProgram(made);
      gl.bindVertexArray(this.empty);
      gl.activeTexture(gl.TEXTURE0); gl.bindTexture(gl.TEXTURE_2D, this.ids); gl.uniform1i(uniforms.ids, 0);
      gl.activeTexture(gl.TEXTURE1); gl.bindTexture(gl.TEXTURE_2D, this.tints); gl.uniform1i(uniforms.tints, 1);
      gl.activeTexture(gl.TEXTURE0);
      gl.uniform4f(uniforms.warp, k, k, (view.x - s.x) / s.u + canvas.width / 2 * (1 - k), (view.y - s.y) / s.u + canvas.height / 2 * (1 - k));
      const paper = getComputedStyle(this.stage).backgroundColor.match(/[\d.]+/g) ?? [255, 255, 255];
      gl.uniform3f(uniforms.paper, paper[0] / 255, paper[1] / 255, paper[2] / 255);
      gl.uniform2ui(uniforms.marked, this.selected + 1, this.hovered + 1);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }

    /* Region under a point of the canvas in pixels, through the same warp as the picture. */
    pick(px, py) {
      const { gl, canvas, view } = this, s = this.seen, u = this.unit();
      const x = Math.floor(((px - canvas.width / 2) * u + view.x - s.x) / s.u + canvas.width / 2);
      const y = Math.floor(((canvas.height / 2 - py) * u + view.y - s.y) / s.u + canvas.height / 2);
      if (x < 0 || y < 0 || x >= canvas.width || y >= canvas.height) return -1;
      const out = new Uint32Array(4);
      gl.bindFramebuffer(gl.FRAMEBUFFER, this.frame);
      gl.readPixels(x, y, 1, 1, gl.RGBA_INTEGER, gl.UNSIGNED_INT, out);
      return out[0] - 1;
    }

    values() {
      const d = this.data;
      if (this.by === "class") return d.label;
      if (this.by.startsWith("unit")) {
        const k = +this.by.slice(4), bytes = Math.ceil(d.units / 8);
        return Uint8Array.from({ length: d.count }, (_, r) => d.bits[r * bytes + (k >> 3)] >> (k & 7) & 1);
      }
      return d[this.by];
    }

    recolour() {
      const { gl, data } = this, values = this.values(), rows = Math.ceil(data.count / WIDE), pixels = new Uint8Array(4 * WIDE * rows);
      const ordinal = this.by === "class" || this.by.startsWith("unit"), rgb = h => [1, 3, 5].map(i => parseInt(h.slice(i, i + 2), 16));
      const hues = (this.by === "class" ? HUES : [HUES[9], HUES[1]]).map(rgb);
      let low = 0, high = 1;
      if (!ordinal) {
        const step = Math.ceil(data.count / 50000), some = { length: Math.ceil(data.count / step) };
        const sorted = Float64Array.from(some, (_, i) => this.scale(values[i * step])).filter(Number.isFinite).sort();
        low = sorted[Math.floor(.02 * (sorted.length - 1))]; high = sorted[Math.ceil(.98 * (sorted.length - 1))];
      }
      for (let r = 0; r < data.count; r++) {
        const share = ordinal ? 0 : Math.min(1, Math.max(0, (this.scale(values[r]) - low) / (high - low || 1)));
        const c = ordinal ? hues[values[r] % hues.length] : null, o = 4 * r;
        for (let i = 0; i < 3; i++) pixels[o + i] = c ? c[i] : RAMP[0][i] + share * (RAMP[1][i] - RAMP[0][i]);
        pixels[o + 3] = data.label[r] % 256;
      }
      gl.bindTexture(gl.TEXTURE_2D, this.tints);
      gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, WIDE, rows, 0, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
      for (const p of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) gl.texParameteri(gl.TEXTURE_2D, p, gl.NEAREST);
      this.legend(ordinal, values, low, high);
    }
    scale(v) { return this.by === "active" ? v : Math.log10(Math.max(v, 1e-30)); }

    legend(ordinal, values, low, high) {
      const box = this.root.querySelector(".regions-legend"), d = this.data;
      box.replaceChildren();
      if (ordinal) {
        const sums = new Float64Array(65536), share = new Map();
        for (let r = 0; r < d.count; r++) sums[values[r]] += d.size[r];
        sums.forEach((s, v) => { if (s) share.set(v, s); });
        const total = [...share.values()].reduce((a, b) => a + b, 0) || 1, of = this.by === "class";
        box.append(element("b", "", of ? "Class at the middle, share of the plane" : "Unit, share of the plane"));
        for (const [v, s] of [...share].sort((a, b) => a[0] - b[0]).slice(0, 30)) {
          const row = element("span"), mark = element("i");
          mark.style.background = of ? HUES[v % HUES.length] : v ? HUES[1] : HUES[9];
          row.append(mark, element("b", "", of ? d.classes[v] ?? v : v ? "on" : "off"), ` ${figure(100 * s / total)} %`);
          box.append(row);
        }
      } else {
        const ends = this.by === "active" ? [low, high] : [10 ** low, 10 ** high];
        box.append(element("b", "", BY[this.by]), element("i", "ramp"), element("span", "", `${figure(ends[0])} to ${figure(ends[1])}, darker is more`));
      }
    }

    labels() {
      const c = this.over.getContext("2d"), { canvas, view, data: d } = this, u = this.unit(), ratio = canvas.width / this.stage.clientWidth;
      const at = (x, y) => [canvas.width / 2 + (x - view.x) / u, canvas.height / 2 - (y - view.y) / u];
      c.clearRect(0, 0, canvas.width, canvas.height);
      c.font = `700 ${13 * ratio}px system-ui, sans-serif`; c.textAlign = "center"; c.textBaseline = "middle"; c.lineWidth = 3 * ratio;
      const write = (text, x, y) => { c.strokeStyle = "#fff"; c.fillStyle = "#16171a"; c.strokeText(text, x, y); c.fillText(text, x, y); };
      const whole = d.full[0] * d.full[1] / (u * u), least = LABEL_PIXELS * ratio * ratio;
      let written = 0;
      for (const r of this.order) {
        if (d.size[r] * whole < least || written > MOST_LABELS || !d.known) break;
        const [x, y] = at(d.middle[2 * r], d.middle[2 * r + 1]);
        if (x > 0 && y > 0 && x < canvas.width && y < canvas.height) { write(String(d.classes[d.label[r]] ?? d.label[r]), x, y); written++; }
      }
      for (const p of d.points) {
        const [x, y] = at(...p.at);
        c.beginPath(); c.arc(x, y, 5 * ratio, 0, 7); c.fillStyle = "#16171a"; c.fill(); c.strokeStyle = "#fff"; c.lineWidth = 2 * ratio; c.stroke(); c.lineWidth = 3 * ratio;
        write(p.name, x + 13 * ratio, y - 11 * ratio);
      }
      if (this.selected >= 0) {
        const [x, y] = at(d.middle[2 * this.selected], d.middle[2 * this.selected + 1]);
        c.beginPath(); c.arc(x, y, 15 * ratio, 0, 7); c.strokeStyle = "#fff"; c.lineWidth = 5 * ratio; c.stroke();
        c.strokeStyle = "#8a3a12"; c.lineWidth = 2 * ratio; c.stroke();
      }
    }

    controls() {
      const { canvas, root, stage } = this, pixels = e => {
        const box = stage.getBoundingClientRect(), ratio = canvas.width / box.width;
        return [(e.clientX - box.left) * ratio, (e.clientY - box.top) * ratio];
      };
      let from = null, moved = false;
      const fingers = new Map();
      canvas.addEventListener("pointerdown", e => { from = pixels(e); moved = fingers.size > 0; fingers.set(e.pointerId, from); canvas.setPointerCapture(e.pointerId); });
      canvas.addEventListener("pointermove", e => {
        const now = pixels(e);
        if (fingers.size === 2 && fingers.has(e.pointerId)) {
          const span = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a[0] - b[0], a[1] - b[1]) || 1; }, before = span();
          fingers.set(e.pointerId, now);
          const [a, b] = [...fingers.values()];
          this.zoom(before / span(), [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
          from = now;
        } else if (from) {
          fingers.set(e.pointerId, now);
          if (Math.hypot(now[0] - from[0], now[1] - from[1]) > 3) moved = true;
          if (moved) { this.pan(from[0] - now[0], now[1] - from[1]); from = now; }
        } else this.hover(now, e);
      });
      canvas.addEventListener("pointerup", e => {
        fingers.delete(e.pointerId);
        if (from && !moved) this.select(this.pick(...pixels(e)));
        from = fingers.size ? [...fingers.values()][0] : null;
        this.link();
      });
      canvas.addEventListener("pointercancel", e => { fingers.delete(e.pointerId); from = null; });
      canvas.addEventListener("pointerleave", () => { this.tip.hidden = true; this.hovered = -1; this.pass("shade"); });
      canvas.addEventListener("wheel", e => { e.preventDefault(); this.zoom(Math.exp(e.deltaY * .0015), pixels(e)); }, { passive: false });
      canvas.addEventListener("keydown", e => {
        const step = canvas.width / 10, keys = {
          ArrowLeft: () => this.pan(-step, 0), ArrowRight: () => this.pan(step, 0), ArrowUp: () => this.pan(0, step), ArrowDown: () => this.pan(0, -step),
          "+": () => this.zoom(.7), "=": () => this.zoom(.7), "-": () => this.zoom(1 / .7), 0: () => { this.whole(); this.draw(); this.link(); },
          Enter: () => this.select(this.pick(canvas.width / 2, canvas.height / 2)), Escape: () => this.select(-1),
        };
        if (keys[e.key]) { e.preventDefault(); keys[e.key](); }
      });
      const bar = root.querySelector(".regions-bar"), choose = by => { this.by = by; this.recolour(); this.mark(); this.pass("shade"); this.link(); };
      this.choose = choose;
      for (const [by, name] of Object.entries(BY)) {
        if (!this.can(by)) continue;
        const button = element("button", "", name);
        button.type = "button"; button.dataset.by = by;
        button.addEventListener("click", () => choose(by));
        bar.append(button);
      }
      if (this.data.bits) {
        const pick = element("input");
        Object.assign(pick, { type: "number", min: 0, max: this.data.units - 1, placeholder: "unit" });
        pick.setAttribute("aria-label", `Colour by a unit, 0 to ${this.data.units - 1}`);
        pick.addEventListener("change", () => { if (pick.value !== "" && pick.checkValidity()) choose(`unit${+pick.value}`); });
        bar.append(pick);
      }
      for (const [name, act] of [["Whole plane", () => { this.whole(); this.draw(); this.link(); }], ["Save picture", () => this.save()]]) {
        const button = element("button", "right", name);
        button.type = "button";
        button.addEventListener("click", act);
        bar.append(button);
      }
      this.mark();
    }
    near(r) { return neighboursOf(this.data, r); }
    can(by) { return by in BY && (this.data.known || (by !== "class" && by !== "gain")); }
    named(r) { const d = this.data; return d.known ? `, class ${d.classes[d.label[r]] ?? d.label[r]}` : ""; }
    mark() { for (const b of this.root.querySelectorAll(".regions-bar [data-by]")) b.setAttribute("aria-pressed", String(b.dataset.by === this.by)); }
    pan(dx, dy) { const u = this.unit(); this.view.x += dx * u; this.view.y += dy * u; this.draw(); this.link(); }
    zoom(k, at = [this.canvas.width / 2, this.canvas.height / 2]) {
      const before = this.unit(), w = Math.min(Math.max(this.view.w * k, 64), 4 * Math.max(...this.data.full));
      const dx = at[0] - this.canvas.width / 2, dy = this.canvas.height / 2 - at[1], after = before * w / this.view.w;
      this.view = { x: this.view.x + dx * (before - after), y: this.view.y + dy * (before - after), w };
      this.draw(); this.link();
    }

    hover(now, e) {
      const r = this.pick(...now), d = this.data, box = this.stage.getBoundingClientRect();
      if (r !== this.hovered) { this.hovered = r; this.pass("shade"); }
      this.tip.hidden = r < 0;
      if (r < 0) return;
      this.tip.textContent = `Region ${r.toLocaleString("en")}${this.named(r)}\n${figure(100 * d.size[r])} % of the plane\n${d.known ? `gain ${figure(d.gain[r])}, ` : ""}${d.active[r]} of ${d.units} units on`;
      this.tip.style.left = `${Math.min(e.clientX - box.left + 14, box.width - 190)}px`;
      this.tip.style.top = `${Math.min(e.clientY - box.top + 14, box.height - 70)}px`;
    }

    select(r) {
      this.selected = r;
      const panel = this.panel, d = this.data;
      panel.replaceChildren();
      if (r < 0) { panel.append(element("p", "small", "Click a region, or press Enter for the one in the middle.")); this.pass("shade"); this.labels(); this.link(); return; }
      panel.append(element("h4", "", `Region ${r.toLocaleString("en")}`));
      const list = element("dl");
      const facts = [...(d.known ? [["class at its middle", d.classes[d.label[r]] ?? d.label[r]], ["gain", figure(d.gain[r])]] : []),
        ["size, part of the plane", `${figure(100 * d.size[r])} %`], ["units on", `${d.active[r]} of ${d.units}`], ["corners", d.start[r + 1] - d.start[r]]];
      for (const [k, v] of facts) list.append(element("dt", "", k), element("dd", "", v));
      panel.append(list);
      this.pattern(r);
      this.neighbours(r);
      this.affine(r);
      this.pass("shade"); this.labels(); this.link();
    }

    pattern(r) {
      const d = this.data, bytes = Math.ceil(d.units / 8);
      if (!d.bits) return;
      this.panel.append(element("h5", "", "Pattern: dark is on"));
      let first = 0;
      for (const [name, count] of d.layers) {
        const strip = element("canvas", "regions-strip");
        strip.width = count; strip.height = 1; strip.title = name;
        strip.setAttribute("role", "img");
        const c = strip.getContext("2d"), image = c.createImageData(count, 1);
        let on = 0;
        for (let k = 0; k < count; k++) {
          const bit = d.bits[r * bytes + (first + k >> 3)] >> (first + k & 7) & 1;
          on += bit;
          image.data.set(bit ? [138, 58, 18, 255] : [228, 216, 204, 255], 4 * k);
        }
        c.putImageData(image, 0, 0);
        strip.setAttribute("aria-label", `${name}: ${on} of ${count} on`);
        this.panel.append(strip);
        first += count;
      }
    }

    neighbours(r) {
      const found = this.near(r);
      this.panel.append(element("h5", "", `${found.length} neighbours`));
      const box = element("div", "regions-neighbours");
      for (const other of found.slice(0, 40)) {
        const button = element("button", "", `${this.changed(r, other)}region ${other.toLocaleString("en")}${this.named(other)}`);
        button.type = "button";
        button.addEventListener("click", () => { this.select(other); this.show(other); });
        box.append(button);
      }
      this.panel.append(box);
    }
    /* Units that are on in one of two regions alone. */
    changed(r, other) {
      const d = this.data, bytes = Math.ceil(d.units / 8), found = [];
      if (!d.bits) return "";
      for (let j = 0; j < bytes; j++) {
        const gap = d.bits[r * bytes + j] ^ d.bits[other * bytes + j];
        for (let i = 0; gap >> i; i++) if (gap >> i & 1) found.push(8 * j + i);
      }
      if (!found.length) return "a choice of several → ";
      return `${found.length > 2 ? `${found.length} units` : found.map(k => this.unitName(k)).join(" and ")} → `;
    }
    unitName(k) {
      for (const [name, count] of this.data.layers) { if (k < count) return `${name}, unit ${k}`; k -= count; }
      return "a unit";
    }
    show(r) {
      const d = this.data, half = this.view.w / 2;
      if (Math.abs(d.middle[2 * r] - this.view.x) > half || Math.abs(d.middle[2 * r + 1] - this.view.y) > half)
        Object.assign(this.view, { x: d.middle[2 * r], y: d.middle[2 * r + 1] });
      this.draw();
    }

    affine(r) {
      const d = this.data;
      if (!d.maps) { if (d.mapcall) this.panel.append(element("h5", "", "Affine map"), element("pre", "small", d.mapcall.replace("{}", r))); return; }
      const k = d.outputs, table = element("table", "regions-map"), head = table.createTHead().insertRow();
      this.panel.append(element("h5", "", "Affine map: output = a s + b t + c"));
      for (const name of ["", "a", "b", "c"]) head.append(element("th", "n", name));
      for (let i = 0; i < Math.min(k, 20); i++) {
        const row = table.insertRow();
        row.append(element("th", "", d.classes[i] ?? i));
        for (let j = 0; j < 3; j++) row.append(element("td", "n", figure(d.maps[(r * k + i) * 3 + j])));
        if (i === d.label[r]) row.className = "own";
      }
      this.panel.append(table);
    }

    /* The view as a short address; restored on opening. */
    link() {
      if (location.protocol === "about:") return;  // the frame of a notebook has no address
      clearTimeout(this.linking);
      this.linking = setTimeout(() => {
        const d = this.data, real = (v, i) => d.origin[i] + v * d.step, short = v => +v.toPrecision(6);
        const words = [`x=${short(real(this.view.x, 0))}`, `y=${short(real(this.view.y, 1))}`, `w=${short(this.view.w * d.step)}`, `by=${this.by}`];
        if (this.selected >= 0) words.push(`region=${this.selected}`);
        history.replaceState(null, "", `#${this.root.id}?${words.join("&")}`);
      }, 200);
    }
    restore() {
      const [id, words] = location.hash.slice(1).split("?");
      if (id !== this.root.id || !words) return;
      const given = Object.fromEntries(new URLSearchParams(words)), d = this.data, by = given.by;
      if ([given.x, given.y, given.w].every(v => v !== undefined && Number.isFinite(+v)) && +given.w > 0)
        this.view = { x: (+given.x - d.origin[0]) / d.step, y: (+given.y - d.origin[1]) / d.step, w: +given.w / d.step };
      if (this.can(by) || (d.bits && /^unit\d+$/.test(by ?? "") && +by.slice(4) < d.units)) { this.by = by; this.recolour(); this.mark(); }
      const region = Number(given.region ?? -1);
      this.draw(true);
      this.select(Number.isInteger(region) && region < d.count ? region : -1);
      this.root.scrollIntoView();
    }

    save() {
      const out = element("canvas");
      out.width = this.canvas.width; out.height = this.canvas.height;
      const c = out.getContext("2d");
      c.drawImage(this.canvas, 0, 0); c.drawImage(this.over, 0, 0);
      const a = element("a");
      a.href = out.toDataURL("image/png"); a.download = `${this.root.id}.png`;
      a.click();
    }
  }

  const start = async (root, bytes) => {
    try {
      const map = new RegionMap(root, await unpack(bytes));
      root.classList.add("live");
      map.select(-1);
      map.restore();
      addEventListener("hashchange", () => map.restore());
      root.regions = map;
      root.dataset.ready = "1";
      return map;
    } catch (problem) {
      root.querySelector(".regions-panel").textContent = `The picture is still: ${problem.message}.`;
      root.dataset.ready = "still";
      return null;
    }
  };
  globalThis.plicaRegionMap = start;
  if (typeof document !== "undefined")
    for (const root of document.querySelectorAll(".regions[data-payload]"))
      start(root, decode(document.getElementById(root.dataset.payload).textContent));
})();
